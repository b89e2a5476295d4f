/* One step of the hierarchical RNN on a GPU: four launches for all tensors of a network. Sums are
 * added in an order that only the sizes of the tensors determine. */
#include <string.h>

#include "hrnn/hrnn_cuda.h"
#include "hrnn/hrnn_tensor.h"
#include "hrnn/hrnn_tile.h"
#include "base/launch.h"

enum {
    WARP = 32,
    THREADS = 256,
    GROUPS = THREADS / WARP,
    /* At once on a multiprocessor: with 2 the parameter RNN has 128 registers and fits into
     * them. */
    CHUNKS_A_PROCESSOR = 2,
};
static_assert((int)SUMS <= (int)WARP, "a lane of a warp has one of the sums");

/* --- sums over the threads of a block --- */

/* totals[s] = Σ over the groups of parts[group][s], in their order, for s < n <= WARP. */
static __device__ void add_groups(const double (*parts)[WARP], int n, double *totals)
{
    __syncthreads();
    const int s = (int)threadIdx.x;
    if (s < n) {
        double total = 0;
        for (int group = 0; group < GROUPS; group++) total += parts[group][s];
        totals[s] = total;
    }
    __syncthreads();
}

/* Σ x over all threads, for each of them. */
static __device__ double add_threads(double x)
{
    __shared__ double of_threads[THREADS], of_lanes[WARP];
    const int thread = (int)threadIdx.x;
    of_threads[thread] = x;
    __syncthreads();
    if (thread < WARP) {
        double sum = 0;
        for (int i = 0; i < GROUPS; i++) sum += of_threads[i * WARP + thread];
        of_lanes[thread] = sum;
    }
    __syncthreads();
    double total = 0;
    for (int i = 0; i < WARP; i++) total += of_lanes[i];
    __syncthreads();
    return total;
}

/* --- the parameter RNN --- */

/* FEATURES: those that the kernel is specialised for; 0: whatever the model has. */
template <unsigned FEATURES, int COMPACT>
static __global__ void __launch_bounds__(THREADS, CHUNKS_A_PROCESSOR)
    run_chunks(const __grid_constant__ cell_model model, const hrnn_state *state, unsigned features,
               int first, float log_lr_momentum, uint64_t steps)
{
    /* One more than threads, so that the lanes that add up different sums are in different
     * banks. */
    __shared__ float of_threads[SUMS][THREADS + 1];
    __shared__ double parts[GROUPS][WARP];
    __shared__ float bias[3 * HRNN_H0];
    hrnn_chunk *chunk = &state->chunks[blockIdx.x];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const opt_tensor t = *tensor->t; /* by value: no store of the loop can change it */
    const int thread = (int)threadIdx.x, lane = thread % WARP, group = thread / WARP;
    if (thread < 3 * HRNN_H0) bias[thread] = tensor->bias[thread];
    __syncthreads();

    const cell_constants k = {&model,
                              FEATURES ? FEATURES : features,
                              first,
                              state->mean_log_lr,
                              log_lr_momentum,
                              bias,
                              tensor->log_lr_bias,
                              tensor->max_log_lr};
    const row_format format = {COMPACT, state->format.hidden_unit,
                               rounding_key(steps, chunk->tensor)};
    const int block_bytes =
        (int)row_offset(COMPACT, ROW_ATTENTION + (int)CELL_HAS(&k, HRNN_ATTENTION));
    const int count = (int)chunk->count;
    unsigned char *blocks = tensor->blocks + chunk->first / BLOCK * (size_t)block_bytes;
    float *grad = t.grad + chunk->first, *param = t.param + chunk->first;
    IN_GLOBAL_MEMORY(blocks);
    IN_GLOBAL_MEMORY(grad);
    IN_GLOBAL_MEMORY(param);
    float sums[SUMS];
    THREAD_FOR(int s = 0; s < SUMS; s++) sums[s] = 0;
#pragma unroll 1
    for (int i = thread; i < count; i += THREADS) {
        const tile_place at = {&format, blocks + i / BLOCK * block_bytes, i % BLOCK,
                               (uint32_t)chunk->first + (uint32_t)i};
        step_tile(1, &k, &t, &at, grad + i, param + i, NULL, sums);
    }

    THREAD_FOR(int s = 0; s < SUMS; s++) of_threads[s][thread] = sums[s];
    __syncthreads();
    double sum = 0;
    if (lane < SUMS)
        for (int i = 0; i < WARP; i++) sum += (double)of_threads[lane][group * WARP + i];
    parts[group][lane] = sum;
    add_groups(parts, SUMS, chunk->sums);
}

