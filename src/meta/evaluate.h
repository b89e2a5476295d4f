/* How good an optimizer is, in three parts, on instances that no meta-training has seen (a stream
 * purpose of their own): every row of a corpus against tuned baselines; runs far longer than those
 * of its meta-training; starting learning rates over four decades. The result does not depend on
 * the number of threads. */
#ifndef META_EVALUATE_H
#define META_EVALUATE_H

#include "meta/population.h"
#include "meta/trial.h"

enum { EVALUATE_ROWS = 1, EVALUATE_LENGTHS = 2, EVALUATE_STARTS = 4, EVALUATE_ALL = 7 };
enum {
    EVALUATE_RATES = 11,      /* of a baseline: 1e-5 .. 1 by half-decades */
    EVALUATE_START_RATES = 5, /* 1e-6 .. 1e-2 by decades */
    EVALUATE_BASELINES = 4,   /* at most */
};
double evaluate_rate(int i);
double evaluate_start_rate(int i);
extern const uint64_t evaluate_lengths[TRIAL_MARKS]; /* 1, 5, 25: times the horizon */

typedef struct {
    opt_options subject;     /* rate: its starting rate in the first two parts */
    const hrnn_model *model; /* the subject's, when its rule is hrnn; or NULL */
    int n_baselines;
    opt_options baseline[EVALUATE_BASELINES]; /* the rate is what is chosen */
    unsigned parts;                           /* a sum of EVALUATE_* */
    uint64_t seed;
    int seeds;        /* instances of a row */
    int rows;         /* at most so many rows of each group, the first; 0: all */
    uint64_t steps;   /* of a run in the first and the last part */
    uint64_t horizon; /* longest episode of the meta-training, in steps */
    int threads;      /* 0: OpenMP's own number */
} evaluate_options;

/* adam and rmsprop as baselines, all parts, seed 1, 5 seeds, all rows, 1,000 steps; no subject. */
evaluate_options evaluate_defaults(void);

/* The longest episode that the recipe in a model's metadata names: -episode's, or for
 * back-propagation, whose lengths have a heavy tail, the mean number of unrolls times their mean
 * length. OPT_BAD_FILE: it names none. */
opt_status evaluate_read_horizon(const char *path, uint64_t *steps, opt_error *error);

typedef struct evaluation evaluation;

/* source is borrowed. OPT_BAD_OPTION: a problem or an optimizer cannot be made. */
evaluation *evaluate_create(const evaluate_options *options, const problem_source *source,
                            opt_error *error);
void evaluate_free(evaluation *e);

typedef struct {
    /* after every run, by one thread at a time; left: seconds, NAN: not known yet */
    void (*progress)(void *context, uint64_t done, uint64_t runs, double left);
    int (*stop)(void *context); /* not 0: return early; asked by any thread */
    void *context;
} evaluate_callbacks;
/* callbacks and its functions may be NULL. What was finished before a stop stays. */
opt_status evaluate_run(evaluation *e, const evaluate_callbacks *callbacks, opt_error *error);

/* --- what the runs say; what a stop has left unfinished is not there (0) --- */

const evaluate_options *evaluate_get_options(const evaluation *e);
const problem_source *evaluate_source(const evaluation *e);
int evaluate_n_rows(const evaluation *e); /* of the first and the last part */
const source_row *evaluate_row(const evaluation *e, int row);
/* Rows of the second part: of each group the one with the fewest parameters. */
int evaluate_n_long_rows(const evaluation *e);
const source_row *evaluate_long_row(const evaluation *e, int row);
/* All parts' runs, and those finished. */
uint64_t evaluate_runs(const evaluation *e, uint64_t *done);

/* Final losses of several seeds. */
typedef struct {
    double start, loss; /* means over the seeds; loss is infinite when one run's is */
    int diverged;       /* runs */
} evaluate_mean;

/* optimizer 0: the subject (rate is ignored); from 1: the baselines. */
int evaluate_row_mean(const evaluation *e, int row, int optimizer, int rate, evaluate_mean *mean);
/* The rate of a baseline with the least mean loss; of equal ones the lowest. -1: unfinished. */
int evaluate_best_rate(const evaluation *e, int row, int baseline, evaluate_mean *mean);
int evaluate_long_run(const evaluation *e, int row, int seed, trial_result *result);
int evaluate_start_mean(const evaluation *e, int row, int rate, evaluate_mean *mean);

/* (a + 1e-6)/(b + 1e-6), as in the meta-loss of the paper; 1 when both are infinite. */
double evaluate_ratio(double a, double b);
/* Better (1), worse (-1), or within 0.1 % (0). */
int evaluate_outcome(double ratio);

#endif
