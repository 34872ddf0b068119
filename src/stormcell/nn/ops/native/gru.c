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

typedef struct {
    size channels, leaky;
    reals x, h; /* W_x * X + b_x, W_h * H + b_h */
    numbers h_old, h_new;
    reals saved; /* (4 C): x_r + h_r, x_z + h_z, x_n, h_n; or NULL */
} forward_arguments;

void gru_forward(size first, size last, const forward_arguments *a) {
    for (size p = first; p < last; p++) {
        const real *x = real_at(a->x, p), *h = real_at(a->h, p);
        const number *old = number_at(a->h_old, p);
        number *new = number_at(a->h_new, p);
        real *saved = real_at(a->saved, p);
        if (a->leaky && saved)
            forward(a->channels, 1, 1, x, h, old, new, saved);
        else if (a->leaky)
            forward(a->channels, 1, 0, x, h, old, new, 0);
        else if (saved)
            forward(a->channels, 0, 1, x, h, old, new, saved);
        else
            forward(a->channels, 0, 0, x, h, old, new, 0);
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

typedef struct {
    size pixels, channels, block, leaky;
    reals saved;
    numbers h_old;
    numbers d_output; /* summed for the new h: the output's, */
    reals d_conv;     /* that from the next convolution, */
    numbers d_state;  /* the rest; on return that of the old h */
    reals d_x, d_h;
    number *sums; /* (blocks, 4, C): gradients of the biases, per block of pixels */
} backward_arguments;

/* Computes blocks. */
void gru_backward(size first, size last, const backward_arguments *a) {
    for (size b = first; b < last; b++) {
        number *sum = a->sums + 4 * a->channels * b;
        memset(sum, 0, 4 * a->channels * sizeof(number));
        for (size p = b * a->block; p < a->pixels && p < (b + 1) * a->block; p++) {
            const real *saved = real_at(a->saved, p), *conv = real_at(a->d_conv, p);
            const number *old = number_at(a->h_old, p), *d_out = number_at(a->d_output, p);
            number *state = number_at(a->d_state, p);
            real *d_x = real_at(a->d_x, p), *d_h = real_at(a->d_h, p);
            if (a->leaky)
                backward(a->channels, 1, saved, old, d_out, conv, state, d_x, d_h, sum);
            else
                backward(a->channels, 0, saved, old, d_out, conv, state, d_x, d_h, sum);
        }
    }
}

typedef struct {
    size channels;
    reals x, h; /* h: (2 C), for r and z */
    numbers h_old;
    reals reset_h; /* r ∘ h */
} reset_arguments;

void gru_reset(size first, size last, const reset_arguments *a) {
    size channels = a->channels;
    for (size p = first; p < last; p++) {
        const real *restrict i = real_at(a->x, p), *restrict s = real_at(a->h, p);
        const number *restrict old = number_at(a->h_old, p);
        real *restrict to = real_at(a->reset_h, p);
#pragma omp simd
        for (size k = 0; k < channels; k++) to[k] = store(sigmoid(load(i[k]) + load(s[k])) * old[k]);
    }
}

typedef struct {
    size channels;
    reals x, h; /* h: (2 C), for r and z */
    reals h_n;  /* W_hn * (r ∘ H) + b_hn */
    numbers h_old, h_new;
    reals saved; /* (3 C): x_r + h_r, x_z + h_z, x_n + h_n; or NULL */
} update_arguments;

void gru_update(size first, size last, const update_arguments *a) {
    size channels = a->channels;
    for (size p = first; p < last; p++) {
        const real *restrict i = real_at(a->x, p), *restrict s = real_at(a->h, p);
        const real *restrict s_n = real_at(a->h_n, p);
        const number *restrict old = number_at(a->h_old, p);
        number *restrict new = number_at(a->h_new, p);
        real *restrict values = real_at(a->saved, p);
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

typedef struct {
    size channels;
    reals saved;
    numbers h_old, d_output; /* d_output, d_conv, d_state: as in gru_backward */
    reals d_conv;
    numbers d_state;
    reals d_sums; /* (3 C): the gradients of the saved sums, except that for r */
} update_backward_arguments;

void gru_update_backward(size first, size last, const update_backward_arguments *a) {
    size channels = a->channels;
    for (size p = first; p < last; p++) {
        const real *restrict values = real_at(a->saved, p), *restrict conv = real_at(a->d_conv, p);
        const number *restrict old = number_at(a->h_old, p), *restrict d_out = number_at(a->d_output, p);
        number *restrict state = number_at(a->d_state, p);
        real *restrict d_sum = real_at(a->d_sums, p);
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

typedef struct {
    size pixels, channels, block;
    reals saved;
    numbers h_old;
    reals d_reset_h; /* the gradient of r ∘ h */
    numbers d_state; /* the gradient of the old h, which is added to */
    reals d_sums;    /* (3 C): the gradient for r is added */
    reals reset_h;   /* r ∘ h again */
    number *sums;    /* (blocks, 3, C): gradients of the biases, per block of pixels */
} reset_backward_arguments;

/* Computes blocks. */
void gru_reset_backward(size first, size last, const reset_backward_arguments *a) {
    size channels = a->channels;
    for (size b = first; b < last; b++) {
        number *restrict sum = a->sums + 3 * channels * b;
        memset(sum, 0, 3 * channels * sizeof(number));
        for (size p = b * a->block; p < a->pixels && p < (b + 1) * a->block; p++) {
            const real *restrict values = real_at(a->saved, p), *restrict d_to = real_at(a->d_reset_h, p);
            const number *restrict old = number_at(a->h_old, p);
            number *restrict state = number_at(a->d_state, p);
            real *restrict d_sum = real_at(a->d_sums, p), *restrict to = real_at(a->reset_h, p);
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
