/* Winograd's convolution F(2x2, 3x3): what its parts share.

   A tile of 2 x 2 output pixels depends on a window of 4 x 4 input pixels. Window and kernel are each transformed to
   4 x 4 numbers by additions, multiplied element by element (16 products instead of 36), and summed over the
   channels, which makes 16 matrix products: Y = A' [(G g G') (B' d B)] A in Lavin and Gray, arXiv:1509.09308. The
   rounding errors are as large as those of the direct convolution.

   A larger kernel, or one over several planes of a volume, is cut into pieces of 3 x 3. Each has a window of its own,
   and counts as more channels in the sums; the total is the depth. If the kernel ends before the last row or column
   of a piece, that row or column of its transform is zero.

   Transformed weights are stored in slabs of BREADTH output channels: (16, slabs, depth, BREADTH). */

#ifndef WINOGRAD_H
#define WINOGRAD_H

#include "number.h"

/* A block of a matrix product, ROWS by BREADTH numbers, fits into the registers. */
#if defined(__AVX512F__) || defined(__aarch64__) /* which have 32 registers, not 16 */
enum { ROWS = 8 };
#else
enum { ROWS = 4 };
#endif
enum { BREADTH = 2 * LANES };

typedef struct {
    size batch, planes, height, width; /* of the images; a volume is several planes, each an image */
    size kernel_planes, kernel_height, kernel_width;
    size front, top, left; /* distances of the first window from its tile */
    size outputs;
    const number *images;
    size channels, pixel_stride; /* of the images */
    size tiles;                  /* processed together: a multiple of ROWS */
    const number *zeros;         /* a pixel outside the image: a zero per channel */
} convolution;

static inline size padded(size n, size to) { return (n + to - 1) / to * to; }

static inline size across(const convolution *c) { return (c->kernel_width + 2) / 3; }
static inline size down(const convolution *c) { return (c->kernel_height + 2) / 3; }
static inline size pieces(const convolution *c) { return c->kernel_planes * down(c) * across(c); }
static inline size depth(const convolution *c) { return c->channels * pieces(c); }

/* The first element of a piece in the kernel. */
typedef struct {
    size plane, row, column;
} place;

static inline place begin(const convolution *c, size piece) {
    return (place){piece / (down(c) * across(c)), 3 * (piece / across(c) % down(c)), 3 * (piece % across(c))};
}

/* Whether one of the 16 transformed numbers of a piece may differ from zero. */
static inline int is_nonzero(const convolution *c, size which, size piece) {
    place at = begin(c, piece);
    return (which / 4 < 3 || at.row == 0 || at.row + 3 <= c->kernel_height) &&
           (which % 4 < 3 || at.column == 0 || at.column + 3 <= c->kernel_width);
}

typedef struct {
    size image, y, x; /* its first pixel */
} tile;

static inline size tiles(const convolution *c) { return c->batch * ((c->height + 1) / 2) * ((c->width + 1) / 2); }

static inline tile find(const convolution *c, size number) {
    size down = (c->height + 1) / 2, across = (c->width + 1) / 2;
    return (tile){number / (down * across), number / across % down * 2, number % across * 2};
}

#endif
