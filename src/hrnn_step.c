#include "hrnn_step.h"
#include "hrnn_vector.h"

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Below this many parameters a second thread costs more than it brings. */
enum { PARALLEL_PARAMS = 4096 };

/* What a context adds to the readout of the learning rate, and its clip. */
static void prepare_context(const hrnn_state *state, hrnn_tensor *tensor)
{
    const hrnn_model *m = &state->model;
    hrnn_context *c = &tensor->context;
    const float to_size = 0.25f * (c->mean_log_lr - c->log_size) + 1;
    const float to_usual = 0.25f * (c->mean_log_lr + 6.90775528f);
    const float time = 0.125f * (float)log1p((double)state->steps) - 0.5f;
    c->inputs[0] = hrnn_has(m, HRNN_RATE_TO_SIZE) ? to_size : 0;
    c->inputs[1] = hrnn_has(m, HRNN_ABSOLUTE_LR) ? to_usual : 0;
    c->inputs[2] = hrnn_has(m, HRNN_TIME) ? time : 0;
    for (int i = 0; i < HRNN_CONTEXT; i++)
        tensor->log_lr_bias += c->inputs[i] * m->log_lr_from_context_weight[i];
    vector_product(tensor->bias, c->inputs, m->param_from_context_weight, HRNN_CONTEXT,
                   3 * HRNN_H0);
    if (!hrnn_has(m, HRNN_LR_LIMIT)) return;
    const float limit = 4 * (m->lr_limit[0] - 1) + c->log_size;
    tensor->max_log_lr = fmaxf(fminf(limit, m->max_log_lr), m->min_log_lr);
}

/* The bias of the parameter RNN: its own, and what tensor, network and context inject. */
static void prepare_tensor(const hrnn_state *state, hrnn_tensor *tensor)
{
    const hrnn_model *m = &state->model;
    tensor->log_lr_bias = m->log_lr_bias[0];
    tensor->max_log_lr = m->max_log_lr;
    memcpy(tensor->bias, m->param_gates_bias, sizeof m->param_gates_bias);
    memcpy(tensor->bias + 2 * HRNN_H0, m->param_candidate_bias, sizeof m->param_candidate_bias);
    if (hrnn_has(m, HRNN_TENSOR_RNN)) {
        vector_add(tensor->bias, m->param_from_tensor_bias, 3 * HRNN_H0);
        vector_product(tensor->bias, tensor->z, m->param_from_tensor_weight, HRNN_H1, 3 * HRNN_H0);
    }
    if (hrnn_has(m, HRNN_GLOBAL_RNN)) {
        vector_add(tensor->bias, m->param_from_global_bias, 3 * HRNN_H0);
        vector_product(tensor->bias, state->global, m->param_from_global_weight, HRNN_H2,
                       3 * HRNN_H0);
    }
    if (hrnn_is_2(m)) prepare_context(state, tensor);
}

void hrnn_prepare(hrnn_state *state)
{
    for (int k = 0; k < state->n; k++) prepare_tensor(state, &state->tensors[k]);
}

LANES_FN void load_gradient(const int nv, const opt_tensor *t, const lanes_any *grad,
                            const lanes_any *param, lanes *g, lanes *bad)
{
    EACH_VECTOR(v, nv) g[v] = cell_gradient(t->grad_scale * grad[v] + t->l2 * param[v], bad);
}

/* sum += x over the tile's vectors; mask (1 or 0) leaves out the lanes beyond the tensor's end. */
LANES_FN void add_tile(const int nv, lanes *sum, const lanes *x, const lanes *mask)
{
    EACH_VECTOR(v, nv) *sum += mask ? mask[v] * x[v] : x[v];
}

/* One tile: block points at its first lane in row 0. grad becomes e^(η̂ + offset)·d; param becomes
 * e^η̂·q with attention. */
