/* The updates of sgd, adam and rmsprop for one entry, one text for C and CUDA: g is a finite
 * gradient, rate has the step's ratio and the tensor's scale in it. The equations are in
 * rule_*.c. */
#ifndef MOMENTS_RULES_H
#define MOMENTS_RULES_H

#include <float.h>
#include <math.h>

#ifdef __CUDACC__
#define MOMENTS_FN static __device__ __forceinline__
#else
#define MOMENTS_FN static inline
#endif

typedef struct {
    float momentum;
} sgd_constants;

typedef struct {
    float beta1, beta2, eps;
    float correct1, correct2; /* 1 / (1 - beta^t) */
} adam_constants;

typedef struct {
    float beta2, eps;
} rmsprop_constants;

/* The gradient that enters the update, and whether it is finite; one that is not must be taken as
 * 0. */
MOMENTS_FN int moments_gradient(float grad_scale, float l2, float grad, float param, float *g)
{
    *g = grad_scale * grad + l2 * param;
    return fabsf(*g) <= FLT_MAX;
}

/* g, but never so large that a rule's mean of g * g becomes infinite: that would stop the parameter
 * for good. */
MOMENTS_FN float moments_bounded(float g)
{
    const float most = 1e19f;
    g = g < most ? g : most;
    return g > -most ? g : -most;
}

MOMENTS_FN void sgd_entry(const sgd_constants *c, float rate, float g, float *param, float *v)
{
    *v = c->momentum * *v + g;
    *param -= rate * *v;
}

MOMENTS_FN void adam_entry(const adam_constants *c, float rate, float g, float *param, float *m,
                           float *v)
{
    const float bounded = moments_bounded(g);
    *m = c->beta1 * *m + (1 - c->beta1) * bounded;
    *v = c->beta2 * *v + (1 - c->beta2) * bounded * bounded;
    *param -= rate * c->correct1 * *m / (sqrtf(*v * c->correct2) + c->eps);
}

MOMENTS_FN void rmsprop_entry(const rmsprop_constants *c, float rate, float g, float *param,
                              float *v)
{
    const float bounded = moments_bounded(g);
    *v = c->beta2 * *v + (1 - c->beta2) * bounded * bounded;
    *param -= rate * bounded / (sqrtf(*v) + c->eps);
}

#endif
