/* Evolution strategies: the gradient of the meta-loss smoothed by a Gaussian of standard deviation
 * σ, from antithetic pairs, θ + σ·ε and θ − σ·ε with common random numbers. An episode is run in
 * one piece or in truncations, one an outer step, whose losses add up to the episode's:
 *
 *   whole  ε is drawn for each episode, which is run whole
 *   PES    persistent (Vicol et al., 2021): ε is drawn for each truncation; a loss is multiplied
 *          with the sum of all ε since the episode started, because all of them led to it
 *   NRES   noise reuse (Li et al., 2304.12180): ε is drawn for each episode and kept through its
 *          truncations
 *
 * All three are unbiased while θ stays the same. Every rank has the directions of all pairs (they
 * come from counter-based streams), so only losses travel; sums are taken in the order of the
 * pairs. */
#ifndef ESTIMATOR_ES_H
#define ESTIMATOR_ES_H

#include <stdint.h>
#include <stddef.h>
#include "base/error.h"

typedef enum { ES_WHOLE, ES_PES, ES_NRES } es_kind;

typedef struct {
    es_kind kind;
    int pairs;
    double sigma;
    size_t n; /* meta-parameters */
    uint64_t seed;
    unsigned char *used; /* [n]: 0 where the direction is always 0 */
    float *direction;    /* [pairs][n]: ε of this outer step */
    double *sum;         /* PES: [pairs][n], Σ ε of the current episode; else NULL */
} es_estimator;

/* used may be NULL: all. */
opt_status es_init(es_estimator *es, es_kind kind, int pairs, double sigma, size_t n, uint64_t seed,
                   const unsigned char *used, opt_error *error);
void es_release(es_estimator *es); /* legal on a zeroed struct */

/* The directions of outer step `step`; pair p runs episode number episode[p], which it starts with
 * this step where starts[p]. Uses OpenMP's threads. */
void es_draw(es_estimator *es, uint64_t step, const uint64_t *episode, const unsigned char *starts);

/* out = θ ± σ·ε of a pair, rounded to float; sign is 1 or -1. */
void es_perturb(const es_estimator *es, const double *theta, int pair, int sign, float *out);

/* gradient [n] from the losses of the pairs at θ + σ·ε and θ − σ·ε, averaged over the pairs. A pair
 * whose losses are not both finite gives nothing. Uses OpenMP's threads. */
void es_gradient(const es_estimator *es, const double *plus, const double *minus, double *gradient);

#endif
