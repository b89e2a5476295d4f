/* The dependency chain and the min-max well: few parameters have a gradient that matters, in
 * double. */
#include <math.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"

static const double CHAIN_EPS = 1e-6, WELL_EPS = 1e-12;

static void normal_start(problem *p, float *x)
{
    random_stream stream = draw_stream(p->seed, STREAM_INIT, 1);
    draw_normals(&stream, x, p->n, 1);
}

/* The terms of the chain are b²/d with d = a² + ε, a = x_i, b = x_{i+1}. */
static double chain_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    (void)t;
    double f = (double)x[0] * x[0], carried = 2.0 * x[0]; /* derivative in x_i so far */
    for (size_t i = 0; i + 1 < p->n; i++) {
        const double a = x[i], b = x[i + 1], d = a * a + CHAIN_EPS;
        f += b * b / d;
        if (g) g[i] = (float)(carried - 2 * a * b * b / (d * d));
        carried = 2 * b / d;
    }
    if (g) g[p->n - 1] = (float)carried;
    return f;
}

static void chain_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    (void)t;
    double carried = 2.0 * v[0];
    for (size_t i = 0; i + 1 < p->n; i++) {
        const double a = x[i], b = x[i + 1], d = a * a + CHAIN_EPS;
        const double aa = 2 * b * b * (3 * a * a - CHAIN_EPS) / (d * d * d),
                     ab = -4 * a * b / (d * d);
        hv[i] = (float)(carried + aa * v[i] + ab * v[i + 1]);
        carried = ab * v[i] + 2 / d * v[i + 1];
    }
    hv[p->n - 1] = (float)carried;
}

static double chain_full_gradient(problem *p, const float *x, float *g)
{
    return chain_gradient(p, x, 0, g);
}

/* The parameters of least and greatest magnitude; the first of equals. */
static void find_extremes(const problem *p, const float *x, size_t *least, size_t *greatest)
{
    *least = *greatest = 0;
    for (size_t i = 1; i < p->n; i++) {
        if (fabsf(x[i]) < fabsf(x[*least])) *least = i;
        if (fabsf(x[i]) > fabsf(x[*greatest])) *greatest = i;
    }
}

static double well_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    size_t least, greatest;
    (void)t;
    find_extremes(p, x, &least, &greatest);
    const double low = x[least], high = x[greatest];
    if (g) {
        memset(g, 0, p->n * sizeof *g);
        g[greatest] = (float)(2 * high);
        g[least] += (float)(-2 / (low * low * low));
    }
    return high * high + 1 / (low * low) - 2 + WELL_EPS;
}

static void well_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    size_t least, greatest;
    (void)t;
    find_extremes(p, x, &least, &greatest);
    const double square = (double)x[least] * x[least];
    memset(hv, 0, p->n * sizeof *hv);
    hv[greatest] = 2 * v[greatest];
    hv[least] += (float)(6 * v[least] / (square * square));
}

static double well_full_gradient(problem *p, const float *x, float *g)
{
    return well_gradient(p, x, 0, g);
}

static problem *make(const problem_spec *spec, uint64_t seed, const problem_ops *ops,
                     opt_error *error)
{
    if (!problem_check("the dimension of a problem", spec->dimension, 1, 1 << 24, error))
        return NULL;
    const size_t n = (size_t)spec->dimension;
    return problem_allocate(sizeof(problem), ops, seed, 1, NULL, &n, error);
}

problem *chain_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                       opt_error *error)
{
    static const problem_ops ops = {normal_start, chain_gradient, chain_hvp, chain_full_gradient,
                                    NULL};
    (void)images;
    return make(spec, seed, &ops, error);
}

problem *well_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                      opt_error *error)
{
    static const problem_ops ops = {normal_start, well_gradient, well_hvp, well_full_gradient,
                                    NULL};
    (void)images;
    return make(spec, seed, &ops, error);
}
