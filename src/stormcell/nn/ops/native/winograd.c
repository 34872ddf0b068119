/* Winograd's convolution, forward and for both gradients, given a transformed kernel. See winograd.h. */

#include "lstm.h"
#include "winograd.h"

#if !defined(BFLOAT16)

size winograd_rows(void) { return ROWS; }
size winograd_breadth(void) { return BREADTH; }

/* product (ROWS, BREADTH) = or += left (ROWS, n) right (n, BREADTH). */
static inline void multiply(
    size n, const number *restrict left, size row, size column, const number *restrict right,
    number *restrict product, size stride, int add
) {
    vector sum[ROWS][2] = {0};
    for (size k = 0; k < n; k++) {
        vector a = *(const vector *)(right + k * BREADTH), b = *(const vector *)(right + k * BREADTH + LANES);
        for (size r = 0; r < ROWS; r++) {
            number factor = left[r * row + k * column];
            sum[r][0] += factor * a;
            sum[r][1] += factor * b;
        }
    }
    for (size r = 0; r < ROWS; r++)
        for (size s = 0; s < 2; s++) {
            vector *at = (vector *)(product + r * stride + s * LANES);
            if (add) sum[r][s] += *at;
            *at = sum[r][s];
        }
}

/* B' d B of a window, written n numbers stride. */
static inline void transform_window(
    size channels, const number *const window[16], number *restrict v, size stride
) {
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        number t[16];
        for (size s = 0; s < 4; s++) {
            number a = window[s][k], b = window[4 + s][k], c = window[8 + s][k], d = window[12 + s][k];
            t[s] = a - c, t[4 + s] = b + c, t[8 + s] = c - b, t[12 + s] = b - d;
        }
        for (size r = 0; r < 4; r++) {
            number a = t[4 * r], b = t[4 * r + 1], c = t[4 * r + 2], d = t[4 * r + 3];
            number *to = v + 4 * r * stride + k;
            to[0] = a - c, to[stride] = b + c, to[2 * stride] = c - b, to[3 * stride] = b - d;
        }
    }
}

/* An input pixel of the window of a tile and a piece of the kernel; zeros outside the image. */
static inline const number *pixel_at(const convolution *c, tile at, place piece, size row, size column) {
    size plane = at.image % c->planes + piece.plane - c->front;
    size y = at.y - c->top + piece.row + row, x = at.x - c->left + piece.column + column;
    int inside = 0 <= plane && plane < c->planes && 0 <= y && y < c->height && 0 <= x && x < c->width;
    size image = at.image + piece.plane - c->front;
    return inside ? c->images + ((image * c->height + y) * c->width + x) * c->pixel_stride : c->zeros;
}

/* Transform all windows of a tile to (16, depth), with a stride between the 16. */
static void transform_windows(const convolution *c, tile at, number *v, size stride) {
    for (size piece = 0; piece < pieces(c); piece++) {
        const number *window[16];
        for (size r = 0; r < 16; r++) window[r] = pixel_at(c, at, begin(c, piece), r / 4, r % 4);
        transform_window(c->channels, window, v + piece * c->channels, stride);
    }
}

/* Write A' m A of a tile, plus the bias, to the pixels of z, and pixels outside the image to the spare four. */
static void write_tile(
    const convolution *c, tile at, const number *restrict m, size stride, const number *restrict bias,
    number *restrict z, number *restrict four
) {
    number *to[4];
    for (size corner = 0; corner < 4; corner++) {
        size y = at.y + corner / 2, x = at.x + corner % 2;
        int inside = z && y < c->height && x < c->width;
        to[corner] = inside ? z + ((at.image * c->height + y) * c->width + x) * c->outputs : four + corner * c->outputs;
    }
    number *restrict z_00 = to[0], *restrict z_01 = to[1], *restrict z_10 = to[2], *restrict z_11 = to[3];
#pragma omp simd
    for (size k = 0; k < c->outputs; k++) {
        number t[8];
        for (size s = 0; s < 4; s++) {
            const number *from = m + s * stride + k;
            number p = from[0], q = from[4 * stride], r = from[8 * stride], u = from[12 * stride];
            t[s] = p + q + r, t[4 + s] = q - r - u;
        }
        z_00[k] = t[0] + t[1] + t[2] + bias[k];
        z_01[k] = t[1] - t[2] - t[3] + bias[k];
        z_10[k] = t[4] + t[5] + t[6] + bias[k];
        z_11[k] = t[5] - t[6] - t[7] + bias[k];
    }
}

