/* Compares the gate arithmetic with its equations, and its gradients with finite differences. */

#include "check.h"

void lstm_forward(size, size, const size *), lstm_backward(size, size, const size *);
void gru_forward(size, size, const size *), gru_backward(size, size, const size *);
void gru_reset(size, size, const size *), gru_reset_backward(size, size, const size *);
void gru_update(size, size, const size *), gru_update_backward(size, size, const size *);

enum { PIXELS = 5 };

/* The derivative of a function of some numbers with respect to one of them. */
static double derivative(double (*function)(const double *), double *at, size which) {
    double before = at[which], step = 1e-5;
    at[which] = before + step;
    double above = function(at);
    at[which] = before - step;
    double below = function(at);
    at[which] = before;
    return (above - below) / (2 * step);
}

static double exact_sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Of the arguments of a pixel's gates, the old c, three peepholes, and weights of the new h and c: the weighted sum of
   these. */
static double lstm_sum(const double *v) {
    double i = exact_sigmoid(v[0] + v[5] * v[4]), f = exact_sigmoid(v[1] + v[6] * v[4]), c = f * v[4] + i * tanh(v[2]);
    return v[8] * exact_sigmoid(v[3] + v[7] * c) * tanh(c) + v[9] * c;
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
        double v[10] = {[4] = old[k], [8] = 1, [9] = 0};
        for (size g = 0; g < 4; g++) v[g] = load(saved[k / CHANNELS * 4 * CHANNELS + g * CHANNELS + channel]);
        for (size g = 0; g < 3; g++) v[5 + g] = w[g * CHANNELS + channel];
        compare("lstm h", k, load(h[k]), lstm_sum(v));
        compare("lstm next h", k, load(next[k]), load(h[k]));
        v[8] = 0, v[9] = 1;
        compare("lstm c", k, new[k], lstm_sum(v));
        v[8] = load(d_output[k]) + load(d_h[k]), v[9] = d_c_new[k];
        for (size g = 0; g < 5; g++) { /* the fifth is the old c */
            double found = g < 4 ? load(z[k / CHANNELS * 4 * CHANNELS + g * CHANNELS + channel]) : d_c[k];
            compare_gradient("lstm gradient", 5 * k + g, found, derivative(lstm_sum, v, g));
        }
    }
}

/* The new h, of the arguments of r and z, both terms of n, and the old h. */
static double mixed(double z, double n, double old) { return (1 - exact_sigmoid(z)) * n + exact_sigmoid(z) * old; }
static double gru_tanh(const double *v) { return mixed(v[1], tanh(v[2] + exact_sigmoid(v[0]) * v[3]), v[4]); }
static double gru_leaky(const double *v) {
    double sum = v[2] + exact_sigmoid(v[0]) * v[3];
    return mixed(v[1], sum < 0 ? 0.2 * sum : sum, v[4]);
}

/* With the reset gate before the convolution: r ∘ h of the argument of r, and the old h; and the new h of the arguments
   of z and n, and the old h. */
static double gru_reset_h(const double *v) { return exact_sigmoid(v[0]) * v[1]; }
static double gru_updated(const double *v) { return mixed(v[0], tanh(v[1]), v[2]); }

static void check_gru(size leaky) {
    double (*exact)(const double *) = leaky ? gru_leaky : gru_tanh;
    size n = PIXELS * CHANNELS, wide = 3 * CHANNELS;
    real *x = reals_of(3 * n), *h = reals_of(3 * n), *saved = reals_of(4 * n), *d_conv = reals_of(n);
    real *d_x = reals_of(3 * n), *d_h = reals_of(3 * n);
    number *old = numbers_of(n), *new = numbers_of(n), *d_output = numbers_of(n), *d_state = numbers_of(n);
    number *sums = numbers_of(4 * CHANNELS), *d_new = malloc(n * sizeof(number));
    double d_right[4 * CHANNELS] = {0};
    for (size k = 0; k < n; k++) d_new[k] = d_output[k] + load(d_conv[k]) + d_state[k];
    CALL(
        gru_forward, PIXELS, CHANNELS, leaky, ADDRESS(x), wide, ADDRESS(h), wide, ADDRESS(old), CHANNELS, ADDRESS(new),
        CHANNELS, ADDRESS(saved), 4 * CHANNELS
    );
    CALL(
        gru_backward, 1, PIXELS, CHANNELS, 256, leaky, ADDRESS(saved), 4 * CHANNELS, ADDRESS(old), CHANNELS,
        ADDRESS(d_output), CHANNELS, ADDRESS(d_conv), CHANNELS, ADDRESS(d_state), CHANNELS, ADDRESS(d_x), wide,
        ADDRESS(d_h), wide, ADDRESS(sums)
    );
    for (size k = 0; k < n; k++) {
        size r = k / CHANNELS * wide + k % CHANNELS, z = r + CHANNELS, to_n = z + CHANNELS;
        double v[] = {load(x[r]) + load(h[r]), load(x[z]) + load(h[z]), load(x[to_n]), load(h[to_n]), old[k]};
        compare("gru h", k, new[k], exact(v));
        for (size g = 0; g < 4; g++) v[g] = load(saved[k / CHANNELS * 4 * CHANNELS + g * CHANNELS + k % CHANNELS]);
        double found[] = {load(d_x[r]), load(d_x[z]), load(d_x[to_n]), load(d_h[to_n]), d_state[k]};
        for (size g = 0; g < 5; g++) {
            double right = d_new[k] * derivative(exact, v, g);
            compare_gradient("gru gradient", 5 * k + g, found[g], right);
            if (g < 4) d_right[g * CHANNELS + k % CHANNELS] += right;
        }
        compare("gru gradient of r", k, load(d_h[r]), load(d_x[r]));
        compare("gru gradient of z", k, load(d_h[z]), load(d_x[z]));
    }
    for (size k = 0; k < 4 * CHANNELS; k++) compare_gradient("gru bias gradient", k, sums[k], d_right[k]);
}

