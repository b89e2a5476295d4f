/* Problems made of others: gradient noise, sparse gradients, rescaled parameters, the logarithm of
 * the objective, sums, mixtures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"

static const double LOG_EPS = 1e-6;

typedef struct {
    problem base;
    problem_ops ops; /* base.ops: those of the family that all parts have too */
    problem **parts; /* [n_parts] */
    int n_parts;
    double amount;  /* noise, sparse */
    float *inverse; /* [n] rescale: 1/s of every parameter */
    float *here;    /* [n] scratch: x, or v, as the part sees it */
} wrapper;

static wrapper *as_wrapper(problem *p) { return (wrapper *)p; }

static problem *part_of(problem *p) { return as_wrapper(p)->parts[0]; }

static void wrapper_start(problem *p, float *x) { problem_start(part_of(p), x); }

static double wrapper_full_gradient(problem *p, const float *x, float *g)
{
    return problem_full_gradient(part_of(p), x, g);
}

static void wrapper_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    problem_hvp(part_of(p), x, t, v, hv);
}

static void wrapper_free(problem *p)
{
    wrapper *w = as_wrapper(p);
    if (w->parts)
        for (int i = 0; i < w->n_parts; i++) problem_free(w->parts[i]);
    free(w->parts);
    free(w->inverse);
    free(w->here);
}

/* --- noise --- */

static double noise_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    wrapper *w = as_wrapper(p);
    const double f = problem_gradient(part_of(p), x, t, g);
    if (g) {
        random_stream stream = draw_stream(p->seed, STREAM_NETWORK, t);
        draw_normals(&stream, w->here, p->n, (float)w->amount);
        for (size_t i = 0; i < p->n; i++) g[i] += w->here[i];
    }
    return f;
}

/* --- sparse --- */

/* The entries that step t leaves, gaps drawn from the geometric distribution: calls for few
 * numbers. */
static size_t next_kept(const wrapper *w, random_stream *stream, size_t from)
{
    const double u = (random_stream_u32(stream) + 0.5) * 0x1p-32; /* in (0, 1) */
    const double gap = floor(log(u) / log(w->amount));
    return gap < (double)(w->base.n - from) ? from + (size_t)gap : w->base.n;
}

/* out = mask of step t ∘ in; out and in may be the same. */
static void apply_mask(const wrapper *w, uint64_t t, const float *in, float *out)
{
    const size_t n = w->base.n;
    random_stream stream = draw_stream(w->base.seed, STREAM_AUGMENT, t);
    size_t i = 0;
    while (i < n) {
        const size_t kept = w->amount > 0 ? next_kept(w, &stream, i) : i;
        memset(out + i, 0, (kept - i) * sizeof *out);
        if (kept < n) out[kept] = in[kept];
        i = kept + 1;
    }
}

static double sparse_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    const double f = problem_gradient(part_of(p), x, t, g);
    if (g) apply_mask(as_wrapper(p), t, g, g);
    return f;
}

static void sparse_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    wrapper *w = as_wrapper(p);
    apply_mask(w, t, v, w->here);
    problem_hvp(part_of(p), x, t, w->here, hv);
}

/* --- rescale --- */

static const float *unscaled(const wrapper *w, const float *x)
{
    for (size_t i = 0; i < w->base.n; i++) w->here[i] = x[i] * w->inverse[i];
    return w->here;
}

static void rescale_start(problem *p, float *x)
{
    const wrapper *w = as_wrapper(p);
    problem_start(part_of(p), x);
    for (size_t i = 0; i < p->n; i++) x[i] /= w->inverse[i];
}

/* From that of the part; g may be NULL. */
static void rescale(const wrapper *w, float *g)
{
    if (g)
        for (size_t i = 0; i < w->base.n; i++) g[i] *= w->inverse[i];
}

static double rescale_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    const double f = problem_gradient(part_of(p), unscaled(as_wrapper(p), x), t, g);
    rescale(as_wrapper(p), g);
    return f;
}

static void rescale_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    const wrapper *w = as_wrapper(p);
    float *scaled_v = w->here + p->n;
    for (size_t i = 0; i < p->n; i++) scaled_v[i] = v[i] * w->inverse[i];
    problem_hvp(part_of(p), unscaled(w, x), t, scaled_v, hv);
    for (size_t i = 0; i < p->n; i++) hv[i] *= w->inverse[i];
}

static double rescale_full_gradient(problem *p, const float *x, float *g)
{
    const double f = problem_full_gradient(part_of(p), unscaled(as_wrapper(p), x), g);
    rescale(as_wrapper(p), g);
    return f;
}

