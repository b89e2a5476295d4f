/* What the runs of a comparison amount to, optimizer by optimizer. Pure: no files, no clock.
 *
 * The end of a run is judged by its score: the held-out loss at the end, or, when no run of the
 * comparison measured one, the training loss over its last tenth; infinite for a run that diverged.
 * Unfinished runs do not count. Scores are compared at the 6 digits that the tables keep, so that a
 * comparison read back says the same. */
#ifndef STATISTICS_H
#define STATISTICS_H

#include "compare/comparison.h"

typedef struct { /* over seeds; all NaN: not measured in at least one of them */
    double mean, low, high;
} cmp_spread;

typedef struct {
    double rate; /* 0: own */
    int seeds, diverged;
    cmp_spread score, held_out_loss, loss; /* a diverged seed counts as infinite */
    cmp_spread accuracy;                   /* as measured, of diverged seeds too */
} cmp_rate_result;

typedef struct {
    char optimizer[64];
    int n_runs, n_diverged;
    cmp_rate_result *rates; /* by increasing rate: own first */
    int n_rates;
    int best;         /* index into rates */
    int at_default;   /* index into rates of cmp_default_rate; -1: not among them */
    int best_at_edge; /* -1, 1: the best of several rates is the lowest, the highest tried; 0:
                         neither */
    /* Until the training curve at the best rate reaches adam's final loss; infinite: never in the
     * batches there were; NaN: no adam_loss, or no curve kept. Speedup: adam's steps or seconds by
     * these. */
    double steps, seconds, speedup, speedup_seconds;
    /* The contiguous rates around the best whose mean score is within 10 % of the best's; NaN when
     * there is one rate only, or none with a finite score. */
    double range_low, range_high, range_decades;
    int range_low_open,
        range_high_open; /* it reaches the lowest, the highest rate that was tried */
    double state_bytes;  /* a parameter; NaN: unknown */
    double batch_seconds, update_seconds; /* medians over the runs at the best rate */
} cmp_summary;

typedef struct {
    cmp_summary *optimizers; /* by increasing mean score at the best rate; ties as in c->runs */
    int n;
    int n_runs, n_diverged, n_unfinished;
    int has_held_out;
    double adam_loss; /* what adam's training curve ends with at its best rate; NaN: no adam, or it
                         diverged there */
} cmp_statistics;

/* The training curve of an optimizer at one rate: each seed's loss averaged over the last tenth of
 * the run (fewer at its start), then over the seeds. A seed that lacks a bin counts as infinite
 * there. */
typedef struct {
    int n;
    double batch[CMP_BINS], seconds[CMP_BINS];
    double mean[CMP_BINS], low[CMP_BINS], high[CMP_BINS];
} cmp_curve;

/* OPT_NO_MEMORY. Free with cmp_free_statistics, which is legal on a zeroed struct. */
opt_status cmp_make_statistics(const comparison *c, cmp_statistics *statistics, opt_error *error);
void cmp_free_statistics(cmp_statistics *statistics);

/* 0 when the curve of no seed was kept. */
int cmp_make_curve(const comparison *c, const char *optimizer, double rate, cmp_curve *curve);

/* Batches (or seconds) until the curve's cumulative minimum reaches target, interpolated linearly;
 * infinite: never. */
double cmp_steps_to(const cmp_curve *curve, double target);
double cmp_seconds_to(const cmp_curve *curve, double target);

/* The run of c with that label, rate (as cmp_same_rate has it) and seed, or NULL. */
cmp_run *cmp_find_run(const comparison *c, const char *optimizer, double rate, uint64_t seed);

/* Of the values [n] that are finite; NaN if there is none. Reorders them. */
double cmp_median(double *values, long n);

/* Rates are the same when they differ by less than a thousandth; 0 only equals 0. */
int cmp_same_rate(double a, double b);

/* The rate with the lowest mean score: an index into rates. With unequal numbers of seeds (a scan,
 * an interrupted sweep) a rate with fewer seeds is taken only if it beats every rate with more on
 * its own seeds. Ties: fewer divergences, then the lower rate. -1 if the optimizer has no run that
 * counts. *rate may be NULL. */
int cmp_best_rate(const comparison *c, const char *optimizer, double *rate);

/* "own" for 0, else as %.3g prints it: the name of a run's folder too. */
void cmp_rate_name(double rate, char name[24]);

#endif
