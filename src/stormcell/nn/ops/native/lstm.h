/* The gate arithmetic of a ConvLSTM step at one pixel. Its gates i, f, g, o are 4 C contiguous numbers. */

#ifndef LSTM_H
#define LSTM_H

#include "number.h"

/* The images which a step reads and writes, besides its gates. */
typedef struct {
    numbers c_old, c_new;
    reals h, next_h; /* next_h: h once more, in the input of the next step */
    const number *w; /* (3, C): the peepholes of i, f, o */
} lstm_images;

static inline void lstm_pixel(size channels, size pixel, const real *restrict z, const lstm_images *images) {
    const number *restrict old = number_at(images->c_old, pixel), *restrict w = images->w;
    number *restrict new = number_at(images->c_new, pixel);
    real *restrict h = real_at(images->h, pixel), *restrict next_h = real_at(images->next_h, pixel);
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
