/* Functions of the residual r = Wx − y of a random square linear system. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"
#include "problems/vectors.h"

static const double NORM_EPS = 1e-6;
enum { MAX_DIMENSION = 16384 };

typedef struct {
    problem base;
    double power;
    float *w;     /* [n][n] */
    float *y, *r; /* [n] each; r is scratch */
} linear_system;

/* r = Wx − y, or Wx without y. */
static void residual(const linear_system *p, const float *x, const float *y, float *r)
{
    const size_t n = p->base.n;
    for (size_t i = 0; i < n; i++) r[i] = (float)(vector_dot(p->w + i * n, x, n) - (y ? y[i] : 0));
}

/* out = Wᵀ r */
static void transposed_product(const linear_system *p, const float *r, float *out)
{
    const size_t n = p->base.n;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++) vector_add(out, r[i], p->w + i * n, n);
}

static void linear_start(problem *base, float *x)
{
    random_stream stream = draw_stream(base->seed, STREAM_INIT, 1);
    draw_normals(&stream, x, base->n, 1);
}

static void linear_free(problem *base) { free(((linear_system *)base)->w); }

static double quadratic_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    linear_system *p = (linear_system *)base;
    (void)t;
    residual(p, x, p->y, p->r);
    if (g) transposed_product(p, p->r, g);
    return 0.5 * vector_dot(p->r, p->r, base->n);
}

static void quadratic_hvp(problem *base, const float *x, uint64_t t, const float *v, float *hv)
{
    linear_system *p = (linear_system *)base;
    (void)x, (void)t;
    residual(p, v, NULL, p->r);
    transposed_product(p, p->r, hv);
}

static double quadratic_full_gradient(problem *base, const float *x, float *g)
{
    return quadratic_gradient(base, x, 0, g);
}

/* Replaces r by c_i = q_i^(p-1) sign(r_i), q_i = |r_i| + ε; returns S = Σ q_i^p. */
static double norm_parts(const linear_system *p, float *r)
{
    double sum = 0;
    for (size_t i = 0; i < p->base.n; i++) {
        const double q = fabs((double)r[i]) + NORM_EPS, c = pow(q, p->power - 1);
        sum += q * c;
        r[i] = (float)copysign(c, (double)r[i]);
    }
    return sum;
}

static double norm_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    linear_system *p = (linear_system *)base;
    (void)t;
    residual(p, x, p->y, p->r);
    const double sum = norm_parts(p, p->r);
    if (g) {
        const double scale = pow(sum, 1 / p->power - 1);
        for (size_t i = 0; i < base->n; i++) p->r[i] = (float)(p->r[i] * scale);
        transposed_product(p, p->r, g);
    }
    return pow(sum, 1 / p->power);
}

/* In r: (p−1) S^(1/p−1) diag(q^(p−2)) + (1−p) S^(1/p−2) c cᵀ. */
static void norm_hvp(problem *base, const float *x, uint64_t t, const float *v, float *hv)
{
    linear_system *p = (linear_system *)base;
    (void)t;
    const size_t n = base->n;
    float *u = hv; /* until the last product, which needs a copy */
    residual(p, x, p->y, p->r);
    const double sum = norm_parts(p, p->r);
    residual(p, v, NULL, u);
    const double along = vector_dot(p->r, u, n), power = p->power;
    const double diagonal = (power - 1) * pow(sum, 1 / power - 1);
    const double outer = (1 - power) * pow(sum, 1 / power - 2) * along;
    for (size_t i = 0; i < n; i++) {
        const double c = p->r[i];
        const double q_power = power == 1 ? 0 : pow(fabs(c), (power - 2) / (power - 1));
        p->r[i] = (float)(diagonal * q_power * u[i] + outer * c);
    }
    transposed_product(p, p->r, hv);
}

static double norm_full_gradient(problem *base, const float *x, float *g)
{
    return norm_gradient(base, x, 0, g);
}

static problem *make(const problem_spec *spec, uint64_t seed, const problem_ops *ops,
                     opt_error *error)
{
    if (!problem_check("the dimension of a quadratic", spec->dimension, 1, MAX_DIMENSION, error))
        return NULL;
    const size_t n = (size_t)spec->dimension;
    linear_system *p = problem_allocate(sizeof *p, ops, seed, 1, NULL, &n, error);
    if (!p) return NULL;
    p->power = spec->power;
    p->w = problem_floats(n * n + 2 * n, error);
    if (!p->w) {
        problem_free(&p->base);
        return NULL;
    }
    p->y = p->w + n * n;
    p->r = p->y + n;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    draw_normals(&stream, p->w, n * n + n, 1);
    return &p->base;
}

problem *quadratic_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                           opt_error *error)
{
    static const problem_ops ops = {linear_start, quadratic_gradient, quadratic_hvp,
                                    quadratic_full_gradient, linear_free};
    (void)images;
    return make(spec, seed, &ops, error);
}

problem *norm_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                      opt_error *error)
{
    static const problem_ops ops = {linear_start, norm_gradient, norm_hvp, norm_full_gradient,
                                    linear_free};
    (void)images;
    if (!problem_check("the power of a norm", spec->power, 1, 100, error)) return NULL;
    return make(spec, seed, &ops, error);
}
