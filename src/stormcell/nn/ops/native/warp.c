/* The warp of images along flows: bilinear sampling, with zeros outside the image.

   Images are channels last. The flows of a pixel are pairs dx, dy in pixels; warped numbers are ordered by flow. */

#include "number.h"

enum { BLOCK = 16 }; /* channels processed together: a cache line in float32 */
enum { FLOWS = 16 }; /* flows of a pixel processed together */

typedef struct {
    size height, width, channels, flows;
    double stretch[2], shift; /* row y is sampled at y + stretch y + shift; columns likewise */
} warp;

/* The origins of flows, each between four pixels. */
typedef struct {
    int32_t top[FLOWS], left[FLOWS];   /* row above and column to the left; the size of the image if outside */
    number below[FLOWS], right[FLOWS]; /* distance from them */
} origins;

/* Find the origins of n flows of a pixel. */
static inline void find(const warp *w, size pixel, size n, const real *flow, origins *restrict o) {
    number height = w->height, width = w->width, row = pixel / w->width, column = pixel % w->width;
    number down = w->stretch[0], across = w->stretch[1], shift = w->shift;
    real pairs[2 * FLOWS] = {0};
    memcpy(pairs, flow, 2 * n * sizeof(real));
#pragma omp simd
    for (size l = 0; l < FLOWS; l++) {
        number y = row - load(pairs[2 * l + 1]), x = column - load(pairs[2 * l]);
        y += y * down + shift;
        x += x * across + shift;
        number top = (number)floor(y), left = (number)floor(x);
        o->below[l] = y - top;
        o->right[l] = x - left;
        /* NaN and huge numbers cannot be converted to integers. */
        o->top[l] = (int32_t)(top >= -1 && top < height ? top : height);
        o->left[l] = (int32_t)(left >= -1 && left < width ? left : width);
    }
}

/* The four pixels around an origin, row by row. */
typedef struct {
    size at[4];                   /* their offsets in the image, */
    int inside[4];                 /* whether they are inside the image, */
    number part[4], below, right; /* and their weights */
} corners;

static inline corners around(const warp *w, const origins *o, size l) {
    size top = o->top[l], left = o->left[l], at = (top * w->width + left) * w->channels;
    int upper = 0 <= top && top < w->height, lower = top + 1 < w->height;
    int before = 0 <= left && left < w->width, after = left + 1 < w->width;
    number q = o->below[l], p = o->right[l];
    return (corners){
        {at, at + w->channels, at + w->width * w->channels, at + (w->width + 1) * w->channels},
        {upper && before, upper && after, lower && before, lower && after},
        {(1 - q) * (1 - p), (1 - q) * p, q * (1 - p), q * p},
        q,
        p,
    };
}

static inline void mix(
    size n, const number *part, const number *a, const number *b, const number *c, const number *d,
    real *restrict out
) {
#pragma omp simd
    for (size k = 0; k < n; k++)
        out[k] = store(part[0] * a[k] + part[1] * b[k] + part[2] * c[k] + part[3] * d[k]);
}

typedef struct {
    const warp *about;
    size first; /* the pixel, counted over all images, at which flow and warped begin */
    const number *h; /* (B, H, W, C) */
    reals flow;
    real *warped; /* (count, L, C) */
} forward_arguments;

void warp_forward(size first, size last, const forward_arguments *a) {
    static const number zeros[BLOCK];
    const warp w = *a->about;
    size area = w.height * w.width;
    for (size p = first; p < last; p++) {
        const number *image = a->h + (a->first + p) / area * area * w.channels;
        real *out = a->warped + p * w.flows * w.channels;
        origins o;
        for (size l = 0; l < w.flows; l++, out += w.channels) {
            if (l % FLOWS == 0) {
                size n = w.flows - l < FLOWS ? w.flows - l : FLOWS;
                find(&w, (a->first + p) % area, n, real_at(a->flow, p) + 2 * l, &o);
            }
            corners c = around(&w, &o, l % FLOWS);
            for (size start = 0; start < w.channels; start += BLOCK) {
                size n = w.channels - start;
                const number *at[4];
                for (size k = 0; k < 4; k++) at[k] = c.inside[k] ? image + c.at[k] + start : zeros;
                if (n >= BLOCK)
                    mix(BLOCK, c.part, at[0], at[1], at[2], at[3], out + start);
                else
                    mix(n, c.part, at[0], at[1], at[2], at[3], out + start);
            }
        }
    }
}

