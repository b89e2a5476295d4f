/* Clip, then RMSProp, or Adam with decay of the weights; in double. */
#include "meta/meta_optimizer.h"

#include <math.h>
#include <stdlib.h>

meta_optimizer_options meta_optimizer_defaults(int rule)
{
    if (rule == META_RMSPROP)
        return (meta_optimizer_options){
            .rule = META_RMSPROP, .rate = 1e-6, .beta2 = 0.9, .eps = 1e-20, .clip_entry = 1e4};
    return (meta_optimizer_options){
        .rule = META_ADAM, .rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
}

opt_status meta_optimizer_init(meta_optimizer *m, const meta_optimizer_options *options, size_t n,
                               opt_error *error)
{
    *m = (meta_optimizer){.options = *options, .n = n};
    m->first = calloc(n + 1, sizeof *m->first);
    m->second = calloc(n + 1, sizeof *m->second);
    if (m->first && m->second) return OPT_OK;
    meta_optimizer_release(m);
    return opt_fail(error, OPT_NO_MEMORY, "no memory for the moments of %zu meta-parameters", n);
}

void meta_optimizer_release(meta_optimizer *m)
{
    free(m->first);
    free(m->second);
    *m = (meta_optimizer){0};
}

double meta_optimizer_rate(const meta_optimizer_options *o, uint64_t steps)
{
    double ratio = 1;
    if (steps < o->warm_up) ratio = (double)(steps + 1) / (double)o->warm_up;
    if (o->cosine) {
        const double done = steps < o->cosine ? (double)steps / (double)o->cosine : 1;
        ratio *= o->final + (1 - o->final) * 0.5 * (1 + cos(3.14159265358979324 * done));
    }
    return ratio * o->rate;
}

/* The gradient as the step takes it: finite, and clipped. */
static void clip(const meta_optimizer *m, double *gradient, meta_step_report *report)
{
    const double limit = m->options.clip_entry;
    double square = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (!isfinite(gradient[i])) {
            gradient[i] = 0;
            report->non_finite++;
        }
        if (limit > 0) gradient[i] = fmax(-limit, fmin(limit, gradient[i]));
        square += gradient[i] * gradient[i];
    }
    report->norm = sqrt(square);
    if (!(m->options.clip_norm > 0) || !(report->norm > m->options.clip_norm)) return;
    for (size_t i = 0; i < m->n; i++) gradient[i] *= m->options.clip_norm / report->norm;
}

void meta_optimizer_step(meta_optimizer *m, double *theta, double *gradient,
                         meta_step_report *report)
{
    const meta_optimizer_options *o = &m->options;
    meta_step_report unread;
    if (!report) report = &unread;
    *report = (meta_step_report){.rate = meta_optimizer_rate(o, m->steps)};
    clip(m, gradient, report);
    const double rate = report->rate;
    m->steps++;
    if (o->rule == META_RMSPROP) {
        for (size_t i = 0; i < m->n; i++) {
            m->second[i] = o->beta2 * m->second[i] + (1 - o->beta2) * gradient[i] * gradient[i];
            theta[i] -= rate * gradient[i] / sqrt(m->second[i] + o->eps);
        }
        return;
    }
    const double unbias1 = 1 - pow(o->beta1, (double)m->steps);
    const double unbias2 = 1 - pow(o->beta2, (double)m->steps);
    for (size_t i = 0; i < m->n; i++) {
        if (gradient[i] == 0 && m->second[i] == 0) continue; /* not in use: nothing to decay */
        m->first[i] = o->beta1 * m->first[i] + (1 - o->beta1) * gradient[i];
        m->second[i] = o->beta2 * m->second[i] + (1 - o->beta2) * gradient[i] * gradient[i];
        const double direction = m->first[i] / unbias1 / (sqrt(m->second[i] / unbias2) + o->eps);
        theta[i] -= rate * (direction + o->weight_decay * theta[i]);
    }
}
