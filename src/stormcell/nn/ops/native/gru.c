/* What a GRU step does around its convolutions, in passes over the pixels.

   Images lie channels last, a pixel so far from the next; what makes its gates r, z, n is C numbers each.
   Where the reset gate acts after the convolution, there is one pass; where it acts before, there are two. */

#include "number.h"

/* A loop over channels becomes vector instructions if what is the same for all of them is known before. */
#define ALWAYS static inline __attribute__((always_inline))

/* φ is tanh, or the leaky ReLU that TrajGRU has. */
ALWAYS number activation(number x, int leaky) {
    return leaky ? (x < 0 ? (number)0.2 * x : x) : hyperbolic_tangent(x);
}

/* φ' by what φ gave. */
ALWAYS number slope(number n, int leaky) { return leaky ? (n > 0 ? 1 : (number)0.2) : 1 - n * n; }

ALWAYS void forward(
    size channels, int leaky, int keep, const real *restrict x, const real *restrict h, const number *restrict h_old,
    number *restrict h_new, real *restrict kept
) {
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size kr = k, kz = kr + channels, kn = kz + channels, kh = kn + channels;
        number to_r = load(x[kr]) + load(h[kr]), to_z = load(x[kz]) + load(h[kz]);
        number z = sigmoid(to_z), n = activation(load(x[kn]) + sigmoid(to_r) * load(h[kn]), leaky);
        h_new[k] = (1 - z) * n + z * h_old[k];
        if (keep) {
            kept[kr] = store(to_r);
            kept[kz] = store(to_z);
            kept[kn] = x[kn];
            kept[kh] = h[kn];
        }
    }
}

void gru_forward(
    size pixels, size channels, size leaky,
    const real *restrict x, size x_apart, /* W_x * X + b_x */
    const real *restrict h, size h_apart, /* W_h * H + b_h */
    const number *restrict h_old, size old_apart,
    number *restrict h_new, size new_apart,
    real *restrict kept, size kept_apart /* (4 C): x_r + h_r, x_z + h_z, x_n, h_n; NULL if not wanted */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *i = x + x_apart * p, *s = h + h_apart * p;
        const number *old = h_old + old_apart * p;
        number *new = h_new + new_apart * p;
        if (leaky && kept)
            forward(channels, 1, 1, i, s, old, new, kept + kept_apart * p);
        else if (leaky)
            forward(channels, 1, 0, i, s, old, new, 0);
        else if (kept)
            forward(channels, 0, 1, i, s, old, new, kept + kept_apart * p);
        else
            forward(channels, 0, 0, i, s, old, new, 0);
    }
}

ALWAYS void backward(
    size channels, int leaky, const real *restrict kept, const number *restrict h_old,
    const number *restrict d_output, const real *restrict d_seen, number *restrict d_state,
    real *restrict d_x, real *restrict d_h, number *restrict sum
) {
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size kr = k, kz = kr + channels, kn = kz + channels, kh = kn + channels;
        number r = sigmoid(load(kept[kr])), z = sigmoid(load(kept[kz])), h_n = load(kept[kh]);
        number n = activation(load(kept[kn]) + r * h_n, leaky);
        number d = d_output[k] + load(d_seen[k]) + d_state[k];
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
    const real *restrict kept, size kept_apart,
    const number *restrict h_old, size old_apart,
    const number *restrict d_output, size d_output_apart, /* the gradient of the new h: of the output, */
    const real *restrict d_seen, size d_seen_apart,       /* through the convolution of the step after, */
    number *restrict d_state, size d_state_apart,         /* and otherwise; on return that of the old h */
    real *restrict d_x, size d_x_apart,
    real *restrict d_h, size d_h_apart,
    number *restrict sums /* (blocks, 4, C): those for the biases, block by block */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *sum = sums + 4 * channels * b;
        memset(sum, 0, 4 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            const real *keep = kept + kept_apart * p, *seen = d_seen + d_seen_apart * p;
            const number *old = h_old + old_apart * p, *d_out = d_output + d_output_apart * p;
            number *state = d_state + d_state_apart * p;
            real *i = d_x + d_x_apart * p, *s = d_h + d_h_apart * p;
            if (leaky)
                backward(channels, 1, keep, old, d_out, seen, state, i, s, sum);
            else
                backward(channels, 0, keep, old, d_out, seen, state, i, s, sum);
        }
    }
}

