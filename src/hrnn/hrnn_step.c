/* A step on the CPU: the parameter RNN over all chunks, the RNNs of tensors and network, then the
 * chunks again, to apply directions whose norms are known only now. */
#include "hrnn/hrnn_tensor.h"
#include "hrnn/hrnn_tile.h"

#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Below this many parameters a second thread costs more than it brings. */
enum { PARALLEL_PARAMS = 4096 };

void hrnn_prepare(hrnn_state *state)
{
    const float time = context_time(state->steps);
    hrnn_renew_outlook(state);
    for (int k = 0; k < state->n; k++)
        prepare_tensor(state, &state->tensors[k], &state->outlook, time);
}

/* The last, incomplete tile of a tensor, one vector at a time through buffers. */
static void step_tail(const cell_constants *k, const opt_tensor *t, tile_place at, size_t first,
                      size_t count, lanes *sums)
{
    for (size_t i = 0; i < count; i += LANES) {
        const size_t n = count - i < LANES ? count - i : LANES;
        _Alignas(64) float grad[LANES] = {0}, param[LANES] = {0}, mask[LANES] = {0};
        memcpy(grad, t->grad + first + i, n * sizeof *grad);
        memcpy(param, t->param + first + i, n * sizeof *param);
        for (size_t j = 0; j < n; j++) mask[j] = 1;
        step_tile(1, k, t, &at, (lanes_any *)grad, (lanes_any *)param, (const lanes *)mask, sums);
        at.lane += LANES;
        at.index += LANES;
        memcpy(t->grad + first + i, grad, n * sizeof *grad);
        if (CELL_HAS(k, HRNN_ATTENTION)) memcpy(t->param + first + i, param, n * sizeof *param);
    }
}

