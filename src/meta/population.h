/* The episodes of an estimator: which problems they run, where they stand, on which rank and
 * thread, and what one outer step of all of them says about the meta-gradient. The result does not
 * depend on the number of threads or ranks. */
#ifndef POPULATION_H
#define POPULATION_H

#include "meta/comm.h"
#include "meta/episode.h"
#include "meta/estimator_es.h"
#include "problems/source.h"

typedef struct {
    es_kind kind;
    int bptt; /* back-propagation instead, of one run for each "pair", at θ itself */
    int second_derivatives;
    double unrolls;     /* bptt: an episode has 1 + Exp(unrolls) unrolls */
    double unroll_tail; /* each of truncation + Exp(unroll_tail) steps; both are cut at 5 times the
                           mean */
    int pairs;
    double sigma;
    double clip_pair;  /* > 0: the losses of a pair count as at most this far apart */
    int hold_lr_limit; /* log_lr.limit is not perturbed and has no gradient */
    uint64_t seed;
    uint64_t steps[2];   /* of an episode: log-uniform within */
    uint64_t truncation; /* steps an outer step (PES, NRES) */
    int threads;         /* 0: OpenMP's own number */
    episode_options episode;
} population_options;

/* Where a pair stands; the same on every rank. As it stands in a checkpoint. */
typedef struct {
    uint64_t episode; /* number of the current episode, from 1; 0: none yet */
    uint64_t steps;   /* of it; bptt: unrolls that are left */
    uint64_t seed;
    int32_t row;
    int32_t starts; /* the next outer step starts another episode */
} population_pair;

/* What the last outer step of a pair's episodes gave. */
typedef struct {
    int row;
    double loss[2]; /* at θ + σ·ε, θ − σ·ε */
    double end[2];  /* of episodes that are done */
    uint64_t steps; /* of the episode */
    unsigned char done[2], diverged[2];
} population_result;

typedef struct population population;

/* model: features and clips, and which meta-parameters are perturbed. source and c are borrowed.
 * NULL and *error: no memory. */
population *population_create(const population_options *options, const problem_source *source,
                              const hrnn_model *model, comm *c, opt_error *error);
void population_free(population *p);

/* Outer step number `step` (from 0) at theta [HRNN_META_PARAMS]: the gradient there and one result
 * a pair. flags, or'ed over the ranks, lets every rank see what any rank wants. An error is the
 * same on every rank. */
opt_status population_step(population *p, uint64_t step, const double *theta, double *gradient,
                           uint64_t *flags, opt_error *error);
const population_result *population_results(const population *p); /* [pairs] */

/* For checkpoints: the pairs; the sums of PES ([pairs][HRNN_META_PARAMS], or NULL); an episode that
 * is under way, packed, on rank 0 (a new array; size 0 and NULL where none is). population_packed
 * is collective. */
population_pair *population_pairs(population *p);
double *population_sums(population *p);
opt_status population_packed(population *p, int pair, int side, void **bytes, size_t *size,
                             opt_error *error);
/* After pairs and sums have been filled in: the episode of a pair from its packed bytes (NULL: none
 * was under way), where this rank runs it. */
opt_status population_restore(population *p, int pair, int side, const void *bytes, size_t size,
                              opt_error *error);

#endif
