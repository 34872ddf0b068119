/* The rates that follow from probabilities of exceeding thresholds. The equations are those of
   stormcell.forecast.pareto_pieces. Only in the library for float32. */

#include "rain.h"

#if !defined(FLOAT64) && !defined(BFLOAT16)

/* The chain of Pareto distributions between thresholds; see stormcell.forecast.pareto_pieces. */
typedef struct {
    const number *chances; /* (thresholds, pixels): of exceeding each threshold */
    size plane, thresholds; /* numbers from one threshold to the next, and how many thresholds */
    const number *rate, *length, *top; /* (thresholds): lower rate of each piece, its length in ln r, its largest rate */
    /* The smallest probability, the largest fall of ln S, the smallest slopes beyond the last threshold and anywhere;
       and for the middle of a piece: the smallest complement, and the smallest share of the probability before. */
    const number *limits;
} pieces;

/* Written out, as is exponential: x = 2^n m with m from sqrt(1/2) to sqrt(2), and log m = 2 artanh((m - 1) / (m + 1)). */
static inline number logarithm(number x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    int32_t n = (int32_t)(bits - 0x3f3504f3) >> 23;
    bits -= (uint32_t)n << 23;
    number m;
    memcpy(&m, &bits, 4);
    number s = (m - 1) / (m + 1), square = s * s, p = 2.f / 9;
    p = p * square + 2.f / 7;
    p = p * square + 2.f / 5;
    p = p * square + 2.f / 3;
    p = p * square + 2;
    return n * 0.693359375f + (n * -2.12194440e-4f + s * p);
}

/* Write, for a strip of pixels, the rates at which the probability falls below a cut.

   The count of a pixel is that of the thresholds up to the rate, and its rate is 0 or NaN on entry. The cut is given by
   its logarithm at the last of these thresholds. Either pieces are divided into halves and the cut is constant, or they
   are not, and its logarithm rises over ln r. */
static inline void rates_of(
    const pieces *d, int halves, size start, size n, const int32_t *restrict count, const number *restrict cut,
    const number *restrict rise, number *restrict rates
) {
    number lower[STRIP], upper[STRIP], across[STRIP], length[STRIP], rate[STRIP], top[STRIP], least[STRIP];
    number smallest = d->limits[0], steepest = d->limits[1], tail = d->limits[2], flat = d->limits[3];
    number surest = d->limits[4], share = d->limits[5];
    int32_t all = (int32_t)d->thresholds;
    for (size i = 0; i < n; i++) {
        /* The fall of ln S is that of the piece; beyond the last threshold, it comes from the piece before. */
        int32_t piece = count[i] > 0 ? count[i] - 1 : 0, before = piece < all - 1 ? piece : all - 2;
        const number *chance = d->chances + before * d->plane + start + i;
        lower[i] = chance[0], upper[i] = chance[d->plane], across[i] = d->length[before];
        length[i] = d->length[piece], rate[i] = d->rate[piece], top[i] = d->top[piece];
        least[i] = piece == before ? 0 : tail;
    }
#pragma omp simd
    for (size i = 0; i < n; i++) {
        number low = logarithm(lower[i] > smallest ? lower[i] : smallest);
        number high = logarithm(upper[i] > smallest ? upper[i] : smallest);
        int32_t beyond = least[i] > 0;
        number from = low, to = high, width = across[i], most = length[i], skipped = 0;
        if (halves) {
            /* Halfway, the odds are the geometric mean of those at the thresholds. */
            number later = lower[i] * share;
            later = upper[i] > later ? upper[i] : later;
            number without = 1 - lower[i], without_later = 1 - later;
            without = without > surest ? without : surest;
            without_later = without_later > surest ? without_later : surest;
            number odds = sqrtf(lower[i]) * sqrtf(later);
            number middle = odds / (odds + sqrtf(without * without_later));
            middle = middle > later ? middle : later;
            middle = middle < lower[i] ? middle : lower[i];
            number centre = logarithm(middle > smallest ? middle : smallest);
            int32_t second = centre >= cut[i];
            width /= 2;
            from = beyond | second ? centre : low;
            to = beyond | second ? high : centre;
            skipped = second & !beyond ? width : 0;
            most = beyond ? most : width;
        }
        number fall = from - to;
        fall = fall < 0 ? 0 : fall > steepest ? steepest : fall;
        number slope = fall / width;
        slope = (slope > least[i] ? slope : least[i]) + rise[i];
        number part = ((beyond ? high : from) - cut[i]) / (slope > flat ? slope : flat);
        part = part < 0 ? 0 : part > most ? most : part;
        number found = rate[i] * exponential(part + skipped);
        found = found < top[i] ? found : top[i];
        rates[i] = count[i] > 0 ? found : rates[i];
    }
}