static void draw_scales(wrapper *w, const problem_spec *spec, random_stream *stream)
{
    const problem *p = &w->base;
    double scale = draw_log_uniform(stream, spec->low, spec->high);
    for (int k = 0; k < p->n_tensors; k++) {
        problem_tensor *tensor = &p->tensors[k];
        double square = 0;
        if (k > 0 && spec->mode == SCALE_TENSOR)
            scale = draw_log_uniform(stream, spec->low, spec->high);
        for (size_t i = 0; i < tensor->n; i++) {
            if (spec->mode == SCALE_PARAMETER)
                scale = draw_log_uniform(stream, spec->low, spec->high);
            w->inverse[tensor->offset + i] = (float)(1 / scale);
            square += 1 / (scale * scale);
        }
        tensor->l2 *= (float)(square / (double)tensor->n); /* the decay of x/s; of mixed s: about */
    }
}

/* --- log --- */

/* Of the part's value, and the gradient from the part's (g NULL: not wanted). */
static double log_of(double f, float *g, size_t n)
{
    if (g)
        for (size_t i = 0; i < n; i++) g[i] = (float)(g[i] / (f + LOG_EPS));
    return log(f + LOG_EPS) - log(LOG_EPS);
}

static double log_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    return log_of(problem_gradient(part_of(p), x, t, g), g, p->n);
}

/* Hv/(f + ε) − ∇f (∇f·v)/(f + ε)² */
static void log_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    wrapper *w = as_wrapper(p);
    const double f = problem_gradient(part_of(p), x, t, w->here) + LOG_EPS;
    double along = 0;
    for (size_t i = 0; i < p->n; i++) along += (double)w->here[i] * v[i];
    problem_hvp(part_of(p), x, t, v, hv);
    for (size_t i = 0; i < p->n; i++) hv[i] = (float)((hv[i] - w->here[i] * along / f) / f);
}

static double log_full_gradient(problem *p, const float *x, float *g)
{
    return log_of(problem_full_gradient(part_of(p), x, g), g, p->n);
}

/* --- sum --- */

static void sum_start(problem *p, float *x)
{
    const wrapper *w = as_wrapper(p);
    for (int i = 0; i < w->n_parts; x += w->parts[i++]->n) problem_start(w->parts[i], x);
}

static double sum_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    const wrapper *w = as_wrapper(p);
    double f = 0;
    size_t at = 0;
    for (int i = 0; i < w->n_parts; at += w->parts[i++]->n)
        f += problem_gradient(w->parts[i], x + at, t, g ? g + at : NULL);
    return f;
}

static void sum_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    const wrapper *w = as_wrapper(p);
    size_t at = 0;
    for (int i = 0; i < w->n_parts; at += w->parts[i++]->n)
        problem_hvp(w->parts[i], x + at, t, v + at, hv + at);
}

static double sum_full_gradient(problem *p, const float *x, float *g)
{
    const wrapper *w = as_wrapper(p);
    double f = 0;
    size_t at = 0;
    for (int i = 0; i < w->n_parts; at += w->parts[i++]->n)
        f += problem_full_gradient(w->parts[i], x + at, g ? g + at : NULL);
    return f;
}

/* --- making them --- */

static void free_parts(problem **parts, int n)
{
    for (int i = 0; parts && i < n; i++) problem_free(parts[i]);
    free(parts);
}

static problem **make_parts(const problem_spec *spec, random_stream *stream,
                            const image_data *images, opt_error *error)
{
    problem **parts = calloc((size_t)spec->n_parts, sizeof(*parts));
    if (!parts) opt_fail(error, OPT_NO_MEMORY, "no memory for %d problems", spec->n_parts);
    for (int i = 0; parts && i < spec->n_parts; i++) {
        parts[i] = problem_create(&spec->parts[i], draw_seed(stream), images, error);
        if (!parts[i]) {
            free_parts(parts, i);
            return NULL;
        }
    }
    return parts;
}

