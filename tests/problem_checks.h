/* Checks of a problem's derivatives. cmocka's headers come first.
 *
 * Along a segment from a to b = a + d the change of the objective must be the integral of g·d, and
 * the change of u·g the integral of (∂g/∂x)ᵀu·d. Simpson's rule takes the integrals; the segment is
 * halved until two of its grids agree, so a wrong derivative cannot hide in curvature, nor a right
 * one fail by it. The change must stand out of the rounding of floats to count. */
#ifndef PROBLEM_CHECKS_H
#define PROBLEM_CHECKS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"

typedef struct {
    problem *p;
    uint64_t t;
    int full;                      /* first derivatives are of the loss on all data */
    float *a, *b, *x, *g, *u, *hu; /* [n] */
    random_stream stream;
    int kinks;           /* how often a segment may be halved to leave a kink behind */
    int checked, strong; /* segments; those whose change stands out 300 times */
} prober;

static prober probe(problem *p, uint64_t seed)
{
    prober c = {.p = p, .t = seed, .stream = draw_stream(seed, STREAM_OTHER, 0)};
    float **const arrays[] = {&c.a, &c.b, &c.x, &c.g, &c.u, &c.hu};
    for (size_t i = 0; i < 6; i++) {
        *arrays[i] = calloc(p->n, sizeof(float));
        assert_non_null(*arrays[i]);
    }
    problem_start(p, c.a);
    return c;
}

static void end_probe(prober *c)
{
    float *const arrays[] = {c->a, c->b, c->x, c->g, c->u, c->hu};
    for (size_t i = 0; i < 6; i++) free(arrays[i]);
}

/* A value is a function of spec, seed, t and x: not of what was evaluated before. p and q are of
 * one spec and seed. */
static inline void check_reproducible(problem *p, problem *q)
{
    const size_t n = p->n, bytes = n * sizeof(float);
    assert_int_equal(q->n, n);
    float *x = malloc(bytes), *y = malloc(bytes), *g = malloc(bytes), *h = malloc(bytes);
    problem_start(p, x);
    problem_gradient(q, x, 5, h);
    problem_start(q, y);
    assert_memory_equal(x, y, bytes);
    const double loss = problem_full_loss(p, x), at3 = problem_gradient(p, x, 3, g);
    assert_true(isfinite(loss) && isfinite(at3));
    problem_gradient(q, x, 4, NULL);
    problem_full_loss(q, x);
    assert_true(problem_gradient(q, x, 3, NULL) == at3);
    assert_true(problem_gradient(q, x, 3, h) == at3);
    assert_memory_equal(g, h, bytes);
    assert_true(problem_full_loss(q, x) == loss);
    assert_true(problem_full_gradient(q, x, g) == loss);
    problem_gradient(p, x, 5, NULL);
    assert_true(problem_full_gradient(p, x, h) == loss);
    assert_memory_equal(g, h, bytes);
    problem_hvp(p, x, 3, x, g);
    problem_hvp(q, x, 4, x, h);
    problem_hvp(q, x, 3, x, h);
    assert_memory_equal(g, h, bytes);
    free(x), free(y), free(g), free(h);
}

static double probe_dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* b = a + step·(N(0,1)·rms of tensor k, in that tensor alone); few: in about 5 of its entries. */
static void aim(prober *c, int k, double step, uint64_t seed, int few)
{
    const problem_tensor *tensor = &c->p->tensors[k];
    random_stream stream = draw_stream(seed, STREAM_OTHER, 1);
    const float *from = c->a + tensor->offset;
    const double rms = sqrt(probe_dot(from, from, tensor->n) / (double)tensor->n);
    const double size = step * (rms > 1e-6 ? rms : 0.1);
    memcpy(c->b, c->a, c->p->n * sizeof(float));
    for (size_t i = 0; i < tensor->n; i++) {
        const float z = draw_normal(&stream);
        if (!few || draw_below(&stream, (uint32_t)tensor->n) < 5)
            c->b[tensor->offset + i] += (float)(size * z);
    }
}

/* Of f at x, the gradient in g. */
static double value_and_gradient(prober *c, const float *x)
{
    if (c->full) return problem_full_gradient(c->p, x, c->g);
    return problem_gradient(c->p, x, c->t, c->g);
}

/* The derivative along d at a + s·d: of f, or (second) of u·g. */
static double slope_at(prober *c, double s, int second)
{
    for (size_t i = 0; i < c->p->n; i++) c->x[i] = (float)((1 - s) * c->a[i] + s * c->b[i]);
    const float *slope = c->g;
    if (second) {
        problem_hvp(c->p, c->x, c->t, c->u, c->hu);
        slope = c->hu;
    } else {
        value_and_gradient(c, c->x);
    }
    return probe_dot(slope, c->b, c->p->n) - probe_dot(slope, c->a, c->p->n);
}

