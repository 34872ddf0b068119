/* What torch_parallel_for of PyTorch does, for versions before 2.10, which lack it. */

#include "number.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Calls a kernel for [begin, end), a part in each thread. The grain, at least one result, is that of PyTorch's. */
void parallel_for(size begin, size end, size grain, void (*kernel)(size, size, void *), void *arguments) {
    (void)grain;
#ifdef _OPENMP
#pragma omp parallel
    {
        size threads = omp_get_num_threads(), thread = omp_get_thread_num(), all = end - begin;
        size first = begin + all * thread / threads, last = begin + all * (thread + 1) / threads;
        if (first < last) kernel(first, last, arguments);
    }
#else
    kernel(begin, end, arguments);
#endif
}
