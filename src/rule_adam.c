/* Adam (Kingma and Ba 2014, algorithm 1, with bias correction), as Darknet's GPU code has it:
 *
 *     m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
 *     w <- w - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),  t = 1, 2, ...
 *
 * One deviation: the host feeds the gradient summed over the batch, here it is the mean, as for
 * every rule; the step is the same but for the size of eps relative to the gradient. */
#include <math.h>
#include "moments.h"

static const rule_field fields[] = {{"mean", PER_PARAM, 1}, {"mean_square", PER_PARAM, 1}, {0}};

typedef struct {
    float beta1, beta2, eps;
    float correct1, correct2; /* 1 / (1 - beta^t) */
} adam_constants;

static void update(const void *constants, float rate, size_t n, float *param, const float *g,
                   float *const *state)
{
    const adam_constants c = *(const adam_constants *)constants;
    const float new1 = 1 - c.beta1, new2 = 1 - c.beta2, corrected_rate = rate * c.correct1;
    float *m = state[0], *v = state[1];
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float bounded = moments_bounded(g[i]);
        m[i] = c.beta1 * m[i] + new1 * bounded;
        v[i] = c.beta2 * v[i] + new2 * bounded * bounded;
        param[i] -= corrected_rate * m[i] / (sqrtf(v[i] * c.correct2) + c.eps);
    }
}

static void step(optimizer *opt, float rate_ratio, opt_step_report *report)
{
    const opt_options *o = &opt->options;
    double t = (double)(opt->steps + 1);
    adam_constants c = {o->beta1, o->beta2, o->eps, (float)(1 / (1 - pow(o->beta1, t))),
                        (float)(1 / (1 - pow(o->beta2, t)))};
    moments_step(opt, rate_ratio, update, &c, report);
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
