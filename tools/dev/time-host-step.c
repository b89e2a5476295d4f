/* Times training steps (forward, backward, update) of one cfg in the host this file is linked with.
 *
 *   time-host-step CFG STEPS    prints "seconds batch", the shortest of STEPS steps after one
 * warm-up
 *
 * bench-host.sh also compiles it against the unpatched host, which has no hook. Inputs and labels
 * are random numbers from a fixed seed. */
#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"
#include "darknet.h"
#if __has_include("darknet_hook.h")
#include "darknet/darknet_hook.h"
#define PATCHED
#endif

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The unpatched host leaves these arrays of a [batchnorm] layer out and would write to NULL. */
static void complete_batchnorm_layers(network *net)
{
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (l->type != BATCHNORM || l->x) {
            continue;
        }
        size_t values = (size_t)l->batch * (size_t)l->outputs;
        l->x = calloc(values, sizeof *l->x);
        l->x_norm = calloc(values, sizeof *l->x_norm);
        l->mean_delta = calloc((size_t)l->c, sizeof *l->mean_delta);
        l->variance_delta = calloc((size_t)l->c, sizeof *l->variance_delta);
        if (!l->x || !l->x_norm || !l->mean_delta || !l->variance_delta) {
            fprintf(stderr, "time-host-step: no memory for layer %d\n", i);
            exit(1);
        }
    }
}

static void fill_random(network *net)
{
    srand(1);
    for (int i = 0; i < net->batch * net->inputs; i++) {
        net->input[i] = (float)rand() / (float)RAND_MAX;
    }
    for (int i = 0; i < net->batch; i++) {
        net->truth[i * net->truths + rand() % net->truths] = 1;
    }
}

/* The backward pass and the update are only started by then. */
static void wait_for_gpu(const network *net)
{
#ifdef GPU
    if (net->gpu_index >= 0) cudaDeviceSynchronize();
#else
    (void)net;
#endif
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long steps = argc == 3 ? strtol(argv[2], &end, 10) : 0;
    if (steps < 1 || steps > 100000 || *end) {
        fprintf(stderr, "usage: time-host-step CFG STEPS\n");
        return 1;
    }
#if defined(GPU) && defined(PATCHED)
    gpu_index = cuda_available() ? 0 : -1;
#endif
    network *net = parse_network_cfg(argv[1]);
    if (net->truths < 1) {
        fprintf(stderr, "time-host-step: %s: the network has no labels\n", argv[1]);
        return 1;
    }
    complete_batchnorm_layers(net);
    fill_random(net);
#ifdef PATCHED
    hook_start_training(net, NULL, 1);
#endif
    double shortest = DBL_MAX;
    for (long i = 0; i <= steps; i++) {
        double start = clock_seconds();
        train_network_datum(net);
        wait_for_gpu(net);
        double taken = clock_seconds() - start;
        if (i > 0 && taken < shortest) {
            shortest = taken;
        }
    }
    fprintf(stderr, "cost %g\n", (double)*net->cost);
    printf("%.6f %d\n", shortest, net->batch);
    return 0;
}
