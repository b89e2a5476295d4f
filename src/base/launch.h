/* Private to *.cu. Launches go to the default stream, as the host's own do. A test that compiles
 * the kernels for the CPU has its own LAUNCH (tests/emulation). */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <cuda_runtime.h>

#include "base/device.h"

#ifndef LAUNCH
#define LAUNCH(kernel, blocks, threads, ...)                                                       \
    kernel<<<(unsigned)(blocks), (unsigned)(threads)>>>(__VA_ARGS__)
#endif

/* Tells the compiler where a pointer that was read from memory points: its loads and stores are
 * then those of global memory, and cannot meet shared memory's. */
#ifdef __CUDA_ARCH__
#define IN_GLOBAL_MEMORY(p) __builtin_assume(__isGlobal(p))
#else
#define IN_GLOBAL_MEMORY(p) ((void)0)
#endif

/* A sum and a maximum of whole numbers: in whatever order, the result is the same. */
static __device__ inline void count_bad(device_counts *counts, unsigned long long bad,
                                        int before_end)
{
    atomicAdd(&counts->non_finite, bad);
    atomicMax(&counts->before_end, before_end);
}

#endif
