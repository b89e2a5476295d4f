/* The equations of the hierarchical RNN as plainly as they can be written, in double and for one
 * network at a time: the oracle of the fast step. */
#ifndef HRNN_REFERENCE_H
#define HRNN_REFERENCE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hrnn/hrnn_model.h"

typedef struct {
    size_t n;
    double lr_scale, z[20];
    double *theta, *phi, *log_lr; /* [n] */
    double *clip;                 /* NULL, or [steps left, n]: what the clip of η̂ adds */
    double (*h)[10], (*a)[4], (*m)[4];
} reference_tensor;

typedef struct {
    const hrnn_model *model;
    int n, first, steps;
    int replay_clip; /* add the recorded clips instead: derivatives pass straight through */
    reference_tensor *tensors;
    double global[20];
    /* hrnn-3: steps in all (0: not known), and averages of the loss with longer and longer
     * half-lives. */
    double horizon, losses, loss_mean[4], loss_variance[4];
    double outlook[15];
} reference;

/* A network before its first step, with room for tensors, which are added one by one; the caller
 * fills theta, phi and log_lr of each. */
static inline reference reference_new(const hrnn_model *model, int most_tensors)
{
    reference r = {.model = model, .first = 1};
    r.tensors = calloc((size_t)most_tensors, sizeof *r.tensors);
    for (int j = 0; j < HRNN_H2; j++) r.global[j] = (double)model->global_init[j];
    return r;
}

static inline reference_tensor *reference_add(reference *r, size_t n, double lr_scale)
{
    reference_tensor *t = &r->tensors[r->n++];
    *t = (reference_tensor){.n = n,
                            .lr_scale = lr_scale,
                            .theta = calloc(n, sizeof *t->theta),
                            .phi = calloc(n, sizeof *t->phi),
                            .log_lr = calloc(n, sizeof *t->log_lr),
                            .h = calloc(n, sizeof *t->h),
                            .a = calloc(n, sizeof *t->a),
                            .m = calloc(n, sizeof *t->m)};
    for (int j = 0; j < HRNN_H1; j++) t->z[j] = (double)r->model->tensor_init[j];
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < HRNN_H0; j++) t->h[i][j] = (double)r->model->param_init[j];
    return t;
}

static inline void reference_free(reference *r)
{
    for (int k = 0; k < r->n; k++) {
        reference_tensor *t = &r->tensors[k];
        free(t->theta), free(t->phi), free(t->log_lr), free(t->h), free(t->a), free(t->m);
    }
    free(r->tensors);
}

static inline double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* y[j] += Σ_k x[k] w[k, j] */
static inline void ref_product(double *y, const double *x, const float *w, int n_in, int n_out)
{
    for (int k = 0; k < n_in; k++)
        for (int j = 0; j < n_out; j++) y[j] += x[k] * (double)w[k * n_out + j];
}

/* One GRU step: x [n_x], state [n], injected [3n]. */
static inline void ref_gru(const double *x, int n_x, double *state, int n, const double *injected,
                           const float *gates_w, const float *gates_b, const float *cand_w,
                           const float *cand_b)
{
    double in[64], gates[64], cand[32];
    memcpy(in, x, (size_t)n_x * sizeof *in);
    memcpy(in + n_x, state, (size_t)n * sizeof *in);
    for (int j = 0; j < 2 * n; j++) gates[j] = (double)gates_b[j] + injected[j];
    for (int j = 0; j < n; j++) cand[j] = (double)cand_b[j] + injected[2 * n + j];
    ref_product(gates, in, gates_w, n_x + n, 2 * n);
    for (int j = 0; j < n; j++) in[n_x + j] = ref_sigmoid(gates[j]) * state[j];
    ref_product(cand, in, cand_w, n_x + n, n);
    for (int j = 0; j < n; j++) {
        const double u = ref_sigmoid(gates[n + j]);
        state[j] = u * state[j] + (1 - u) * tanh(cand[j]);
    }
}

