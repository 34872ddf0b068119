/* A ConvLSTM step forwards in bfloat16, for x86-64 processors with the matrix unit AMX.

   AMX multiplies tiles of 16 rows of 64 bytes: 16 pixels with 32 channels each, by 32 channels of 16 outputs, added up in
   float32. Two groups of 16 neighbouring pixels, a pair, are multiplied by the weights of two gates for 16 channels. That
   makes four sums, and every tile that is read is used twice.

   While AMX multiplies, the processor has its other units left. They compute the gates of the pair before, one vector of
   channels after every four products, so that the arguments of gates never leave the caches.

   The rows of pixels that a group depends on are copied first, with zeros outside the image and for channels up to a
   multiple of 32. Pairs follow each other down the image, so that only one row is new. If few input channels would be
   padded to 32 at every element of the kernel, those under the whole kernel are put side by side instead, as 32 channels
   of the pixel: its patch. */

#include "lstm.h"

#if defined(BFLOAT16) && defined(__AVX512F__) && defined(__linux__) && \
    (__has_include(<amxintrin.h>) || __has_include(<amxbf16intrin.h>))

#include <immintrin.h>

#define WITH_AMX __attribute__((target("amx-tile,amx-bf16,avx512bf16,avx512bw,avx512vl")))

enum { GROUP = 16, DEPTH = 32, TILE = GROUP * DEPTH };

static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} eight_tiles = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}
};

typedef struct {
    size batch, height, width, kernel_height, kernel_width;
    size patched, depth; /* the input channels in patches, and all other channels of xh */
    size channels;       /* C, a multiple of GROUP */
    reals xh;            /* input and hidden state */
    const real *weights; /* (C / GROUP, 2, products, 2, DEPTH / 2, GROUP, 2) */
    const number *bias;  /* (4 C) */
    const lstm_images *images;
    reals saved;     /* where the gates' arguments are saved, or NULL */
    real *workspace; /* of all workers, zeros at first */
    size share;      /* of a worker, in reals */
    size workers;
} amx_arguments;

typedef struct {
    size image, y, x, count; /* the first pixel, and the number of pixels within the image */
} group;

static inline size columns(const amx_arguments *a) { return a->batch * ((a->width + GROUP - 1) / GROUP); }

/* The group in a row of a column of groups; without pixels if there is no such column. */
static inline group find(const amx_arguments *a, size column, size y) {
    size across = (a->width + GROUP - 1) / GROUP, x = column % across * GROUP, left = a->width - x;
    if (column >= columns(a)) return (group){.count = 0};
    return (group){column / across, y, x, left < GROUP ? left : GROUP};
}

static inline size pixels_across(const amx_arguments *a) { return GROUP + a->kernel_width - 1; }
static inline size padded_depth(const amx_arguments *a) { return (a->depth + DEPTH - 1) / DEPTH * DEPTH; }

/* Numbers in the copy of a row: (pixels_across, padded_depth). */
static inline size row_size(const amx_arguments *a) { return pixels_across(a) * padded_depth(a); }

/* A row of pixels around a group has its place among kernel_height copies. */
static inline size place(const amx_arguments *a, group at, size row) {
    return (at.y + row) % a->kernel_height * row_size(a);
}

/* A pixel around a group, or NULL outside the image. */
static inline const real *pixel_at(const amx_arguments *a, group at, size row, size column) {
    size y = at.y + row - a->kernel_height / 2, x = at.x + column - a->kernel_width / 2;
    int inside = 0 <= y && y < a->height && 0 <= x && x < a->width;
    return inside ? real_at(a->xh, (at.image * a->height + y) * a->width + x) : 0;
}

static void copy_row(const amx_arguments *a, group at, size row, real *restrict to) {
    size deep = padded_depth(a), rest = a->depth % DEPTH, whole = a->depth - rest;
    for (size column = 0; column < pixels_across(a); column++, to += deep) {
        const real *from = pixel_at(a, at, row, column);
        if (!from) {
            memset(to, 0, a->depth * sizeof(real));
            continue;
        }
        from += a->patched;
        for (size k = 0; k < whole; k += DEPTH) memcpy(to + k, from + k, DEPTH * sizeof(real));
        if (rest) memcpy(to + whole, from + whole, rest * sizeof(real));
    }
}

/* Copy what a group depends on: its rows, or only the last if the others are there, and then patches (GROUP, DEPTH). */
static void copy_pixels(const amx_arguments *a, group at, int only_last, real *to) {
    if (!at.count) return; /* the sums are not used */
    for (size row = only_last ? a->kernel_height - 1 : 0; row < a->kernel_height; row++)
        copy_row(a, at, row, to + place(a, at, row));
    if (!a->patched) return;
    for (size p = 0; p < GROUP; p++) {
        real *patch = to + a->kernel_height * row_size(a) + p * DEPTH;
        for (size row = 0; row < a->kernel_height; row++)
            for (size column = 0; column < a->kernel_width; column++) {
                const real *from = pixel_at(a, at, row, p + column);
                for (size k = 0; k < a->patched; k++) *patch++ = from ? from[k] : 0;
            }
    }
}

/* A pair of groups with its gates' arguments, (2 GROUP, 4 C), and the vector of channels to compute next: first the cell
   states of all pixels, then the hidden states. Short steps leave the processor more to do while one waits. */