static inline void halve(size half, number *v) {
#pragma omp simd
    for (size k = 0; k < half; k++) v[k] += v[k + half];
}

/* In halves, as compilers sum the lanes of one vector more slowly. */
static inline number sum(number *v) {
    halve(8, v), halve(4, v), halve(2, v);
    return v[0] + v[1];
}

static inline void mix_back(
    size n, const corners *o, const number *a, const number *b, const number *c, const number *d,
    number *restrict da, number *restrict db, number *restrict dc, number *restrict dd, real *restrict warped,
    number *restrict d_flow
) {
    number right = o->right, below = o->below, d_x[BLOCK], d_y[BLOCK];
    const number *part = o->part;
    if (n < BLOCK) memset(d_x, 0, sizeof d_x), memset(d_y, 0, sizeof d_y);
#pragma omp simd
    for (size k = 0; k < n; k++) {
        number g = load(warped[k]);
        d_x[k] = g * ((1 - below) * (b[k] - a[k]) + below * (d[k] - c[k]));
        d_y[k] = g * ((1 - right) * (c[k] - a[k]) + right * (d[k] - b[k]));
        da[k] += part[0] * g;
        db[k] += part[1] * g;
        dc[k] += part[2] * g;
        dd[k] += part[3] * g;
        warped[k] = store(part[0] * a[k] + part[1] * b[k] + part[2] * c[k] + part[3] * d[k]);
    }
    d_flow[0] = sum(d_x);
    d_flow[1] = sum(d_y);
}

typedef struct {
    const warp *about;
    size first, count;
    const number *h; /* (B, H, W, C) */
    reals flow;
    real *warped;   /* (count, L, C), its gradient on entry, the warped images on return */
    number *d_h;    /* (B, H, W, C), added to */
    number *d_flow; /* (blocks of channels, count, L, 2) */
} backward_arguments;

/* Computes blocks of channels of images, all blocks of an image in sequence. Many pixels add to one: as no two results
   share an image and its channels, no two threads write to the same number, and the order of sums does not depend on
   the number of threads. The caller adds up d_flow over blocks. */
void warp_backward(size first, size last, const backward_arguments *a) {
    static const number zeros[BLOCK];
    const warp w = *a->about;
    size area = w.height * w.width, blocks = (w.channels + BLOCK - 1) / BLOCK;
    for (size task = first; task < last; task++) {
        size image = a->first / area + task / blocks, block = task % blocks;
        size start = block * BLOCK, n = w.channels - start, offset = image * area * w.channels + start;
        size begin = image * area - a->first, end = begin + area;
        number nowhere[4][BLOCK] = {0};
        for (size p = begin < 0 ? 0 : begin; p < a->count && p < end; p++) {
            real *d = a->warped + p * w.flows * w.channels + start;
            number *d_pair = a->d_flow + (block * a->count + p) * w.flows * 2;
            origins o;
            for (size l = 0; l < w.flows; l++, d += w.channels, d_pair += 2) {
                if (l % FLOWS == 0) {
                    size some = w.flows - l < FLOWS ? w.flows - l : FLOWS;
                    find(&w, p - begin, some, real_at(a->flow, p) + 2 * l, &o);
                }
                corners c = around(&w, &o, l % FLOWS);
                const number *at[4];
                number *to[4];
                for (size k = 0; k < 4; k++) {
                    at[k] = c.inside[k] ? a->h + offset + c.at[k] : zeros;
                    to[k] = c.inside[k] ? a->d_h + offset + c.at[k] : nowhere[k];
                }
                if (n >= BLOCK)
                    mix_back(BLOCK, &c, at[0], at[1], at[2], at[3], to[0], to[1], to[2], to[3], d, d_pair);
                else
                    mix_back(n, &c, at[0], at[1], at[2], at[3], to[0], to[1], to[2], to[3], d, d_pair);
                d_pair[0] *= -1 - (number)w.stretch[1];
                d_pair[1] *= -1 - (number)w.stretch[0];
            }
        }
    }
}
