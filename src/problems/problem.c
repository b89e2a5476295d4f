/* What all problems have in common: their arrays, checks of a spec, the dispatch to the family,
 * and their tensors as an optimizer takes them. */
#include "problems/problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *problem_allocate(size_t size, const problem_ops *ops, uint64_t seed, int n_tensors,
                       const char *const *names, const size_t *n, opt_error *error)
{
    problem *p = calloc(1, size);
    problem_tensor *tensors = calloc((size_t)n_tensors, sizeof *tensors);
    if (!p || !tensors) {
        free(p);
        free(tensors);
        opt_fail(error, OPT_NO_MEMORY, "no memory for a problem of %d tensors", n_tensors);
        return NULL;
    }
    p->ops = ops;
    p->seed = seed;
    p->tensors = tensors;
    p->n_tensors = n_tensors;
    for (int k = 0; k < n_tensors; k++) {
        snprintf(tensors[k].name, sizeof tensors[k].name, "%s", names ? names[k] : "x");
        tensors[k].offset = p->n;
        tensors[k].n = n[k];
        p->n += n[k];
    }
    return p;
}

float *problem_floats(size_t count, opt_error *error)
{
    enum { ALIGN = 64 };
    float *x = NULL;
    if (count < PTRDIFF_MAX / sizeof *x - ALIGN) {
        const size_t bytes = (count * sizeof *x / ALIGN + 1) * ALIGN;
        x = aligned_alloc(ALIGN, bytes);
        if (x) memset(x, 0, bytes);
    }
    if (!x) opt_fail(error, OPT_NO_MEMORY, "no memory for %zu floats of a problem", count);
    return x;
}

bool problem_check(const char *what, double value, double low, double high, opt_error *error)
{
    if (value >= low && value <= high) return true;
    opt_fail(error, OPT_BAD_OPTION, "%s is %g, expected %g to %g", what, value, low, high);
    return false;
}

problem *problem_create(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    return spec->family(spec, seed, images, error);
}

void problem_free(problem *p)
{
    if (!p) return;
    if (p->ops->free) p->ops->free(p);
    free(p->tensors);
    free(p);
}

void problem_start(problem *p, float *x) { p->ops->start(p, x); }

double problem_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    return p->ops->gradient(p, x, t, g);
}

bool problem_has_hvp(const problem *p) { return p->ops->hvp != NULL; }

bool problem_has_full_loss(const problem *p) { return p->ops->full_gradient != NULL; }

void problem_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv)
{
    p->ops->hvp(p, x, t, v, hv);
}

double problem_full_loss(problem *p, const float *x) { return p->ops->full_gradient(p, x, NULL); }

double problem_full_gradient(problem *p, const float *x, float *g)
{
    return p->ops->full_gradient(p, x, g);
}

double problem_loss(problem *p, const float *x)
{
    return problem_has_full_loss(p) ? problem_full_loss(p, x) : problem_gradient(p, x, 0, NULL);
}

opt_tensor *problem_opt_tensors(const problem *p, float *x, float *g, opt_error *error)
{
    opt_tensor *tensors = calloc((size_t)p->n_tensors, sizeof *tensors);
    if (!tensors) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for %d tensors", p->n_tensors);
        return NULL;
    }
    for (int k = 0; k < p->n_tensors; k++) {
        const problem_tensor *t = &p->tensors[k];
        tensors[k] = (opt_tensor){t->name, x + t->offset, g + t->offset, t->n, 1, t->l2, 1};
    }
    return tensors;
}
