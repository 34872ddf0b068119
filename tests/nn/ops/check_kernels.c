/* Compares the C kernels with the sums that they stand for, at small shapes. For processors on which no PyTorch runs
   here. Prints what differs, and returns the number of differences. */

#include <stdio.h>
#include <stdlib.h>

#include "number.h"

#define ADDRESS(pointer) ((size)(intptr_t)(pointer))
#define CALL(kernel, results, ...) kernel(0, results, (size[]){__VA_ARGS__})

void lstm_forward(size, size, const size *), lstm_backward(size, size, const size *);
void gru_forward(size, size, const size *);
void warp_forward(size, size, const size *), warp_backward(size, size, const size *);
void winograd_convolve(size, size, size *), winograd_to_weight(size, size, size *);
void winograd_transform(size, size, const size *), winograd_transform_back(size, size, const size *);
size winograd_rows(void), winograd_breadth(void);

/* Sums of some hundred numbers of order one, rounded as the results are. */
#if defined(FLOAT64)
static const double tolerance = 1e-12;
#elif defined(BFLOAT16)
static const double tolerance = 0.02;
#else
static const double tolerance = 2e-5;
#endif

static int differences;

static void compare(const char *what, size at, double found, double expected) {
    double off = found - expected;
    if (-tolerance <= off && off <= tolerance) return;
    differences++;
    printf("%s at %d: %.9g, expected %.9g\n", what, (int)at, found, expected);
}

static double uniform(void) { return rand() / (RAND_MAX + 1.0) * 2 - 1; }

static number *numbers_of(size n) {
    number *to = malloc(n * sizeof(number));
    for (size k = 0; k < n; k++) to[k] = uniform();
    return to;
}

static real *reals_of(size n) {
    real *to = malloc(n * sizeof(real));
    for (size k = 0; k < n; k++) to[k] = store(uniform());
    return to;
}

static double exact_sigmoid(double x) { return 1 / (1 + exp(-x)); }

enum { PIXELS = 5, CHANNELS = 19 };

/* A pixel's new h and c, given the arguments of its gates: the sum of both, weighted. */
static double lstm_sum(const double *z, double old, const double *w, double weight_h, double weight_c, double *c) {
    double i = exact_sigmoid(z[0] + w[0] * old), f = exact_sigmoid(z[1] + w[1] * old);
    *c = f * old + i * tanh(z[2]);
    return weight_h * exact_sigmoid(z[3] + w[2] * *c) * tanh(*c) + weight_c * *c;
}

static void check_lstm(void) {
    size n = PIXELS * CHANNELS;
    real *z = reals_of(4 * n), *h = reals_of(n), *next = reals_of(n), *saved = reals_of(4 * n);
    real *d_output = reals_of(n), *d_h = reals_of(n);
    number *old = numbers_of(n), *new = numbers_of(n), *w = numbers_of(3 * CHANNELS), *d_c = numbers_of(n);
    number *sums = numbers_of(7 * CHANNELS), *d_c_new = malloc(n * sizeof(number));
    memcpy(d_c_new, d_c, n * sizeof(number));
    size images[] = {ADDRESS(old), CHANNELS, ADDRESS(new), CHANNELS, ADDRESS(h), CHANNELS, ADDRESS(next), CHANNELS, ADDRESS(w)};
    CALL(lstm_forward, PIXELS, CHANNELS, ADDRESS(z), 4 * CHANNELS, ADDRESS(saved), 4 * CHANNELS, ADDRESS(images));
    CALL(
        lstm_backward, 1, PIXELS, CHANNELS, 256, ADDRESS(z), 4 * CHANNELS, ADDRESS(old), CHANNELS, ADDRESS(new), CHANNELS,
        ADDRESS(d_output), CHANNELS, ADDRESS(d_h), CHANNELS, ADDRESS(d_c), CHANNELS, ADDRESS(h), CHANNELS, ADDRESS(w),
        ADDRESS(sums)
    );
    for (size k = 0; k < n; k++) {
        size channel = k % CHANNELS;
        double gates[4], peepholes[3], c, step = 1e-5, weight_h = load(d_output[k]) + load(d_h[k]);
        for (size g = 0; g < 4; g++) gates[g] = load(saved[k / CHANNELS * 4 * CHANNELS + g * CHANNELS + channel]);
        for (size g = 0; g < 3; g++) peepholes[g] = w[g * CHANNELS + channel];
        compare("lstm h", k, load(h[k]), lstm_sum(gates, old[k], peepholes, 1, 0, &c));
        compare("lstm next h", k, load(next[k]), load(h[k]));
        compare("lstm c", k, new[k], c);
        for (size g = 0; g < 5; g++) { /* the fifth is the old c */
            double change = 0, state = old[k];
            for (int sign = 1; sign >= -1; sign -= 2) {
                double *place = g < 4 ? gates + g : &state, before = *place;
                *place += sign * step;
                change += sign * lstm_sum(gates, state, peepholes, weight_h, d_c_new[k], &c);
                *place = before;
            }
            double found = g < 4 ? load(z[k / CHANNELS * 4 * CHANNELS + g * CHANNELS + channel]) : d_c[k];
            double slack = tolerance > 1e-9 ? 0 : 1e-9; /* the error of the finite difference */
            double right = change / (2 * step);
            if (found - right > slack || right - found > slack) compare("lstm gradient", 5 * k + g, found, right);
        }
    }
}