void gru_reset(
    size pixels, size channels,
    const real *restrict x, size x_apart,
    const real *restrict h, size h_apart, /* (2 C), for r and z */
    const number *restrict h_old, size old_apart,
    real *restrict seen, size seen_apart /* r ∘ h */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict i = x + x_apart * p, *restrict s = h + h_apart * p;
        const number *restrict old = h_old + old_apart * p;
        real *restrict to = seen + seen_apart * p;
#pragma omp simd
        for (size k = 0; k < channels; k++) to[k] = store(sigmoid(load(i[k]) + load(s[k])) * old[k]);
    }
}

void gru_update(
    size pixels, size channels,
    const real *restrict x, size x_apart,
    const real *restrict h, size h_apart,     /* (2 C), for r and z */
    const real *restrict h_n, size h_n_apart, /* W_hn * (r ∘ H) + b_hn */
    const number *restrict h_old, size old_apart,
    number *restrict h_new, size new_apart,
    real *restrict kept, size kept_apart /* (3 C): x_r + h_r, x_z + h_z, x_n + h_n; NULL if not wanted */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict i = x + x_apart * p, *restrict s = h + h_apart * p, *restrict s_n = h_n + h_n_apart * p;
        const number *restrict old = h_old + old_apart * p;
        number *restrict new = h_new + new_apart * p;
        real *restrict keep = kept ? kept + kept_apart * p : 0;
#pragma omp simd
        for (size k = 0; k < channels; k++) {
            size kr = k, kz = kr + channels, kn = kz + channels;
            number to_z = load(i[kz]) + load(s[kz]), to_n = load(i[kn]) + load(s_n[k]);
            number z = sigmoid(to_z);
            new[k] = (1 - z) * hyperbolic_tangent(to_n) + z * old[k];
            if (keep) {
                keep[kr] = store(load(i[kr]) + load(s[kr]));
                keep[kz] = store(to_z);
                keep[kn] = store(to_n);
            }
        }
    }
}

void gru_update_backward(
    size pixels, size channels,
    const real *restrict kept, size kept_apart,
    const number *restrict h_old, size old_apart,
    const number *restrict d_output, size d_output_apart, /* as in gru_backward */
    const real *restrict d_seen, size d_seen_apart,
    number *restrict d_state, size d_state_apart,
    real *restrict d_sums, size d_sums_apart /* (3 C): the gradients of what is kept, but that for r */
) {
#pragma omp parallel for schedule(static)
    for (size p = 0; p < pixels; p++) {
        const real *restrict keep = kept + kept_apart * p, *restrict seen = d_seen + d_seen_apart * p;
        const number *restrict old = h_old + old_apart * p, *restrict d_out = d_output + d_output_apart * p;
        number *restrict state = d_state + d_state_apart * p;
        real *restrict d_sum = d_sums + d_sums_apart * p;
#pragma omp simd
        for (size k = 0; k < channels; k++) {
            size kz = k + channels, kn = kz + channels;
            number z = sigmoid(load(keep[kz])), n = hyperbolic_tangent(load(keep[kn]));
            number d = d_out[k] + load(seen[k]) + state[k];
            state[k] = d * z;
            d_sum[kz] = store(d * (old[k] - n) * z * (1 - z));
            d_sum[kn] = store(d * (1 - z) * (1 - n * n));
        }
    }
}

void gru_reset_backward(
    size pixels, size channels, size block,
    const real *restrict kept, size kept_apart,
    const number *restrict h_old, size old_apart,
    const real *restrict d_seen, size d_seen_apart, /* the gradient of r ∘ h */
    number *restrict d_state, size d_state_apart,   /* that of the old h, which is added to */
    real *restrict d_sums, size d_sums_apart,       /* (3 C), now that for r too */
    real *restrict seen, size seen_apart,           /* r ∘ h once more */
    number *restrict sums                           /* (blocks, 3, C): those for the biases, block by block */
) {
#pragma omp parallel for schedule(static)
    for (size b = 0; b < (pixels + block - 1) / block; b++) {
        number *restrict sum = sums + 3 * channels * b;
        memset(sum, 0, 3 * channels * sizeof(number));
        for (size p = b * block; p < pixels && p < (b + 1) * block; p++) {
            const real *restrict keep = kept + kept_apart * p, *restrict d_to = d_seen + d_seen_apart * p;
            const number *restrict old = h_old + old_apart * p;
            number *restrict state = d_state + d_state_apart * p;
            real *restrict d_sum = d_sums + d_sums_apart * p, *restrict to = seen + seen_apart * p;
#pragma omp simd
            for (size k = 0; k < channels; k++) {
                size kr = k, kz = kr + channels, kn = kz + channels;
                number r = sigmoid(load(keep[kr])), d = load(d_to[k]);
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