static inline void ref_add_affine(double *y, const double *x, const float *w, const float *b,
                                  int n_in, int n_out)
{
    for (int j = 0; j < n_out; j++) y[j] += (double)b[j];
    ref_product(y, x, w, n_in, n_out);
}

static inline double ref_dot(const double *x, const float *w, int n)
{
    double sum = 0;
    for (int k = 0; k < n; k++) sum += x[k] * (double)w[k];
    return sum;
}

/* Steps 1 to 3 for one parameter. */
static inline void ref_inputs(const reference *r, const double *h, double g, double *a, double *m,
                              double relative_lr, double *x)
{
    const hrnn_model *p = r->model;
    const double bg =
        r->first
            ? 0
            : ref_sigmoid(ref_dot(h, p->input_decay_weight, 10) + (double)p->input_decay_bias[0]);
    const double bl =
        r->first
            ? 0
            : ref_sigmoid(ref_dot(h, p->scale_decay_weight, 10) + (double)p->scale_decay_bias[0]);
    double log_m[4], mean = 0;
    for (int s = 0; s < 4; s++) {
        const double b = hrnn_has(p, HRNN_TIMESCALES) ? pow(bg, pow(2, -s)) : bg;
        a[s] = (1 - b) * g + b * a[s];
        m[s] = (1 - bl) * (a[s] * a[s] + 1e-12) + bl * m[s];
        x[INPUT_AVERAGE + s] =
            asinh(hrnn_has(p, HRNN_INPUT_SCALING) ? a[s] / sqrt(m[s] + 1e-16) : a[s]);
        log_m[s] = log(m[s] + 1e-16);
        mean += log_m[s] / 4;
    }
    const double *average = x + INPUT_AVERAGE;
    for (int s = 0; s < 3; s++)
        x[INPUT_PRODUCT + s] = hrnn_has(p, HRNN_PRODUCTS) ? average[s] * average[s + 1] : 0;
    for (int s = 0; s < 4; s++)
        x[INPUT_MEAN_SQUARE + s] = hrnn_has(p, HRNN_LOG_MEAN_SQUARE) ? log_m[s] - mean : 0;
    x[INPUT_RELATIVE_LR] = hrnn_has(p, HRNN_RELATIVE_LR) ? relative_lr : 0;
}

static inline double ref_clip(const reference *r, reference_tensor *t, size_t i, double raw,
                              double max_log_lr)
{
    if (r->replay_clip) return raw + t->clip[i];
    const double clipped = fmin(fmax(raw, (double)r->model->min_log_lr), max_log_lr);
    if (t->clip) t->clip[i] = clipped - raw;
    return clipped;
}

/* hrnn-2: the context's inputs; returns the log of the tensor's size. */
static inline double ref_context(const reference *r, const reference_tensor *t, double *context)
{
    double log_lr = 0, square = 0;
    for (size_t i = 0; i < t->n; i++) {
        log_lr += t->log_lr[i] / (double)t->n;
        square += t->phi[i] * t->phi[i] / (double)t->n;
    }
    const double log_size = log(sqrt(square + 1e-4));
    const double inputs[3] = {(log_lr - log_size) / 4 + 1, (log_lr - log(1e-3)) / 4,
                              log(1.0 + r->steps) / 8 - 0.5};
    for (int i = 0; i < 3; i++)
        context[i] = hrnn_has(r->model, (hrnn_feature)(HRNN_RATE_TO_SIZE + i)) ? inputs[i] : 0;
    return log_size;
}

/* hrnn-3: the half-life of the i-th average of the loss, in steps. */
static inline double ref_half_life(const reference *r, int i)
{
    return 10 * pow(fmax(r->horizon > 0 ? r->horizon : 1000, 10) / 10, i / 3.0);
}

static inline double ref_within(double x) { return fmin(fmax(x, -1), 1); }