typedef struct {
    group groups[2];
    number *z;
    size step, channel; /* of 4 GROUP steps */
} pair;

static inline int is_done(const pair *p) { return p->step == 4 * GROUP; }

WITH_AMX static inline void write_rounded(real *to, const number *from) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)));
}

/* Compute the next GROUP channels of the state of a pixel. */
WITH_AMX static inline void compute_gates(const amx_arguments *a, pair *p) {
    const lstm_images *images = a->images;
    size channels = a->channels, first = p->channel, step = p->step, of_pair = step % (2 * GROUP);
    group at = p->groups[of_pair / GROUP];
    p->channel = first + GROUP < channels ? first + GROUP : 0;
    p->step += p->channel == 0;
    if (of_pair % GROUP >= at.count) return;
    size pixel = (at.image * a->height + at.y) * a->width + at.x + of_pair % GROUP;
    const number *restrict z = p->z + of_pair * 4 * channels + first, *restrict w = images->w + first;
    number *restrict c = number_at(images->c_new, pixel) + first;
    if (step < 2 * GROUP) {
        const number *restrict old = number_at(images->c_old, pixel) + first;
#pragma omp simd
        for (size k = 0; k < GROUP; k++)
            c[k] = new_cell(old[k], z[k], z[k + channels], z[k + 2 * channels], w[k], w[k + channels]);
        if (a->saved.at)
            for (size gate = 0; gate < 4; gate++)
                write_rounded(real_at(a->saved, pixel) + gate * channels + first, z + gate * channels);
    } else {
        number h[GROUP];
#pragma omp simd
        for (size k = 0; k < GROUP; k++) h[k] = new_hidden(c[k], z[k + 3 * channels], w[k + 2 * channels]);
        write_rounded(real_at(images->h, pixel) + first, h);
        write_rounded(real_at(images->next_h, pixel) + first, h);
    }
}

/* Multiply tiles of both groups by the tiles of two gates. */
WITH_AMX static inline void multiply(const real *one, const real *other, size stride, const real *weights) {
    _tile_loadd(4, one, stride * sizeof(real));
    _tile_loadd(6, weights, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, weights + TILE, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, other, stride * sizeof(real));
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* Convolve a pair of groups, whose pixels were copied, and compute gates of the pair before meanwhile. */
WITH_AMX static void convolve(const amx_arguments *a, const real *one, const real *other, pair *now, pair *before) {
    size channels = a->channels, deep = padded_depth(a), row_bytes = 4 * channels * sizeof(number);
    size patches = a->kernel_height * row_size(a);
    const real *weights = a->weights;
    for (size first = 0; first < channels; first += GROUP)
        for (size gate = 0; gate < 4; gate += 2) {
            const number *bias = a->bias + gate * channels + first;
            _tile_loadd(0, bias, 0);
            _tile_loadd(1, bias + channels, 0);
            _tile_loadd(2, bias, 0);
            _tile_loadd(3, bias + channels, 0);
            for (size row = 0; row < a->kernel_height; row++) {
                size start = place(a, now->groups[0], row);
                for (size k = 0; k < a->kernel_width * deep; k += DEPTH, weights += 2 * TILE) {
                    multiply(one + start + k, other + start + k, deep, weights);
                    if (!is_done(before)) compute_gates(a, before);
                }
            }
            if (a->patched) {
                multiply(one + patches, other + patches, DEPTH, weights);
                weights += 2 * TILE;
            }
            number *to = now->z + gate * channels + first, *to_other = to + GROUP * 4 * channels;
            _tile_stored(0, to, row_bytes);
            _tile_stored(1, to + channels, row_bytes);
            _tile_stored(2, to_other, row_bytes);
            _tile_stored(3, to_other + channels, row_bytes);
        }
}

/* Runs workers, each for the same number of pairs, with workspace for the copied pixels of a pair and the arguments of
   the gates of two pairs. */
WITH_AMX void lstm_amx(size first, size last, const amx_arguments *a) {
    size pairs = (columns(a) + 1) / 2 * a->height, gates = 2 * GROUP * 4 * a->channels;
    size copied = a->kernel_height * row_size(a) + (a->patched ? TILE : 0);
    _tile_loadconfig(&eight_tiles);
    for (size worker = first; worker < last; worker++) {
        size begin = worker * pairs / a->workers, end = (worker + 1) * pairs / a->workers;
        real *one = a->workspace + worker * a->share, *other = one + copied;
        number *z = (number *)(other + copied);
        pair before = {.step = 4 * GROUP};
        for (size n = begin; n < end; n++) {
            size column = n / a->height * 2, y = n % a->height;
            pair now = {{find(a, column, y), find(a, column + 1, y)}, z + n % 2 * gates, 0, 0};
            copy_pixels(a, now.groups[0], n > begin && y, one);
            copy_pixels(a, now.groups[1], n > begin && y, other);
            __asm__ volatile("" ::: "memory"); /* GCC does not know that tiles are read from memory */
            convolve(a, one, other, &now, &before);
            while (!is_done(&before)) compute_gates(a, &before);
            before = now;
        }
        while (!is_done(&before)) compute_gates(a, &before);
    }
    _tile_release();
}

#endif