LANES_FN void step_tile(const int nv, const cell_constants *k, const opt_tensor *t, float *block,
                        lanes_any *grad, lanes_any *param, const lanes *mask, lanes *sums)
{
    const hrnn_model *model = k->model;
    tile_row xh[HRNN_FAN], *h = xh + HRNN_INPUTS, a[HRNN_SCALES], m[HRNN_SCALES], log_lr[1];
    tile_row g[1], d[1], proposal[1], square[1], b[HRNN_SCALES], scale_decay[1], reset[HRNN_H0];
    load_rows(nv, block, ROW_HIDDEN, HRNN_H0, h);
    load_rows(nv, block, ROW_AVERAGE, HRNN_SCALES, a);
    load_rows(nv, block, ROW_MEAN_SQUARE, HRNN_SCALES, m);
    load_rows(nv, block, ROW_LOG_LR, 1, log_lr);
    load_gradient(nv, t, grad, param, g[0], &sums[SUM_BAD]);
    cell_decays(nv, k, h, b, scale_decay[0]);
    cell_inputs(nv, k, b, scale_decay[0], g[0], log_lr[0], a, m, xh);
    store_rows(nv, block, ROW_AVERAGE, HRNN_SCALES, a);
    store_rows(nv, block, ROW_MEAN_SQUARE, HRNN_SCALES, m);
    cell_gru(nv, k, xh, reset, NULL, h);
    store_rows(nv, block, ROW_HIDDEN, HRNN_H0, h);
    for (int j = 0; j < HRNN_H0; j++) add_tile(nv, &sums[SUM_INPUT + j], h[j], mask);
    for (int j = 0; j < HRNN_INPUTS; j++)
        add_tile(nv, &sums[SUM_INPUT + HRNN_H0 + j], xh[j], mask);
    cell_learning_rate(nv, k, h, log_lr[0], proposal[0]);
    store_rows(nv, block, ROW_LOG_LR, 1, log_lr);
    add_tile(nv, &sums[SUM_LOG_LR], log_lr[0], mask);

    cell_direction(nv, k, model->step_weight, model->step_shortcut, h, xh, d[0]);
    EACH_VECTOR(v, nv) {
        square[0][v] = d[0][v] * d[0][v];
        grad[v] = lanes_exp(proposal[0][v] + model->step_offset[0]) * d[0][v];
    }
    add_tile(nv, &sums[SUM_STEP], square[0], mask);
    if (!CELL_HAS(k, HRNN_ATTENTION)) return;
    cell_direction(nv, k, model->attention_weight, model->attention_shortcut, h, xh, d[0]);
    EACH_VECTOR(v, nv) {
        square[0][v] = d[0][v] * d[0][v];
        param[v] = lanes_exp(proposal[0][v]) * d[0][v];
    }
    add_tile(nv, &sums[SUM_ATTENTION], square[0], mask);
}

/* The last, incomplete tile of a tensor, one vector at a time through buffers. */
static void step_tail(const cell_constants *k, const opt_tensor *t, float *block, size_t first,
                      size_t count, lanes *sums)
{
    for (size_t i = 0; i < count; i += LANES) {
        const size_t n = count - i < LANES ? count - i : LANES;
        _Alignas(64) float grad[LANES] = {0}, param[LANES] = {0}, mask[LANES] = {0};
        memcpy(grad, t->grad + first + i, n * sizeof *grad);
        memcpy(param, t->param + first + i, n * sizeof *param);
        for (size_t j = 0; j < n; j++) mask[j] = 1;
        step_tile(1, k, t, block + i, (lanes_any *)grad, (lanes_any *)param, (const lanes *)mask,
                  sums);
        memcpy(t->grad + first + i, grad, n * sizeof *grad);
        if (CELL_HAS(k, HRNN_ATTENTION)) memcpy(t->param + first + i, param, n * sizeof *param);
    }
}