/* The tensors of all parts; those of part i of several are called "i.name". */
static wrapper *wrap(problem **parts, int n_parts, const problem_ops *ops, uint64_t seed,
                     opt_error *error)
{
    int n_tensors = 0;
    for (int i = 0; i < n_parts; i++) n_tensors += parts[i]->n_tensors;
    size_t *sizes = calloc((size_t)n_tensors, sizeof *sizes);
    wrapper *w = NULL;
    if (!sizes) opt_fail(error, OPT_NO_MEMORY, "no memory for %d tensors", n_tensors);
    for (int i = 0, k = 0; sizes && i < n_parts; i++)
        for (int j = 0; j < parts[i]->n_tensors; j++) sizes[k++] = parts[i]->tensors[j].n;
    if (sizes) w = problem_allocate(sizeof *w, ops, seed, n_tensors, NULL, sizes, error);
    free(sizes);
    if (!w) return NULL;
    w->ops = *ops;
    w->base.ops = &w->ops;
    for (int i = 0, k = 0; i < n_parts; i++) {
        if (!problem_has_hvp(parts[i])) w->ops.hvp = NULL;
        if (!problem_has_full_loss(parts[i])) w->ops.full_gradient = NULL;
        for (int j = 0; j < parts[i]->n_tensors; j++, k++) {
            char *name = w->base.tensors[k].name;
            w->base.tensors[k].l2 = parts[i]->tensors[j].l2;
            const size_t size = sizeof w->base.tensors[k].name;
            const char *inner = parts[i]->tensors[j].name;
            const int length = n_parts > 1 ? snprintf(name, size, "%d.%s", i, inner)
                                           : snprintf(name, size, "%s", inner);
            if (length >= (int)size) { /* unique all the same */
                snprintf(name, size, "tensor %d", k);
            }
        }
    }
    return w;
}

/* A wrapper around all parts of spec; only_one: they must be one. */
static wrapper *make(const problem_spec *spec, uint64_t seed, const image_data *images,
                     const problem_ops *ops, bool only_one, random_stream *stream, opt_error *error)
{
    if (!problem_check("the number of parts of a problem", spec->n_parts, 1, only_one ? 1 : 1024,
                       error))
        return NULL;
    *stream = draw_stream(seed, STREAM_INIT, 0);
    problem **parts = make_parts(spec, stream, images, error);
    if (!parts) return NULL;
    wrapper *w = wrap(parts, spec->n_parts, ops, seed, error);
    if (!w) {
        free_parts(parts, spec->n_parts);
        return NULL;
    }
    w->parts = parts;
    w->n_parts = spec->n_parts;
    w->amount = spec->amount;
    w->here = problem_floats(2 * w->base.n, error);
    if (w->here) return w;
    problem_free(&w->base);
    return NULL;
}

problem *noise_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                       opt_error *error)
{
    static const problem_ops ops = {wrapper_start, noise_gradient, wrapper_hvp,
                                    wrapper_full_gradient, wrapper_free};
    random_stream stream;
    if (!problem_check("the noise of a gradient", spec->amount, 0, 1e6, error)) return NULL;
    return (problem *)make(spec, seed, images, &ops, true, &stream, error);
}

problem *sparse_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    static const problem_ops ops = {wrapper_start, sparse_gradient, sparse_hvp,
                                    wrapper_full_gradient, wrapper_free};
    random_stream stream;
    if (!problem_check("the probability of a zero", spec->amount, 0, 0.999999, error)) return NULL;
    return (problem *)make(spec, seed, images, &ops, true, &stream, error);
}

problem *rescale_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                         opt_error *error)
{
    static const problem_ops ops = {rescale_start, rescale_gradient, rescale_hvp,
                                    rescale_full_gradient, wrapper_free};
    random_stream stream;
    if (!problem_check("the least scale", spec->low, 1e-12, 1e12, error) ||
        !problem_check("the greatest scale", spec->high, spec->low, 1e12, error))
        return NULL;
    wrapper *w = make(spec, seed, images, &ops, true, &stream, error);
    if (!w) return NULL;
    w->inverse = problem_floats(w->base.n, error);
    if (!w->inverse) {
        problem_free(&w->base);
        return NULL;
    }
    draw_scales(w, spec, &stream);
    return &w->base;
}

problem *log_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                     opt_error *error)
{
    static const problem_ops ops = {wrapper_start, log_gradient, log_hvp, log_full_gradient,
                                    wrapper_free};
    random_stream stream;
    if (spec->n_parts > 0 &&
        (spec->parts[0].family == noise_problem || spec->parts[0].family == sparse_problem)) {
        opt_fail(error, OPT_BAD_OPTION,
                 "a log objective of noisy gradients, expected the noise around");
        return NULL;
    }
    return (problem *)make(spec, seed, images, &ops, true, &stream, error);
}

problem *sum_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                     opt_error *error)
{
    static const problem_ops ops = {sum_start, sum_gradient, sum_hvp, sum_full_gradient,
                                    wrapper_free};
    random_stream stream;
    return (problem *)make(spec, seed, images, &ops, false, &stream, error);
}

problem *mixture_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                         opt_error *error)
{
    if (!problem_check("the number of parts of a problem", spec->n_parts, 1, 1024, error))
        return NULL;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    const uint32_t chosen = draw_below(&stream, (uint32_t)spec->n_parts);
    return problem_create(&spec->parts[chosen], draw_seed(&stream), images, error);
}
