/* The probabilities of exceeding rain rates: the network's correction of the thresholds, and the probabilities where the
   rain will be. The equations are those of stormcell.models.nowcaster and stormcell.forecast. Only in the library for
   float32. */

#include "rain.h"

#if !defined(FLOAT64) && !defined(BFLOAT16)

enum { GROUP = 16 };   /* channels or thresholds are in whole groups: a cache line */
enum { TOGETHER = 8 }; /* cells computed together: a vector of each fits into the registers */
enum { MOST = 128 };   /* features, channels or thresholds */

static inline vector read_vector(const number *from) { return *(const vector *)from; }
static inline void write_vector(number *to, vector v) { *(vector *)to = v; }

/* A field in cells that cover the grid, or several whose numbers are together in each cell. */
typedef struct {
    const number *at;
    size height, width, stride, side; /* rows and columns, numbers from one cell to the next, side of one in pixels */
} cells;

/* Add the products of inputs and weights (inputs, outputs) to the outputs of some cells; whole groups of outputs. */
static inline void add_products(
    size inputs, size outputs, const number (*restrict x)[MOST], const number *restrict weight, number (*restrict y)[MOST]
) {
    for (size o = 0; o < outputs; o += LANES) {
        vector sum[TOGETHER];
        for (size c = 0; c < TOGETHER; c++) sum[c] = read_vector(y[c] + o);
        for (size k = 0; k < inputs; k++) {
            vector w = read_vector(weight + k * outputs + o);
            for (size c = 0; c < TOGETHER; c++) sum[c] += w * x[c][k];
        }
        for (size c = 0; c < TOGETHER; c++) write_vector(y[c] + o, sum[c]);
    }
}

static inline void rectify(size n, number *v) {
#pragma omp simd
    for (size k = 0; k < n; k++) v[k] = v[k] > 0 ? v[k] : 0;
}

typedef struct {
    const number *features; /* (features, rows, columns) of a tile of cells */
    size count, plane, width; /* features, numbers from one to the next, columns of the tile */
    size top, left;           /* the tile's first row and column among all cells */
    size channels, thresholds; /* of the layers, and of the last; both in whole groups */
    cells around;             /* what is added to the first layer's channels; 0 for nothing. Its side is in cells. */
    const number *weight[3], *bias[3]; /* (inputs, outputs) and (outputs) of the three layers */
    const number *distance; /* (thresholds): the logarithm of the first, and the distances from one to the next */
    number *at;             /* (cells, thresholds): the logarithms of the corrected thresholds */
    size at_width;          /* columns of all cells */
} thresholds_arguments;

/* Add the field around to the channels of a cell, bilinearly; beyond the centres is what is at the nearest. */
static inline void add_around(const cells *around, size channels, size row, size column, number *restrict h) {
    number y = (row + 0.5f) / around->side - 0.5f, x = (column + 0.5f) / around->side - 0.5f;
    y = y < 0 ? 0 : y > around->height - 1 ? around->height - 1 : y;
    x = x < 0 ? 0 : x > around->width - 1 ? around->width - 1 : x;
    size top = (size)y, left = (size)x, across = left + 1 < around->width ? around->stride : 0;
    size down = top + 1 < around->height ? around->width * around->stride : 0;
    const number *at = around->at + (top * around->width + left) * around->stride;
    number below = y - top, right = x - left;
    number a = (1 - below) * (1 - right), b = (1 - below) * right, c = below * (1 - right), d = below * right;
#pragma omp simd
    for (size k = 0; k < channels; k++)
        h[k] += a * at[k] + b * at[across + k] + c * at[down + k] + d * at[down + across + k];
}

/* Corrects the thresholds in rows of a tile. */
void rain_thresholds(size first, size last, const thresholds_arguments *a) {
    number x[TOGETHER][MOST] = {{0}}, h[TOGETHER][MOST], g[TOGETHER][MOST], z[TOGETHER][MOST];
    for (size row = first; row < last; row++) {
        for (size start = 0; start < a->width; start += TOGETHER) {
            size n = a->width - start < TOGETHER ? a->width - start : TOGETHER;
            const number *feature = a->features + row * a->width + start;
            for (size k = 0; k < a->count; k++)
                for (size c = 0; c < n; c++) x[c][k] = feature[k * a->plane + c];
            for (size c = 0; c < TOGETHER; c++) {
                memcpy(h[c], a->bias[0], a->channels * sizeof(number));
                memcpy(g[c], a->bias[1], a->channels * sizeof(number));
                memcpy(z[c], a->bias[2], a->thresholds * sizeof(number));
                if (a->around.at)
                    add_around(&a->around, a->channels, a->top + row, a->left + start + (c < n ? c : 0), h[c]);
            }
            add_products(a->count, a->channels, x, a->weight[0], h);
            for (size c = 0; c < TOGETHER; c++) rectify(a->channels, h[c]);
            add_products(a->channels, a->channels, h, a->weight[1], g);
            for (size c = 0; c < TOGETHER; c++) rectify(a->channels, g[c]);
            add_products(a->channels, a->thresholds, g, a->weight[2], z);
            number *at = a->at + ((a->top + row) * a->at_width + a->left + start) * a->thresholds;
            for (size c = 0; c < n; c++, at += a->thresholds) {
                number base = a->distance[0] - z[c][0], sum = 0;
#pragma omp simd
                for (size k = 0; k < a->thresholds; k++) {
                    number v = z[c][k];
                    z[c][k] = a->distance[k] * (v > 0 ? 1 + v : 1 / (1 - v));
                }
                z[c][0] = base;
                for (size k = 0; k < a->thresholds; k++) at[k] = sum += z[c][k];
            }
        }
    }
}