LANES_FN void step_chunk(const hrnn_state *state, const cell_constants *k, hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const opt_tensor *t = tensor->t;
    const size_t tile = TILE_VECTORS * LANES;
    lanes sums[SUMS];
    for (int s = 0; s < SUMS; s++) sums[s] = lanes_set(0);
    for (size_t done = 0; done < chunk->count; done += tile) {
        const size_t i = chunk->first + done, left = chunk->count - done;
        float *block = tensor->blocks + i / BLOCK * BLOCK * (size_t)state->rows + i % BLOCK;
        if (left >= tile)
            step_tile(TILE_VECTORS, k, t, block, (lanes_any *)(t->grad + i),
                      (lanes_any *)(t->param + i), NULL, sums);
        else
            step_tail(k, t, block, i, left, sums);
    }
    for (int s = 0; s < SUMS; s++) chunk->sums[s] = lanes_sum(sums[s]);
}

/* A row of the tape from n <= 64 values; what lies beyond them is 0. */
static void record_row(float *to, const float *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
    memset(to + n, 0, (BLOCK - n) * sizeof *to);
}

/* The state before the step and the gradient. */
static void record_chunk(const hrnn_state *state, const hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const size_t end = chunk->first + chunk->count;
    for (size_t i = chunk->first; i < end; i += BLOCK) {
        float *to = hrnn_tape_block(state, state->record, tensor, i);
        memcpy(to, tensor->blocks + i * (size_t)state->rows, sizeof(float) * ROW_OTHER * BLOCK);
        record_row(to + TAPE_GRADIENT * BLOCK, tensor->t->grad + i,
                   end - i < BLOCK ? end - i : BLOCK);
    }
}

/* The steps, before their scale: what step_tile left in grad, and in param with attention. */
static void record_steps(const hrnn_state *state, const hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const size_t end = chunk->first + chunk->count;
    for (size_t i = chunk->first; i < end; i += BLOCK) {
        float *to = hrnn_tape_block(state, state->record, tensor, i);
        const size_t n = end - i < BLOCK ? end - i : BLOCK;
        record_row(to + TAPE_STEP * BLOCK, tensor->t->grad + i, n);
        if (hrnn_has(&state->model, HRNN_ATTENTION))
            record_row(to + TAPE_ATTENTION * BLOCK, tensor->t->param + i, n);
    }
}

/* The usual models have their own copies of the step, in which the features are constants. */
static void run_chunk(const hrnn_state *state, cell_constants k, hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    k.bias = tensor->bias;
    k.log_lr_bias = tensor->log_lr_bias;
    k.max_log_lr = tensor->max_log_lr;
    if (state->record) record_chunk(state, chunk);
    if (k.features == HRNN_FULL) {
        k.features = HRNN_FULL;
        step_chunk(state, &k, chunk);
    } else if (k.features == HRNN_FULL_NO_ATTENTION) {
        k.features = HRNN_FULL_NO_ATTENTION;
        step_chunk(state, &k, chunk);
    } else {
        step_chunk(state, &k, chunk);
    }
}

static void record_tensor(const hrnn_state *state, const hrnn_tensor *tensor, const float *input)
{
    hrnn_tensor_record *record = &state->record->tensors[tensor - state->tensors];
    memcpy(record->z, tensor->z, sizeof record->z);
    memcpy(record->input, input, sizeof record->input);
    memcpy(record->bias, tensor->bias, sizeof record->bias);
    record->step_norm = tensor->step_norm;
    record->attention_norm = tensor->attention_norm;
}

