/* Compares the C kernels with the sums that they stand for, at small shapes. For processors on which no PyTorch runs
   here. Prints what differs, and returns the number of differences. */

#include "check.h"

void warp_forward(size, size, const size *), warp_backward(size, size, const size *);
void winograd_convolve(size, size, size *), winograd_to_weight(size, size, size *);
void winograd_transform(size, size, const size *), winograd_transform_back(size, size, const size *);
size winograd_rows(void), winograd_breadth(void);

int differences;

enum { HEIGHT = 4, WIDTH = 5, FLOWS = 3 };

/* The number of an image at a place between its pixels: bilinear, zero outside. */
static double sampled(const number *image, double y, double x, size channel) {
    double sum = 0;
    for (size p = 0; p < HEIGHT * WIDTH; p++) {
        double across = fabs(x - p % WIDTH), down = fabs(y - p / WIDTH);
        if (across < 1 && down < 1) sum += (1 - across) * (1 - down) * image[p * CHANNELS + channel];
    }
    return sum;
}

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
    flow[0] = store(-1), flow[1] = store(-2); /* the slope at a whole pixel is that towards the next row or column */
    CALL(warp_forward, area, ADDRESS(&about), 0, ADDRESS(image), ADDRESS(flow), 2 * FLOWS, ADDRESS(warped));
    double forward = 0, back = 0, d_right[HEIGHT * WIDTH * FLOWS * 2] = {0};
    for (size k = 0; k < n; k++) {
        size pixel = k / (FLOWS * CHANNELS), l = k / CHANNELS % FLOWS;
        double x = pixel % WIDTH - load(flow[pixel * 2 * FLOWS + 2 * l]);
        double y = pixel / WIDTH - load(flow[pixel * 2 * FLOWS + 2 * l + 1]), step = 1e-6;
        double here = sampled(image, y, x, k % CHANNELS);
        compare("warp", k, load(warped[k]), here);
        forward += load(d[k]) * here;
        /* Linear between two pixels, so that a difference on one side is exact. */
        d_right[2 * (k / CHANNELS)] -= load(d[k]) * (sampled(image, y, x + step, k % CHANNELS) - here) / step;
        d_right[2 * (k / CHANNELS) + 1] -= load(d[k]) * (sampled(image, y + step, x, k % CHANNELS) - here) / step;
    }
    size blocks = (CHANNELS + 15) / 16, pairs = area * FLOWS * 2;
    CALL(
        warp_backward, blocks, ADDRESS(&about), 0, area, ADDRESS(image), ADDRESS(flow), 2 * FLOWS, ADDRESS(d),
        ADDRESS(d_image), ADDRESS(d_flow)
    );
    /* The warp is linear in the image: both products with the gradient are equal. */
    for (size k = 0; k < area * CHANNELS; k++) back += d_image[k] * image[k];
    compare("warp gradient", 0, back, forward);
    for (size k = 0; k < pairs; k++) {
        double found = 0;
        for (size block = 0; block < blocks; block++) found += d_flow[block * pairs + k];
        compare_gradient("flow gradient", k, found, d_right[k]);
    }
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
    check_gates();
    check_rain();
    check_warp();
#if !defined(BFLOAT16)
    check_winograd(3);
    check_winograd(5);
#endif
    return differences > 99 ? 99 : differences;
}
