/* Sums over arrays of floats, in vectors of LANES; a fixed order of additions. */
#ifndef META_VECTORS_H
#define META_VECTORS_H

#include <stddef.h>

#include "base/lanes.h"

/* Σ a_i b_i */
static inline double vector_dot(const float *a, const float *b, size_t n)
{
    lanes sum[4] = {lanes_set(0), lanes_set(0), lanes_set(0), lanes_set(0)};
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            sum[j] +=
                *(const lanes_any *)(a + i + j * LANES) * *(const lanes_any *)(b + i + j * LANES);
    double tail = 0;
    for (; i < n; i++) tail += (double)a[i] * b[i];
    return lanes_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + tail;
}

/* y += s·x */
static inline void vector_add(float *y, float s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += s * x[i];
}

#endif
