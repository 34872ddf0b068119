/* The gate arithmetic of a GRU step, in passes over the pixels.

   Images are channels last, with a stride from pixel to pixel. Each of the gates r, z, n has C numbers. With the
   reset gate after the convolution there is one pass, with the reset gate before it there are two. */

#include "number.h"

/* Compilers only vectorise a loop over channels if its branches are known at compile time. */
#define ALWAYS static inline __attribute__((always_inline))

/* φ is tanh, or the leaky ReLU of TrajGRU. */
ALWAYS number activation(number x, int leaky) {
    return leaky ? (x < 0 ? (number)0.2 * x : x) : hyperbolic_tangent(x);
}

/* φ', given the value of φ. */
ALWAYS number slope(number n, int leaky) { return leaky ? (n > 0 ? 1 : (number)0.2) : 1 - n * n; }

ALWAYS void forward(
    size channels, int leaky, int save, const real *restrict x, const real *restrict h, const number *restrict h_old,
    number *restrict h_new, real *restrict saved
) {
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size kr = k, kz = kr + channels, kn = kz + channels, kh = kn + channels;
        number to_r = load(x[kr]) + load(h[kr]), to_z = load(x[kz]) + load(h[kz]);
        number z = sigmoid(to_z), n = activation(load(x[kn]) + sigmoid(to_r) * load(h[kn]), leaky);
        h_new[k] = (1 - z) * n + z * h_old[k];
        if (save) {
            saved[kr] = store(to_r);
            saved[kz] = store(to_z);
            saved[kn] = x[kn];
            saved[kh] = h[kn];
        }
    }
}

void gru_forward(
    size pixels, size channels, size leaky,
    const real *restrict x, size x_stride, /* W_x * X + b_x */
    const real *restrict h, size h_stride, /* W_h * H + b_h */
    const number *restrict h_old, size old_stride,
    number *restrict h_new, size new_stride,
    real *restrict saved, size saved_stride /* (4 C): x_r + h_r, x_z + h_z, x_n, h_n; or NULL */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *i = x + x_stride * p, *s = h + h_stride * p;
        const number *old = h_old + old_stride * p;
        number *new = h_new + new_stride * p;
        if (leaky && saved)
            forward(channels, 1, 1, i, s, old, new, saved + saved_stride * p);
        else if (leaky)
            forward(channels, 1, 0, i, s, old, new, 0);
        else if (saved)
            forward(channels, 0, 1, i, s, old, new, saved + saved_stride * p);
        else
            forward(channels, 0, 0, i, s, old, new, 0);
    }
}

ALWAYS void backward(
    size channels, int leaky, const real *restrict saved, const number *restrict h_old,
    const number *restrict d_output, const real *restrict d_conv, number *restrict d_state,
    real *restrict d_x, real *restrict d_h, number *restrict sum
) {
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size kr = k, kz = kr + channels, kn = kz + channels, kh = kn + channels;
        number r = sigmoid(load(saved[kr])), z = sigmoid(load(saved[kz])), h_n = load(saved[kh]);
        number n = activation(load(saved[kn]) + r * h_n, leaky);
        number d = d_output[k] + load(d_conv[k]) + d_state[k];
        number d_n = d * (1 - z) * slope(n, leaky), d_hn = d_n * r;
        number d_z = d * (h_old[k] - n) * z * (1 - z), d_r = d_hn * h_n * (1 - r);
        d_state[k] = d * z;
        d_x[kr] = d_h[kr] = store(d_r);
        d_x[kz] = d_h[kz] = store(d_z);
        d_x[kn] = store(d_n);
        d_h[kn] = store(d_hn);
        sum[kr] += d_r;
        sum[kz] += d_z;
        sum[kn] += d_n;
        sum[kh] += d_hn;
    }
}

void gru_backward(
    size pixels, size channels, size block, size leaky,
    const real *restrict saved, size saved_stride,
    const number *restrict h_old, size old_stride,
    const number *restrict d_output, size d_output_stride, /* summed for the new h: the output's, */
    const real *restrict d_conv, size d_conv_stride,       /* that from the next convolution, */
    number *restrict d_state, size d_state_stride,         /* the rest; on return that of the old h */
    real *restrict d_x, size d_x_stride,
    real *restrict d_h, size d_h_stride,
    number *restrict sums /* (blocks, 4, C): gradients of the biases, per block */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *sum = sums + 4 * channels * b;
        memset(sum, 0, 4 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            const real *values = saved + saved_stride * p, *conv = d_conv + d_conv_stride * p;
            const number *old = h_old + old_stride * p, *d_out = d_output + d_output_stride * p;
            number *state = d_state + d_state_stride * p;
            real *i = d_x + d_x_stride * p, *s = d_h + d_h_stride * p;
            if (leaky)
                backward(channels, 1, values, old, d_out, conv, state, i, s, sum);
            else
                backward(channels, 0, values, old, d_out, conv, state, i, s, sum);
        }
    }
}