static void check_gru(void) {
    size n = PIXELS * CHANNELS;
    real *x = reals_of(3 * n), *h = reals_of(3 * n);
    number *old = numbers_of(n), *new = numbers_of(n);
    for (size leaky = 0; leaky < 2; leaky++) {
        CALL(
            gru_forward, PIXELS, CHANNELS, leaky, ADDRESS(x), 3 * CHANNELS, ADDRESS(h), 3 * CHANNELS, ADDRESS(old),
            CHANNELS, ADDRESS(new), CHANNELS, 0, 0
        );
        for (size k = 0; k < n; k++) {
            size at = k / CHANNELS * 3 * CHANNELS + k % CHANNELS;
            double r = exact_sigmoid(load(x[at]) + load(h[at]));
            double z = exact_sigmoid(load(x[at + CHANNELS]) + load(h[at + CHANNELS]));
            double sum = load(x[at + 2 * CHANNELS]) + r * load(h[at + 2 * CHANNELS]);
            double candidate = leaky ? (sum < 0 ? 0.2 * sum : sum) : tanh(sum);
            compare("gru h", k, new[k], (1 - z) * candidate + z * old[k]);
        }
    }
}

enum { HEIGHT = 4, WIDTH = 5, FLOWS = 3 };

static void check_warp(void) {
    size area = HEIGHT * WIDTH, n = area * FLOWS * CHANNELS;
    struct {
        size height, width, channels, flows;
        double stretch[2], shift;
    } about = {HEIGHT, WIDTH, CHANNELS, FLOWS, {0, 0}, 0};
    number *image = numbers_of(area * CHANNELS), *d_image = calloc(area * CHANNELS, sizeof(number));
    number *d_flow = numbers_of(2 * area * FLOWS * 2);
    real *flow = reals_of(area * FLOWS * 2), *warped = reals_of(n), *d = reals_of(n);
    for (size k = 0; k < area * FLOWS * 2; k++) flow[k] = store(2 * load(flow[k]));
    CALL(warp_forward, area, ADDRESS(&about), 0, ADDRESS(image), ADDRESS(flow), 2 * FLOWS, ADDRESS(warped));
    double forward = 0, back = 0;
    for (size k = 0; k < n; k++) {
        size pixel = k / (FLOWS * CHANNELS), l = k / CHANNELS % FLOWS;
        double x = pixel % WIDTH - load(flow[pixel * 2 * FLOWS + 2 * l]);
        double y = pixel / WIDTH - load(flow[pixel * 2 * FLOWS + 2 * l + 1]), sum = 0;
        for (size p = 0; p < area; p++) {
            double across = fabs(x - p % WIDTH), down = fabs(y - p / WIDTH);
            if (across < 1 && down < 1) sum += (1 - across) * (1 - down) * image[p * CHANNELS + k % CHANNELS];
        }
        compare("warp", k, load(warped[k]), sum);
        forward += load(d[k]) * sum;
    }
    size blocks = (CHANNELS + 15) / 16;
    CALL(
        warp_backward, blocks, ADDRESS(&about), 0, area, ADDRESS(image), ADDRESS(flow), 2 * FLOWS, ADDRESS(d),
        ADDRESS(d_image), ADDRESS(d_flow)
    );
    /* The warp is linear in the image: both products with the gradient are equal. */
    for (size k = 0; k < area * CHANNELS; k++) back += d_image[k] * image[k];
    compare("warp gradient", 0, back, forward);
}

