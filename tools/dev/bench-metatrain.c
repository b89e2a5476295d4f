/* Times meta-training: parameter-steps a second of the optimizer on a small task, and outer steps a
 * second of `corpus wide`, with what bounds it: how much of the time is the optimizer's, the
 * problems' and the rest. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "meta/meta_model.h"
#include "problems/source.h"
#include "meta/population.h"
#include "hrnn/rule_hrnn.h"

/* Processor seconds of all threads: the machine may be shared. */
static double cpu(void) { return clock_seconds_of(CLOCK_PROCESS_CPUTIME_ID); }

/* Processor seconds a step of a network of two layers with n parameters in all. */
static double time_step(const hrnn_model *model, size_t n)
{
    const size_t sizes[4] = {n * 8 / 10, n / 20, n / 10, n - n * 8 / 10 - n / 20 - n / 10};
    static const char *const names[4] = {"0.weights", "0.biases", "1.weights", "1.biases"};
    float *x = calloc(2 * n, sizeof *x);
    opt_tensor tensors[4];
    size_t at = 0;
    double best = INFINITY;
    for (int k = 0; k < 4; at += sizes[k++])
        tensors[k] = (opt_tensor){names[k], x + at, x + n + at, sizes[k], 1, 0, 1};
    opt_options options = opt_default_options("hrnn");
    options.rate = 1e-6f;
    optimizer *opt = x ? opt_create_with_model(&options, model, tensors, 4, NULL) : NULL;
    for (int round = 0; opt && round < 20; round++) {
        const int steps = (int)(200000 / n) + 1;
        const double start = cpu();
        for (int s = 0; s < steps; s++) {
            for (size_t i = 0; i < n; i++) x[n + i] = (float)(i % 7) - 3;
            opt_step(opt, NAN, 1, NULL);
        }
        best = fmin(best, (cpu() - start) / steps);
    }
    opt_free(opt);
    free(x);
    return best;
}

typedef struct {
    double wall, processor, steps, parameter_steps;
} measured;

/* Outer steps of whole episodes, 16 pairs of mean 200 steps, after one that is not counted. */
static int time_outer(const problem_source *source, const hrnn_model *model, int threads,
                      measured *m)
{
    enum { OUTER = 12 };
    const population_options options = {
        .kind = ES_WHOLE,
        .pairs = 16,
        .sigma = 0.01,
        .seed = 3,
        .steps = {80, 400},
        .truncation = 50,
        .threads = threads,
        .episode = {.every = 1, .clip = 0.4, .eps = 0.01, .tail = 1, .rates = {1e-6, 1e-2}}};
    static double theta[HRNN_META_PARAMS], gradient[HRNN_META_PARAMS];
    opt_error error;
    population *p = population_create(&options, source, model, comm_open(NULL, NULL, NULL), &error);
    hrnn_model copy = *model;
    uint64_t flags = 0;
    int failed = !p;
    for (int i = 0; i < HRNN_META_PARAMS; i++) theta[i] = (double)meta_params(&copy)[i];
    *m = (measured){0};
    for (int step = 0; step < 1 + OUTER && !failed; step++) {
        const double wall = clock_seconds_of(CLOCK_MONOTONIC), processor = cpu();
        failed = population_step(p, (uint64_t)step, theta, gradient, &flags, &error) != OPT_OK;
        if (failed || step == 0) continue;
        m->wall += (clock_seconds_of(CLOCK_MONOTONIC) - wall) / OUTER;
        m->processor += (cpu() - processor) / OUTER;
        for (int i = 0; i < 16; i++) {
            const population_result *r = &population_results(p)[i];
            const population_pair *pair = &population_pairs(p)[i];
            problem *problem =
                problem_create(source->rows[r->row].spec, pair->seed, source->images, NULL);
            m->steps += 2.0 * (double)r->steps / OUTER;
            if (problem) m->parameter_steps += 2.0 * (double)(r->steps * problem->n) / OUTER;
            problem_free(problem);
        }
    }
    if (failed) fprintf(stderr, "bench-metatrain: %s\n", error.message);
    population_free(p);
    return failed;
}

int main(void)
{
    hrnn_model model;
    opt_error error;
    meta_random_model(&model, 1, 0.1);
    if (meta_switch_off(&model, "attention", &error)) return 1;
    omp_set_num_threads(1);
    printf("steps of the hrnn on small tasks, one thread\n%12s %14s %26s\n", "parameters",
           "us a step", "M parameter-steps a second");
    double rate = 0;
    const size_t sizes[] = {20, 200, 1000, 2000, 4000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const double s = time_step(&model, sizes[i]);
        printf("%12zu %14.2f %26.2f\n", sizes[i], 1e6 * s, 1e-6 * (double)sizes[i] / s);
        if (sizes[i] == 1000) rate = (double)sizes[i] / s;
    }
    corpus_source *source = corpus_source_open("wide", "/usr/share/datasets/fashion-mnist", &error);
    if (!source) {
        printf("\ncorpus wide is not timed: %s\n", error.message);
        return 0;
    }
    printf("\ncorpus wide, 16 antithetic pairs, whole episodes of 80..400 steps\n");
    int failed = 0;
    for (int threads = 1; threads <= omp_get_num_procs() && !failed; threads *= 2) {
        measured m;
        failed = time_outer(corpus_source_rows(source), &model, threads, &m);
        if (failed) break;
        printf("%d thread%s: %.2f outer steps a second; %.0f ms of processor time each, so %.2f a "
               "second "
               "on cores of their own\n  %.0f steps of %.0f parameters on average; about %.0f %% "
               "of the time is "
               "the optimizer's\n",
               threads, threads > 1 ? "s" : "", 1 / m.wall, 1e3 * m.processor,
               threads / m.processor, m.steps, m.parameter_steps / m.steps,
               100 * m.parameter_steps / rate / m.processor);
    }
    corpus_source_close(source);
    return failed;
}
