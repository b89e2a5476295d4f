/* Reverse mode through stored steps of the hierarchical RNN: from dL/d(parameters after each step)
 * to dL/d(meta-parameters). The mathematics of a step's adjoint is in hrnn_cell.h and
 * hrnn_vector.h, beside the step's. hrnn_unroll.h makes truncated back-propagation of it.
 *
 *     hrnn_adjoint_begin(a, opt, T, &error);          from opt's present state
 *     for t = 1..T: accumulate g_t;  hrnn_adjoint_step(a, 1);
 *     hrnn_adjoint_turn(a, T);
 *     for t = T..1: hrnn_adjoint_back(a, w_t, dL/dθ_t, dL/dφ_t, dL/dg_t);
 *     hrnn_adjoint_finish(a, gradient);
 *
 * With second derivatives the caller adds H(φ_t)·dL/dg_{t+1} to the dL/dφ_t of the next call back,
 * H the Hessian of the loss whose gradient g_{t+1} was; without, gradients are constants.
 *
 * Arrays of parameters are [P]: those of the tensors that are not frozen, concatenated in their
 * order. The meta-gradient is [HRNN_META_PARAMS], the tensors of hrnn_parts in their order (those
 * of hrnn-2 are 0: models of that format have no adjoint).
 *
 * Memory: a step keeps, a parameter (tensors padded to 64), 21 floats, 22 with attention: h, a, m
 * and η before it, the gradient, the direction(s); a tensor 94 floats. Activations of the GRUs are
 * recomputed: they would double that, and reading them back takes as long. All of it is taken by
 * hrnn_adjoint_begin, and only when it needs more than any begin before; steps allocate nothing.
 *
 * The result does not depend on the number of threads: units of at least 4096 parameters add up
 * their own meta-gradients, in floats for some thousand parameters, then in doubles, and are added
 * in their order. */
#ifndef HRNN_ADJOINT_H
#define HRNN_ADJOINT_H

#include "optimizer/optimizer.h"

typedef struct hrnn_adjoint hrnn_adjoint;

hrnn_adjoint *hrnn_adjoint_new(opt_error *error); /* NULL: no memory */
void hrnn_adjoint_free(hrnn_adjoint *a);

/* Starts an unroll of at most `steps` >= 1 steps of opt (rule hrnn, not at its true parameters),
 * which it borrows until hrnn_adjoint_finish. OPT_BAD_OPTION: another rule, a model of hrnn-2 or
 * hrnn-3, or L2 decay in a tensor (let the gradient hold it); OPT_NO_MEMORY. */
opt_status hrnn_adjoint_begin(hrnn_adjoint *a, optimizer *opt, int steps, opt_error *error);
size_t hrnn_adjoint_params(const hrnn_adjoint *a); /* P */
size_t hrnn_adjoint_bytes(const hrnn_adjoint *a);  /* of all that it holds */

/* opt_step from the accumulated gradients, recorded. At most `steps` times. */
void hrnn_adjoint_step(hrnn_adjoint *a, float rate_ratio);

/* Copies of the parameters as they are now, [P]: θ, and φ, where the next gradient is taken. */
void hrnn_adjoint_true_params(const hrnn_adjoint *a, float *theta);
void hrnn_adjoint_attended_params(const hrnn_adjoint *a, float *phi);
/* Adds gradient [P] to what opt's tensors have accumulated. */
void hrnn_adjoint_add_gradient(hrnn_adjoint *a, const float *gradient);

/* Cotangents and meta-gradient to zero: the way back begins after step `last` (1: the first) of
 * those recorded; 0: there is none, and the meta-gradient is 0. */
void hrnn_adjoint_turn(hrnn_adjoint *a, int last);

/* One step back, at most as often as there were steps: dL/dθ = scale·theta_cot and dL/dφ = phi_cot,
 * [P], of the parameters after the step as far as L depends on them directly or through the
 * problem's own gradient; NULL: zero. Without attention θ = φ and their sum counts. Sets grad_cot
 * [P] (or NULL): dL/d(what was accumulated); 0 where an entry was not finite. */
void hrnn_adjoint_back(hrnn_adjoint *a, float scale, const float *theta_cot, const float *phi_cot,
                       float *grad_cot);

/* dL/d(meta-parameters), not clipped; entries may be non-finite. Those of param.init, tensor.init
 * and global.init are 0 unless the unroll began at opt's very first step and went all the way
 * back. */
void hrnn_adjoint_finish(hrnn_adjoint *a, float *meta_gradient);

#endif