/* --- tensors and the network --- */

/* A lane adds up one of the sums, a group every GROUPS-th chunk. */
static __device__ void add_chunks(const hrnn_state *state, const hrnn_tensor *tensor,
                                  double (*parts)[WARP], double *sums)
{
    const int s = (int)threadIdx.x % WARP, group = (int)threadIdx.x / WARP;
    const hrnn_chunk *chunks = state->chunks + tensor->first_chunk;
    double sum = 0;
    if (s < SUMS)
        for (int c = group; c < tensor->chunks; c += GROUPS) sum += chunks[c].sums[s];
    parts[group][s] = sum;
    add_groups(parts, SUMS, sums);
}

static __global__ void __launch_bounds__(THREADS)
    finish_tensors(const hrnn_state *state, const __grid_constant__ hrnn_outlook outlook,
                   const opt_tensor *described, int n_described, device_counts *counts)
{
    __shared__ tensor_work work;
    __shared__ double parts[GROUPS][WARP];
    hrnn_tensor *tensor = &state->tensors[blockIdx.x];
    add_chunks(state, tensor, parts, work.sums);
    finish_sums(state, tensor, &work);
    VECTOR_ONE if (tensor->bad)
        count_bad(counts, tensor->bad, n_described - (int)(tensor->t - described));
    step_tensor_rnn(state, tensor, &outlook, &work);
}

static __device__ void finish_network(hrnn_state *state, const hrnn_outlook *outlook)
{
    __shared__ network_work work;
    __shared__ double parts[GROUPS][WARP], sums[WARP];
    const int s = (int)threadIdx.x % WARP, group = (int)threadIdx.x / WARP;
    double sum = 0;
    if (s < HRNN_H1)
        for (int k = group; k < state->n; k += GROUPS) sum += (double)state->tensors[k].z[s];
    else if (s == HRNN_H1)
        for (int k = group; k < state->n; k += GROUPS) sum += state->tensors[k].log_lr_sum;
    parts[group][s] = sum;
    add_groups(parts, HRNN_H1 + 1, sums);
    EACH_ENTRY(j, HRNN_H1) work.mean[j] = (float)(sums[j] / (double)state->n);
    __syncthreads();
    step_global_rnn(state, outlook, sums[HRNN_H1], &work);
}

/* Numbers of state that stand alone: the lane-th of a block, rounded to the nearest. */
static __device__ float get_number(const hrnn_state *state, const hrnn_tensor *tensor, size_t at,
                                   int row)
{
    tile_row x[1];
    load_state(1, &state->format, tensor->blocks + at / BLOCK * state->block_bytes,
               (int)(at % BLOCK), row, 1, x);
    return x[0][0];
}

static __device__ void set_number(const hrnn_state *state, const hrnn_tensor *tensor, size_t at,
                                  int row, float x)
{
    const tile_row to[1] = {{x}};
    store_state(1, &state->format, tensor->blocks + at / BLOCK * state->block_bytes,
                (int)(at % BLOCK), row, 1, to, NULL);
}

/* Step 8 with attention. */
static __device__ void apply_attended(const hrnn_state *state, const hrnn_tensor *tensor, size_t at,
                                      float step, float look, float *param, float *grad)
{
    float other = get_number(state, tensor, at, ROW_ATTENTION);
    if (!state->format.compact) {
        update_attended_entry(step, look, &other, param, grad);
        set_number(state, tensor, at, ROW_ATTENTION, other);
        return;
    }
    update_compact_entry(step, look, &other, param, grad);
    set_number(state, tensor, at, ROW_ATTENTION, other);
    attend_entry(get_number(state, tensor, at, ROW_ATTENTION), param);
}