/* hrnn-3: the outlook before a step; returns the factor of the schedule. */
static inline double ref_look_out(reference *r)
{
    static const double centres[6] = {0.05, 0.2, 0.4, 0.6, 0.8, 0.95};
    const hrnn_model *p = r->model;
    const double left = r->horizon - r->steps;
    double *u = r->outlook, factor = 0;
    memset(u, 0, sizeof r->outlook);
    if (r->horizon > 0) {
        for (int i = 0; i < 6; i++) u[i] = tanh(10 * (r->steps / r->horizon - centres[i]));
        u[6] = log(r->horizon) / 4 - 2;
        u[7] = log(1 + left) / 8 - 0.5;
        if (hrnn_has(p, HRNN_SCHEDULE)) factor = ref_dot(u, p->schedule_weight, 8);
        if (!hrnn_has(p, HRNN_HORIZON)) memset(u, 0, sizeof r->outlook);
        factor = left / r->horizon * exp(fmin(fmax(factor, -3), 3));
    }
    if (hrnn_has(p, HRNN_LOSSES) && r->losses >= 2) {
        const double *m = r->loss_mean, *v = r->loss_variance;
        for (int i = 0; i < 3; i++) {
            const double fall = m[i] - m[i + 1];
            u[8 + i] = ref_within(4 * fall / (fabs(m[i]) + fabs(m[i + 1]) + 1e-12));
            u[11 + i] = ref_within(sqrt(ref_half_life(r, i)) / 8 * fall / (sqrt(v[i + 1]) + 1e-12));
        }
        u[14] = fmin(log(sqrt(v[1]) / (fabs(m[1]) + 1e-12) + 1e-3) / 4, 1);
    }
    return r->horizon > 0 ? factor : 1;
}

/* hrnn-3: takes in the loss of a step's batch. */
static inline void ref_note_loss(reference *r, double loss)
{
    if (!isfinite(loss)) return;
    r->losses++;
    for (int i = 0; i < 4; i++) {
        const double share = fmax(1 - pow(0.5, 1 / ref_half_life(r, i)), 1 / r->losses);
        const double away = loss - r->loss_mean[i];
        r->loss_mean[i] += share * away;
        r->loss_variance[i] = (1 - share) * (r->loss_variance[i] + share * away * away);
    }
}

