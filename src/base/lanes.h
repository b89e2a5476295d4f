/* Elementary functions over LANES values at a time: the CPU's vector width, or 1 (a CUDA thread).
 *
 * Accuracy, against exact arithmetic: exp 4e-7 relative near 0 and 2.2e-6 at |x| = 40 (4e-7 with
 * fused multiply-add), sigmoid 8e-7 for x >= -8, log and log1p 4e-7, tanh 4e-7 absolute, rsqrt and
 * reciprocal 3e-7 relative, asinh 1e-6 relative. tests/test_lanes.c holds the bounds. A GPU has
 * 1/x, √x, 1/√x and 2^x as instructions (relative errors of at most 1.2e-7, 1.2e-7, 1.3e-7
 * and 2.4e-7 by the PTX manual). */
#ifndef LANES_H
#define LANES_H

#include <stdint.h>

/* LANES_FOR(int i = 0; i < n; i++): a loop that is unrolled. THREAD_FOR: one that only a CUDA
 * thread has to unroll, since an array that is indexed by a variable is not in its registers. */
#ifdef __CUDACC__
#define LANES 1
#define LANES_FN static __device__ __forceinline__
#define LANES_FOR(...) _Pragma("unroll") for (__VA_ARGS__)
#define THREAD_FOR(...) LANES_FOR(__VA_ARGS__)
#else
#include <math.h>
#include <string.h>
#define LANES_FN static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define LANES_FOR(...) _Pragma("unroll") for (__VA_ARGS__)
#else
#define LANES_FOR(...) _Pragma("GCC unroll 32") for (__VA_ARGS__)
#endif
#ifndef LANES
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
#if LANES > 4
#include <immintrin.h>
#endif
#define THREAD_FOR(...) for (__VA_ARGS__)
#endif
/* The GPU's own compiler, not a CPU's that compiles the kernels for a test. */
#ifdef __CUDA_ARCH__
#define LANES_NATIVE(instruction, y, x)                                                            \
    asm(instruction ".approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x))
#endif

#if LANES == 1
typedef float lanes;
typedef float lanes_any; /* the same at any alignment */
typedef int32_t lanes_int;
typedef uint32_t lanes_uint;
typedef uint16_t lanes_16;
#else
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float lanes_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t lanes_int __attribute__((vector_size(4 * LANES)));
typedef uint32_t lanes_uint __attribute__((vector_size(4 * LANES)));
typedef uint16_t lanes_16 __attribute__((vector_size(2 * LANES)));
#endif

LANES_FN lanes lanes_set(float x)
{
#if LANES == 1
    return x;
#else
    return x - (lanes){0};
#endif
}

LANES_FN lanes_int lanes_bits(lanes x)
{
#ifdef __CUDACC__
    return __float_as_int(x);
#elif LANES == 1
    lanes_int i;
    memcpy(&i, &x, sizeof i);
    return i;
#else
    return (lanes_int)x;
#endif
}

LANES_FN lanes lanes_from_bits(lanes_int i)
{
#ifdef __CUDACC__
    return __int_as_float(i);
#elif LANES == 1
    lanes x;
    memcpy(&x, &i, sizeof x);
    return x;
#else
    return (lanes)i;
#endif
}

LANES_FN lanes_int lanes_shift_left(lanes_int i, int bits)
{
#if LANES == 1
    return (lanes_int)((uint32_t)i << bits);
#else
    return i << bits;
#endif
}

LANES_FN lanes lanes_from_int(lanes_int i)
{
#if LANES == 1
    return (float)i;
#else
    return __builtin_convertvector(i, lanes);
#endif
}

/* 0, 1, 2, … */
LANES_FN lanes_uint lanes_count(void)
{
    lanes_uint x = {0};
#if LANES > 1
    for (int i = 0; i < LANES; i++) x[i] = (uint32_t)i;
#endif
    return x;
}

/* Numbers of 16 bits, aligned like a vector of them; of x the low 16 bits are stored. */
LANES_FN lanes_int lanes_load_16(const uint16_t *from)
{
#if LANES == 1
    return *from;
#else
    return __builtin_convertvector(*(const lanes_16 *)from, lanes_int);
#endif
}

LANES_FN void lanes_store_16(uint16_t *to, lanes_int x)
{
#if LANES == 1
    *to = (uint16_t)x;
#else
    *(lanes_16 *)to = __builtin_convertvector(x, lanes_16);
#endif
}

/* a where x < y, else b; b where x or y is NaN. */
LANES_FN lanes lanes_if_less(lanes x, lanes y, lanes a, lanes b)
{
#if LANES == 1
    return x < y ? a : b;
#elif LANES == 16
    return (lanes)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_LT_OQ),
                                       (__m512)b, (__m512)a);
#else
    lanes_int mask = x < y;
    return lanes_from_bits((lanes_bits(a) & mask) | (lanes_bits(b) & ~mask));
#endif
}

LANES_FN lanes lanes_min(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (lanes)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return lanes_if_less(a, b, a, b);
#endif
}

LANES_FN lanes lanes_max(lanes a, lanes b)
{
#if LANES == 16
    return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (lanes)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return lanes_if_less(b, a, a, b);
#endif
}

LANES_FN lanes lanes_clamp(lanes x, float low, float high)
{
    return lanes_min(lanes_max(x, lanes_set(low)), lanes_set(high));
}

LANES_FN lanes lanes_abs(lanes x) { return lanes_from_bits(lanes_bits(x) & INT32_MAX); }