static __device__ void apply_chunk(const hrnn_state *state, hrnn_chunk *chunk, float rate_ratio)
{
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const float rate = rate_ratio * tensor->t->lr_scale;
    const float step = rate * tensor->step_norm, look = rate * tensor->attention_norm;
    const int attention = hrnn_has(&state->model, HRNN_ATTENTION), count = (int)chunk->count;
    float *param = tensor->t->param + chunk->first, *grad = tensor->t->grad + chunk->first;
    IN_GLOBAL_MEMORY(grad);
    IN_GLOBAL_MEMORY(param);
    float squares = 0;
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < count; i += THREADS) {
        float p = param[i], g = grad[i];
        if (attention)
            apply_attended(state, tensor, chunk->first + (size_t)i, step, look, &p, &g);
        else
            update_entry(step, &p, &g);
        param[i] = p;
        grad[i] = g;
        squares += p * p;
    }
    if (hrnn_has_context(&state->model)) {
        const double sum = add_threads((double)squares);
        if (threadIdx.x == 0) chunk->square = sum;
    }
}

/* The blocks of threads after the first have a chunk each; the first has the global RNN, which no
 * chunk waits for. */
static __global__ void __launch_bounds__(THREADS)
    apply_chunks(hrnn_state *state, const __grid_constant__ hrnn_outlook outlook, float rate)
{
    if (blockIdx.x == 0)
        finish_network(state, &outlook);
    else
        apply_chunk(state, &state->chunks[blockIdx.x - 1], rate);
}

/* What the coming step reads of a tensor. measured: its chunks have just taken Σθ². */
static __global__ void __launch_bounds__(THREADS)
    prepare_tensors(const hrnn_state *state, const __grid_constant__ hrnn_outlook outlook,
                    float time, int measured)
{
    hrnn_tensor *tensor = &state->tensors[blockIdx.x];
    if (measured && hrnn_has_context(&state->model)) {
        double squares = 0;
        for (int c = (int)threadIdx.x; c < tensor->chunks; c += THREADS)
            squares += state->chunks[tensor->first_chunk + c].square;
        measure_size(tensor, add_threads(squares));
    }
    prepare_tensor(state, tensor, &outlook, time);
}

/* --- what did not come from a step: η̄ and sizes as they stand --- */

static __global__ void __launch_bounds__(THREADS) measure_chunks(const hrnn_state *state)
{
    hrnn_chunk *chunk = &state->chunks[blockIdx.x];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const float *param = tensor->t->param;
    double log_lr = 0, square = 0;
    for (int i = (int)threadIdx.x; i < (int)chunk->count; i += THREADS) {
        const size_t at = chunk->first + (size_t)i;
        log_lr += (double)get_number(state, tensor, at, ROW_LOG_LR);
        square += (double)(param[at] * param[at]);
    }
    log_lr = add_threads(log_lr);
    square = add_threads(square);
    if (threadIdx.x != 0) return;
    chunk->sums[SUM_LOG_LR] = log_lr;
    chunk->square = square;
}

static __global__ void __launch_bounds__(THREADS) measure_network(hrnn_state *state)
{
    double all = 0;
    for (int k = 0; k < state->n; k++) {
        hrnn_tensor *tensor = &state->tensors[k];
        double sum = 0;
        for (int c = (int)threadIdx.x; c < tensor->chunks; c += THREADS)
            sum += state->chunks[tensor->first_chunk + c].sums[SUM_LOG_LR];
        sum = add_threads(sum);
        VECTOR_ONE tensor->context.mean_log_lr = (float)(sum / (double)tensor->t->n);
        all += sum;
    }
    VECTOR_ONE state->mean_log_lr = (float)(all / (double)state->params);
}

void hrnn_cuda_prepare(hrnn_state *state)
{
    if (state->n == 0) return;
    hrnn_cuda_send(state);
    hrnn_renew_outlook(state);
    LAUNCH(prepare_tensors, state->n, THREADS, state->cuda->state, state->outlook,
           context_time(state->steps), 0);
    state->cuda->current = 0;
}

static void refresh(hrnn_state *state)
{
    LAUNCH(measure_chunks, state->n_chunks, THREADS, state->cuda->state);
    LAUNCH(measure_network, 1, THREADS, state->cuda->state);
    LAUNCH(prepare_tensors, state->n, THREADS, state->cuda->state, state->outlook,
           context_time(state->steps), 1);
    state->mean_is_stale = 0;
}

/* --- blocks --- */

