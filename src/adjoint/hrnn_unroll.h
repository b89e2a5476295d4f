/* Truncated back-propagation through time (Wichrowska et al., 2017, section 4.1; hrnn/algorithm.md,
 * "Meta-training in the paper"): the optimizer trains a problem for some steps, and the gradient of
 * the meta-loss of those steps with respect to the meta-parameters is taken back through them.
 *
 *     meta-loss = 1/T Σ_{t=1..T} log((f(θ_t) + 1e-6) / (f(θ_0) + 1e-6))
 *
 * f is the loss on the full data at the true parameters, θ_0 the start of the whole run. State
 * carries over from one unroll to the next, gradients do not. */
#ifndef HRNN_UNROLL_H
#define HRNN_UNROLL_H

#include "adjoint/hrnn_adjoint.h"

enum { HRNN_FULL_DATA = -1 };

/* What is trained. x, gradient, v and out are [P] as in hrnn_adjoint.h. The same arguments must
 * give the same results. */
typedef struct {
    void *context;
    /* The mean loss at x over mini-batch number `batch` >= 0, or HRNN_FULL_DATA, and its gradient
     * (set, not added to), unless that is NULL. */
    double (*loss)(void *context, int64_t batch, const float *x, float *gradient);
    /* out = H·v (set), H the Hessian of that loss at x. NULL: only first order. */
    void (*hessian_product)(void *context, int64_t batch, const float *x, const float *v,
                            float *out);
    int full_batches; /* every mini-batch is the full data: saves half of the evaluations */
} hrnn_objective;

typedef struct {
    int steps;              /* T >= 1 */
    int second_derivatives; /* the gradient is a function of the parameters; else a constant */
    double start_loss;      /* f(θ_0) of the run; NAN: take it at opt's present true parameters */
} hrnn_unroll_options;

typedef struct {
    double meta_loss;     /* over the steps taken; NAN: none */
    double start_loss;    /* f(θ_0), for the next unroll */
    int steps;            /* taken; fewer than asked: the loss after the next was not finite */
    const double *losses; /* f(θ_1..steps): [steps], the unroller's */
} hrnn_unroll_result;

/* log((f(θ_{t+1}) + 1e-6) / (f(θ_0) + 1e-6)), 0 <= t < steps: what the meta-loss is the mean of. */
double hrnn_unroll_term(const hrnn_unroll_result *result, int t);

/* Holds the memory of unrolls and keeps it for the next: one a thread. */
typedef struct hrnn_unroller hrnn_unroller;
hrnn_unroller *hrnn_unroller_new(opt_error *error);
void hrnn_unroller_free(hrnn_unroller *u);

/* T steps of opt (rule hrnn), which goes on where it stands: its parameters must have zeroed
 * gradients and be attended. Mini-batch numbers are opt's steps so far. Sets meta_gradient
 * [HRNN_META_PARAMS], of result->meta_loss, not clipped; 0 when no step was taken. OPT_BAD_OPTION,
 * OPT_NO_MEMORY: nothing has been done. */
opt_status hrnn_unroll(hrnn_unroller *u, optimizer *opt, const hrnn_objective *objective,
                       const hrnn_unroll_options *options, hrnn_unroll_result *result,
                       float *meta_gradient, opt_error *error);

#endif