LANES_FN void step_chunk(const hrnn_state *state, const cell_constants *k, const row_format *format,
                         hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const opt_tensor *t = tensor->t;
    const size_t tile = TILE_VECTORS * LANES;
    lanes sums[SUMS];
    for (int s = 0; s < SUMS; s++) sums[s] = lanes_set(0);
    for (size_t done = 0; done < chunk->count; done += tile) {
        const size_t i = chunk->first + done, left = chunk->count - done;
        const tile_place at = {format, tensor->blocks + i / BLOCK * state->block_bytes,
                               (int)(i % BLOCK), (uint32_t)i};
        if (left >= tile)
            step_tile(TILE_VECTORS, k, t, &at, (lanes_any *)(t->grad + i),
                      (lanes_any *)(t->param + i), NULL, sums);
        else
            step_tail(k, t, at, i, left, sums);
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
        memcpy(to, tensor->blocks + i / BLOCK * state->block_bytes, row_offset(0, ROW_ATTENTION));
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
LANES_FN void step_specialised(const hrnn_state *state, cell_constants k, row_format format,
                               hrnn_chunk *chunk)
{
    if (k.features == HRNN_FULL) {
        k.features = HRNN_FULL;
        step_chunk(state, &k, &format, chunk);
    } else if (k.features == HRNN_FULL_NO_ATTENTION) {
        k.features = HRNN_FULL_NO_ATTENTION;
        step_chunk(state, &k, &format, chunk);
    } else {
        step_chunk(state, &k, &format, chunk);
    }
}

static void run_full_chunk(const hrnn_state *state, cell_constants k, hrnn_chunk *chunk)
{
    if (state->record) record_chunk(state, chunk);
    step_specialised(state, k, (row_format){.compact = 0}, chunk);
}

static void run_compact_chunk(const hrnn_state *state, cell_constants k, hrnn_chunk *chunk)
{
    const row_format format = {1, state->format.hidden_unit,
                               rounding_key(state->steps, chunk->tensor)};
    step_specialised(state, k, format, chunk);
}

static void run_chunk(const hrnn_state *state, cell_constants k, hrnn_chunk *chunk)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    k.bias = tensor->bias;
    k.log_lr_bias = tensor->log_lr_bias;
    k.max_log_lr = tensor->max_log_lr;
    if (state->format.compact)
        run_compact_chunk(state, k, chunk);
    else
        run_full_chunk(state, k, chunk);
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
    tensor_work work;
    memset(work.sums, 0, sizeof work.sums);
    for (int c = 0; c < tensor->chunks; c++)
        for (int s = 0; s < SUMS; s++)
            work.sums[s] += state->chunks[tensor->first_chunk + c].sums[s];
    finish_sums(state, tensor, &work);
    if (state->record) record_tensor(state, tensor, work.input);
    step_tensor_rnn(state, tensor, &state->outlook, &work);
}

/* The global RNN's step, and η̄ for the next step. */
static void finish_network(hrnn_state *state)
{
    network_work work;
    double log_lr = 0;
    vector_set(work.mean, 0, HRNN_H1);
    for (int k = 0; k < state->n; k++) {
        vector_add(work.mean, state->tensors[k].z, HRNN_H1);
        log_lr += state->tensors[k].log_lr_sum;
    }
    for (int j = 0; j < HRNN_H1; j++) work.mean[j] /= (float)state->n;
    if (state->record) {
        memcpy(state->record->global, state->global, sizeof state->global);
        memcpy(state->record->mean_z, work.mean, sizeof work.mean);
    }
    step_global_rnn(state, &state->outlook, log_lr, &work);
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

static void measure_tensor(const hrnn_state *state, hrnn_tensor *tensor)
{
    double squares = 0;
    for (int c = 0; c < tensor->chunks; c++)
        squares += state->chunks[tensor->first_chunk + c].square;
    measure_size(tensor, squares);
}

/* With attention: at most BLOCK entries, whose block has its row of θ here. */
static void apply_attended(float step, float look, float *restrict theta, float *restrict param,
                           float *restrict grad, size_t n)
{
    for (size_t j = 0; j < n; j++)
        update_attended_entry(step, look, &theta[j], &param[j], &grad[j]);
}

/* The same of a compact block, whose row of φ − θ is at `other`. */
static void apply_compact(const row_format *format, float step, float look, void *other,
                          float *restrict param, float *restrict grad, size_t n)
{
    float ahead[BLOCK];
    unpack_row(format, ROW_ATTENTION, other, ahead);
    for (size_t j = 0; j < n; j++) update_compact_entry(step, look, &ahead[j], &param[j], &grad[j]);
    pack_row(format, ROW_ATTENTION, ahead, other);
    unpack_row(format, ROW_ATTENTION, other, ahead);
    for (size_t j = 0; j < n; j++) attend_entry(ahead[j], &param[j]);
}

/* Step 8, and Σθ² for the context. */
static void apply_chunk(const hrnn_state *state, hrnn_chunk *chunk, float rate_ratio)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const float rate = rate_ratio * tensor->t->lr_scale;
    const float step = rate * tensor->step_norm, look = rate * tensor->attention_norm;
    if (state->record) record_steps(state, chunk);
    float *restrict param = tensor->t->param + chunk->first;
    float *restrict grad = tensor->t->grad + chunk->first;
    const size_t n = chunk->count;
    if (!hrnn_has(&state->model, HRNN_ATTENTION))
        for (size_t i = 0; i < n; i++) update_entry(step, &param[i], &grad[i]);
    else
        for (size_t i = 0; i < n; i += BLOCK) {
            void *other = hrnn_state_row(state, tensor, chunk->first + i, ROW_ATTENTION);
            const size_t count = n - i < BLOCK ? n - i : BLOCK;
            if (state->format.compact)
                apply_compact(&state->format, step, look, other, param + i, grad + i, count);
            else
                apply_attended(step, look, other, param + i, grad + i, count);
        }
    if (hrnn_has_context(&state->model)) chunk->square = sum_squares(param, n);
}

/* η̄ from the stored η, when they did not come from a step. */
static void refresh_mean(hrnn_state *state)
{
    double all = 0;
    for (int k = 0; k < state->n; k++) {
        hrnn_tensor *tensor = &state->tensors[k];
        double sum = 0;
        for (size_t i = 0; i < tensor->t->n; i++)
            sum += ((const float *)hrnn_state_row(state, tensor, i, ROW_LOG_LR))[i % BLOCK];
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
    for (int k = 0; k < state->n; k++) measure_tensor(state, &state->tensors[k]);
    hrnn_prepare(state);
}

static void prepare_after_step(const hrnn_state *state, hrnn_tensor *tensor,
                               const hrnn_outlook *next, float time)
{
    if (hrnn_has_context(&state->model)) measure_tensor(state, tensor);
    prepare_tensor(state, tensor, next, time);
}

static int in_parallel(void)
{
#ifdef _OPENMP
    return omp_in_parallel();
#else
    return 0;
#endif
}

static void step_on_threads(hrnn_state *state, cell_constants k, const hrnn_outlook *next,
                            float rate)
{
    const float time = context_time(state->steps);
#pragma omp parallel
    {
#pragma omp for schedule(static, 1)
        for (int c = 0; c < state->n_chunks; c++) run_chunk(state, k, &state->chunks[c]);
#pragma omp for schedule(static)
        for (int t = 0; t < state->n; t++) finish_tensor(state, &state->tensors[t]);
#pragma omp single nowait
        finish_network(state);
#pragma omp for schedule(static, 1)
        for (int c = 0; c < state->n_chunks; c++) apply_chunk(state, &state->chunks[c], rate);
#pragma omp for schedule(static)
        for (int t = 0; t < state->n; t++)
            prepare_after_step(state, &state->tensors[t], next, time);
    }
}

/* The same on this thread alone: a region of one thread costs as much as a step of a small
 * network. */
static void step_here(hrnn_state *state, cell_constants k, const hrnn_outlook *next, float rate)
{
    const float time = context_time(state->steps);
    for (int c = 0; c < state->n_chunks; c++) run_chunk(state, k, &state->chunks[c]);
    for (int t = 0; t < state->n; t++) finish_tensor(state, &state->tensors[t]);
    finish_network(state);
    for (int c = 0; c < state->n_chunks; c++) apply_chunk(state, &state->chunks[c], rate);
    for (int t = 0; t < state->n; t++) prepare_after_step(state, &state->tensors[t], next, time);
}

void hrnn_step(hrnn_state *state, float loss, float rate_ratio)
{
    const int first = state->steps == 0;
    if (state->n == 0) return;
    if (hrnn_has_context(&state->model) && (first || state->mean_is_stale)) refresh_contexts(state);
    if (state->mean_is_stale) refresh_mean(state);
    const float rate = hrnn_rate(state, rate_ratio);
    const hrnn_outlook next = hrnn_next_outlook(state, loss);
    const cell_constants k = {
        .model = &state->model,
        .features = state->model.features & HRNN_FULL,
        .first = first,
        .mean_log_lr = state->mean_log_lr,
        .log_lr_momentum = hrnn_log_lr_momentum(&state->model),
    };
    if (state->record) {
        state->record->first = first;
        state->record->rate_ratio = rate;
        state->record->mean_log_lr = state->mean_log_lr;
    }
    if (state->params > PARALLEL_PARAMS && !in_parallel())
        step_on_threads(state, k, &next, rate);
    else
        step_here(state, k, &next, rate);
    state->outlook = next;
}
