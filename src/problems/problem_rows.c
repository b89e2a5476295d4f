/* Objectives that are a sum over a batch of random rows r: the outward snake, the sum of
 * quadratics, the projection quadratic. Each needs of a batch only the sums c over its rows: of r
 * (the snake's r is binary, so r² = r too) or of r². Rows are drawn with replacement. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"
#include "problems/vectors.h"

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif
static const double SNAKE_EPS = 1e-6, QUADRATICS_EPS = 1e-12;

typedef enum { ROWS_BINARY, ROWS_SYMMETRIC, ROWS_SQUARED } row_kind;

typedef struct {
    problem base;
    int samples, batch;
    float *rows;      /* [samples][n] what is summed */
    float *all, *now; /* [n] sums over all rows, scaled to a batch; over the last batch */
} row_problem;

static void rows_start(problem *base, float *x)
{
    random_stream stream = draw_stream(base->seed, STREAM_INIT, 1);
    draw_normals(&stream, x, base->n, 1);
}

static void rows_free(problem *base) { free(((row_problem *)base)->rows); }

static const float *sum_batch(const row_problem *p, uint64_t t)
{
    const size_t n = p->base.n;
    random_stream stream = draw_stream(p->base.seed, STREAM_ORDER, t);
    memset(p->now, 0, n * sizeof *p->now);
    for (int b = 0; b < p->batch; b++)
        vector_add(p->now, 1, p->rows + n * draw_below(&stream, (uint32_t)p->samples), n);
    return p->now;
}

/* c₀/(‖x‖ + ε) + Σ c_{i+1} s_i², s_i = x_{i+1} − π cos x_i */
static double snake_at(const problem *p, const float *x, const float *c, float *g)
{
    const double radius = sqrt(vector_dot(x, x, p->n)), far = radius + SNAKE_EPS;
    const double pull = radius > 0 ? -c[0] / (far * far * radius) : 0;
    double f = c[0] / far, carried = pull * x[0];
    for (size_t i = 0; i + 1 < p->n; i++) {
        const double s = x[i + 1] - M_PI * cos((double)x[i]), slope = 2 * c[i + 1] * s;
        f += c[i + 1] * s * s;
        if (g) g[i] = (float)(carried + slope * M_PI * sin((double)x[i]));
        carried = pull * x[i + 1] + slope;
    }
    if (g) g[p->n - 1] = (float)carried;
    return f;
}

static double snake_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    return snake_at(p, x, sum_batch((row_problem *)p, t), g);
}

static void snake_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    const float *c = sum_batch((row_problem *)p, t);
    const double square = vector_dot(x, x, p->n), radius = sqrt(square), far = radius + SNAKE_EPS;
    const double around = radius > 0 ? -c[0] / (far * far * radius) : 0; /* h'/ρ, h = c₀/(ρ + ε) */
    const double along =
        radius > 0 ? (2 * c[0] / (far * far * far) - around) * vector_dot(x, v, p->n) / square : 0;
    for (size_t i = 0; i < p->n; i++) hv[i] = (float)(around * v[i] + along * x[i]);
    for (size_t i = 0; i + 1 < p->n; i++) {
        const double cosine = M_PI * cos((double)x[i]), sine = M_PI * sin((double)x[i]);
        const double s = x[i + 1] - cosine, ds = v[i + 1] + sine * v[i];
        hv[i] += (float)(2 * c[i + 1] * (sine * ds + s * cosine * v[i]));
        hv[i + 1] += (float)(2 * c[i + 1] * ds);
    }
}

static double snake_full_gradient(problem *p, const float *x, float *g)
{
    return snake_at(p, x, ((row_problem *)p)->all, g);
}

/* batch·‖x‖² − 2 x·c + ε */
static double quadratics_at(const row_problem *p, const float *x, const float *c, float *g)
{
    const size_t n = p->base.n;
    if (g)
        for (size_t i = 0; i < n; i++) g[i] = 2 * ((float)p->batch * x[i] - c[i]);
    return p->batch * vector_dot(x, x, n) - 2 * vector_dot(x, c, n) + QUADRATICS_EPS;
}

static double quadratics_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    const row_problem *p = (const row_problem *)base;
    return quadratics_at(p, x, sum_batch(p, t), g);
}