/* Compute the gates of a ConvLSTM at the pixels of a tile: their arguments are in z or, if that is NULL, in four. */
static void compute_gates(
    const convolution *c, tile at, const number *z, const number *four, const lstm_images *images
) {
    for (size corner = 0; corner < 4; corner++) {
        size y = at.y + corner / 2, x = at.x + corner % 2;
        if (y >= c->height || x >= c->width) continue;
        size pixel = (at.image * c->height + y) * c->width + x;
        lstm_pixel(c->outputs / 4, pixel, z ? z + pixel * c->outputs : four + corner * c->outputs, images);
    }
}

typedef struct {
    const convolution *about;
    const number *u, *bias;
    number *z;
    const lstm_images *images;
    number *workspace; /* of all workers */
    size share;        /* of a worker, in numbers */
    size next;         /* the lot of tiles which no worker has taken yet */
} convolve_arguments;

/* Compute z (batch, height, width, outputs), given the transformed kernel u (16, slabs, depth, BREADTH). If images
   are given, also compute the gates of the ConvLSTM whose arguments these are; z may then be NULL. Each worker has
   workspace for (16, tiles, depth + outputs in whole slabs) and four pixels, and takes one lot of tiles after another. */
static void convolve(convolve_arguments *a, number *workspace) {
    const convolution *c = a->about;
    const number *u = a->u;
    size deep = padded(depth(c), ROWS), wide = padded(c->outputs, BREADTH), all = tiles(c), some = c->channels;
    number *v = workspace, *m = v + 16 * c->tiles * deep, *four = m + 16 * c->tiles * wide;
    for (size first; (first = __atomic_fetch_add(&a->next, 1, __ATOMIC_RELAXED) * c->tiles) < all;) {
        size count = all - first < c->tiles ? all - first : c->tiles;
        for (size t = 0; t < count; t++) transform_windows(c, find(c, first + t), v + t * deep, c->tiles * deep);
        for (size n = 0; n < 16; n++)
            for (size slab = 0; slab < wide; slab += BREADTH)
                for (size t = 0; t < count; t += ROWS)
                    for (size piece = 0; piece < pieces(c); piece++)
                        if (is_nonzero(c, n, piece))
                            multiply(
                                some, v + (n * c->tiles + t) * deep + piece * some, deep, 1,
                                u + (n * wide + slab) * deep + piece * some * BREADTH,
                                m + (n * c->tiles + t) * wide + slab, wide, piece > 0
                            );
        for (size t = 0; t < count; t++) {
            tile at = find(c, first + t);
            write_tile(c, at, m + t * wide, c->tiles * wide, a->bias, a->z, four);
            if (a->images) compute_gates(c, at, a->z, four, a->images);
        }
    }
}

/* Runs workers. */
void winograd_convolve(size first, size last, convolve_arguments *a) {
    for (size worker = first; worker < last; worker++) convolve(a, a->workspace + worker * a->share);
}

/* Each of the 16 numbers of a transformed window combines two of its rows, and two of its columns. */
static const struct {
    size one, other;
    number sign; /* of the other */
} pairs[4] = {{0, 2, -1}, {1, 2, 1}, {2, 1, -1}, {1, 3, -1}};

/* A, which transforms the four pixels of a tile of a gradient. */
static const number sums[4][2] = {{1, 0}, {1, 1}, {1, -1}, {0, -1}};

/* Compute one of the 16 transformed numbers of all windows of a tile, (depth). */
static void transform_one(const convolution *c, tile at, size which, number *restrict v) {
    size r = which / 4, s = which % 4;
    number sign_y = pairs[r].sign, sign_x = pairs[s].sign;
    for (size piece = 0; piece < pieces(c); piece++) {
        place from = begin(c, piece);
        const number *a = pixel_at(c, at, from, pairs[r].one, pairs[s].one);
        const number *b = pixel_at(c, at, from, pairs[r].one, pairs[s].other);
        const number *d = pixel_at(c, at, from, pairs[r].other, pairs[s].one);
        const number *e = pixel_at(c, at, from, pairs[r].other, pairs[s].other);
#pragma omp simd
        for (size k = 0; k < c->channels; k++)
            v[k] = (a[k] + sign_x * b[k]) + sign_y * (d[k] + sign_x * e[k]);
        v += c->channels;
    }
}