static __global__ void __launch_bounds__(THREADS)
    start_chunks(const hrnn_state *state, float log_lr)
{
    const hrnn_chunk *chunk = &state->chunks[blockIdx.x];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const hrnn_model *m = &state->model;
    for (int i = (int)threadIdx.x; i < (int)chunk->count; i += THREADS) {
        const size_t at = chunk->first + (size_t)i;
        for (int r = 0; r < HRNN_H0; r++)
            set_number(state, tensor, at, ROW_HIDDEN + r, m->param_init[r]);
        set_number(state, tensor, at, ROW_LOG_LR, log_lr);
        if (hrnn_has(m, HRNN_ATTENTION) && !state->format.compact)
            set_number(state, tensor, at, ROW_ATTENTION, tensor->t->param[at]);
    }
}

void hrnn_cuda_start(hrnn_state *state, float log_lr)
{
    if (state->n == 0) return;
    hrnn_cuda_send(state);
    LAUNCH(start_chunks, state->n_chunks, THREADS, state->cuda->state, log_lr);
}

static __global__ void __launch_bounds__(THREADS) swap_chunks(const hrnn_state *state, int to_true)
{
    const hrnn_chunk *chunk = &state->chunks[blockIdx.x];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    for (int i = (int)threadIdx.x; i < (int)chunk->count; i += THREADS) {
        const size_t at = chunk->first + (size_t)i;
        const float other = get_number(state, tensor, at, ROW_ATTENTION),
                    param = tensor->t->param[at];
        if (state->format.compact) {
            tensor->t->param[at] = to_true ? param - other : param + other;
            continue;
        }
        tensor->t->param[at] = other;
        set_number(state, tensor, at, ROW_ATTENTION, param);
    }
}

void hrnn_cuda_swap(hrnn_state *state)
{
    if (state->n == 0) return;
    hrnn_cuda_send(state);
    LAUNCH(swap_chunks, state->n_chunks, THREADS, state->cuda->state, state->at_true_params);
}

/* --- a step --- */

#define TAKE(field) memcpy(c->field, m->field, sizeof c->field)
static void take_cell(cell_model *c, const hrnn_model *m)
{
    TAKE(param_gates_weight);
    TAKE(param_candidate_weight);
    TAKE(step_weight);
    TAKE(step_shortcut);
    TAKE(attention_weight);
    TAKE(attention_shortcut);
    TAKE(scale_decay_weight);
    TAKE(scale_decay_bias);
    TAKE(input_decay_weight);
    TAKE(input_decay_bias);
    TAKE(log_lr_weight);
    TAKE(step_offset);
    c->min_log_lr = m->min_log_lr;
}

template <int COMPACT> static void launch_run(const hrnn_state *state, int first)
{
    const unsigned features = state->model.features & HRNN_FULL;
    const float momentum = hrnn_log_lr_momentum(&state->model);
    cell_model model;
    take_cell(&model, &state->model);
#define LAUNCH_RUN(FEATURES)                                                                       \
    LAUNCH((run_chunks<FEATURES, COMPACT>), state->n_chunks, THREADS, model, state->cuda->state,   \
           features, first, momentum, state->steps)
    if (features == HRNN_FULL)
        LAUNCH_RUN(HRNN_FULL);
    else if (features == HRNN_FULL_NO_ATTENTION)
        LAUNCH_RUN(HRNN_FULL_NO_ATTENTION);
    else
        LAUNCH_RUN(0);
#undef LAUNCH_RUN
}

device_counts hrnn_cuda_step(hrnn_state *state, float loss, float rate_ratio)
{
    struct hrnn_cuda *cuda = state->cuda;
    const int first = state->steps == 0;
    if (state->n == 0) return device_counts();
    hrnn_cuda_send(state);
    if (state->mean_is_stale || (first && hrnn_has_context(&state->model))) refresh(state);
    const float rate = hrnn_rate(state, rate_ratio);
    const hrnn_outlook next = hrnn_next_outlook(state, loss);
    device_counts *counts = device_reporter_begin(cuda->reporter);
    if (state->format.compact)
        launch_run<1>(state, first);
    else
        launch_run<0>(state, first);
    LAUNCH(finish_tensors, state->n, THREADS, cuda->state, state->outlook, cuda->described,
           cuda->n_described, counts);
    LAUNCH(apply_chunks, 1 + state->n_chunks, THREADS, cuda->state, state->outlook, rate);
    LAUNCH(prepare_tensors, state->n, THREADS, cuda->state, next, context_time(state->steps), 1);
    state->outlook = next;
    cuda->current = 0;
    return device_reporter_end(cuda->reporter);
}