/* f or u·g at x; *size is what its rounding is relative to. */
static double value_at(prober *c, const float *x, int second, double *size)
{
    const double f = value_and_gradient(c, x);
    *size = fabs(f);
    if (!second) return f;
    double sum = 0;
    *size = 0;
    for (size_t i = 0; i < c->p->n; i++) {
        sum += (double)c->u[i] * c->g[i];
        *size += fabs((double)c->u[i] * c->g[i]);
    }
    return sum;
}

/* Simpson's rule over `panels` (even) and half of them; *rough is their difference, *total the
 * integral of the magnitude. */
static double integrate(prober *c, int second, double *rough, double *total)
{
    enum { PANELS = 8 };
    double at[PANELS + 1], fine = 0, coarse = 0;
    *total = 0;
    for (int i = 0; i <= PANELS; i++) {
        at[i] = slope_at(c, (double)i / PANELS, second);
        *total += fabs(at[i]) / (PANELS + 1);
    }
    for (int i = 0; i < PANELS; i += 2) fine += (at[i] + 4 * at[i + 1] + at[i + 2]) / (3 * PANELS);
    for (int i = 0; i < PANELS; i += 4)
        coarse += (at[i] + 4 * at[i + 2] + at[i + 4]) * 2 / (3 * PANELS);
    *rough = fabs(fine - coarse);
    return fine;
}

/* One segment in tensor k. A kink of the gradient inside it shows as a change that no Hessian
 * explains; where there may be kinks, the segment is halved that often more. */
static void check_segment(prober *c, int k, int second, int few, const char *name)
{
    const double TOLERANCE = 2e-3, ROUNDING = 5e-7;
    const uint64_t seed = draw_seed(&c->stream);
    draw_normals(&c->stream, c->u, c->p->n, 1);
    double step = 0.05, integral, rough, total, size_a, size_b;
    int kinks = c->kinks;
    for (int halvings = 0;; halvings++, step /= 2) {
        aim(c, k, step, seed, few);
        integral = integrate(c, second, &rough, &total);
        if (rough > 0.2 * TOLERANCE * total && halvings < 16) continue;
        const double from = value_at(c, c->a, second, &size_a);
        const double change = value_at(c, c->b, second, &size_b) - from;
        const double noise = ROUNDING * (size_a + size_b);
        if (fabs(change - integral) <= TOLERANCE * total + noise) {
            c->checked++;
            c->strong += total > 300 * noise;
            return;
        }
        if (kinks-- <= 0)
            fail_msg(
                "%s, %s: %s changes by %.8g, its derivative says %.8g within %.2g (rounding %.2g)",
                name, c->p->tensors[k].name, second ? "u·g" : "f", change, integral, rough, noise);
    }
}

/* Both derivatives (first: the gradient's too) at the start times `size`, tensor by tensor. */
__attribute__((unused)) static void check_derivatives_at(problem *p, double size, uint64_t seed,
                                                         int first, int kinks, const char *name,
                                                         int *checked, int *strong)
{
    prober c = probe(p, seed);
    c.kinks = kinks;
    for (size_t i = 0; i < p->n; i++) c.a[i] *= (float)size;
    for (int k = 0; k < p->n_tensors; k++)
        for (int few = 0; few < (p->tensors[k].n > 5 ? 2 : 1); few++) {
            if (first) check_segment(&c, k, 0, few, name);
            if (problem_has_hvp(p)) check_segment(&c, k, 1, few, name);
        }
    *checked += c.checked;
    *strong += c.strong;
    end_probe(&c);
}

/* The gradient on all data, in the same way; it has neither noise nor zeros. */
__attribute__((unused)) static void check_full_gradient(problem *p, uint64_t seed, int kinks,
                                                        const char *name, int *checked, int *strong)
{
    prober c = probe(p, seed);
    c.kinks = kinks;
    c.full = 1;
    for (int k = 0; k < p->n_tensors; k++) check_segment(&c, k, 0, 0, name);
    *checked += c.checked;
    *strong += c.strong;
    end_probe(&c);
}

__attribute__((unused)) static void check_derivatives(problem *p, uint64_t seed, int first,
                                                      int kinks, const char *name, int *checked,
                                                      int *strong)
{
    check_derivatives_at(p, 1, seed, first, kinks, name, checked, strong);
}

/* Whether the gradient is that of the objective: no noise and no zeros added. */
__attribute__((unused)) static int is_clean(const problem_spec *spec)
{
    if (spec->family == noise_problem && spec->amount > 0) return 0;
    if (spec->family == sparse_problem) return 0;
    for (int i = 0; i < spec->n_parts; i++)
        if (!is_clean(&spec->parts[i])) return 0;
    return 1;
}

#endif
