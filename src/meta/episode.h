/* One run of the hierarchical RNN on a problem, through the rule that trains networks, and its
 * meta-loss: what is left of the loss after each step, as log((f + e) / (f_0 + e)), f_0 the loss at
 * the start on all data, taken as at most `clip` (and as `clip` from the first value on that is not
 * finite), averaged over the steps that count. */
#ifndef EPISODE_H
#define EPISODE_H

#include "hrnn/hrnn_model.h"
#include "problems/problem.h"

typedef struct {
    enum {
        LOSS_BATCH,
        LOSS_FULL
    } loss;                   /* of the next batch where the gradient is taken (φ), which costs
                                 nothing more; or on all data at the true parameters θ */
    int every;                /* LOSS_FULL: after every so many steps, and after the last */
    double clip;              /* > 0 */
    double eps, relative_eps; /* e = eps + relative_eps·f_0, not 0 */
    double tail;              /* (0, 1]: only the last part of the steps counts */
    double blind;             /* [0, 1]: how likely it is that the optimizer has no horizon */
    double rates[2]; /* starting learning rates: log-uniform within, half of the log drawn for each
                        tensor and half for each parameter */
} episode_options;

typedef struct episode episode;

/* An instance of the problem, at its start, to be run for `steps` steps (> 0). seed names
 * everything random in it, so that two episodes of one seed differ by their models alone. NULL and
 * *error: the problem cannot be made, or no memory. */
episode *episode_create(const problem_spec *spec, const image_data *images, uint64_t seed,
                        uint64_t steps, const hrnn_model *model, const episode_options *options,
                        opt_error *error);
void episode_free(episode *e);

/* Goes on with another model that has the same features. */
void episode_set_model(episode *e, const hrnn_model *model);

typedef struct {
    double loss; /* the steps' sum, divided by n or, if they are fewer, the episode's steps: over
                    runs of n steps to its end it averages to the meta-loss */
    double end;  /* mean of the clipped log ratio over the last tenth of the episode; 0 before it is
                    done */
    int done;    /* the episode is over */
    int dead;    /* a loss or the start was not finite: the rest counts as clip */
    int diverged; /* done, and dead or with an end at the clip */
} episode_result;

/* Up to n more steps. */
void episode_run(episode *e, uint64_t n, episode_result *result);

problem *episode_problem(const episode *e);
optimizer *episode_optimizer(const episode *e);
double episode_start_loss(const episode *e); /* f_0 */

/* Around steps that something else takes with the episode's optimizer: its gradient is empty, and
 * it counts them. Such an episode does not end by itself. */
void episode_begin_unroll(episode *e);
void episode_end_unroll(episode *e);

/* Everything that steps change, as bytes: for a checkpoint. To restore, create the episode with the
 * same arguments (any model), then unpack. OPT_MISMATCH: the bytes are of another episode. */
size_t episode_packed_size(const episode *e);
void episode_pack(const episode *e, void *bytes);
opt_status episode_unpack(episode *e, const void *bytes, size_t size, opt_error *error);

#endif
