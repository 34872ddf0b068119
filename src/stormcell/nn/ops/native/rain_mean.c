/* The expectation of logarithmic rain: what the bands of the last two frames become, added up. The equations are those of
   stormcell.models.rain_cascade. Only in the library for float32. */

#include "rain.h"

#if !defined(FLOAT64) && !defined(BFLOAT16)

enum { BANDS = 3, FRAMES = 2, WEIGHTS = BANDS * FRAMES };
enum { SIDE = 64, HALF = SIDE / 2 }; /* pixels of a cell of weights; they are linear between the middles of two cells */

typedef struct {
    const number *coarse;      /* (H / 2, W / 2): the sum of the bands of longer waves, in cells of 2 × 2 pixels */
    const number *band[BANDS]; /* (2, H, W): of the newest frame and of that before */
    const number *weight;      /* (BANDS, 2, H / 64, W / 64) */
    number *mean;              /* (H, W) */
    size height, width;        /* H, W: multiples of 64 */
} mean_arguments;

/* The two cells whose middles are around a pixel, and the part of the way from the first to the second. */
typedef struct {
    size low, high;
    number part;
} between;

static inline between middles(size pixel, size side, size cells) {
    size low = (2 * pixel / side + 1) / 2 - 1; /* -1 before the first middle */
    number part = (pixel + 0.5f) / side - 0.5f - low;
    return (between){low < 0 ? 0 : low, low + 1 < cells ? low + 1 : cells - 1, part};
}

/* Writes rows of pixels. */
void rain_mean(size first, size last, const mean_arguments *a) {
    size width = a->width, plane = a->height * width, columns = width / SIDE, cells = a->height / SIDE * columns;
    for (size y = first; y < last; y++) {
        between down = middles(y, 2, a->height / 2), rows = middles(y, SIDE, a->height / SIDE);
        const number *above = a->coarse + down.low * (width / 2), *below = a->coarse + down.high * (width / 2);
        for (size start = 0; start < width; start += HALF) {
            between across = middles(start, SIDE, columns);
            number weight[WEIGHTS], rise[WEIGHTS];
            for (size k = 0; k < WEIGHTS; k++) {
                const number *upper = a->weight + k * cells + rows.low * columns;
                const number *lower = a->weight + k * cells + rows.high * columns;
                number left = upper[across.low] + rows.part * (lower[across.low] - upper[across.low]);
                number right = upper[across.high] + rows.part * (lower[across.high] - upper[across.high]);
                weight[k] = left + across.part * (right - left), rise[k] = (right - left) / SIDE;
            }
            /* One cell more on each side, or the last one again. */
            number cell[HALF / 2 + 2], sum[HALF];
            for (size k = 0; k < HALF / 2 + 2; k++) {
                size column = start / 2 + k - 1;
                column = column < 0 ? 0 : column < width / 2 ? column : width / 2 - 1;
                cell[k] = above[column] + down.part * (below[column] - above[column]);
            }
            for (size k = 0; k < HALF / 2; k++) {
                sum[2 * k] = 0.25f * cell[k] + 0.75f * cell[k + 1];
                sum[2 * k + 1] = 0.75f * cell[k + 1] + 0.25f * cell[k + 2];
            }
            size pixel = y * width + start;
            const number *band_0 = a->band[0] + pixel, *band_1 = a->band[1] + pixel, *band_2 = a->band[2] + pixel;
            number *restrict mean = a->mean + pixel;
#pragma omp simd
            for (size i = 0; i < HALF; i++) {
                number x = i;
                mean[i] = sum[i] + (weight[0] + x * rise[0]) * band_0[i] + (weight[1] + x * rise[1]) * band_0[plane + i] +
                          (weight[2] + x * rise[2]) * band_1[i] + (weight[3] + x * rise[3]) * band_1[plane + i] +
                          (weight[4] + x * rise[4]) * band_2[i] + (weight[5] + x * rise[5]) * band_2[plane + i];
            }
        }
    }
}

#endif
