/* A comparison: trainings of one network with several optimizers, learning rates and seeds, all
 * with the same starting weights and data order for one seed, and what they gave. Losses are nats
 * an image unless the network has no softmax, times are seconds, rates are learning rates (for
 * hrnn: starting rates). */
#ifndef COMPARISON_H
#define COMPARISON_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum { CMP_BINS = 100 }; /* of a curve; a run of fewer batches has one bin a batch */

typedef enum { CMP_UNFINISHED, CMP_FINISHED, CMP_DIVERGED } cmp_outcome;

typedef struct {
    long batch;     /* the last one of the bin */
    double loss;    /* training loss, mean over the bin's batches; may be infinite or NaN */
    double seconds; /* of training since the start; no loading, no held-out measurements */
} cmp_bin;

typedef struct {
    long batch;            /* 0: before training */
    double loss, accuracy; /* accuracy in 0..1 */
} cmp_held_out;

typedef struct {
    char optimizer[64]; /* label: a rule's name, or the NAME of NAME=model */
    double rate;        /* 0: hrnn's own */
    uint64_t seed;
    cmp_outcome outcome;
    long last_batch;
    double first_loss;              /* of the first batch */
    double loss;                    /* training loss, mean over the last tenth of the batches */
    double held_out_loss, accuracy; /* at the end, at the true parameters; NaN: not measured */
    double batch_seconds, update_seconds; /* medians; the update is part of a batch */
    uint64_t parameters, state_bytes;
    cmp_bin *bins;
    int n_bins; /* 0: a baseline's run whose curve was not kept */
    cmp_held_out *held_out;
    int n_held_out;
} cmp_run;

typedef struct { /* median seconds of a step at one batch size */
    char optimizer[64];
    int batch_size;
    double batch_seconds, update_seconds;
} cmp_step_time;

typedef struct {
    char network[128]; /* base name of the cfg */
    char data[128];    /* base name of the data cfg */
    char setting[17];  /* hex digest of cfg, data, batches: all but optimizer, rate, seed */
    long batches;
    int batch_size, has_softmax;
    cmp_run *runs;
    int n_runs;
    cmp_step_time *times;
    int n_times;
} comparison;

/* The learning rate that a user would try first; 0 for hrnn and for models (their own). */
double cmp_default_rate(const char *optimizer);

#endif
