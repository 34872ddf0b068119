/* Checks the kernels of predictive distributions against their equations in double precision. */

#include <math.h>

#include "check.h"

#if defined(FLOAT64) || defined(BFLOAT16)

void check_rain(void) {}

#else

void rain_mean(size, size, const void *);
void rain_thresholds(size, size, const void *);
void rain_chances(size, size, const void *);
void rain_cut(size, size, const void *);
void rain_invert(size, size, const void *);

enum { FEATURES = 5, CHANNELS_OF_RAIN = 16, THRESHOLDS = 16, ROWS = 7, COLUMNS = 83, PIECES = 5 };

/* A field in cells: rows, columns, numbers from one cell to the next, and the side of a cell. */
typedef struct {
    number *at;
    size height, width, stride, side;
} cells;

static double at_place(cells c, size k, double row, double column) {
    double y = (row - (c.side - 1) / 2.0) / c.side, x = (column - (c.side - 1) / 2.0) / c.side;
    y = fmin(fmax(y, 0), c.height - 1), x = fmin(fmax(x, 0), c.width - 1);
    size top = (size)y, left = (size)x, bottom = top + 1 < c.height ? top + 1 : top;
    size right = left + 1 < c.width ? left + 1 : left;
    double below = y - top, beside = x - left;
#define CELL(row, column) (double)c.at[((row) * c.width + (column)) * c.stride + k]
    return (1 - below) * ((1 - beside) * CELL(top, left) + beside * CELL(top, right)) +
           below * ((1 - beside) * CELL(bottom, left) + beside * CELL(bottom, right));
}

#define CELLS(c) ADDRESS((c).at), (c).height, (c).width, (c).stride, (c).side

static void check_mean(void) {
    enum { H = 128, W = 192, N = H * W };
    number *band[3], *mean = numbers_of(N);
    cells coarse = {numbers_of(N / 4), H / 2, W / 2, 1, 2};
    for (size b = 0; b < 3; b++) band[b] = numbers_of(2 * N);
    number *weight = numbers_of(6 * N / 4096);
    CALL(
        rain_mean, H, ADDRESS(coarse.at), ADDRESS(band[0]), ADDRESS(band[1]), ADDRESS(band[2]), ADDRESS(weight),
        ADDRESS(mean), H, W
    );
    for (size p = 0; p < N; p++) {
        double expected = at_place(coarse, 0, p / W, p % W);
        for (size k = 0; k < 6; k++) {
            cells weights = {weight + k * (N / 4096), H / 64, W / 64, 1, 64};
            expected += at_place(weights, 0, p / W, p % W) * band[k / 2][k % 2 * N + p];
        }
        compare("mean", p, mean[p], expected);
    }
}

static void check_thresholds(void) {
    size inputs[] = {FEATURES, CHANNELS_OF_RAIN, CHANNELS_OF_RAIN};
    number *features = numbers_of(FEATURES * ROWS * COLUMNS), *weight[3], *bias[3];
    for (size l = 0; l < 3; l++) weight[l] = numbers_of(inputs[l] * 16), bias[l] = numbers_of(16);
    cells around = {numbers_of(2 * 21 * CHANNELS_OF_RAIN), 2, 21, CHANNELS_OF_RAIN, 4};
    number *distance = numbers_of(THRESHOLDS), *at = numbers_of(ROWS * COLUMNS * THRESHOLDS);
    CALL(
        rain_thresholds, ROWS, ADDRESS(features), FEATURES, ROWS * COLUMNS, COLUMNS, 0, 0, CHANNELS_OF_RAIN, THRESHOLDS,
        CELLS(around), ADDRESS(weight[0]), ADDRESS(weight[1]), ADDRESS(weight[2]), ADDRESS(bias[0]), ADDRESS(bias[1]),
        ADDRESS(bias[2]), ADDRESS(distance), ADDRESS(at), COLUMNS
    );
    for (size cell = 0; cell < ROWS * COLUMNS; cell++) {
        double x[16], y[16], sum = 0;
        for (size k = 0; k < FEATURES; k++) x[k] = features[k * ROWS * COLUMNS + cell];
        for (size l = 0; l < 3; l++) {
            for (size o = 0; o < 16; o++) {
                y[o] = bias[l][o];
                if (l == 0) y[o] += at_place(around, o, cell / COLUMNS, cell % COLUMNS);
                for (size k = 0; k < inputs[l]; k++) y[o] += weight[l][k * 16 + o] * x[k];
            }
            for (size o = 0; o < 16; o++) x[o] = l < 2 ? fmax(y[o], 0) : y[o];
        }
        for (size k = 0; k < THRESHOLDS; k++) {
            sum += k == 0 ? distance[0] - x[0] : distance[k] * (x[k] > 0 ? 1 + x[k] : 1 / (1 - x[k]));
            /* Sums of up to 256 products of numbers of order one, each with 24 bits. */
            compare("corrected threshold", cell * THRESHOLDS + k, at[cell * THRESHOLDS + k] / 256, sum / 256);
        }
    }
}

