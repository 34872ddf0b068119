/* The transform of a kernel for Winograd's convolution, and its gradient. See winograd.h. */

#include "winograd.h"

#if !defined(BFLOAT16)

/* A kernel (outputs, channels, planes, height, width): the address of its first number, and its strides. */
typedef struct {
    number *at;
    size output, channel, plane, row, column;
} kernel;

/* G, which transforms a row of a piece. */
static const number g[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

/* The number of rows, or columns, of a piece which starts at this row, or column, of the kernel. */
static inline size piece_length(size length, size start) { return length - start < 3 ? length - start : 3; }

typedef struct {
    const convolution *about;
    const kernel *w;
    number *u;
} transform_arguments;

/* Compute u (16, slabs, depth, BREADTH): G w G' of each piece; zeros where there is no kernel. Computes slabs. */
void winograd_transform(size first, size last, const transform_arguments *a) {
    const convolution *c = a->about;
    const kernel *w = a->w;
    size deep = padded(depth(c), ROWS), wide = padded(c->outputs, BREADTH);
    for (size slab = first * BREADTH; slab < last * BREADTH; slab += BREADTH)
        for (size k = 0; k < deep; k++) {
            place at = begin(c, k / c->channels);
            size rows = k < depth(c) ? piece_length(c->kernel_height, at.row) : 0;
            size columns = piece_length(c->kernel_width, at.column);
            size count = c->outputs - slab < BREADTH ? c->outputs - slab : BREADTH;
            number d[3][3][BREADTH] = {0}, *to = a->u + slab * deep + k * BREADTH;
            const number *from = w->at + slab * w->output + k % c->channels * w->channel + at.plane * w->plane;
            for (size r = 0; r < rows; r++)
                for (size s = 0; s < columns; s++)
                    for (size o = 0; o < count; o++)
                        d[r][s][o] = from[o * w->output + (at.row + r) * w->row + (at.column + s) * w->column];
            for (size n = 0; n < 16; n++, to += wide * deep)
#pragma omp simd
                for (size o = 0; o < BREADTH; o++) {
                    number sum = 0;
                    for (size r = 0; r < 3; r++)
                        for (size s = 0; s < 3; s++) sum += g[n / 4][r] * g[n % 4][s] * d[r][s][o];
                    to[o] = sum;
                }
        }
}

typedef struct {
    const convolution *about;
    const number *d_u;
    const kernel *d_w;
} transform_back_arguments;

/* Compute the gradient of the kernel, given that of its transform. Computes slabs. */
void winograd_transform_back(size first, size last, const transform_back_arguments *a) {
    const convolution *c = a->about;
    const kernel *d_w = a->d_w;
    size deep = padded(depth(c), ROWS), wide = padded(c->outputs, BREADTH);
    for (size slab = first * BREADTH; slab < last * BREADTH; slab += BREADTH)
        for (size k = 0; k < depth(c); k++) {
            place at = begin(c, k / c->channels);
            size rows = piece_length(c->kernel_height, at.row), columns = piece_length(c->kernel_width, at.column);
            size count = c->outputs - slab < BREADTH ? c->outputs - slab : BREADTH;
            const number *from = a->d_u + slab * deep + k * BREADTH;
            number d[3][3][BREADTH] = {0};
            number *to = d_w->at + slab * d_w->output + k % c->channels * d_w->channel + at.plane * d_w->plane;
            for (size n = 0; n < 16; n++, from += wide * deep)
#pragma omp simd
                for (size o = 0; o < BREADTH; o++)
                    for (size r = 0; r < 3; r++)
                        for (size s = 0; s < 3; s++) d[r][s][o] += g[n / 4][r] * g[n % 4][s] * from[o];
            for (size r = 0; r < rows; r++)
                for (size s = 0; s < columns; s++)
                    for (size o = 0; o < count; o++)
                        to[o * d_w->output + (at.row + r) * d_w->row + (at.column + s) * d_w->column] = d[r][s][o];
        }
}

#endif