/* |magnitude| with the sign of sign. */
LANES_FN lanes lanes_with_sign(lanes magnitude, lanes sign)
{
    return lanes_from_bits(lanes_bits(magnitude) | (lanes_bits(sign) & INT32_MIN));
}

LANES_FN lanes lanes_sqrt(lanes x)
{
#ifdef __CUDA_ARCH__
    lanes y;
    LANES_NATIVE("sqrt", y, x);
    return y;
#elif LANES == 1
    return sqrtf(x);
#elif LANES == 16
    return (lanes)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (lanes)_mm256_sqrt_ps((__m256)x);
#else
    lanes y;
    for (int i = 0; i < LANES; i++) y[i] = sqrtf(x[i]);
    return y;
#endif
}

/* 1/√x for x in [1e-30, 1e38]: an estimate and Newton's step where the machine has one. */
LANES_FN lanes lanes_rsqrt(lanes x)
{
#ifdef __CUDA_ARCH__
    lanes y;
    LANES_NATIVE("rsqrt", y, x);
    return y;
#elif LANES == 16
    lanes y = (lanes)_mm512_rsqrt14_ps((__m512)x);
    return y * (1.5f - 0.5f * x * y * y);
#elif LANES == 8
    lanes y = (lanes)_mm256_rsqrt_ps((__m256)x);
    return y * (1.5f - 0.5f * x * y * y);
#else
    return 1.0f / lanes_sqrt(x);
#endif
}

/* 1/x for |x| in [1e-30, 1e37]; beyond that up to the largest float it tends to 0. */
LANES_FN lanes lanes_reciprocal(lanes x)
{
#ifdef __CUDA_ARCH__
    lanes y;
    LANES_NATIVE("rcp", y, x);
    return y;
#elif LANES == 16
    lanes y = (lanes)_mm512_rcp14_ps((__m512)x);
    return y * (2.0f - x * y);
#elif LANES == 8
    lanes y = (lanes)_mm256_rcp_ps((__m256)x);
    return y * (2.0f - x * y);
#else
    return 1.0f / x;
#endif
}

/* x is taken within [-87.3, 88]. 2^n · 2^f with n whole and |f| <= 1/2: adding 1.5·2^23 rounds to n
 * and leaves it in the low bits. The polynomial is the Chebyshev interpolant of 2^f. */
LANES_FN lanes lanes_exp(lanes x)
{
    const float log2e = 1.44269504f;
    x = lanes_clamp(x, -87.3f, 88.0f);
#ifdef __CUDA_ARCH__
    lanes y;
    LANES_NATIVE("ex2", y, x * log2e);
    return y;
#else
    const float magic = 12582912.0f;
    lanes shifted = x * log2e + magic;
    lanes f = x * log2e - (shifted - magic);
    lanes y = 1.33908634e-3f * f + 9.67603192e-3f;
    y = y * f + 5.55035711e-2f;
    y = y * f + 2.40221075e-1f;
    y = y * f + 6.93147188e-1f;
    y = y * f + 1.0f;
    return lanes_from_bits(lanes_bits(y) + lanes_shift_left(lanes_bits(shifted), 23));
#endif
}

LANES_FN lanes lanes_sigmoid(lanes x) { return lanes_reciprocal(1.0f + lanes_exp(-x)); }

LANES_FN lanes lanes_tanh(lanes x)
{
    return 1.0f - 2.0f * lanes_reciprocal(1.0f + lanes_exp(2.0f * x));
}

/* log of y = 2^e·(1 + f) with 1 + f in [√½, √2]: e·log 2 + 2·artanh(f / (2 + f)). */
LANES_FN lanes lanes_log_parts(lanes exponent, lanes f)
{
    lanes s = f * lanes_reciprocal(2.0f + f);
    lanes z = s * s;
    lanes tail = (0.147901486f * z + 0.199943839f) * z + 0.333333426f;
    return exponent * 0.693147181f + 2.0f * (s + s * z * tail);
}

/* e as an integer; *f is set. y is a normal number > 0. */
LANES_FN lanes_int lanes_split(lanes y, lanes *f)
{
    lanes_int bits = lanes_bits(y);
    lanes_int e = (bits - 0x3f3504f3) >> 23;
    *f = lanes_from_bits(bits - lanes_shift_left(e, 23)) - 1.0f;
    return e;
}

LANES_FN lanes lanes_log(lanes x)
{
    lanes f, exponent = lanes_from_int(lanes_split(x, &f));
    return lanes_log_parts(exponent, f);
}

/* log(1 + x), x >= 0; f is x itself, to full precision, where 1 + x is near 1. */
LANES_FN lanes lanes_log1p(lanes x)
{
    lanes f, exponent = lanes_from_int(lanes_split(1.0f + x, &f));
    f = lanes_if_less(exponent, lanes_set(0.5f), x, f);
    return lanes_log_parts(exponent, f);
}

/* |x| <= 1e18. log1p(|x| + x² / (1 + √(1 + x²))) keeps small x exact. */
LANES_FN lanes lanes_asinh(lanes x)
{
    lanes magnitude = lanes_abs(x), square = x * x;
    lanes root = (1.0f + square) * lanes_rsqrt(1.0f + square);
    lanes y = lanes_log1p(magnitude + square * lanes_reciprocal(1.0f + root));
    return lanes_with_sign(y, x);
}

/* Sum of the lanes, in a fixed order. */
LANES_FN double lanes_sum(lanes x)
{
#if LANES == 1
    return x;
#else
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
#endif
}

#endif
