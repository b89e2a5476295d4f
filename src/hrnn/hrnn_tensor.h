/* What a step does once for a tensor and once for the network, from sums over parameters: the norms
 * of the directions, the tensor RNN, the global RNN, the context, and what they inject into the
 * next step. On a GPU all threads of a block call these for one tensor (hrnn_vector.h), with `work`
 * in memory that they share, and the state and all it points to in the memory of the GPU. */
#ifndef HRNN_TENSOR_H
#define HRNN_TENSOR_H

#include <math.h>

#include "hrnn/hrnn_step.h"
#include "hrnn/hrnn_vector.h"

typedef struct {
    double sums[SUMS]; /* of the tensor's chunks, in their order */
    float input[HRNN_FAN], bias[GRU_BIASES];
    gru_activations act;
} tensor_work;

typedef struct {
    float mean[HRNN_H1]; /* of z over the tensors */
    gru_activations act;
} network_work;

/* From work->sums: the scale of the tensor's directions, its mean η and the tensor RNN's input. */
VECTOR_FN void finish_sums(const hrnn_state *state, hrnn_tensor *tensor, tensor_work *work)
{
    const double *sums = work->sums, n = (double)tensor->t->n;
    const int normalised = hrnn_has(&state->model, HRNN_STEP_NORMALISATION);
    VECTOR_ONE
    {
        tensor->step_norm = normalised ? (float)(1 / sqrt(sums[SUM_STEP] / n + 1e-16)) : 1;
        tensor->attention_norm =
            normalised ? (float)(1 / sqrt(sums[SUM_ATTENTION] / n + 1e-16)) : 1;
        tensor->log_lr_sum = sums[SUM_LOG_LR];
        tensor->context.mean_log_lr = (float)(sums[SUM_LOG_LR] / n);
        tensor->bad = (size_t)sums[SUM_BAD];
    }
    EACH_ENTRY(j, HRNN_FAN) work->input[j] = (float)(sums[SUM_INPUT + j] / n);
    VECTOR_SYNC();
}

/* The tensor RNN's step, from work->input. */
VECTOR_FN void step_tensor_rnn(const hrnn_state *state, hrnn_tensor *tensor,
                               const hrnn_outlook *outlook, tensor_work *work)
{
    const hrnn_model *m = &state->model;
    vector_set(work->bias, 0, GRU_BIASES);
    if (hrnn_has(m, HRNN_GLOBAL_RNN)) {
        vector_add(work->bias, m->tensor_from_global_bias, GRU_BIASES);
        vector_product(work->bias, state->global, m->tensor_from_global_weight, HRNN_H2,
                       GRU_BIASES);
    }
    if (hrnn_has_context(m))
        vector_product(work->bias, tensor->context.inputs, m->tensor_from_context_weight,
                       HRNN_CONTEXT, GRU_BIASES);
    if (hrnn_has_outlook(m)) vector_add(work->bias, outlook->tensor_bias, GRU_BIASES);
    VECTOR_SYNC();
    const gru cell = tensor_gru(m);
    vector_gru(&cell, work->input, work->bias, tensor->z, &work->act, tensor->z);
}

/* The global RNN's step, from work->mean, and η̄ for the next step, from Σ η. */
VECTOR_FN void step_global_rnn(hrnn_state *state, const hrnn_outlook *outlook, double log_lr_sum,
                               network_work *work)
{
    const gru cell = global_gru(&state->model);
    const float *bias = hrnn_has_outlook(&state->model) ? outlook->global_bias : NULL;
    vector_gru(&cell, work->mean, bias, state->global, &work->act, state->global);
    VECTOR_ONE state->mean_log_lr = (float)(log_lr_sum / (double)state->params);
}

/* The size of a tensor from Σθ², which are sums of floats: infinite ones are taken as 1e30. */
VECTOR_FN void measure_size(hrnn_tensor *tensor, double squares)
{
    VECTOR_ONE tensor->context.log_size =
        (float)(0.5 * log(fmin(squares, 1e30) / (double)tensor->t->n + 1e-4));
    VECTOR_SYNC();
}

/* The third input of a context: of the steps taken. */
static inline float context_time(uint64_t steps)
{
    return 0.125f * (float)log1p((double)steps) - 0.5f;
}

/* What a context adds to the readout of the learning rate, and its clip. */
VECTOR_FN void prepare_context(const hrnn_state *state, hrnn_tensor *tensor, float time)
{
    const hrnn_model *m = &state->model;
    hrnn_context *c = &tensor->context;
    VECTOR_ONE
    {
        const float to_size = 0.25f * (c->mean_log_lr - c->log_size) + 1;
        const float to_usual = 0.25f * (c->mean_log_lr + 6.90775528f);
        c->inputs[0] = hrnn_has(m, HRNN_RATE_TO_SIZE) ? to_size : 0;
        c->inputs[1] = hrnn_has(m, HRNN_ABSOLUTE_LR) ? to_usual : 0;
        c->inputs[2] = hrnn_has(m, HRNN_TIME) ? time : 0;
        for (int i = 0; i < HRNN_CONTEXT; i++)
            tensor->log_lr_bias += c->inputs[i] * m->log_lr_from_context_weight[i];
    }
    VECTOR_SYNC();
    vector_product(tensor->bias, c->inputs, m->param_from_context_weight, HRNN_CONTEXT,
                   3 * HRNN_H0);
    if (!hrnn_has(m, HRNN_LR_LIMIT)) return;
    const float limit = 4 * (m->lr_limit[0] - 1) + c->log_size;
    VECTOR_ONE tensor->max_log_lr = fmaxf(fminf(limit, m->max_log_lr), m->min_log_lr);
}

/* The bias of the parameter RNN: its own, and what tensor, network, context and outlook inject. */
VECTOR_FN void prepare_tensor(const hrnn_state *state, hrnn_tensor *tensor,
                              const hrnn_outlook *outlook, float time)
{
    const hrnn_model *m = &state->model;
    VECTOR_ONE
    {
        tensor->log_lr_bias = m->log_lr_bias[0];
        tensor->max_log_lr = m->max_log_lr;
    }
    EACH_ENTRY(j, 3 * HRNN_H0)
        tensor->bias[j] =
            j < 2 * HRNN_H0 ? m->param_gates_bias[j] : m->param_candidate_bias[j - 2 * HRNN_H0];
    if (hrnn_has(m, HRNN_TENSOR_RNN)) {
        vector_add(tensor->bias, m->param_from_tensor_bias, 3 * HRNN_H0);
        vector_product(tensor->bias, tensor->z, m->param_from_tensor_weight, HRNN_H1, 3 * HRNN_H0);
    }
    if (hrnn_has(m, HRNN_GLOBAL_RNN)) {
        vector_add(tensor->bias, m->param_from_global_bias, 3 * HRNN_H0);
        vector_product(tensor->bias, state->global, m->param_from_global_weight, HRNN_H2,
                       3 * HRNN_H0);
    }
    if (hrnn_has_context(m)) prepare_context(state, tensor, time);
    if (!hrnn_has_outlook(m)) return;
    VECTOR_ONE tensor->log_lr_bias += outlook->log_lr_bias;
    vector_add(tensor->bias, outlook->param_bias, 3 * HRNN_H0);
}

#endif
