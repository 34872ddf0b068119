/* The gate arithmetic of a ConvLSTM step at one pixel. Its gates i, f, g, o are 4 C contiguous numbers. */

#ifndef LSTM_H
#define LSTM_H

#include "number.h"

/* Addresses and pixel strides of the images which a step reads and writes, besides its gates. */
typedef struct {
    const number *c_old;
    size c_old_stride;
    number *c_new;
    size c_new_stride;
    real *h;
    size h_stride;
    real *next_h; /* h once more, in the input of the next step */
    size next_h_stride;
    const number *w; /* (3, C): the peepholes of i, f, o */
} lstm_images;

static inline void lstm_pixel(size channels, size pixel, const real *restrict z, const lstm_images *images) {
    const number *restrict old = images->c_old + pixel * images->c_old_stride;
    number *restrict new = images->c_new + pixel * images->c_new_stride;
    real *restrict h = images->h + pixel * images->h_stride;
    real *restrict next_h = images->next_h + pixel * images->next_h_stride;
    const number *restrict w = images->w;
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
        fraction i = sigmoid_fraction(load(z[ki]) + w[ki] * old[k]);
        fraction f = sigmoid_fraction(load(z[kf]) + w[kf] * old[k]);
        number c = old[k] / f.under + product(i, tangent_fraction(load(z[kg])));
        fraction o = sigmoid_fraction(load(z[ko]) + w[kg] * c);
        new[k] = c;
        h[k] = next_h[k] = store(product(o, tangent_fraction(c)));
    }
}

#endif