static void check_chances(void) {
    size n = ROWS * COLUMNS;
    cells mean = {numbers_of(n), ROWS, COLUMNS, 1, 1}, spread = {numbers_of(1 * 11), 1, 11, 1, 8};
    cells at = {numbers_of(4 * 42 * THRESHOLDS), 4, 42, THRESHOLDS, 2};
    for (size k = 0; k < 11; k++) spread.at[k] = 1 + spread.at[k] / 2;
    number *column = numbers_of(n), *row = numbers_of(n), *shift = numbers_of(THRESHOLDS);
    number *chances = numbers_of(THRESHOLDS * n), *slope = numbers_of(THRESHOLDS);
    for (size k = 0; k < THRESHOLDS; k++) slope[k] = 1.7f + slope[k] / 2;
    for (size p = 0; p < n; p++) {
        column[p] = fminf(fmaxf(p % COLUMNS + 3 * column[p], 0), COLUMNS - 1);
        row[p] = fminf(fmaxf(p / COLUMNS + 3 * row[p], 0), ROWS - 1);
    }
    CALL(
        rain_chances, ROWS, ADDRESS(column), ADDRESS(row), COLUMNS, 0, 0, COLUMNS, CELLS(mean), CELLS(spread), CELLS(at),
        THRESHOLDS, ADDRESS(slope), ADDRESS(shift), ADDRESS(chances), n
    );
    for (size p = 0; p < n; p++) {
        double least = INFINITY;
        for (size k = 0; k < THRESHOLDS; k++) {
            double logit = at_place(mean, 0, row[p], column[p]) - at_place(at, k, row[p], column[p]);
            logit = logit * slope[k] / at_place(spread, 0, row[p], column[p]) + shift[k];
            least = fmin(least, logit);
            compare("chance", k * n + p, chances[k * n + p], 1 / (1 + exp(-least)));
        }
    }
}

static void check_rates(void) {
    enum { N = 300 };
    static const number rate[PIECES] = {0.1f, 0.5f, 1, 4, 20};
    number length[PIECES], top[PIECES], cut[PIECES], log_cut[PIECES], rise[PIECES];
    number limits[] = {1e-35f, 16, 2, 1e-6f, 1e-4f, 1e-7f};
    number *chances = numbers_of(PIECES * N), *wanted = numbers_of(N), *by_cut = numbers_of(N), *inverse = numbers_of(N);
    for (size k = 0; k < PIECES; k++) {
        double above = k + 1 < PIECES ? rate[k + 1] : 200;
        length[k] = log(above / rate[k]), top[k] = nextafterf(above, 0);
        cut[k] = 0.4f / (k + 1), log_cut[k] = log(cut[k]);
    }
    top[PIECES - 1] = 200;
    for (size k = 0; k < PIECES; k++) rise[k] = k + 1 < PIECES ? (log_cut[k + 1] - log_cut[k]) / length[k] : 0;
    for (size p = 0; p < N; p++) {
        double chance = fabs(chances[p]);
        for (size k = 0; k < PIECES; k++, chance *= p % 7 == 0 ? 1e-3 : 0.6) chances[k * N + p] = chance;
        wanted[p] = fabs(wanted[p]);
    }
    size strips = (N + 63) / 64;
    CALL(
        rain_cut, strips, ADDRESS(chances), N, PIECES, ADDRESS(rate), ADDRESS(length), ADDRESS(top), ADDRESS(limits),
        ADDRESS(cut), ADDRESS(log_cut), ADDRESS(rise), ADDRESS(by_cut), N
    );
    CALL(
        rain_invert, strips, ADDRESS(chances), N, PIECES, ADDRESS(rate), ADDRESS(length), ADDRESS(top), ADDRESS(limits),
        ADDRESS(wanted), ADDRESS(inverse), N
    );
    for (size p = 0; p < 2 * N; p++) {
        /* In the second half of the turns, the cut is the same at all thresholds. */
        int inverts = p >= N;
        size pixel = p % N, count = 0;
        for (size k = 0; k < PIECES; k++)
            if (inverts ? chances[k * N + pixel] > wanted[pixel] : chances[k * N + pixel] >= cut[k]) count = k + 1;
        double expected = 0;
        if (count > 0) {
            size piece = count - 1, before = piece < PIECES - 1 ? piece : PIECES - 2;
            double lower = chances[before * N + pixel], upper = chances[(before + 1) * N + pixel];
            double bound = inverts ? wanted[pixel] : cut[piece], from = rate[piece], width = length[before];
            double odds = sqrt(lower * upper / fmax(1 - lower, 1e-4) / fmax(1 - upper, 1e-4));
            double middle = fmin(fmax(odds / (1 + odds), upper), lower);
            if (inverts) {
                width /= 2;
                if (piece == before && middle >= bound) from *= exp(width);
                if (piece > before || middle >= bound) lower = middle;
                else upper = middle;
            }
            double slope = fmin(log(lower / upper), 16) / width, most = width;
            if (piece > before) slope = fmax(slope, 2), lower = upper, most = length[piece];
            if (!inverts) slope += rise[piece];
            expected = from * exp(fmin(fmax(log(lower / bound) / slope, 0), most));
        }
        double found = inverts ? inverse[pixel] : by_cut[pixel], scale = fmax(expected, 1);
        compare(inverts ? "rate of a chance" : "rate at a cut", pixel, found / scale, expected / scale);
    }
}

void check_rain(void) {
    check_mean();
    check_thresholds();
    check_chances();
    check_rates();
}

#endif
