/* What a ConvLSTM step does between its convolutions, in one pass over the pixels.

   Images lie channels last: a pixel's gates i, f, g, o are 4 C numbers in a row. What convolutions read and
   write is real; the cell state, its gradient and all arithmetic are number. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int64_t size;

#if defined(FLOAT64) /* to be compared with the reference, not to be fast */
typedef double real, number;
static inline number load(real v) { return v; }
static inline real store(number v) { return v; }
static inline number sigmoid(number x) { return 1 / (1 + exp(-x)); }
static inline number hyperbolic_tangent(number x) { return tanh(x); }
#else
typedef float number;
#if defined(BFLOAT16)
typedef uint16_t real;
static inline number load(real v) {
    uint32_t bits = (uint32_t)v << 16;
    number f;
    memcpy(&f, &bits, 4);
    return f;
}
static inline real store(number f) { /* rounds to the nearest, ties to even; a NaN stays one */
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (real)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
#else
typedef float real;
static inline number load(real v) { return v; }
static inline real store(number v) { return v; }
#endif

/* Written out, for a compiler turns it into vector instructions, and calls to expf and tanhf not everywhere. */
static inline number exponential(number x) {
    /* 2^n e^r with |r| <= log(2) / 2: n from the low bits of x / log(2) + 1.5 * 2^23, e^r by its series. */
    x = x < -87 ? -87 : x > 87 ? 87 : x;
    number shifted = x * 1.44269504f + 12582912;
    number n = shifted - 12582912;
    number r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    number p = 1.f / 5040;
    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + 1.f / 2;
    p = p * r + 1;
    p = p * r + 1;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits << 23) + 0x3f800000;
    number power;
    memcpy(&power, &bits, 4);
    return p * power;
}

static inline number sigmoid(number x) { return 1 / (1 + exponential(-x)); }

static inline number hyperbolic_tangent(number x) {
    /* Near 0, where the quotient's digits cancel, x + x^3 p(x^2), p fitted there by least squares. */
    number s = x * x;
    number p = -6.104948e-3f;
    p = p * s + 2.10036412e-2f;
    p = p * s - 5.38524985e-2f;
    p = p * s + 1.33327827e-1f;
    p = p * s - 3.33333284e-1f;
    number near = x + x * s * p;
    number far = 1 - 2 / (exponential(2 * x) + 1);
    return s < 0.390625f ? near : far;
}
#endif

void forward(
    size pixels, size channels,
    const real *restrict gates,   /* (pixels, 4 C): W * X + b */
    const number *restrict c_old, /* (pixels, C) */
    const number *restrict w,     /* (3, C): the peepholes of i, f, o */
    number *restrict c_new,       /* (pixels, C) */
    real *restrict h, size apart, /* (pixels, C), a pixel so far from the next: what the next step sees */
    real *restrict output         /* (pixels, C): the same */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict z = gates + 4 * channels * p;
        real *restrict seen = h + apart * p, *restrict out = output + channels * p;
        const number *restrict old = c_old + channels * p;
        number *restrict new = c_new + channels * p;
#pragma omp simd
        for (size k = 0; k < channels; k++) {
            size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
            number i = sigmoid(load(z[ki]) + w[ki] * old[k]);
            number f = sigmoid(load(z[kf]) + w[kf] * old[k]);
            number g = hyperbolic_tangent(load(z[kg]));
            number c = f * old[k] + i * g;
            number o = sigmoid(load(z[ko]) + w[kg] * c);
            new[k] = c;
            seen[k] = out[k] = store(o * hyperbolic_tangent(c));
        }
    }
}

void backward(
    size pixels, size channels, size block,
    real *restrict gates,         /* (pixels, 4 C): W * X + b on entry, on return its gradient */
    const number *restrict c_old, /* (pixels, C) */
    const number *restrict c_new, /* (pixels, C) */
    const number *restrict w,     /* (3, C) */
    const real *restrict d_output, size d_output_apart, /* (pixels, C): the gradient of the output */
    const real *restrict dh, size dh_apart, /* (pixels, C): that of h, from the step after */
    number *restrict dc,          /* (pixels, C): that of c, after the step on entry, before it on return */
    number *restrict sums,        /* (blocks, 7, C): those of the biases and peepholes, block by block */
    real *restrict h, size apart  /* (pixels, C): h after this step, once more */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *restrict sum = sums + 7 * channels * b;
        memset(sum, 0, 7 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            real *restrict z = gates + 4 * channels * p, *restrict seen = h + apart * p;
            const real *restrict d_out = d_output + d_output_apart * p, *restrict d_seen = dh + dh_apart * p;
            const number *restrict old = c_old + channels * p, *restrict new = c_new + channels * p;
            number *restrict d = dc + channels * p;
#pragma omp simd
            for (size k = 0; k < channels; k++) {
                size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
                number i = sigmoid(load(z[ki]) + w[ki] * old[k]);
                number f = sigmoid(load(z[kf]) + w[kf] * old[k]);
                number g = hyperbolic_tangent(load(z[kg]));
                number o = sigmoid(load(z[ko]) + w[kg] * new[k]);
                number t = hyperbolic_tangent(new[k]), dh_k = load(d_out[k]) + load(d_seen[k]);
                number dz_o = dh_k * t * o * (1 - o);
                number dc_k = d[k] + dh_k * o * (1 - t * t) + w[kg] * dz_o;
                number dz_i = dc_k * g * i * (1 - i);
                number dz_f = dc_k * old[k] * f * (1 - f);
                number dz_g = dc_k * i * (1 - g * g);
                d[k] = dc_k * f + w[ki] * dz_i + w[kf] * dz_f;
                seen[k] = store(o * t);
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
