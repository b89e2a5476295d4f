/* The meta-gradient by truncated back-propagation through time (hrnn_unroll.h), one unroll of an
 * episode an outer step, as in the paper. The meta-loss of an unroll is the mean over its steps of
 * log((f(θ_t) + 1e-6) / (f_0 + 1e-6)), f on all data; of a problem that has no such loss, on a
 * batch of its own for each step (batches from 2^40 on, which no step trains on), with the
 * problem's own gradient noise and sparsity. */
#ifndef ESTIMATOR_BPTT_H
#define ESTIMATOR_BPTT_H

#include "meta/episode.h"

typedef struct bptt bptt;

/* Room for one unroll at a time on each of `threads` threads; it is kept from one to the next. */
bptt *bptt_new(int threads, opt_error *error);
void bptt_free(bptt *b);

typedef struct {
    double loss;  /* of the steps taken; NAN: none */
    int diverged; /* a loss was not finite: the episode is over */
} bptt_result;

/* `steps` more steps of e, and their meta-gradient [HRNN_META_PARAMS], entries that are not finite
 * as 0. OPT_BAD_OPTION: second derivatives of a problem that has none. */
opt_status bptt_unroll(bptt *b, int thread, episode *e, int steps, int second_derivatives,
                       float *gradient, bptt_result *result, opt_error *error);

/* gradient [HRNN_META_PARAMS]: the mean of `runs` meta-gradients, `stride` floats apart, added in
 * their order; 0 where used is 0. */
void bptt_average(const float *gradients, int runs, size_t stride, const unsigned char *used,
                  double *gradient);

#endif