/* All of one tensor's step but the global RNN; grad are finite gradients of the mean loss. */
static inline void ref_tensor_step(const reference *r, reference_tensor *t, const double *grad,
                                   double mean_log_lr, double ratio)
{
    const hrnn_model *p = r->model;
    double injected[30] = {0}, tensor_bias[60] = {0}, mean[22] = {0}, sum_d = 0, sum_q = 0;
    double *d = calloc(t->n, sizeof *d), *q = calloc(t->n, sizeof *q);
    double *hat = calloc(t->n, sizeof *hat), context[3];
    const double log_size = ref_context(r, t, context);
    double max_log_lr = (double)p->max_log_lr;
    if (hrnn_has(p, HRNN_LR_LIMIT))
        max_log_lr = fmax(fmin(4 * ((double)p->lr_limit[0] - 1) + log_size, max_log_lr),
                          (double)p->min_log_lr);
    ref_product(injected, context, p->param_from_context_weight, 3, 30);
    ref_product(tensor_bias, context, p->tensor_from_context_weight, 3, 60);
    ref_product(injected, r->outlook, p->param_from_outlook_weight, 15, 30);
    ref_product(tensor_bias, r->outlook, p->tensor_from_outlook_weight, 15, 60);
    if (hrnn_has(p, HRNN_TENSOR_RNN))
        ref_add_affine(injected, t->z, p->param_from_tensor_weight, p->param_from_tensor_bias, 20,
                       30);
    if (hrnn_has(p, HRNN_GLOBAL_RNN)) {
        ref_add_affine(injected, r->global, p->param_from_global_weight, p->param_from_global_bias,
                       20, 30);
        ref_add_affine(tensor_bias, r->global, p->tensor_from_global_weight,
                       p->tensor_from_global_bias, 20, 60);
    }
    for (size_t i = 0; i < t->n; i++) {
        double x[12], *h = t->h[i];
        ref_inputs(r, h, grad[i], t->a[i], t->m[i], t->log_lr[i] - mean_log_lr, x);
        ref_gru(x, 12, h, 10, injected, p->param_gates_weight, p->param_gates_bias,
                p->param_candidate_weight, p->param_candidate_bias);
        for (int j = 0; j < 10; j++) mean[j] += h[j] / (double)t->n;
        for (int j = 0; j < 12; j++) mean[10 + j] += x[j] / (double)t->n;
        const int shortcut = hrnn_has(p, HRNN_SHORTCUT);
        d[i] = ref_dot(h, p->step_weight, 10) + (shortcut ? ref_dot(x, p->step_shortcut, 4) : 0);
        q[i] = ref_dot(h, p->attention_weight, 10) +
               (shortcut ? ref_dot(x, p->attention_shortcut, 4) : 0);
        sum_d += d[i] * d[i];
        sum_q += q[i] * q[i];
        hat[i] = t->log_lr[i];
        if (hrnn_has(p, HRNN_DYNAMIC_LR)) {
            const double gamma = ref_sigmoid((double)p->momentum_logit[0]);
            hat[i] += ref_dot(h, p->log_lr_weight, 10) + (double)p->log_lr_bias[0];
            hat[i] += ref_dot(context, p->log_lr_from_context_weight, 3);
            hat[i] += ref_dot(r->outlook, p->log_lr_from_outlook_weight, 15);
            hat[i] = ref_clip(r, t, i, hat[i], max_log_lr);
            t->log_lr[i] = gamma * t->log_lr[i] + (1 - gamma) * hat[i];
        }
    }
    const int normalised = hrnn_has(p, HRNN_STEP_NORMALISATION);
    const double norm_d = normalised ? sqrt(sum_d / (double)t->n + 1e-16) : 1;
    const double norm_q = normalised ? sqrt(sum_q / (double)t->n + 1e-16) : 1;
    for (size_t i = 0; i < t->n; i++) {
        const double rate = ratio * t->lr_scale, old = t->theta[i];
        t->theta[i] = old - rate * exp(hat[i] + (double)p->step_offset[0]) * d[i] / norm_d;
        t->phi[i] =
            hrnn_has(p, HRNN_ATTENTION) ? old - rate * exp(hat[i]) * q[i] / norm_q : t->theta[i];
    }
    ref_gru(mean, 22, t->z, 20, tensor_bias, p->tensor_gates_weight, p->tensor_gates_bias,
            p->tensor_candidate_weight, p->tensor_candidate_bias);
    if (t->clip) t->clip += t->n;
    free(d);
    free(q);
    free(hat);
}

/* One step of the network; grad[k] is [n_k], loss that of their batch (NAN: not known). */
static inline void reference_step(reference *r, double *const *grad, double loss, double ratio)
{
    double sum = 0, count = 0, mean_z[20] = {0}, global_bias[60] = {0};
    if (hrnn_has_outlook(r->model)) ratio *= ref_look_out(r);
    ref_product(global_bias, r->outlook, r->model->global_from_outlook_weight, 15, 60);
    for (int k = 0; k < r->n; k++) {
        for (size_t i = 0; i < r->tensors[k].n; i++) sum += r->tensors[k].log_lr[i];
        count += (double)r->tensors[k].n;
    }
    for (int k = 0; k < r->n; k++) {
        ref_tensor_step(r, &r->tensors[k], grad[k], sum / count, ratio);
        for (int j = 0; j < 20; j++) mean_z[j] += r->tensors[k].z[j] / r->n;
    }
    ref_gru(mean_z, 20, r->global, 20, global_bias, r->model->global_gates_weight,
            r->model->global_gates_bias, r->model->global_candidate_weight,
            r->model->global_candidate_bias);
    r->first = 0;
    r->steps++;
    ref_note_loss(r, loss);
}

#endif