void gru_reset(
    size pixels, size channels,
    const real *restrict x, size x_stride,
    const real *restrict h, size h_stride, /* (2 C), for r and z */
    const number *restrict h_old, size old_stride,
    real *restrict reset_h, size reset_h_stride /* r ∘ h */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict i = x + x_stride * p, *restrict s = h + h_stride * p;
        const number *restrict old = h_old + old_stride * p;
        real *restrict to = reset_h + reset_h_stride * p;
#pragma omp simd
        for (size k = 0; k < channels; k++) to[k] = store(sigmoid(load(i[k]) + load(s[k])) * old[k]);
    }
}

void gru_update(
    size pixels, size channels,
    const real *restrict x, size x_stride,
    const real *restrict h, size h_stride,     /* (2 C), for r and z */
    const real *restrict h_n, size h_n_stride, /* W_hn * (r ∘ H) + b_hn */
    const number *restrict h_old, size old_stride,
    number *restrict h_new, size new_stride,
    real *restrict saved, size saved_stride /* (3 C): x_r + h_r, x_z + h_z, x_n + h_n; or NULL */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict i = x + x_stride * p, *restrict s = h + h_stride * p, *restrict s_n = h_n + h_n_stride * p;
        const number *restrict old = h_old + old_stride * p;
        number *restrict new = h_new + new_stride * p;
        real *restrict values = saved ? saved + saved_stride * p : 0;
#pragma omp simd
        for (size k = 0; k < channels; k++) {
            size kr = k, kz = kr + channels, kn = kz + channels;
            number to_z = load(i[kz]) + load(s[kz]), to_n = load(i[kn]) + load(s_n[k]);
            number z = sigmoid(to_z);
            new[k] = (1 - z) * hyperbolic_tangent(to_n) + z * old[k];
            if (values) {
                values[kr] = store(load(i[kr]) + load(s[kr]));
                values[kz] = store(to_z);
                values[kn] = store(to_n);
            }
        }
    }
}

void gru_update_backward(
    size pixels, size channels,
    const real *restrict saved, size saved_stride,
    const number *restrict h_old, size old_stride,
    const number *restrict d_output, size d_output_stride, /* as in gru_backward */
    const real *restrict d_conv, size d_conv_stride,
    number *restrict d_state, size d_state_stride,
    real *restrict d_sums, size d_sums_stride /* (3 C): the gradients of the saved sums, except that for r */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict values = saved + saved_stride * p, *restrict conv = d_conv + d_conv_stride * p;
        const number *restrict old = h_old + old_stride * p, *restrict d_out = d_output + d_output_stride * p;
        number *restrict state = d_state + d_state_stride * p;
        real *restrict d_sum = d_sums + d_sums_stride * p;
#pragma omp simd
        for (size k = 0; k < channels; k++) {
            size kz = k + channels, kn = kz + channels;
            number z = sigmoid(load(values[kz])), n = hyperbolic_tangent(load(values[kn]));
            number d = d_out[k] + load(conv[k]) + state[k];
            state[k] = d * z;
            d_sum[kz] = store(d * (old[k] - n) * z * (1 - z));
            d_sum[kn] = store(d * (1 - z) * (1 - n * n));
        }
    }
}

void gru_reset_backward(
    size pixels, size channels, size block,
    const real *restrict saved, size saved_stride,
    const number *restrict h_old, size old_stride,
    const real *restrict d_reset_h, size d_reset_h_stride, /* the gradient of r ∘ h */
    number *restrict d_state, size d_state_stride,   /* the gradient of the old h, which is added to */
    real *restrict d_sums, size d_sums_stride,       /* (3 C): the gradient for r is added */
    real *restrict reset_h, size reset_h_stride,           /* r ∘ h again */
    number *restrict sums                           /* (blocks, 3, C): gradients of the biases, per block */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *restrict sum = sums + 3 * channels * b;
        memset(sum, 0, 3 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            const real *restrict values = saved + saved_stride * p, *restrict d_to = d_reset_h + d_reset_h_stride * p;
            const number *restrict old = h_old + old_stride * p;
            number *restrict state = d_state + d_state_stride * p;
            real *restrict d_sum = d_sums + d_sums_stride * p, *restrict to = reset_h + reset_h_stride * p;
#pragma omp simd
            for (size k = 0; k < channels; k++) {
                size kr = k, kz = kr + channels, kn = kz + channels;
                number r = sigmoid(load(values[kr])), d = load(d_to[k]);
                number d_r = d * old[k] * r * (1 - r);
                state[k] += d * r;
                to[k] = store(r * old[k]);
                d_sum[kr] = store(d_r);
                sum[kr] += d_r;
                sum[kz] += load(d_sum[kz]);
                sum[kn] += load(d_sum[kn]);
            }
        }
    }
}
