/* Forward with a copy of the parameters a step, then the same steps in reverse, each with the
 * gradient of its term of the meta-loss and, of second order, a Hessian-vector product. */
#include "adjoint/hrnn_unroll.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hrnn/hrnn_step.h"
#include "optimizer/rule.h"

static const double loss_offset = 1e-6;

struct hrnn_unroller {
    hrnn_adjoint *adjoint;
    float *floats;   /* the arrays below */
    size_t capacity; /* of floats */
    double *losses;
    size_t losses_capacity;
    size_t params;
    float *attended;       /* [T, P] φ before each step; [1, P] without second derivatives */
    float *true_gradients; /* [T, P] ∇f(θ) after each step */
    float *theta, *gradient, *cot; /* [P] */
};

hrnn_unroller *hrnn_unroller_new(opt_error *error)
{
    hrnn_unroller *u = calloc(1, sizeof *u);
    if (!u) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for an unroller");
        return NULL;
    }
    u->adjoint = hrnn_adjoint_new(error);
    if (u->adjoint) return u;
    free(u);
    return NULL;
}

void hrnn_unroller_free(hrnn_unroller *u)
{
    if (!u) return;
    hrnn_adjoint_free(u->adjoint);
    free(u->floats);
    free(u->losses);
    free(u);
}

static opt_status reserve(hrnn_unroller *u, size_t steps, int keep_attended, opt_error *error)
{
    const size_t p = u->params = hrnn_adjoint_params(u->adjoint);
    const size_t attended = keep_attended ? steps : 1;
    const size_t floats = p * (attended + steps + 3);
    if (floats > u->capacity) {
        free(u->floats);
        u->floats = malloc(floats * sizeof(float));
        u->capacity = u->floats ? floats : 0;
    }
    if (steps > u->losses_capacity) {
        free(u->losses);
        u->losses = malloc(steps * sizeof(double));
        u->losses_capacity = u->losses ? steps : 0;
    }
    if (!u->floats || !u->losses)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for an unroll of %zu steps: %zu MB", steps,
                        floats * sizeof(float) >> 20);
    u->attended = u->floats;
    u->true_gradients = u->attended + p * attended;
    u->theta = u->true_gradients + p * steps;
    u->gradient = u->theta + p;
    u->cot = u->gradient + p;
    return OPT_OK;
}

static int64_t batch_of(const hrnn_objective *f, uint64_t step)
{
    return f->full_batches ? HRNN_FULL_DATA : (int64_t)(step & INT64_MAX);
}

/* Up to T steps; fills result, but for the meta-loss. */
static void forward(hrnn_unroller *u, optimizer *opt, const hrnn_objective *f,
                    const hrnn_unroll_options *options, hrnn_unroll_result *result)
{
    const hrnn_state *state = opt->state;
    const size_t p = u->params;
    const int same = f->full_batches && !hrnn_has(&state->model, HRNN_ATTENTION);
    result->start_loss = options->start_loss;
    if (isnan(options->start_loss)) {
        hrnn_adjoint_true_params(u->adjoint, u->theta);
        result->start_loss = f->loss(f->context, HRNN_FULL_DATA, u->theta, NULL);
    }
    const float *gradient = NULL;
    for (int t = 0; t < options->steps; t++) {
        float *attended = u->attended + (options->second_derivatives ? (size_t)t * p : 0);
        hrnn_adjoint_attended_params(u->adjoint, attended);
        if (!gradient || !same) {
            f->loss(f->context, batch_of(f, opt->steps), attended, u->gradient);
            gradient = u->gradient;
        }
        hrnn_adjoint_add_gradient(u->adjoint, gradient);
        hrnn_adjoint_step(u->adjoint, 1);
        float *true_gradient = u->true_gradients + (size_t)t * p;
        hrnn_adjoint_true_params(u->adjoint, u->theta);
        u->losses[t] = f->loss(f->context, HRNN_FULL_DATA, u->theta, true_gradient);
        if (!isfinite(u->losses[t])) break;
        result->steps++;
        gradient = true_gradient;
    }
}

double hrnn_unroll_term(const hrnn_unroll_result *result, int t)
{
    return log((result->losses[t] + loss_offset) / (result->start_loss + loss_offset));
}

static double meta_loss(const hrnn_unroll_result *result)
{
    double sum = 0;
    for (int t = 0; t < result->steps; t++) sum += hrnn_unroll_term(result, t);
    return sum / result->steps;
}

/* first: opt's steps before the unroll. */
static void backward(hrnn_unroller *u, const hrnn_objective *f, int second, uint64_t first,
                     const hrnn_unroll_result *result)
{
    const size_t p = u->params;
    const float *phi_cot = NULL;
    hrnn_adjoint_turn(u->adjoint, result->steps);
    for (int t = result->steps - 1; t >= 0; t--) {
        const double weight = 1 / (result->steps * (result->losses[t] + loss_offset));
        const int further = second && t > 0;
        hrnn_adjoint_back(u->adjoint, (float)weight, u->true_gradients + (size_t)t * p, phi_cot,
                          further ? u->cot : NULL);
        if (!further) continue;
        f->hessian_product(f->context, batch_of(f, first + (uint64_t)t),
                           u->attended + (size_t)t * p, u->cot, u->gradient);
        phi_cot = u->gradient;
    }
}

opt_status hrnn_unroll(hrnn_unroller *u, optimizer *opt, const hrnn_objective *objective,
                       const hrnn_unroll_options *options, hrnn_unroll_result *result,
                       float *meta_gradient, opt_error *error)
{
    if (options->second_derivatives && !objective->hessian_product)
        return opt_fail(error, OPT_BAD_OPTION,
                        "second derivatives need a problem with Hessian-vector products");
    opt_status status = hrnn_adjoint_begin(u->adjoint, opt, options->steps, error);
    if (!status) status = reserve(u, (size_t)options->steps, options->second_derivatives, error);
    if (status) return status;
    const uint64_t first = opt->steps;
    *result = (hrnn_unroll_result){.losses = u->losses};
    forward(u, opt, objective, options, result);
    result->meta_loss = meta_loss(result);
    backward(u, objective, options->second_derivatives, first, result);
    hrnn_adjoint_finish(u->adjoint, meta_gradient);
    return OPT_OK;
}