/* The four cells around each place of a strip, and their weights. */
typedef struct {
    int32_t at[4][STRIP];
    number weight[4][STRIP];
} places;

/* Outside the cells' centres is what is at the nearest. */
static inline void find(const cells *c, size n, const number *column, const number *row, places *restrict p) {
    number offset = (number)(c->side - 1) / 2, side = c->side;
    number right_most = c->width - 1, low_most = c->height - 1;
    int32_t width = c->width, last_column = c->width - 1, last_row = c->height - 1;
#pragma omp simd
    for (size i = 0; i < n; i++) {
        number x = (column[i] - offset) / side, y = (row[i] - offset) / side;
        /* In one expression, GCC would not vectorise the loop. */
        x = x > 0 ? x : 0, y = y > 0 ? y : 0;
        x = x < right_most ? x : right_most, y = y < low_most ? y : low_most;
        int32_t left = (int32_t)x, top = (int32_t)y;
        int32_t across = left < last_column, down = top < last_row ? width : 0, at = top * width + left;
        number right = x - left, below = y - top;
        p->at[0][i] = at, p->at[1][i] = at + across, p->at[2][i] = at + down, p->at[3][i] = at + down + across;
        p->weight[0][i] = (1 - below) * (1 - right), p->weight[1][i] = (1 - below) * right;
        p->weight[2][i] = below * (1 - right), p->weight[3][i] = below * right;
    }
}

static inline number mixed(const number *field, const places *p, size i) {
    return p->weight[0][i] * field[p->at[0][i]] + p->weight[1][i] * field[p->at[1][i]] +
           p->weight[2][i] * field[p->at[2][i]] + p->weight[3][i] * field[p->at[3][i]];
}

/* Interpolate a group of fields. */
static inline void mix_group(
    const number *from, size stride, const places *p, size n, number (*restrict mixed)[STRIP]
) {
    number by_pixel[STRIP][GROUP];
    for (size i = 0; i < n; i++) {
        for (size o = 0; o < GROUP; o += LANES) {
            vector sum = p->weight[0][i] * read_vector(from + p->at[0][i] * stride + o);
            for (size k = 1; k < 4; k++) sum += p->weight[k][i] * read_vector(from + p->at[k][i] * stride + o);
            write_vector(by_pixel[i] + o, sum);
        }
    }
    for (size k = 0; k < GROUP; k++)
        for (size i = 0; i < n; i++) mixed[k][i] = by_pixel[i][k];
}

typedef struct {
    const number *column, *row; /* (H, W): the place that the rain of each pixel comes from */
    size width;                 /* columns of the grid */
    size top, left, right;      /* the first row to compute, the first column, and the one beyond the last */
    cells mean, spread, at;     /* the distribution, and the corrected thresholds, as logarithms, in whole groups: */
    size thresholds;            /* reading each threshold apart takes longest */
    const number *slope; /* of the logits of each threshold */
    const number *shift; /* likewise */
    number *chances;     /* (thresholds, H, W) */
    size plane;          /* numbers from one threshold to the next */
} chances_arguments;

/* Writes the probabilities of rows of pixels. */
void rain_chances(size first, size last, const chances_arguments *a) {
    for (size y = a->top + first; y < a->top + last; y++) {
        for (size left = a->left; left < a->right; left += STRIP) {
            size n = a->right - left < STRIP ? a->right - left : STRIP, pixel = y * a->width + left;
            places p;
            number mean[STRIP], steepness[STRIP], before[STRIP];
            find(&a->mean, n, a->column + pixel, a->row + pixel, &p);
#pragma omp simd
            for (size i = 0; i < n; i++) mean[i] = mixed(a->mean.at, &p, i), before[i] = INFINITY;
            find(&a->spread, n, a->column + pixel, a->row + pixel, &p);
#pragma omp simd
            for (size i = 0; i < n; i++) steepness[i] = 1 / mixed(a->spread.at, &p, i);
            find(&a->at, n, a->column + pixel, a->row + pixel, &p);
            number at[GROUP][STRIP];
            for (size k = 0; k < a->thresholds; k++) {
                if (k % GROUP == 0) mix_group(a->at.at + k, a->at.stride, &p, n, at);
                number *out = a->chances + k * a->plane + pixel, slope = a->slope[k], shift = a->shift[k];
#pragma omp simd
                for (size i = 0; i < n; i++) {
                    number logit = (mean[i] - at[k % GROUP][i]) * steepness[i] * slope + shift;
                    logit = logit < before[i] ? logit : before[i]; /* they fall from threshold to threshold */
                    before[i] = logit;
                    number chance = sigmoid(logit);
                    out[i] = logit < -43 ? 0 : chance; /* where the exponential ends */
                }
            }
        }
    }
}

#endif