/* Adds up a tensor's chunks: the scale of its directions, and the tensor RNN's step. */
static void finish_tensor(const hrnn_state *state, hrnn_tensor *tensor)
{
    const hrnn_model *m = &state->model;
    double sums[SUMS] = {0};
    for (int c = 0; c < tensor->chunks; c++)
        for (int s = 0; s < SUMS; s++) sums[s] += state->chunks[tensor->first_chunk + c].sums[s];
    const double n = (double)tensor->t->n;
    const int normalised = hrnn_has(m, HRNN_STEP_NORMALISATION);
    tensor->step_norm = normalised ? (float)(1 / sqrt(sums[SUM_STEP] / n + 1e-16)) : 1;
    tensor->attention_norm = normalised ? (float)(1 / sqrt(sums[SUM_ATTENTION] / n + 1e-16)) : 1;
    tensor->log_lr_sum = sums[SUM_LOG_LR];
    tensor->context.mean_log_lr = (float)(tensor->log_lr_sum / n);
    tensor->bad = (size_t)sums[SUM_BAD];

    float input[HRNN_FAN], bias[GRU_BIASES] = {0};
    for (int j = 0; j < HRNN_FAN; j++) input[j] = (float)(sums[SUM_INPUT + j] / n);
    if (hrnn_has(m, HRNN_GLOBAL_RNN)) {
        vector_add(bias, m->tensor_from_global_bias, GRU_BIASES);
        vector_product(bias, state->global, m->tensor_from_global_weight, HRNN_H2, GRU_BIASES);
    }
    if (hrnn_is_2(m))
        vector_product(bias, tensor->context.inputs, m->tensor_from_context_weight, HRNN_CONTEXT,
                       GRU_BIASES);
    if (state->record) record_tensor(state, tensor, input);
    const gru cell = tensor_gru(m);
    gru_activations act;
    vector_gru(&cell, input, bias, tensor->z, &act, tensor->z);
}

/* The global RNN's step, and η̄ for the next step. */
static void finish_network(hrnn_state *state)
{
    const hrnn_model *m = &state->model;
    float mean[HRNN_H1] = {0};
    double log_lr = 0;
    for (int k = 0; k < state->n; k++) {
        vector_add(mean, state->tensors[k].z, HRNN_H1);
        log_lr += state->tensors[k].log_lr_sum;
    }
    for (int j = 0; j < HRNN_H1; j++) mean[j] /= (float)state->n;
    if (state->record) {
        memcpy(state->record->global, state->global, sizeof mean);
        memcpy(state->record->mean_z, mean, sizeof mean);
    }
    const gru cell = global_gru(m);
    gru_activations act;
    vector_gru(&cell, mean, NULL, state->global, &act, state->global);
    state->mean_log_lr = (float)(log_lr / (double)state->params);
}

/* Σ x² in an order that does not depend on the machine's vectors. */
static double sum_squares(const float *x, size_t n)
{
    float part[16] = {0};
    double sum = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) part[j] += x[i + (size_t)j] * x[i + (size_t)j];
    for (; i < n; i++) part[i % 16] += x[i] * x[i];
    for (int j = 0; j < 16; j++) sum += (double)part[j];
    return sum;
}

static void measure_size(const hrnn_state *state, hrnn_tensor *tensor)
{
    double sum = 0;
    for (int c = 0; c < tensor->chunks; c++) sum += state->chunks[tensor->first_chunk + c].square;
    tensor->context.log_size = (float)(0.5 * log(fmin(sum, 1e30) / (double)tensor->t->n + 1e-4));
}

/* Step 8: θ_new = θ − step; with attention φ_new = θ − attention step. */
static void apply_chunk(const hrnn_state *state, hrnn_chunk *chunk, float rate_ratio)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const float rate = rate_ratio * tensor->t->lr_scale;
    const float step = rate * tensor->step_norm, look = rate * tensor->attention_norm;
    if (state->record) record_steps(state, chunk);
    float *restrict param = tensor->t->param + chunk->first;
    float *restrict grad = tensor->t->grad + chunk->first;
    const size_t n = chunk->count;
    if (!hrnn_has(&state->model, HRNN_ATTENTION)) {
        for (size_t i = 0; i < n; i++) {
            param[i] -= step * grad[i];
            grad[i] = 0;
        }
        if (hrnn_is_2(&state->model)) chunk->square = sum_squares(param, n);
        return;
    }
    const size_t stride = (size_t)BLOCK * (size_t)state->rows;
    for (size_t i = 0; i < n; i += BLOCK) {
        float *restrict theta = tensor->blocks + (chunk->first + i) / BLOCK * stride +
                                (size_t)ROW_OTHER * BLOCK;
        for (size_t j = 0; j < BLOCK && i + j < n; j++) {
            param[i + j] = theta[j] - look * param[i + j];
            theta[j] -= step * grad[i + j];
            grad[i + j] = 0;
        }
    }
    if (hrnn_is_2(&state->model)) chunk->square = sum_squares(param, n);
}