static void check_gru_reset_before(void) {
    size n = PIXELS * CHANNELS, wide = 3 * CHANNELS;
    real *x = reals_of(3 * n), *h = reals_of(2 * n), *h_n = reals_of(n), *saved = reals_of(3 * n);
    real *reset_h = reals_of(n), *again = reals_of(n), *d_conv = reals_of(n), *d_reset_h = reals_of(n);
    real *d_sums = reals_of(3 * n);
    number *old = numbers_of(n), *new = numbers_of(n), *d_output = numbers_of(n), *d_state = numbers_of(n);
    number *sums = numbers_of(wide), *d_new = malloc(n * sizeof(number));
    double d_right[3 * CHANNELS] = {0};
    for (size k = 0; k < n; k++) d_new[k] = d_output[k] + load(d_conv[k]) + d_state[k];
    CALL(
        gru_reset, PIXELS, CHANNELS, ADDRESS(x), wide, ADDRESS(h), 2 * CHANNELS, ADDRESS(old), CHANNELS,
        ADDRESS(reset_h), CHANNELS
    );
    CALL(
        gru_update, PIXELS, CHANNELS, ADDRESS(x), wide, ADDRESS(h), 2 * CHANNELS, ADDRESS(h_n), CHANNELS, ADDRESS(old),
        CHANNELS, ADDRESS(new), CHANNELS, ADDRESS(saved), wide
    );
    CALL(
        gru_update_backward, PIXELS, CHANNELS, ADDRESS(saved), wide, ADDRESS(old), CHANNELS, ADDRESS(d_output), CHANNELS,
        ADDRESS(d_conv), CHANNELS, ADDRESS(d_state), CHANNELS, ADDRESS(d_sums), wide
    );
    CALL(
        gru_reset_backward, 1, PIXELS, CHANNELS, 256, ADDRESS(saved), wide, ADDRESS(old), CHANNELS, ADDRESS(d_reset_h),
        CHANNELS, ADDRESS(d_state), CHANNELS, ADDRESS(d_sums), wide, ADDRESS(again), CHANNELS, ADDRESS(sums)
    );
    for (size k = 0; k < n; k++) {
        size r = k / CHANNELS * wide + k % CHANNELS, z = r + CHANNELS, to_n = z + CHANNELS;
        size h_r = k / CHANNELS * 2 * CHANNELS + k % CHANNELS;
        double reset[] = {load(x[r]) + load(h[h_r]), old[k]};
        double update[] = {load(x[z]) + load(h[h_r + CHANNELS]), load(x[to_n]) + load(h_n[k]), old[k]};
        compare("gru reset h", k, load(reset_h[k]), gru_reset_h(reset));
        compare("gru updated h", k, new[k], gru_updated(update));
        reset[0] = load(saved[r]), update[0] = load(saved[z]), update[1] = load(saved[to_n]);
        compare("gru reset h again", k, load(again[k]), gru_reset_h(reset));
        double d = load(d_reset_h[k]), right[3];
        right[0] = d * derivative(gru_reset_h, reset, 0);
        for (size g = 1; g < 3; g++) right[g] = d_new[k] * derivative(gru_updated, update, g - 1);
        for (size g = 0; g < 3; g++) {
            compare_gradient("gru gradient, reset before", 3 * k + g, load(d_sums[r + g * CHANNELS]), right[g]);
            d_right[g * CHANNELS + k % CHANNELS] += right[g];
        }
        double d_old = d_new[k] * derivative(gru_updated, update, 2) + d * derivative(gru_reset_h, reset, 1);
        compare_gradient("gru gradient of old h", k, d_state[k], d_old);
    }
    for (size k = 0; k < wide; k++) compare_gradient("gru bias gradient, reset before", k, sums[k], d_right[k]);
}

void check_gates(void) {
    check_lstm();
    for (size leaky = 0; leaky < 2; leaky++) check_gru(leaky);
    check_gru_reset_before();
}
