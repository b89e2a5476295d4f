/* RMSProp (Tieleman and Hinton, lecture 6.5, 2012), with eps outside the root:
 * v <- beta2 v + (1 - beta2) g^2; w <- w - rate g / (sqrt(v) + eps). */
#include "optimizer/moments.h"

static const rule_field fields[] = {{"mean_square", PER_PARAM, 1}, {0}};

static void update(const void *constants, float rate, size_t n, float *param, const float *g,
                   float *const *state)
{
    const rmsprop_constants c = *(const rmsprop_constants *)constants;
    float *v = state[0];
#pragma omp simd
    for (size_t i = 0; i < n; i++) rmsprop_entry(&c, rate, g[i], &param[i], &v[i]);
}

static void step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report)
{
    (void)loss;
    const rmsprop_constants c = {opt->options.beta2, opt->options.eps};
    moments_step(opt, rate_ratio, update, MOMENTS_LAUNCH(rmsprop), &c, report);
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
