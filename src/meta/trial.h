/* One run of any rule on an instance of a problem, as a user of the optimizer would run it, and the
 * loss that it ends with. */
#ifndef META_TRIAL_H
#define META_TRIAL_H

#include "hrnn/hrnn_model.h"
#include "problems/problem.h"

enum {
    TRIAL_MARKS = 3,
    TRIAL_MEASURES = 20, /* of the loss, for a final loss */
};

typedef struct {
    const problem_spec *spec;
    const image_data *images; /* or NULL */
    uint64_t seed;            /* of the instance, its start, batches and noise */
    opt_options optimizer;
    const hrnn_model *model;     /* for rule hrnn, instead of optimizer.model; or NULL */
    int marks;                   /* 1 .. TRIAL_MARKS */
    uint64_t steps[TRIAL_MARKS]; /* ascending, > 0; the last one is the length of the run */
} trial;

typedef struct {
    double start; /* loss at the start */
    /* Of the run cut after steps[k] (with a model that looks ahead: of a run of its own, whose
     * horizon that is): mean loss over its last tenth, measured at up to
     * TRIAL_MEASURES evenly spaced steps, the last among them, at the true parameters: on all data,
     * where the problem has such a loss, without gradient noise. Infinite when a loss or parameter
     * has not been finite until then. */
    double loss[TRIAL_MARKS];
    int complete; /* 0: it was stopped */
} trial_result;

/* stop (or NULL) is asked now and then. Fails where the problem or the optimizer cannot be made. */
opt_status trial_run(const trial *t, int (*stop)(void *context), void *context,
                     trial_result *result, opt_error *error);

/* Whether a run diverged: its final loss is not finite, or over one and a half times its start. */
int trial_diverged(double start, double loss);

#endif