/* η̄ from the stored η, when they did not come from a step. */
static void refresh_mean(hrnn_state *state)
{
    double all = 0;
    for (int k = 0; k < state->n; k++) {
        hrnn_tensor *tensor = &state->tensors[k];
        double sum = 0;
        for (size_t i = 0; i < tensor->t->n; i++)
            sum += tensor->blocks[i / BLOCK * BLOCK * (size_t)state->rows +
                                  (size_t)ROW_LOG_LR * BLOCK + i % BLOCK];
        tensor->context.mean_log_lr = (float)(sum / (double)tensor->t->n);
        all += sum;
    }
    state->mean_log_lr = (float)(all / (double)state->params);
    state->mean_is_stale = 0;
}

/* Contexts from η and θ as they stand before the first step. */
static void refresh_contexts(hrnn_state *state)
{
    refresh_mean(state);
    for (int c = 0; c < state->n_chunks; c++) {
        hrnn_chunk *chunk = &state->chunks[c];
        const float *param = state->tensors[chunk->tensor].t->param;
        chunk->square = sum_squares(param + chunk->first, chunk->count);
    }
    for (int k = 0; k < state->n; k++) measure_size(state, &state->tensors[k]);
    hrnn_prepare(state);
}

static void prepare_after_step(const hrnn_state *state, hrnn_tensor *tensor)
{
    if (hrnn_is_2(&state->model)) measure_size(state, tensor);
    prepare_tensor(state, tensor);
}

static int in_parallel(void)
{
#ifdef _OPENMP
    return omp_in_parallel();
#else
    return 0;
#endif
}

static void step_on_threads(hrnn_state *state, cell_constants k, float rate_ratio)
{
#pragma omp parallel
    {
#pragma omp for schedule(static, 1)
        for (int c = 0; c < state->n_chunks; c++) run_chunk(state, k, &state->chunks[c]);
#pragma omp for schedule(static)
        for (int t = 0; t < state->n; t++) finish_tensor(state, &state->tensors[t]);
#pragma omp single nowait
        finish_network(state);
#pragma omp for schedule(static, 1)
        for (int c = 0; c < state->n_chunks; c++) apply_chunk(state, &state->chunks[c], rate_ratio);
#pragma omp for schedule(static)
        for (int t = 0; t < state->n; t++) prepare_after_step(state, &state->tensors[t]);
    }
}

/* The same on this thread alone: a region of one thread costs as much as a step of a small network. */
static void step_here(hrnn_state *state, cell_constants k, float rate_ratio)
{
    for (int c = 0; c < state->n_chunks; c++) run_chunk(state, k, &state->chunks[c]);
    for (int t = 0; t < state->n; t++) finish_tensor(state, &state->tensors[t]);
    finish_network(state);
    for (int c = 0; c < state->n_chunks; c++) apply_chunk(state, &state->chunks[c], rate_ratio);
    for (int t = 0; t < state->n; t++) prepare_after_step(state, &state->tensors[t]);
}

void hrnn_step(hrnn_state *state, float rate_ratio)
{
    const int first = state->steps == 0;
    if (state->n == 0) return;
    if (hrnn_is_2(&state->model) && (first || state->mean_is_stale)) refresh_contexts(state);
    if (state->mean_is_stale) refresh_mean(state);
    state->steps++;
    const cell_constants k = {
        .model = &state->model,
        .features = state->model.features & HRNN_FULL,
        .first = first,
        .mean_log_lr = state->mean_log_lr,
        .log_lr_momentum = hrnn_log_lr_momentum(&state->model),
    };
    if (state->record) {
        state->record->first = first;
        state->record->rate_ratio = rate_ratio;
        state->record->mean_log_lr = state->mean_log_lr;
    }
    if (state->params > PARALLEL_PARAMS && !in_parallel())
        step_on_threads(state, k, rate_ratio);
    else
        step_here(state, k, rate_ratio);
}
