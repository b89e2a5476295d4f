/* Stochastic gradient descent with Darknet's momentum: v <- momentum v + g; w <- w - rate v.
 *
 * The host keeps u = -batch v in its update buffers: after the backward pass has added to it, its
 * update is u <- u - decay batch w; w <- w + (rate / batch) u; u <- momentum u. Since the rate is
 * applied to v and not folded into it, both agree (up to rounding) under any schedule of the
 * rate. */
#include "optimizer/moments.h"

static const rule_field fields[] = {{"momentum", PER_PARAM, 1}, {0}};

static void update(const void *constants, float rate, size_t n, float *param, const float *g,
                   float *const *state)
{
    const sgd_constants c = *(const sgd_constants *)constants;
    float *v = state[0];
#pragma omp simd
    for (size_t i = 0; i < n; i++) sgd_entry(&c, rate, g[i], &param[i], &v[i]);
}

static void step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report)
{
    (void)loss;
    const sgd_constants c = {opt->options.momentum};
    moments_step(opt, rate_ratio, update, MOMENTS_LAUNCH(sgd), &c, report);
}

const rule rule_sgd = {
    .name = "sgd",
    .defaults = {.momentum = 0.9f},
    .fields = fields,
    .init = moments_init,
    .step = step,
    .free_state = moments_free,
    .state_bytes = moments_bytes,
    .read_field = moments_read,
    .write_field = moments_write,
};
