/* Adam (Kingma and Ba 2014, algorithm 1, with bias correction), as Darknet's GPU code has it:
 *
 *     m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
 *     w <- w - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),  t = 1, 2, ...
 *
 * One deviation: the host feeds the gradient summed over the batch, here it is the mean, as for
 * every rule; the step is the same but for the size of eps relative to the gradient. */
#include <math.h>
#include "optimizer/moments.h"

static const rule_field fields[] = {{"mean", PER_PARAM, 1}, {"mean_square", PER_PARAM, 1}, {0}};

static void update(const void *constants, float rate, size_t n, float *param, const float *g,
                   float *const *state)
{
    const adam_constants c = *(const adam_constants *)constants;
    float *m = state[0], *v = state[1];
#pragma omp simd
    for (size_t i = 0; i < n; i++) adam_entry(&c, rate, g[i], &param[i], &m[i], &v[i]);
}

static void step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report)
{
    (void)loss;
    const opt_options *o = &opt->options;
    double t = (double)(opt->steps + 1);
    adam_constants c = {o->beta1, o->beta2, o->eps, (float)(1 / (1 - pow(o->beta1, t))),
                        (float)(1 / (1 - pow(o->beta2, t)))};
    moments_step(opt, rate_ratio, update, MOMENTS_LAUNCH(adam), &c, report);
}

const rule rule_adam = {
    .name = "adam",
    .defaults = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-7f},
    .fields = fields,
    .init = moments_init_divided,
    .step = step,
    .free_state = moments_free,
    .state_bytes = moments_bytes,
    .read_field = moments_read,
    .write_field = moments_write,
};
