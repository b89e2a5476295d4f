/* Times one optimizer step. On the CPU: nanoseconds and bytes of state a parameter, for every rule,
 * in cache and on the tensors of a large network, with one thread and with all; minimum of several
 * runs. On a GPU: milliseconds and bytes moved, on the tensors of a ResNet-50. */
#include <argp.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/device.h"
#include "base/lanes.h"
#include "optimizer/optimizer.h"

typedef struct {
    const char *model, *device;
    size_t large;
} arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *args = state->input;
    char *end;
    switch (key) {
    case 'd':
        args->device = arg;
        if (strcmp(arg, "cpu") != 0 && strcmp(arg, "cuda") != 0)
            argp_error(state, "--device is \"%s\", expected cpu or cuda", arg);
        return 0;
    case 'm': args->model = arg; return 0;
    case 'n':
        args->large = strtoull(arg, &end, 10);
        if (*end || args->large < 64)
            argp_error(state, "--large is \"%s\", expected a number", arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Gradients like a network's: zero mean, sizes over some decades. */
static void fill(float *x, size_t n, unsigned *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        x[i] = ((float)(*seed >> 8) / 8388608.0f - 1) * 1e-2f;
    }
}

/* The rules, and hrnn with a compact state. */
typedef struct {
    const char *name, *rule; /* NULL: there are no more */
    int compact;
} candidate;

static candidate candidate_at(int i)
{
    const char *const *rules = opt_rule_names();
    int n = 0;
    while (rules[n]) n++;
    return i < n    ? (candidate){rules[i], rules[i], 0}
           : i == n ? (candidate){"compact", "hrnn", 1}
                    : (candidate){NULL, NULL, 0};
}

static opt_options options_of(const candidate *c, const arguments *args)
{
    opt_options options = opt_default_options(c->rule);
    options.model = args->model;
    options.device = args->device;
    options.compact = c->compact;
    if (strcmp(c->rule, "hrnn") != 0) options.rate = 1e-3f;
    return options;
}

/* Least seconds a step of a candidate on n_tensors tensors of n parameters; -1: it failed. */
static double time_rule(const candidate *c, const arguments *args, int n_tensors, size_t n,
                        int steps, double *bytes)
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
        tensors[k] = (opt_tensor){
            names[k], data + 2 * n * (size_t)k, data + 2 * n * (size_t)k + n, n, -1, 1e-4f, 1};
    }
    const opt_options options = options_of(c, args);
    opt = opt_create(&options, tensors, n_tensors, &error);
    if (!opt) {
        fprintf(stderr, "bench: %s\n", error.message);
        goto done;
    }
    *bytes = (double)opt_state_bytes(opt) / (double)(n * (size_t)n_tensors);
    for (int i = 0; i < steps; i++) {
        for (int k = 0; k < n_tensors; k++) fill(tensors[k].grad, n, &seed);
        const double start = clock_seconds();
        opt_step(opt, NAN, 1, NULL);
        const double took = clock_seconds() - start;
        if (best < 0 || took < best) best = took;
    }
done:
    opt_free(opt);
    free(data);
    free(tensors);
    free(names);
    return best;
}

/* --- on a GPU --- */

enum { MAX_TENSORS = 200, GPU_STEPS = 20, GPU_ROUNDS = 5 };

typedef struct {
    size_t sizes[MAX_TENSORS];
    int n;
    size_t params;
} shapes;

static void add_tensor(shapes *s, size_t n)
{
    s->sizes[s->n++] = n;
    s->params += n;
}

/* A convolution with its scales and biases. */
static void add_convolution(shapes *s, size_t in, size_t out, size_t size)
{
    add_tensor(s, in * out * size * size);
    add_tensor(s, out);
    add_tensor(s, out);
}

/* He et al., 2016, table 1: 25.6 million parameters in 161 tensors. */
static shapes resnet_50(void)
{
    static const size_t blocks[4] = {3, 4, 6, 3};
    shapes s = {.n = 0};
    size_t in = 64;
    add_convolution(&s, 3, in, 7);
    for (size_t stage = 0; stage < 4; stage++) {
        const size_t width = (size_t)64 << stage;
        for (size_t b = 0; b < blocks[stage]; b++) {
            if (b == 0) add_convolution(&s, in, 4 * width, 1);
            add_convolution(&s, in, width, 1);
            add_convolution(&s, width, width, 3);
            add_convolution(&s, width, 4 * width, 1);
            in = 4 * width;
        }
    }
    add_tensor(&s, in * 1000);
    add_tensor(&s, 1000);
    return s;
}

/* Puts n floats there; data: room for them. */
static void put(float *to, float *data, size_t n, unsigned *seed)
{
    fill(data, n, seed);
    device_put(1, to, data, n * sizeof *data);
}

/* Least seconds a step, of rounds that begin and end with the GPU idle; -1: it failed. arena: of
 * the device, [2 · params]. */