/* Compute one of the 16 numbers of A d A' of a tile of a gradient, in slabs with a stride. */
static void transform_gradient(
    const convolution *c, tile at, size which, const number *restrict d_z, number *restrict d, size stride
) {
    d_z += ((at.image * c->height + at.y) * c->width + at.x) * c->outputs;
    size right = at.x + 1 < c->width ? c->outputs : 0, below = at.y + 1 < c->height ? c->width * c->outputs : 0;
    const number *y = sums[which / 4], *x = sums[which % 4];
    number p = y[0] * x[0], q = right ? y[0] * x[1] : 0, r = below ? y[1] * x[0] : 0;
    number s = right && below ? y[1] * x[1] : 0;
    for (size start = 0; start < c->outputs; start += BREADTH, d += stride, d_z += BREADTH) {
        size count = c->outputs - start < BREADTH ? c->outputs - start : BREADTH;
#pragma omp simd
        for (size k = 0; k < count; k++)
            d[k] = p * d_z[k] + q * d_z[k + right] + r * d_z[k + below] + s * d_z[k + right + below];
    }
}

typedef struct {
    const convolution *about;
    const number *d_z;
    number *d_u;
    number *workspace;
    size share;
    size parts; /* of the depth */
    size next;  /* the part of a number which no worker has taken yet */
} to_weight_arguments;

/* Add the gradient of u to d_u, which has the same layout. The 16 numbers are processed one after another, so that
   their data stay in the caches; many workers also split the depth. Each worker has workspace for
   (tiles, 2 depth + outputs in whole slabs). */
static void to_weight(to_weight_arguments *a, number *workspace) {
    const convolution *c = a->about;
    size deep = padded(depth(c), ROWS), wide = padded(c->outputs, BREADTH), all = tiles(c);
    size part = padded((deep + a->parts - 1) / a->parts, ROWS);
    number *v = workspace, *rows = v + c->tiles * deep, *d = rows + c->tiles * deep, *d_u = a->d_u;
    for (size taken; (taken = __atomic_fetch_add(&a->next, 1, __ATOMIC_RELAXED)) < 16 * a->parts;) {
        size which = taken / a->parts, start = taken % a->parts * part;
        size end = start + part < deep ? start + part : deep;
        if (start >= deep) continue;
        for (size first = 0; first < all; first += c->tiles) {
            size count = all - first < c->tiles ? all - first : c->tiles;
            for (size t = 0; t < count; t++) {
                tile at = find(c, first + t);
                transform_one(c, at, which, v + t * deep);
                transform_gradient(c, at, which, a->d_z, d + t * BREADTH, c->tiles * BREADTH);
            }
            /* Reorder for the products: ROWS numbers of each tile, tile by tile. */
            for (size k = start; k < end; k += ROWS)
                for (size t = 0; t < count; t++)
                    for (size r = 0; r < ROWS; r++) rows[k * c->tiles + t * ROWS + r] = v[t * deep + k + r];
            for (size slab = 0; slab < wide; slab += BREADTH)
                for (size k = start; k < end; k += ROWS) {
                    int any = 0;
                    for (size piece = k / c->channels; piece <= (k + ROWS - 1) / c->channels; piece++)
                        any |= is_nonzero(c, which, piece);
                    if (any)
                        multiply(
                            count, rows + k * c->tiles, 1, ROWS, d + slab * c->tiles,
                            d_u + (which * wide + slab) * deep + k * BREADTH, BREADTH, 1
                        );
                }
        }
    }
}

/* Runs workers. */
void winograd_to_weight(size first, size last, to_weight_arguments *a) {
    for (size worker = first; worker < last; worker++) to_weight(a, a->workspace + worker * a->share);
}

#endif
