/* Steps, and the mean of some losses in the last tenth of them, for several lengths of one run. */
#include "meta/trial.h"

#include <math.h>
#include <stdlib.h>

#include "hrnn/rule_hrnn.h"

/* As in a comparison of networks: a start may be a lucky one, and not to learn is not to
 * diverge. */
static const double DIVERGED_ABOVE = 1.5;
enum { STOP_EVERY = 256 };

typedef struct {
    problem *problem;
    optimizer *opt;
    float *x, *gradient; /* [problem->n] */
} instance;

static void release(instance *i)
{
    opt_free(i->opt);
    problem_free(i->problem);
    free(i->x);
    free(i->gradient);
}

static opt_status make_optimizer(instance *i, const trial *t, opt_error *error)
{
    const problem *p = i->problem;
    opt_tensor *tensors = problem_opt_tensors(p, i->x, i->gradient, error);
    if (!tensors) return OPT_NO_MEMORY;
    opt_error own = {0};
    i->opt = opt_create_from(&t->optimizer, t->model, tensors, p->n_tensors, &own);
    free(tensors);
    return i->opt ? OPT_OK : opt_fail(error, own.status, "%s", own.message);
}

static opt_status start(instance *i, const trial *t, opt_error *error)
{
    opt_error own = {0};
    if (!(i->problem = problem_create(t->spec, t->seed, t->images, &own)))
        return opt_fail(error, own.status, "%s", own.message);
    i->x = problem_floats(i->problem->n, error);
    i->gradient = problem_floats(i->problem->n, error);
    if (!i->x || !i->gradient) return OPT_NO_MEMORY;
    problem_start(i->problem, i->x);
    return make_optimizer(i, t, error);
}

/* The loss at the true parameters; infinite when it or one of them is not finite. */
static double measure(instance *i)
{
    opt_show_true(i->opt);
    double loss = problem_loss(i->problem, i->x);
    for (size_t k = 0; k < i->problem->n; k++)
        if (!isfinite(i->x[k])) loss = INFINITY;
    opt_show_attended(i->opt);
    return isfinite(loss) ? loss : (double)INFINITY;
}

/* Measurements for a final loss after `steps` steps, and whether one is after `step`. */
static uint64_t measures_of(uint64_t steps, uint64_t *tenth)
{
    *tenth = (steps + 9) / 10;
    return *tenth < TRIAL_MEASURES ? *tenth : TRIAL_MEASURES;
}

static int is_measured(uint64_t steps, uint64_t step)
{
    uint64_t tenth;
    const uint64_t n = measures_of(steps, &tenth), before = steps - step;
    if (step > steps || before >= tenth) return 0;
    const uint64_t which = (before * n + tenth - 1) / tenth;
    return which < n && which * tenth / n == before;
}

static opt_status run(const trial *t, int (*stop)(void *context), void *context,
                      trial_result *result, opt_error *error)
{
    instance i = {0};
    uint64_t tenth, step = 0;
    int dead;
    *result = (trial_result){0};
    const opt_status status = start(&i, t, error);
    if (status) goto end;
    opt_set_horizon(i.opt, t->steps[t->marks - 1]);
    result->start = problem_loss(i.problem, i.x);
    double batch = problem_gradient(i.problem, i.x, 0, i.gradient);
    dead = !isfinite(result->start) || !isfinite(batch);
    while (!dead && step < t->steps[t->marks - 1]) {
        if (stop && step % STOP_EVERY == 0 && stop(context)) goto end;
        opt_step(i.opt, (float)batch, 1, NULL);
        step++;
        for (int k = 0; k < t->marks && !dead; k++) {
            if (!is_measured(t->steps[k], step)) continue;
            const double loss = measure(&i);
            dead = !isfinite(loss);
            result->loss[k] += loss / (double)measures_of(t->steps[k], &tenth);
        }
        if (dead) break;
        batch = problem_gradient(i.problem, i.x, step, i.gradient);
        dead = !isfinite(batch);
    }
    for (int k = 0; k < t->marks; k++)
        if (dead && t->steps[k] >= step) result->loss[k] = INFINITY;
    result->complete = 1;
end:
    release(&i);
    return status;
}

opt_status trial_run(const trial *t, int (*stop)(void *context), void *context,
                     trial_result *result, opt_error *error)
{
    if (!t->model || !hrnn_has_outlook(t->model)) return run(t, stop, context, result, error);
    trial_result one = {.complete = 1};
    *result = (trial_result){0};
    for (int k = 0; k < t->marks && one.complete; k++) {
        trial alone = *t;
        alone.marks = 1;
        alone.steps[0] = t->steps[k];
        const opt_status status = run(&alone, stop, context, &one, error);
        if (status) return status;
        result->start = one.start;
        result->loss[k] = one.loss[0];
    }
    result->complete = one.complete;
    return OPT_OK;
}

int trial_diverged(double start, double loss)
{
    return !isfinite(loss) || loss > DIVERGED_ABOVE * start;
}