#if !defined(BFLOAT16)
enum { BATCH = 2, OUTPUTS = 37 };

static void check_winograd(size side) {
    size area = HEIGHT * WIDTH, pieces = (side + 2) / 3 * ((side + 2) / 3), rows = winograd_rows();
    size deep = (CHANNELS * pieces + rows - 1) / rows * rows, breadth = winograd_breadth();
    size slabs = (OUTPUTS + breadth - 1) / breadth, wide = slabs * breadth, tiles = rows;
    number *images = numbers_of(BATCH * area * CHANNELS), *w = numbers_of(OUTPUTS * CHANNELS * side * side);
    number *bias = numbers_of(OUTPUTS), *z = numbers_of(BATCH * area * OUTPUTS), *u = numbers_of(16 * wide * deep);
    number *d_u = calloc(16 * wide * deep, sizeof(number)), *d_w = numbers_of(OUTPUTS * CHANNELS * side * side);
    number *zeros = calloc(CHANNELS, sizeof(number));
    size share = 16 * tiles * (2 * deep + wide) + 4 * OUTPUTS, taps = side * side;
    number *workspace = calloc(2 * share, sizeof(number));
    size half = side / 2;
    size about[] = {BATCH, 1, HEIGHT, WIDTH, 1, side, side, 0, half, half, OUTPUTS, ADDRESS(images), CHANNELS, CHANNELS, tiles, ADDRESS(zeros)};
    size kernel[] = {ADDRESS(w), CHANNELS * taps, taps, taps, side, 1}, d_kernel[] = {ADDRESS(d_w), CHANNELS * taps, taps, taps, side, 1};
    CALL(winograd_transform, slabs, ADDRESS(about), ADDRESS(kernel), ADDRESS(u));
    CALL(winograd_convolve, 2, ADDRESS(about), ADDRESS(u), ADDRESS(bias), ADDRESS(z), 0, ADDRESS(workspace), share, 0);
    double *d_right = calloc(OUTPUTS * CHANNELS * taps, sizeof(double));
    for (size k = 0; k < BATCH * area * OUTPUTS; k++) {
        size pixel = k / OUTPUTS, o = k % OUTPUTS, y = pixel / WIDTH % HEIGHT, x = pixel % WIDTH;
        double sum = bias[o];
        for (size tap = 0; tap < taps; tap++) {
            size from_y = y + tap / side - half, from_x = x + tap % side - half;
            if (from_y < 0 || from_y >= HEIGHT || from_x < 0 || from_x >= WIDTH) continue;
            const number *from = images + ((pixel / area * HEIGHT + from_y) * WIDTH + from_x) * CHANNELS;
            for (size c = 0; c < CHANNELS; c++) {
                sum += from[c] * w[(o * CHANNELS + c) * taps + tap];
                d_right[(o * CHANNELS + c) * taps + tap] += from[c] * z[k];
            }
        }
        compare("convolution", k, z[k] / 10, sum / 10);
    }
    /* The result takes the place of its own gradient. */
    CALL(winograd_to_weight, 2, ADDRESS(about), ADDRESS(z), ADDRESS(d_u), ADDRESS(workspace), share, 1, 0);
    CALL(winograd_transform_back, slabs, ADDRESS(about), ADDRESS(d_u), ADDRESS(d_kernel));
    for (size k = 0; k < OUTPUTS * CHANNELS * taps; k++) compare("weight gradient", k, d_w[k] / 100, d_right[k] / 100);
}
#endif

int main(void) {
    check_lstm();
    check_gru();
    check_warp();
#if !defined(BFLOAT16)
    check_winograd(3);
    check_winograd(5);
#endif
    return differences > 99 ? 99 : differences;
}
