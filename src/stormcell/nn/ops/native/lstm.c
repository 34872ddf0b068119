/* The gate arithmetic of a ConvLSTM step, in one pass over the pixels.

   Images are channels last, with a stride from pixel to pixel. Gates i, f, g, o are 4 C contiguous numbers. */

#include "lstm.h"

typedef struct {
    size channels;
    reals gates; /* W * X + b */
    reals saved; /* a copy of the gates' arguments, or NULL */
    const lstm_images *images;
} forward_arguments;

void lstm_forward(size first, size last, const forward_arguments *a) {
    for (size p = first; p < last; p++) {
        const real *z = real_at(a->gates, p);
        lstm_pixel(a->channels, p, z, a->images);
        if (a->saved.at) memcpy(real_at(a->saved, p), z, 4 * a->channels * sizeof(real));
    }
}

typedef struct {
    size pixels, channels, block;
    reals gates; /* W * X + b on entry, its gradient on return */
    numbers c_old, c_new;
    reals d_output; /* the gradient of the output */
    reals d_h;      /* the gradient of h, from the next step */
    numbers d_c;    /* the gradient of the new c on entry, of the old c on return */
    reals h;        /* where the new h is written again */
    const number *w; /* (3, C) */
    number *sums;    /* (blocks, 7, C): gradients of biases and peepholes, per block of pixels */
} backward_arguments;

/* Computes blocks. */
void lstm_backward(size first, size last, const backward_arguments *a) {
    size channels = a->channels;
    const number *restrict w = a->w;
    for (size b = first; b < last; b++) {
        number *restrict sum = a->sums + 7 * channels * b;
        memset(sum, 0, 7 * channels * sizeof(number));
        for (size p = b * a->block; p < a->pixels && p < (b + 1) * a->block; p++) {
            real *restrict z = real_at(a->gates, p), *restrict out = real_at(a->h, p);
            const real *restrict d_out = real_at(a->d_output, p), *restrict d_next = real_at(a->d_h, p);
            const number *restrict old = number_at(a->c_old, p), *restrict new = number_at(a->c_new, p);
            number *restrict d = number_at(a->d_c, p);
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