static double time_on_gpu(const candidate *c, const arguments *args, const shapes *net,
                          float *arena, float *data, double *state_bytes)
{
    static char names[MAX_TENSORS][16];
    opt_tensor tensors[MAX_TENSORS];
    opt_error error;
    unsigned seed = 1;
    double best = -1;
    float *here = arena;
    for (int k = 0; k < net->n; k++) {
        snprintf(names[k], sizeof names[k], "%d", k);
        const size_t n = net->sizes[k];
        tensors[k] = (opt_tensor){names[k], here, here + n, n, -1, 1e-4f, 1};
        put(here, data, n, &seed);
        put(here + n, data, n, &seed);
        here += 2 * n;
    }
    const opt_options options = options_of(c, args);
    optimizer *opt = opt_create(&options, tensors, net->n, &error);
    if (!opt) {
        fprintf(stderr, "bench: %s\n", error.message);
        return -1;
    }
    *state_bytes = (double)opt_state_bytes(opt) / (double)net->params;
    for (int round = 0; round < GPU_ROUNDS; round++) {
        device_get(1, data, arena, sizeof *data);
        const double start = clock_seconds();
        for (int i = 0; i < GPU_STEPS; i++) opt_step(opt, NAN, 1, NULL);
        device_get(1, data, arena, sizeof *data);
        const double took = (clock_seconds() - start) / GPU_STEPS;
        if (best < 0 || took < best) best = took;
    }
    opt_free(opt);
    return best;
}

/* A step reads and writes the state, the gradient and the parameter; hrnn reads the last two and
 * writes the gradient a second time, when the norms are known. */
static int bench_gpu(const arguments *args)
{
    opt_error error;
    int cuda, failed = 0;
    if (device_find(args->device, &cuda, &error)) {
        printf("skipped: %s\n", error.message);
        return 0;
    }
    const shapes net = resnet_50();
    float *arena = device_alloc(1, 2 * net.params * sizeof *arena);
    float *data = malloc(net.params * sizeof *data);
    printf("a step on the %d tensors of a ResNet-50, %.1f million parameters\n", net.n,
           1e-6 * (double)net.params);
    printf("%-8s %16s %16s %8s %8s\n", "rule", "state, bytes", "moved, bytes", "ms", "GB/s");
    for (int i = 0; candidate_at(i).name && !failed; i++) {
        const candidate c = candidate_at(i);
        double state = 0;
        const double s = arena && data ? time_on_gpu(&c, args, &net, arena, data, &state) : -1;
        const double moved = 2 * state + (strcmp(c.rule, "hrnn") == 0 ? 28 : 16);
        const char *failure = device_failure(1);
        failed = s < 0 || failure != NULL;
        if (failed)
            fprintf(stderr, "bench: %s: %s\n", c.name, failure ? failure : "it could not run");
        else
            printf("%-8s %16.1f %16.1f %8.3f %8.0f\n", c.name, state, moved, s * 1e3,
                   moved * (double)net.params / s * 1e-9);
        fflush(stdout);
    }
    device_free(1, arena);
    free(data);
    return failed;
}

/* --- on the CPU --- */

static int bench_cpu(const arguments *args)
{
    const int threads = omp_get_max_threads();
    const struct {
        const char *name;
        int tensors;
        size_t n;
        int steps;
    } nets[] = {{"in cache, 4 x 4096", 4, 4096, 400}, {"large, 8 tensors", 8, args->large / 8, 8}};
    printf("vectors of %d floats; ns and bytes are a parameter; minimum over the steps\n", LANES);
    printf("%-20s %-8s %8s %12s %12s %8s\n", "parameters", "rule", "bytes", "ns 1 thread", "ns all",
           "speedup");
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (int j = 0; candidate_at(j).name; j++) {
            const candidate c = candidate_at(j);
            double bytes = 0, ns[2];
            for (int all = 0; all < 2; all++) {
                omp_set_num_threads(all ? threads : 1);
                const double s =
                    time_rule(&c, args, nets[i].tensors, nets[i].n, nets[i].steps, &bytes);
                if (s < 0) return 1;
                ns[all] = s * 1e9 / (double)(nets[i].n * (size_t)nets[i].tensors);
            }
            printf("%-20s %-8s %8.1f %12.2f %12.2f %8.2f\n", nets[i].name, c.name, bytes, ns[0],
                   ns[1], ns[0] / ns[1]);
            fflush(stdout);
        }
    return 0;
}

int main(int argc, char **argv)
{
    arguments args = {"weights/hrnn.safetensors", "cpu", 25000000};
    const struct argp_option options[] = {
        {"device", 'd', "DEVICE", 0, "cpu (default) or cuda, on the tensors of a ResNet-50", 0},
        {"model", 'm', "FILE", 0, "Model of the hrnn (weights/hrnn.safetensors)", 0},
        {"large", 'n', "N", 0, "Parameters of the large network (25000000)", 0},
        {0}};
    const struct argp argp = {options, parse, NULL, "Times one step of every optimizer.", 0, 0, 0};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (strcmp(args.device, "cpu") != 0) return bench_gpu(&args);
    return bench_cpu(&args);
}