typedef struct {
    pieces about;
    const number *cut, *log_cut, *rise; /* (thresholds) */
    number *rates;                      /* (pixels) */
    size pixels;
} cut_arguments;

/* Writes, for strips of pixels, the largest rate whose probability is at least its cut. */
void rain_cut(size first, size last, const cut_arguments *a) {
    const pieces *d = &a->about;
    for (size strip = first; strip < last; strip++) {
        size start = strip * STRIP, n = a->pixels - start < STRIP ? a->pixels - start : STRIP;
        int32_t count[STRIP] = {0}, any = 0;
        for (size k = 0; k < d->thresholds; k++) {
            const number *chance = d->chances + k * d->plane + start;
            number cut = a->cut[k];
#pragma omp simd
            for (size i = 0; i < n; i++) count[i] = chance[i] >= cut ? (int32_t)k + 1 : count[i];
        }
#pragma omp simd reduction(| : any)
        for (size i = 0; i < n; i++) {
            a->rates[start + i] = d->chances[start + i] * 0; /* 0, or NaN */
            any |= count[i];
        }
        if (!any) continue;
        number cut[STRIP], rise[STRIP];
        for (size i = 0; i < n; i++) {
            size k = count[i] > 0 ? count[i] - 1 : 0;
            cut[i] = a->log_cut[k], rise[i] = a->rise[k];
        }
        rates_of(d, 0, start, n, count, cut, rise, a->rates + start);
    }
}

typedef struct {
    pieces about;
    const number *chances; /* (pixels): of exceeding the rate */
    number *rates;         /* (pixels) */
    size pixels;
} invert_arguments;

/* Writes, for strips of pixels, the rate that is exceeded with a probability. */
void rain_invert(size first, size last, const invert_arguments *a) {
    const pieces *d = &a->about;
    for (size strip = first; strip < last; strip++) {
        size start = strip * STRIP, n = a->pixels - start < STRIP ? a->pixels - start : STRIP;
        const number *wanted = a->chances + start;
        number *rates = a->rates + start;
        int32_t count[STRIP] = {0}, wet = 0;
        for (size k = 0; k < d->thresholds; k++) {
            const number *chance = d->chances + k * d->plane + start;
            int32_t any = 0;
#pragma omp simd reduction(| : any)
            for (size i = 0; i < n; i++) {
                int32_t exceeded = chance[i] > wanted[i];
                count[i] += exceeded;
                any |= exceeded;
            }
            if (!any) break; /* probabilities fall from threshold to threshold */
            wet = 1;
        }
#pragma omp simd
        for (size i = 0; i < n; i++) rates[i] = d->chances[start + i] * wanted[i] * 0; /* 0, or NaN */
        if (!wet) continue;
        number cut[STRIP], rise[STRIP] = {0};
#pragma omp simd
        for (size i = 0; i < n; i++)
            cut[i] = logarithm(wanted[i] > d->limits[0] ? wanted[i] : d->limits[0]);
        rates_of(d, 1, start, n, count, cut, rise, rates);
    }
}

#endif
