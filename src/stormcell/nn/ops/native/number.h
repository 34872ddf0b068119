/* Number types, images, and the functions of gates.

   Convolutions read and write reals; states, their gradients and all arithmetic are numbers.

   A kernel is a function void f(size first, size last, arguments *a), which computes the results first to last - 1.
   PyTorch's threads call it, each for a part of the results. Every field of its arguments has 8 bytes, because Python
   passes them as an array. */

#ifndef NUMBER_H
#define NUMBER_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int64_t size;

#if defined(FLOAT64) /* for comparison with the reference, not for speed */
typedef double real, number;
static inline number load(real v) { return v; }
static inline real store(number v) { return v; }
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
static inline real store(number f) { /* round to nearest, ties to even; NaN stays NaN */
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

/* Written out, because not every compiler vectorises calls of expf and tanhf. */
static inline number exponential(number x) {
    /* 2^n e^r with |r| <= log(2) / 2: n is in the low bits of x / log(2) + 1.5 * 2^23, e^r is its series. */
    /* Beyond e^43 adding 1 has no effect, nor has adding e^-43 to 1. Products must stay above the smallest
       normal number: processors are a hundred times slower with subnormal numbers. */
    x = x < -43 ? -43 : x > 43 ? 43 : x;
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

#endif

/* As many numbers as one register holds. Compilers keep vectors that are longer in memory. */
#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / sizeof(number) };
typedef number vector __attribute__((vector_size(BYTES), aligned(sizeof(number)), may_alias));

/* Pixels with contiguous channels: the address of the first, and the distance from one to the next. */
typedef struct {
    real *at;
    size stride;
} reals;

typedef struct {
    number *at;
    size stride;
} numbers;

static inline real *real_at(reals image, size pixel) { return image.at ? image.at + image.stride * pixel : 0; }
static inline number *number_at(numbers image, size pixel) { return image.at + image.stride * pixel; }

/* Division is the slowest operation, and a product of fractions needs only one. */
typedef struct {
    number over, under;
} fraction;

#if defined(FLOAT64)
static inline fraction sigmoid_fraction(number x) { return (fraction){1, 1 + exp(-x)}; }
static inline fraction tangent_fraction(number x) { return (fraction){tanh(x), 1}; }
#else
static inline fraction sigmoid_fraction(number x) { return (fraction){1, 1 + exponential(-x)}; }

static inline fraction tangent_fraction(number x) {
    /* Near 0 the digits of the quotient cancel: use x + x^3 p(x^2), with p fitted by least squares. */
    number s = x * x;
    number p = -6.104948e-3f;
    p = p * s + 2.10036412e-2f;
    p = p * s - 5.38524985e-2f;
    p = p * s + 1.33327827e-1f;
    p = p * s - 3.33333284e-1f;
    number near = x + x * s * p, far = exponential(2 * x);
    return (fraction){s < 0.390625f ? near : far - 1, s < 0.390625f ? 1 : far + 1};
}
#endif

/* Numerators and denominators are at most about e^43, so that products of two do not overflow. */
static inline number product(fraction a, fraction b) { return a.over * b.over / (a.under * b.under); }

static inline number value(fraction a) { return a.over / a.under; }
static inline number sigmoid(number x) { return value(sigmoid_fraction(x)); }
static inline number hyperbolic_tangent(number x) { return value(tangent_fraction(x)); }

#endif
