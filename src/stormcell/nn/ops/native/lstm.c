/* The gate arithmetic of a ConvLSTM step, in one pass over the pixels.

   Images are channels last, with a stride from pixel to pixel. Gates i, f, g, o are 4 C contiguous numbers. */

#include "lstm.h"

void lstm_forward(
    size pixels, size channels,
    const real *gates, size gates_stride, /* W * X + b */
    real *saved, size saved_stride,         /* a copy of the gates' arguments, or NULL */
    const lstm_images *images
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *z = gates + gates_stride * p;
        lstm_pixel(channels, p, z, images);
        if (saved) memcpy(saved + saved_stride * p, z, 4 * channels * sizeof(real));
    }
}

void lstm_backward(
    size pixels, size channels, size block,
    real *restrict gates, size gates_stride, /* W * X + b on entry, its gradient on return */
    const number *restrict c_old, size c_old_stride,
    const number *restrict c_new, size c_new_stride,
    const real *restrict d_output, size d_output_stride, /* the gradient of the output */
    const real *restrict dh, size dh_stride,             /* the gradient of h, from the next step */
    number *restrict dc, size dc_stride, /* the gradient of the new c on entry, of the old c on return */
    real *restrict h, size h_stride,     /* where the new h is written again */
    const number *restrict w,           /* (3, C) */
    number *restrict sums               /* (blocks, 7, C): gradients of biases and peepholes, per block */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *restrict sum = sums + 7 * channels * b;
        memset(sum, 0, 7 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            real *restrict z = gates + gates_stride * p, *restrict out = h + h_stride * p;
            const real *restrict d_out = d_output + d_output_stride * p, *restrict d_next = dh + dh_stride * p;
            const number *restrict old = c_old + c_old_stride * p, *restrict new = c_new + c_new_stride * p;
            number *restrict d = dc + dc_stride * p;
#pragma omp simd
            for (size k = 0; k < channels; k++) {
                size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
                number i = sigmoid(load(z[ki]) + w[ki] * old[k]);
                number f = sigmoid(load(z[kf]) + w[kf] * old[k]);
                number g = hyperbolic_tangent(load(z[kg]));
                number o = sigmoid(load(z[ko]) + w[kg] * new[k]);
                number t = hyperbolic_tangent(new[k]), dh_k = load(d_out[k]) + load(d_next[k]);
                number dz_o = dh_k * t * o * (1 - o);
                number dc_k = d[k] + dh_k * o * (1 - t * t) + w[kg] * dz_o;
                number dz_i = dc_k * g * i * (1 - i);
                number dz_f = dc_k * old[k] * f * (1 - f);
                number dz_g = dc_k * i * (1 - g * g);
                d[k] = dc_k * f + w[ki] * dz_i + w[kf] * dz_f;
                out[k] = store(o * t);
                z[ki] = store(dz_i);
                z[kf] = store(dz_f);
                z[kg] = store(dz_g);
                z[ko] = store(dz_o);
                sum[ki] += dz_i;
                sum[kf] += dz_f;
                sum[kg] += dz_g;
                sum[ko] += dz_o;
                sum[k + 4 * channels] += dz_i * old[k];
                sum[k + 5 * channels] += dz_f * old[k];
                sum[k + 6 * channels] += dz_o * new[k];
            }
        }
    }
}
