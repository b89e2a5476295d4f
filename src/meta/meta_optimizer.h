/* The optimizer of the meta-parameters: RMSProp as in the paper, Adam, AdamW. */
#ifndef META_OPTIMIZER_H
#define META_OPTIMIZER_H

#include <stdint.h>
#include <stddef.h>
#include "base/error.h"

typedef struct {
    enum { META_ADAM, META_RMSPROP } rule;
    double rate;
    double beta1, beta2; /* decays of the first and second moment; rmsprop: beta2 alone */
    double eps;          /* adam: beside the root; rmsprop: within it */
    double
        weight_decay; /* adam: θ loses rate·weight_decay·θ a step, whatever the gradient (AdamW) */
    uint64_t warm_up; /* steps over which the rate rises to its full value, linearly; 0: none */
    uint64_t
        cosine; /* steps after which it has fallen to final·rate, as half a cosine; 0: constant */
    double final;
    double clip_entry,
        clip_norm; /* an entry within ±clip_entry, then ‖g‖ at most clip_norm; 0: no clip */
} meta_optimizer_options;

/* adam: 1e-3, 0.9, 0.999, 1e-8, no clip; rmsprop, the paper's: 1e-6, 0.9, 1e-20, entries within
 * ±1e4. */
meta_optimizer_options meta_optimizer_defaults(int rule);

typedef struct {
    meta_optimizer_options options;
    size_t n;
    double *first, *second; /* moments, [n] each; rmsprop leaves the first at 0 */
    uint64_t steps;
} meta_optimizer;

opt_status meta_optimizer_init(meta_optimizer *m, const meta_optimizer_options *options, size_t n,
                               opt_error *error);
void meta_optimizer_release(meta_optimizer *m); /* legal on a zeroed struct */

typedef struct {
    double rate;       /* of this step */
    double norm;       /* ‖g‖ before the clip by norm */
    size_t non_finite; /* entries that were not finite and are taken as 0 */
} meta_step_report;

/* The rate of the step after `steps` have been taken. */
double meta_optimizer_rate(const meta_optimizer_options *options, uint64_t steps);

/* One step on theta [n] down the gradient [n], which is left as it was clipped. report may be
 * NULL. */
void meta_optimizer_step(meta_optimizer *m, double *theta, double *gradient,
                         meta_step_report *report);

#endif
