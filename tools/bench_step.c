/* Times one optimizer step: nanoseconds and bytes of state a parameter, for every rule, in cache and
 * on the tensors of a large network, with one thread and with all. Minimum of several runs. */
#include <argp.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lanes.h"
#include "optimizer.h"

typedef struct {
    const char *model;
    size_t large;
} arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *args = state->input;
    char *end;
    switch (key) {
    case 'm': args->model = arg; return 0;
    case 'n':
        args->large = strtoull(arg, &end, 10);
        if (*end || args->large < 64) argp_error(state, "--large is \"%s\", expected a number", arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Gradients like a network's: zero mean, sizes over some decades. */
static void fill(float *x, size_t n, unsigned *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        x[i] = ((float)(*seed >> 8) / 8388608.0f - 1) * 1e-2f;
    }
}

/* Least seconds a step of `rule` on n_tensors tensors of n parameters; -1: it failed. */
static double time_rule(const char *rule, const arguments *args, int n_tensors, size_t n, int steps,
                        double *bytes)
{
    double best = -1;
    unsigned seed = 1;
    opt_error error;
    char(*names)[16] = calloc((size_t)n_tensors, sizeof *names);
    opt_tensor *tensors = calloc((size_t)n_tensors, sizeof *tensors);
    float *data = aligned_alloc(64, (2 * n * (size_t)n_tensors * sizeof *data + 63) / 64 * 64);
    optimizer *opt = NULL;
    if (!names || !tensors || !data) {
        fprintf(stderr, "bench: no memory\n");
        goto done;
    }
    fill(data, 2 * n * (size_t)n_tensors, &seed);
    for (int k = 0; k < n_tensors; k++) {
        snprintf(names[k], sizeof names[k], "%d", k);
        tensors[k] = (opt_tensor){names[k], data + 2 * n * (size_t)k, data + 2 * n * (size_t)k + n,
                                  n, -1, 1e-4f, 1};
    }
    opt_options options = opt_default_options(rule);
    options.model = args->model;
    if (strcmp(rule, "hrnn") != 0) options.rate = 1e-3f;
    opt = opt_create(&options, tensors, n_tensors, &error);
    if (!opt) {
        fprintf(stderr, "bench: %s\n", error.message);
        goto done;
    }
    *bytes = (double)opt_state_bytes(opt) / (double)(n * (size_t)n_tensors);
    for (int i = 0; i < steps; i++) {
        for (int k = 0; k < n_tensors; k++) fill(tensors[k].grad, n, &seed);
        const double start = seconds();
        opt_step(opt, 1, NULL);
        const double took = seconds() - start;
        if (best < 0 || took < best) best = took;
    }
done:
    opt_free(opt);
    free(data);
    free(tensors);
    free(names);
    return best;
}

int main(int argc, char **argv)
{
    arguments args = {"weights/hrnn.safetensors", 25000000};
    const struct argp_option options[] = {
        {"model", 'm', "FILE", 0, "Model of the hrnn (weights/hrnn.safetensors)", 0},
        {"large", 'n', "N", 0, "Parameters of the large network (25000000)", 0},
        {0}};
    const struct argp argp = {options, parse, NULL, "Times one step of every optimizer.", 0, 0, 0};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    const int threads = omp_get_max_threads();
    const struct { const char *name; int tensors; size_t n; int steps; } nets[] = {
        {"in cache, 4 x 4096", 4, 4096, 400},
        {"large, 8 tensors", 8, args.large / 8, 8}};
    printf("vectors of %d floats; ns and bytes are a parameter; minimum over the steps\n", LANES);
    printf("%-20s %-8s %8s %12s %12s %8s\n", "parameters", "rule", "bytes", "ns 1 thread",
           "ns all", "speedup");
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (const char *const *rule = opt_rule_names(); *rule; rule++) {
            double bytes = 0, ns[2];
            for (int all = 0; all < 2; all++) {
                omp_set_num_threads(all ? threads : 1);
                const double s = time_rule(*rule, &args, nets[i].tensors, nets[i].n, nets[i].steps,
                                           &bytes);
                if (s < 0) return 1;
                ns[all] = s * 1e9 / (double)(nets[i].n * (size_t)nets[i].tensors);
            }
            printf("%-20s %-8s %8.1f %12.2f %12.2f %8.2f\n", nets[i].name, *rule, bytes, ns[0], ns[1],
                   ns[0] / ns[1]);
            fflush(stdout);
        }
    return 0;
}
