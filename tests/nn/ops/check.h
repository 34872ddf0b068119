/* What the checks of the C kernels share: numbers to compute with, and comparisons that count and print differences. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "number.h"

#define ADDRESS(pointer) ((size)(intptr_t)(pointer))
#define CALL(kernel, results, ...) kernel(0, results, (size[]){__VA_ARGS__})

enum { CHANNELS = 19 };

void check_gates(void);
void check_rain(void);

/* Sums of some hundred numbers of order one, rounded as the results are. */
#if defined(FLOAT64)
static const double tolerance = 1e-12;
#elif defined(BFLOAT16)
static const double tolerance = 0.02;
#else
static const double tolerance = 2e-5;
#endif

extern int differences;

static inline void compare(const char *what, size at, double found, double expected) {
    double off = found - expected;
    if (-tolerance <= off && off <= tolerance) return;
    differences++;
    printf("%s at %d: %.9g, expected %.9g\n", what, (int)at, found, expected);
}

/* The same for a finite difference, which has an error of its own. */
static inline void compare_gradient(const char *what, size at, double found, double expected) {
    double off = found - expected;
    if (off < -1e-9 || off > 1e-9) compare(what, at, found, expected);
}

static inline double uniform(void) { return rand() / (RAND_MAX + 1.0) * 2 - 1; }

static inline number *numbers_of(size n) {
    number *to = malloc(n * sizeof(number));
    for (size k = 0; k < n; k++) to[k] = uniform();
    return to;
}

static inline real *reals_of(size n) {
    real *to = malloc(n * sizeof(real));
    for (size k = 0; k < n; k++) to[k] = store(uniform());
    return to;
}

#endif
