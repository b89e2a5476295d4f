/* The CUDA language as far as the library's kernels use it, for a C++ compiler (-include'd before
 * them): the threads of a block take turns between barriers, blocks come one after the other. */
#ifndef EMULATED_CUDA_RUNTIME_H
#define EMULATED_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cuda_runtime_api.h"

#define __CUDACC__
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline, unused))
#define __launch_bounds__(...)
#define __grid_constant__
/* All in one section, which is poisoned before each block of threads. */
#define __shared__ static __attribute__((section("emulated_shared")))

typedef struct {
    unsigned x, y, z;
} emulated_index;

extern "C" {
extern emulated_index threadIdx, blockIdx, blockDim, gridDim;
void emulation_launch(void (*thread)(void *), void *argument, unsigned blocks, unsigned threads);
void emulation_barrier(const char *file, int line);
}

#define __syncthreads() emulation_barrier(__FILE__, __LINE__)

static inline int __float_as_int(float x)
{
    int i;
    memcpy(&i, &x, sizeof i);
    return i;
}

static inline float __int_as_float(int i)
{
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

static inline void atomicAdd(unsigned long long *sum, unsigned long long x) { *sum += x; }

static inline void atomicMax(int *most, int x) { *most = *most > x ? *most : x; }

template <class... Parameters, class... Arguments>
static void emulate(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                    Arguments... arguments)
{
    auto thread = [=] { kernel(arguments...); };
    emulation_launch([](void *t) { (*static_cast<decltype(thread) *>(t))(); }, &thread, blocks,
                     threads);
}

#define LAUNCH(kernel, blocks, threads, ...)                                                       \
    emulate(kernel, (unsigned)(blocks), (unsigned)(threads), __VA_ARGS__)

#endif
