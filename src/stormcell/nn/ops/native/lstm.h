/* The arithmetic of a ConvLSTM step at one pixel, whose gates i, f, g, o are 4 C numbers in a row. */

#ifndef LSTM_H
#define LSTM_H

#include "number.h"

/* Where the images are that a step reads and writes beside its gates, and how far a pixel is from the next. */
typedef struct {
    const number *c_old;
    size c_old_apart;
    number *c_new;
    size c_new_apart;
    real *h;
    size h_apart;
    real *seen; /* by the next step: h once more */
    size seen_apart;
    const number *w; /* (3, C): the peepholes of i, f, o */
} lstm_images;

static inline void lstm_pixel(size channels, size pixel, const real *restrict z, const lstm_images *images) {
    const number *restrict old = images->c_old + pixel * images->c_old_apart;
    number *restrict new = images->c_new + pixel * images->c_new_apart;
    real *restrict h = images->h + pixel * images->h_apart, *restrict seen = images->seen + pixel * images->seen_apart;
    const number *restrict w = images->w;
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
        fraction i = sigmoid_fraction(load(z[ki]) + w[ki] * old[k]);
        fraction f = sigmoid_fraction(load(z[kf]) + w[kf] * old[k]);
        number c = old[k] / f.under + product(i, tangent_fraction(load(z[kg])));
        fraction o = sigmoid_fraction(load(z[ko]) + w[kg] * c);
        new[k] = c;
        h[k] = seen[k] = store(product(o, tangent_fraction(c)));
    }
}

#endif
