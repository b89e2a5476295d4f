/* RMSProp (Tieleman and Hinton, lecture 6.5, 2012), with eps outside the root:
 * v <- beta2 v + (1 - beta2) g^2; w <- w - rate g / (sqrt(v) + eps). */
#include <math.h>
#include "moments.h"

static const rule_field fields[] = {{"mean_square", PER_PARAM, 1}, {0}};

static void update(const void *constants, float rate, size_t n, float *param, const float *g,
                   float *const *state)
{
    const opt_options *o = constants;
    const float beta2 = o->beta2, new2 = 1 - beta2, eps = o->eps;
    float *v = state[0];
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float bounded = moments_bounded(g[i]);
        v[i] = beta2 * v[i] + new2 * bounded * bounded;
        param[i] -= rate * bounded / (sqrtf(v[i]) + eps);
    }
}

static void step(optimizer *opt, float rate_ratio, opt_step_report *report)
{
    moments_step(opt, rate_ratio, update, &opt->options, report);
}

const rule rule_rmsprop = {
    .name = "rmsprop",
    .defaults = {.beta2 = 0.99f, .eps = 1e-8f},
    .fields = fields,
    .init = moments_init_divided,
    .step = step,
    .free_state = moments_free,
    .state_bytes = moments_bytes,
    .read_field = moments_read,
    .write_field = moments_write,
};
