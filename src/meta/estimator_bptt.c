/* Problems and batches as the unroller wants them, and the average over an outer step's unrolls. */
#include "meta/estimator_bptt.h"

#include <math.h>
#include <stdlib.h>

#include "adjoint/hrnn_unroll.h"

/* Of a problem without a loss on all data, those of the meta-loss are of batches from here on. */
static const uint64_t first_held_out = (uint64_t)1 << 40;

struct bptt {
    int threads;
    hrnn_unroller *unrollers[];
};

bptt *bptt_new(int threads, opt_error *error)
{
    bptt *b = calloc(1, sizeof *b + (size_t)threads * sizeof *b->unrollers);
    if (!b) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for the unrolls of %d threads", threads);
        return NULL;
    }
    b->threads = threads;
    for (int i = 0; i < threads; i++) {
        if ((b->unrollers[i] = hrnn_unroller_new(error))) continue;
        bptt_free(b);
        return NULL;
    }
    return b;
}

void bptt_free(bptt *b)
{
    if (!b) return;
    for (int i = 0; i < b->threads; i++) hrnn_unroller_free(b->unrollers[i]);
    free(b);
}

static uint64_t batch_number(const episode *e, int64_t batch)
{
    return batch == HRNN_FULL_DATA ? first_held_out + opt_steps(episode_optimizer(e))
                                   : (uint64_t)batch;
}

static double loss(void *context, int64_t batch, const float *x, float *gradient)
{
    const episode *e = context;
    problem *p = episode_problem(e);
    if (batch == HRNN_FULL_DATA && problem_has_full_loss(p))
        return problem_full_gradient(p, x, gradient);
    return problem_gradient(p, x, batch_number(e, batch), gradient);
}

static void hessian_product(void *context, int64_t batch, const float *x, const float *v,
                            float *out)
{
    const episode *e = context;
    problem_hvp(episode_problem(e), x, batch_number(e, batch), v, out);
}

opt_status bptt_unroll(bptt *b, int thread, episode *e, int steps, int second_derivatives,
                       float *gradient, bptt_result *result, opt_error *error)
{
    const int second = second_derivatives && problem_has_hvp(episode_problem(e));
    if (second_derivatives && !second)
        return opt_fail(
            error, OPT_BAD_OPTION,
            "-second-derivatives 1: a problem of this corpus has no Hessian-vector product");
    const hrnn_objective objective = {e, loss, second ? hessian_product : NULL, 0};
    const hrnn_unroll_options options = {steps, second, episode_start_loss(e)};
    hrnn_unroll_result found;
    episode_begin_unroll(e);
    opt_status status = hrnn_unroll(b->unrollers[thread], episode_optimizer(e), &objective,
                                    &options, &found, gradient, error);
    if (status) return status;
    episode_end_unroll(e);
    for (int i = 0; i < HRNN_META_PARAMS; i++)
        if (!isfinite(gradient[i])) gradient[i] = 0;
    *result = (bptt_result){found.meta_loss, found.steps < steps};
    return OPT_OK;
}

void bptt_average(const float *gradients, int runs, size_t stride, const unsigned char *used,
                  double *gradient)
{
    for (int i = 0; i < HRNN_META_PARAMS; i++) {
        double sum = 0;
        for (int r = 0; r < runs && used[i]; r++)
            sum += (double)gradients[(size_t)r * stride + (size_t)i];
        gradient[i] = sum / runs;
    }
}
