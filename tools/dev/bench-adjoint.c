/* Times the hrnn on a small task, one thread: nanoseconds a parameter and step of the step, of the
 * step with its recording, and of its adjoint. Minimum over the episodes. */
#include <argp.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "adjoint/hrnn_adjoint.h"
#include "base/lanes.h"
#include "hrnn/rule_hrnn.h"

/* An MLP of 68-20-20-10; and tensors that do not fit into the caches. */
enum { TENSORS = 6 };
static const struct {
    const char *name;
    int n;
    size_t sizes[TENSORS];
} nets[] = {{"small, 6 tensors", 6, {1360, 20, 400, 20, 200, 10}},
            {"medium, 4 tensors", 4, {10000, 10000, 10000, 10000}}};

typedef struct {
    const char *model;
    int steps, episodes;
} arguments;

typedef struct {
    hrnn_model *model;
    hrnn_adjoint *adjoint;
    opt_tensor tensors[TENSORS];
    int n;
    size_t params;
    float *param, *grad, *source, *cot, *meta_gradient;
} task;

static void fill(float *x, size_t n)
{
    unsigned seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float)(seed >> 8) / 8388608.0f - 1) * 1e-2f;
    }
}

static int make_task(task *t, size_t net, const char *model, opt_error *error)
{
    static const char *const names[TENSORS] = {"0", "1", "2", "3", "4", "5"};
    *t = (task){.n = nets[net].n};
    for (int k = 0; k < t->n; k++) t->params += nets[net].sizes[k];
    t->model = hrnn_model_load(model, error);
    t->adjoint = hrnn_adjoint_new(error);
    if (!t->model || !t->adjoint) return 0;
    t->param = calloc(t->params, sizeof *t->param);
    t->grad = calloc(t->params, sizeof *t->grad);
    t->source = calloc(t->params, sizeof *t->source);
    t->cot = calloc(t->params, sizeof *t->cot);
    t->meta_gradient = calloc(HRNN_META_PARAMS, sizeof *t->meta_gradient);
    if (!t->param || !t->grad || !t->source || !t->cot || !t->meta_gradient) {
        opt_fail(error, OPT_NO_MEMORY, "no memory");
        return 0;
    }
    fill(t->source, t->params);
    size_t first = 0;
    for (int k = 0; k < t->n; k++) {
        const size_t n = nets[net].sizes[k];
        t->tensors[k] = (opt_tensor){names[k], t->param + first, t->grad + first, n, 1, 0, 1};
        first += n;
    }
    return 1;
}

static void free_task(task *t)
{
    hrnn_adjoint_free(t->adjoint);
    hrnn_model_free(t->model);
    free(t->param);
    free(t->grad);
    free(t->source);
    free(t->cot);
    free(t->meta_gradient);
}

/* Seconds of each part of an episode: steps, recorded steps, their adjoint. */
static int time_episode(task *t, int steps, double took[3], opt_error *error)
{
    const opt_options options = opt_default_options("hrnn");
    optimizer *opt = opt_create_with_model(&options, t->model, t->tensors, t->n, error);
    if (!opt) return 0;
    double start = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID);
    for (int s = 0; s < steps; s++) {
        memcpy(t->grad, t->source, t->params * sizeof *t->grad);
        opt_step(opt, NAN, 1, NULL);
    }
    took[0] = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
    const opt_status status = hrnn_adjoint_begin(t->adjoint, opt, steps, error);
    if (!status) {
        start = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID);
        for (int s = 0; s < steps; s++) {
            memcpy(t->grad, t->source, t->params * sizeof *t->grad);
            hrnn_adjoint_step(t->adjoint, 1);
        }
        took[1] = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        start = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID);
        hrnn_adjoint_turn(t->adjoint, steps);
        for (int s = 0; s < steps; s++) hrnn_adjoint_back(t->adjoint, 1, t->source, NULL, t->cot);
        hrnn_adjoint_finish(t->adjoint, t->meta_gradient);
        took[2] = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
    }
    opt_free(opt);
    return !status;
}

static int bench(size_t net, unsigned features, const char *what, const arguments *a)
{
    task t;
    opt_error error;
    double best[3] = {INFINITY, INFINITY, INFINITY}, took[3];
    int ok = make_task(&t, net, a->model, &error);
    if (ok) t.model->features = features;
    for (int e = 0; ok && e < a->episodes; e++) {
        ok = time_episode(&t, a->steps, took, &error);
        for (int i = 0; i < 3; i++) best[i] = fmin(best[i], took[i]);
    }
    if (ok) {
        const double each = 1e9 / (double)t.params / a->steps;
        printf("%-18s %-12s %7.1f %9.1f %9.1f %9.1f %9.2f %12.1f %9.1f\n", nets[net].name, what,
               best[0] * each, best[1] * each, best[2] * each, 1e3 / (best[0] * each),
               best[2] / best[0], (best[1] + best[2]) / best[0],
               (double)hrnn_adjoint_bytes(t.adjoint) / (double)t.params / a->steps);
    } else {
        fprintf(stderr, "bench-adjoint: %s\n", error.message);
    }
    fflush(stdout);
    free_task(&t);
    return ok;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'm': a->model = arg; return 0;
    case 'e':
        a->episodes = atoi(arg);
        if (a->episodes < 1) argp_error(state, "--episodes is \"%s\", expected a number", arg);
        return 0;
    case 't':
        a->steps = atoi(arg);
        if (a->steps < 1) argp_error(state, "--steps is \"%s\", expected a number", arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {"weights/hrnn.safetensors", 50, 10};
    const struct argp_option options[] = {
        {"model", 'm', "FILE", 0, "Model of the hrnn (weights/hrnn.safetensors)", 0},
        {"steps", 't', "N", 0, "Steps of an episode (50)", 0},
        {"episodes", 'e', "N", 0, "Episodes, of which the fastest counts (10)", 0},
        {0}};
    const struct argp argp = {options, parse, NULL, "Times the adjoint of the hrnn.", 0, 0, 0};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    omp_set_num_threads(1);
    const unsigned all = (1u << HRNN_FEATURES_1) - 1;
    printf("vectors of %d floats; ns (of processor time) and bytes are a parameter and step; one "
           "thread\n",
           LANES);
    printf("%-18s %-12s %7s %9s %9s %9s %9s %12s %9s\n", "parameters", "model", "step", "recorded",
           "adjoint", "M steps/s", "adj/step", "(rec+adj)/step", "bytes");
    for (size_t net = 0; net < sizeof nets / sizeof *nets; net++)
        if (!bench(net, all, "attention", &a) ||
            !bench(net, all & ~(1u << HRNN_ATTENTION), "no attention", &a))
            return 1;
    return 0;
}