static void quadratics_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    (void)x, (void)t;
    for (size_t i = 0; i < p->n; i++) hv[i] = 2 * (float)((row_problem *)p)->batch * v[i];
}

static double quadratics_full_gradient(problem *base, const float *x, float *g)
{
    const row_problem *p = (const row_problem *)base;
    return quadratics_at(p, x, p->all, g);
}

/* Σ c_i x_i² */
static double projection_at(const problem *p, const float *x, const float *c, float *g)
{
    double f = 0;
    for (size_t i = 0; i < p->n; i++) {
        f += (double)c[i] * x[i] * x[i];
        if (g) g[i] = 2 * c[i] * x[i];
    }
    return f;
}

static double projection_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    return projection_at(p, x, sum_batch((row_problem *)p, t), g);
}

static void projection_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    const float *c = sum_batch((row_problem *)p, t);
    (void)x;
    for (size_t i = 0; i < p->n; i++) hv[i] = 2 * c[i] * v[i];
}

static double projection_full_gradient(problem *p, const float *x, float *g)
{
    return projection_at(p, x, ((row_problem *)p)->all, g);
}

/* Symmetric: the second half of the rows is minus the first, so that their sum is 0. */
static void draw_rows(row_problem *p, row_kind kind)
{
    const size_t n = p->base.n, half = (size_t)p->samples / 2, count = (size_t)p->samples * n;
    random_stream stream = draw_stream(p->base.seed, STREAM_INIT, 0);
    if (kind == ROWS_BINARY) {
        for (size_t i = 0; i < count; i++) p->rows[i] = (float)draw_below(&stream, 2);
    } else {
        draw_normals(&stream, p->rows, half * n, 1);
        for (size_t i = 0; i < half * n; i++) p->rows[half * n + i] = -p->rows[i];
    }
    if (kind == ROWS_SQUARED)
        for (size_t i = 0; i < count; i++) p->rows[i] *= p->rows[i];
    const float share = (float)p->batch / (float)p->samples;
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t row = 0; row < half; row++) /* a row and its mirror image: exactly 0 */
            sum += (double)p->rows[row * n + k] + p->rows[(half + row) * n + k];
        p->all[k] = share * (float)sum;
    }
}

static problem *make(const problem_spec *spec, uint64_t seed, const problem_ops *ops, row_kind kind,
                     opt_error *error)
{
    if (!problem_check("the dimension of a problem", spec->dimension, 2, 1 << 16, error) ||
        !problem_check("the batch of a problem", spec->batch, 1, 1 << 16, error) ||
        !problem_check("the samples of a problem", spec->samples, 2, 1 << 20, error) ||
        !problem_check("the remainder of the samples by 2", spec->samples % 2, 0, 0, error))
        return NULL;
    const size_t n = (size_t)spec->dimension, count = (size_t)spec->samples * n;
    row_problem *p = problem_allocate(sizeof *p, ops, seed, 1, NULL, &n, error);
    if (!p) return NULL;
    p->samples = spec->samples;
    p->batch = spec->batch;
    p->rows = problem_floats(count + 2 * n, error);
    if (!p->rows) {
        problem_free(&p->base);
        return NULL;
    }
    p->all = p->rows + count;
    p->now = p->all + n;
    draw_rows(p, kind);
    return &p->base;
}

problem *snake_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                       opt_error *error)
{
    static const problem_ops ops = {rows_start, snake_gradient, snake_hvp, snake_full_gradient,
                                    rows_free};
    (void)images;
    return make(spec, seed, &ops, ROWS_BINARY, error);
}

problem *quadratics_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                            opt_error *error)
{
    static const problem_ops ops = {rows_start, quadratics_gradient, quadratics_hvp,
                                    quadratics_full_gradient, rows_free};
    (void)images;
    return make(spec, seed, &ops, ROWS_SYMMETRIC, error);
}

problem *projection_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                            opt_error *error)
{
    static const problem_ops ops = {rows_start, projection_gradient, projection_hvp,
                                    projection_full_gradient, rows_free};
    (void)images;
    return make(spec, seed, &ops, ROWS_SQUARED, error);
}
