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

/* The new cell state of one channel, given the old one, its gates' arguments, and the peepholes. */
static inline number new_cell(number old, number z_i, number z_f, number z_g, number w_i, number w_f) {
    fraction i = sigmoid_fraction(z_i + w_i * old), f = sigmoid_fraction(z_f + w_f * old);
    return old / f.under + product(i, tangent_fraction(z_g));
}

/* The new hidden state. */
static inline number new_hidden(number cell, number z_o, number w_o) {
    return product(sigmoid_fraction(z_o + w_o * cell), tangent_fraction(cell));
}

static inline void lstm_pixel(size channels, size pixel, const real *restrict z, const lstm_images *images) {
    const number *restrict old = number_at(images->c_old, pixel), *restrict w = images->w;
    number *restrict new = number_at(images->c_new, pixel);
    real *restrict h = real_at(images->h, pixel), *restrict next_h = real_at(images->next_h, pixel);
#pragma omp simd
    for (size k = 0; k < channels; k++) {
        size ki = k, kf = ki + channels, kg = kf + channels, ko = kg + channels;
        number c = new_cell(old[k], load(z[ki]), load(z[kf]), load(z[kg]), w[ki], w[kf]);
        new[k] = c;
        h[k] = next_h[k] = store(new_hidden(c, load(z[ko]), w[kg]));
    }
}

#endif
