/* One recorded step back: cotangents enter by chunks, go through the RNNs of network and tensors,
 * then tile by tile through the cell; each unit of work has sums of its own, which are the
 * meta-gradient in the end. */
#include "adjoint/hrnn_adjoint_private.h"

#include <math.h>
#include <string.h>

#include "hrnn/hrnn_vector.h"

/* Below this many parameters a second thread costs more than it brings. */
enum { PARALLEL_PARAMS = 4096 };
/* Tiles after which a unit's sums of floats are added to those of doubles. */
enum { FOLD_TILES = 256 };

/* --- what comes from outside --- */

static double dot_block(const float *x, const float *y)
{
    lanes sum = lanes_set(0);
    for (int i = 0; i < BLOCK; i += LANES) sum += *(const lanes *)(x + i) * *(const lanes *)(y + i);
    return lanes_sum(sum);
}

/* Adds what comes to θ and φ from outside, and takes their products with the step. */
static void enter_chunk(hrnn_adjoint *a, const hrnn_record *record, int c, float scale,
                        const float *theta_cot, const float *phi_cot)
{
    const hrnn_state *state = a->state;
    const hrnn_chunk *chunk = &state->chunks[c];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const int attention = hrnn_has(&state->model, HRNN_ATTENTION);
    const size_t first = a->tensors[chunk->tensor].first, end = chunk->first + chunk->count;
    chunk_sums *sums = &a->chunks[c];
    sums->step = sums->attention = 0;
    for (size_t i = chunk->first; i < end; i += BLOCK) {
        const size_t n = end - i < BLOCK ? end - i : BLOCK;
        const float *tape = hrnn_tape_block(state, record, tensor, i);
        float *cot = cot_block(a, tensor, i);
        float *restrict theta = cot + COT_THETA * BLOCK, *restrict phi = cot + COT_PHI * BLOCK;
        for (size_t j = 0; theta_cot && j < n; j++) theta[j] += scale * theta_cot[first + i + j];
        if (attention) {
            for (size_t j = 0; j < n; j++) phi[j] = phi_cot ? phi_cot[first + i + j] : 0;
            sums->attention += dot_block(tape + TAPE_ATTENTION * BLOCK, phi);
        } else {
            for (size_t j = 0; phi_cot && j < n; j++) theta[j] += phi_cot[first + i + j];
        }
        sums->step += dot_block(tape + TAPE_STEP * BLOCK, theta);
    }
}

/* --- the RNNs of the tensors and of the network --- */

/* What is given to the adjoint of a tensor's parameters, but what comes from its RNN. */
static void prepare_cell(hrnn_adjoint *a, const hrnn_record *record, int k)
{
    const hrnn_tensor *tensor = &a->state->tensors[k];
    const hrnn_tensor_record *kept = &record->tensors[k];
    cell_adjoint_constants *cell = &a->tensors[k].cell;
    double step = 0, attention = 0;
    for (int c = 0; c < tensor->chunks; c++) {
        step += a->chunks[tensor->first_chunk + c].step;
        attention += a->chunks[tensor->first_chunk + c].attention;
    }
    cell->transposed = &a->transposed.cell;
    cell->grad_scale = tensor->t->grad_scale;
    cell->rate = record->rate_ratio * tensor->t->lr_scale;
    cell->step_norm = kept->step_norm;
    cell->attention_norm = kept->attention_norm;
    cell->log_lr_shift = (float)a->log_lr_shift;
    step *= (double)cell->rate * (double)cell->step_norm;
    attention *= (double)cell->rate * (double)cell->attention_norm;
    GRADIENT(a, step_offset)[0] -= step;
    const int normalised = hrnn_has(&a->state->model, HRNN_STEP_NORMALISATION);
    cell->step_mean = normalised ? (float)(-step / (double)tensor->t->n) : 0;
    cell->attention_mean = normalised ? (float)(-attention / (double)tensor->t->n) : 0;
}

/* Of the tensor RNN: from z's cotangent after the step to that before it, its input's, its
 * bias's. */
static void tensor_rnn_back(hrnn_adjoint *a, const hrnn_record *record, int k, const float *bias,
                            float *bias_cot)
{
    const hrnn_model *m = &a->state->model;
    const hrnn_tensor_record *kept = &record->tensors[k];
    const gru cell = tensor_gru(m);
    const gru_adjoint_weights adjoint = {
        GRADIENT(a, tensor_gates_weight),     GRADIENT(a, tensor_gates_bias),
        GRADIENT(a, tensor_candidate_weight), GRADIENT(a, tensor_candidate_bias),
        a->transposed.tensor_gates,           a->transposed.tensor_candidate};
    gru_activations act;
    float new_z[HRNN_H1], delta[GRU_BIASES], *z_cot = a->tensors[k].z_cot;
    float *mean_cot = a->tensors[k].cell.mean_cot;
    vector_gru(&cell, kept->input, bias, kept->z, &act, new_z);
    vector_gru_adjoint(&adjoint, HRNN_FAN, kept->input, kept->z, &act, z_cot, delta, mean_cot,
                       z_cot);
    vector_add(bias_cot, delta, GRU_BIASES);
    const float share = 1 / (float)a->state->tensors[k].t->n;
    for (int j = 0; j < HRNN_FAN; j++) mean_cot[j] *= share;
}

/* Of the global RNN: global_cot goes to before the step, and what comes to the mean z to every
 * z_cot. */
static void global_rnn_back(hrnn_adjoint *a, const hrnn_record *record)
{
    const gru cell = global_gru(&a->state->model);
    const gru_adjoint_weights adjoint = {
        GRADIENT(a, global_gates_weight),     GRADIENT(a, global_gates_bias),
        GRADIENT(a, global_candidate_weight), GRADIENT(a, global_candidate_bias),
        a->transposed.global_gates,           a->transposed.global_candidate};
    gru_activations act;
    float new_global[HRNN_H2], delta[GRU_BIASES], mean_cot[HRNN_H1];
    vector_gru(&cell, record->mean_z, NULL, record->global, &act, new_global);
    vector_gru_adjoint(&adjoint, HRNN_H1, record->mean_z, record->global, &act, a->global_cot,
                       delta, mean_cot, a->global_cot);
    for (int j = 0; j < HRNN_H1; j++) mean_cot[j] /= (float)a->state->n;
    for (int k = 0; k < a->state->n; k++) vector_add(a->tensors[k].z_cot, mean_cot, HRNN_H1);
}

/* All that lies above the parameters, down to what they get from it. */
static void rnns_back(hrnn_adjoint *a, const hrnn_record *record)
{
    const hrnn_model *m = &a->state->model;
    const int global = hrnn_has(m, HRNN_GLOBAL_RNN);
    float bias[GRU_BIASES] = {0}, bias_cot[GRU_BIASES] = {0};
    if (global) {
        global_rnn_back(a, record);
        vector_add(bias, m->tensor_from_global_bias, GRU_BIASES);
        vector_product(bias, record->global, m->tensor_from_global_weight, HRNN_H2, GRU_BIASES);
    }
    for (int k = 0; k < a->state->n; k++) {
        prepare_cell(a, record, k);
        tensor_rnn_back(a, record, k, bias, bias_cot);
    }
    if (!global) return;
    vector_add_double(GRADIENT(a, tensor_from_global_bias), bias_cot, GRU_BIASES);
    vector_product_weights(GRADIENT(a, tensor_from_global_weight), record->global, bias_cot,
                           HRNN_H2, GRU_BIASES);
    vector_product(a->global_cot, bias_cot, a->transposed.tensor_from_global, GRU_BIASES, HRNN_H2);
}

/* --- the parameters --- */

/* Outer products of `columns` columns, as many at a time as stay in registers. */
LANES_FN void outer(const int nv, const tile_row *x, const int n_x, const tile_row *delta,
                    const int columns, lanes *sums)
{
    const int wide = columns < OUTER_WIDE ? columns : OUTER_WIDE;
    for (int i = 0; i < columns; i += wide)
        cell_outer(nv, x, n_x, delta + i, wide, columns, sums + i);
}

LANES_FN void add_outer(const int nv, const tile_row *rows, lanes *sums)
{
    enum { N = HRNN_H0, X = HRNN_INPUTS };
    const tile_row *delta = rows + OUTER_DELTA, *readout = rows + OUTER_READOUT;
    outer(nv, rows + OUTER_INPUT, HRNN_FAN, delta, 2 * N, sums + SUM_GATES);
    outer(nv, rows + OUTER_INPUT, X, delta + 2 * N, N, sums + SUM_CANDIDATE);
    outer(nv, rows + OUTER_RESET, N, delta + 2 * N, N, sums + SUM_CANDIDATE + X * N);
    outer(nv, rows + OUTER_HIDDEN, N, rows + OUTER_DECAY, 2, sums + SUM_DECAY);
    outer(nv, rows + OUTER_NEW, N, readout, 3, sums + SUM_READOUT);
    outer(nv, rows + OUTER_INPUT, HRNN_SCALES, readout, 2, sums + SUM_SHORTCUT);
}

static void fold(adjoint_unit *unit)
{
    for (int i = 0; i < OUTER_SUMS; i++) {
        unit->totals[i] += lanes_sum(unit->sums[i]);
        unit->sums[i] = lanes_set(0);
    }
    unit->tiles = 0;
}

static void count_tile(adjoint_unit *unit)
{
    if (++unit->tiles == FOLD_TILES) fold(unit);
}

/* Adds the tails that have come together; a place that is not filled counts as nothing. */
static void flush_tails(adjoint_unit *unit)
{
    for (int r = OUTER_DELTA; r < OUTER_ROWS; r++)
        for (unsigned v = unit->n_tails; v < TILE_VECTORS; v++) unit->tails[r][v] = lanes_set(0);
    add_outer(TILE_VECTORS, (const tile_row *)unit->tails, unit->sums);
    unit->n_tails = 0;
    count_tile(unit);
}

/* Tape and cot point at the tile's first lane in their block's row 0. */
LANES_FN void tile_back(const int nv, const cell_constants *k, const cell_adjoint_constants *c,
                        const float *tape, float *cot, const lanes *mask, tile_row *rows,
                        lanes *sums)
{
    cell_adjoint_tile t;
    load_rows(nv, tape, ROW_HIDDEN, HRNN_H0, rows + OUTER_HIDDEN);
    load_rows(nv, tape, ROW_AVERAGE, HRNN_SCALES, t.a);
    load_rows(nv, tape, ROW_MEAN_SQUARE, HRNN_SCALES, t.m);
    load_rows(nv, tape, ROW_LOG_LR, 1, t.log_lr);
    load_rows(nv, tape, TAPE_GRADIENT, 1, t.g);
    load_rows(nv, cot, ROW_HIDDEN, HRNN_H0, t.h_cot);
    load_rows(nv, cot, ROW_AVERAGE, HRNN_SCALES, t.a_cot);
    load_rows(nv, cot, ROW_MEAN_SQUARE, HRNN_SCALES, t.m_cot);
    load_rows(nv, cot, ROW_LOG_LR, 1, t.log_lr_cot);
    load_rows(nv, cot, COT_THETA, 1, t.theta_cot);
    load_rows(nv, cot, COT_PHI, 1, t.phi_cot);
    lanes bad = lanes_set(0);
    EACH_VECTOR(v, nv) {
        t.g[0][v] = cell_gradient(c->grad_scale * t.g[0][v], &bad);
        t.mask[0][v] = mask ? mask[v] : lanes_set(1);
    }
    cell_adjoint(nv, k, c, rows, &t, sums);
    store_rows(nv, cot, ROW_HIDDEN, HRNN_H0, (const tile_row *)t.h_cot);
    store_rows(nv, cot, ROW_AVERAGE, HRNN_SCALES, (const tile_row *)t.a_cot);
    store_rows(nv, cot, ROW_MEAN_SQUARE, HRNN_SCALES, (const tile_row *)t.m_cot);
    store_rows(nv, cot, ROW_LOG_LR, 1, (const tile_row *)t.log_lr_cot);
    store_rows(nv, cot, COT_GRAD, 1, (const tile_row *)t.g_cot);
    if (!CELL_HAS(k, HRNN_ATTENTION)) return;
    EACH_VECTOR(v, nv) t.theta_cot[0][v] += t.phi_cot[0][v];
    store_rows(nv, cot, COT_THETA, 1, (const tile_row *)t.theta_cot);
}

LANES_FN void chunk_back(hrnn_adjoint *a, const hrnn_record *record, const cell_constants *k, int c,
                         adjoint_unit *unit)
{
    const hrnn_state *state = a->state;
    const hrnn_chunk *chunk = &state->chunks[c];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const cell_adjoint_constants *cell = &a->tensors[chunk->tensor].cell;
    const size_t tile = TILE_VECTORS * LANES, end = chunk->first + chunk->count;
    lanes sums[ADJOINT_SUMS];
    for (int s = 0; s < ADJOINT_SUMS; s++) sums[s] = lanes_set(0);
    for (size_t i = chunk->first; i < end; i += tile) {
        const size_t block = i / BLOCK * BLOCK, left = end - i;
        const float *tape = hrnn_tape_block(state, record, tensor, block) + i % BLOCK;
        float *cot = cot_block(a, tensor, block) + i % BLOCK;
        if (left >= tile) {
            tile_back(TILE_VECTORS, k, cell, tape, cot, NULL, unit->rows, sums);
            add_outer(TILE_VECTORS, (const tile_row *)unit->rows, unit->sums);
            count_tile(unit);
            continue;
        }
        for (size_t j = 0; j < left; j += LANES) {
            _Alignas(64) float mask[LANES];
            for (size_t l = 0; l < LANES; l++) mask[l] = j + l < left;
            tile_row *rows = (tile_row *)((lanes *)unit->tails + unit->n_tails);
            tile_back(1, k, cell, tape + j, cot + j, (const lanes *)mask, rows, sums);
            if (++unit->n_tails == TILE_VECTORS) flush_tails(unit);
        }
    }
    for (int s = 0; s < ADJOINT_SUMS; s++) a->chunks[c].sums[s] = lanes_sum(sums[s]);
}

/* The usual models have their own copies, as in the step. */
static void run_chunk_back(hrnn_adjoint *a, const hrnn_record *record, cell_constants k, int c,
                           adjoint_unit *unit)
{
    k.bias = record->tensors[a->state->chunks[c].tensor].bias;
    if (k.features == HRNN_FULL) {
        k.features = HRNN_FULL;
        chunk_back(a, record, &k, c, unit);
    } else if (k.features == HRNN_FULL_NO_ATTENTION) {
        k.features = HRNN_FULL_NO_ATTENTION;
        chunk_back(a, record, &k, c, unit);
    } else {
        chunk_back(a, record, &k, c, unit);
    }
}

/* The gradient's cotangents of a chunk; none where the step took an entry for 0 or clamped it. */
static void leave_chunk(const hrnn_adjoint *a, const hrnn_record *record, int c, float *grad_cot)
{
    const hrnn_state *state = a->state;
    const hrnn_chunk *chunk = &state->chunks[c];
    const hrnn_tensor *tensor = &state->tensors[chunk->tensor];
    const float grad_scale = tensor->t->grad_scale;
    float *restrict to = grad_cot + a->tensors[chunk->tensor].first;
    const size_t end = chunk->first + chunk->count;
    for (size_t i = chunk->first; i < end; i += BLOCK) {
        const float *cot = cot_block(a, tensor, i) + COT_GRAD * BLOCK;
        const float *grad = hrnn_tape_block(state, record, tensor, i) + TAPE_GRADIENT * BLOCK;
        for (size_t j = 0; j < BLOCK && i + j < end; j++)
            to[i + j] = fabsf(grad_scale * grad[j]) <= 1e18f ? grad_scale * cot[j] : 0;
    }
}

/* From the sums over the parameters to what they got injected, and to the small meta-parameters. */
static void finish_back(hrnn_adjoint *a, const hrnn_record *record)
{
    enum { B = 3 * HRNN_H0 };
    const hrnn_state *state = a->state;
    const hrnn_model *m = &state->model;
    double all[ADJOINT_SUMS] = {0};
    float global_delta[B] = {0};
    for (int k = 0; k < state->n; k++) {
        const hrnn_tensor *tensor = &state->tensors[k];
        double sums[ADJOINT_SUMS] = {0};
        float delta[B];
        for (int c = 0; c < tensor->chunks; c++)
            for (int s = 0; s < ADJOINT_SUMS; s++)
                sums[s] += a->chunks[tensor->first_chunk + c].sums[s];
        for (int s = 0; s < ADJOINT_SUMS; s++) all[s] += sums[s];
        for (int j = 0; j < B; j++) delta[j] = (float)sums[ADJOINT_DELTA + j];
        vector_add(global_delta, delta, B);
        if (!hrnn_has(m, HRNN_TENSOR_RNN)) continue;
        vector_add_double(GRADIENT(a, param_from_tensor_bias), delta, B);
        vector_product_weights(GRADIENT(a, param_from_tensor_weight), record->tensors[k].z, delta,
                               HRNN_H1, B);
        vector_product(a->tensors[k].z_cot, delta, a->transposed.param_from_tensor, B, HRNN_H1);
    }
    if (hrnn_has(m, HRNN_GLOBAL_RNN)) {
        vector_add_double(GRADIENT(a, param_from_global_bias), global_delta, B);
        vector_product_weights(GRADIENT(a, param_from_global_weight), record->global, global_delta,
                               HRNN_H2, B);
        vector_product(a->global_cot, global_delta, a->transposed.param_from_global, B, HRNN_H2);
    }
    for (int j = 0; j < 2 * HRNN_H0; j++)
        GRADIENT(a, param_gates_bias)[j] += all[ADJOINT_DELTA + j];
    for (int j = 0; j < HRNN_H0; j++)
        GRADIENT(a, param_candidate_bias)[j] += all[ADJOINT_DELTA + 2 * HRNN_H0 + j];
    GRADIENT(a, input_decay_bias)[0] += all[ADJOINT_DELTA + B];
    GRADIENT(a, scale_decay_bias)[0] += all[ADJOINT_DELTA + B + 1];
    GRADIENT(a, log_lr_bias)[0] += all[ADJOINT_LOG_LR];
    const double momentum = (double)hrnn_log_lr_momentum(m);
    GRADIENT(a, momentum_logit)[0] += momentum * (1 - momentum) * all[ADJOINT_MOMENTUM];
    a->log_lr_shift = -all[ADJOINT_RELATIVE] / (double)state->params;
}

void hrnn_adjoint_back(hrnn_adjoint *a, float scale, const float *theta_cot, const float *phi_cot,
                       float *grad_cot)
{
    const hrnn_state *state = a->state;
    const hrnn_record *record = &a->records[--a->left];
    const cell_constants k = {
        .model = &state->model,
        .features = state->model.features,
        .first = record->first,
        .mean_log_lr = record->mean_log_lr,
        .log_lr_momentum = hrnn_log_lr_momentum(&state->model),
        .log_lr_bias = state->model.log_lr_bias[0],
        .max_log_lr = state->model.max_log_lr,
    };
#pragma omp parallel if (state->params > PARALLEL_PARAMS)
    {
#pragma omp for schedule(static, 1)
        for (int c = 0; c < state->n_chunks; c++)
            enter_chunk(a, record, c, scale, theta_cot, phi_cot);
#pragma omp single
        rnns_back(a, record);
#pragma omp for schedule(static, 1)
        for (int u = 0; u < a->n_units; u++)
            for (int i = 0; i < a->units[u].chunks; i++) {
                const int c = a->units[u].first_chunk + i;
                run_chunk_back(a, record, k, c, &a->units[u]);
                if (grad_cot) leave_chunk(a, record, c, grad_cot);
            }
#pragma omp single
        finish_back(a, record);
    }
}

/* --- the end --- */

/* Adds a unit's outer products to the meta-gradient. */
static void add_unit(hrnn_adjoint *a, adjoint_unit *unit)
{
    enum { N = HRNN_H0 };
    const double *sums = unit->totals;
    if (unit->n_tails) flush_tails(unit);
    fold(unit);
    for (int i = 0; i < HRNN_FAN * 2 * N; i++)
        GRADIENT(a, param_gates_weight)[i] += sums[SUM_GATES + i];
    for (int i = 0; i < HRNN_FAN * N; i++)
        GRADIENT(a, param_candidate_weight)[i] += sums[SUM_CANDIDATE + i];
    for (int j = 0; j < N; j++) {
        GRADIENT(a, input_decay_weight)[j] += sums[SUM_DECAY + 2 * j];
        GRADIENT(a, scale_decay_weight)[j] += sums[SUM_DECAY + 2 * j + 1];
        GRADIENT(a, step_weight)[j] += sums[SUM_READOUT + 3 * j];
        GRADIENT(a, attention_weight)[j] += sums[SUM_READOUT + 3 * j + 1];
        GRADIENT(a, log_lr_weight)[j] += sums[SUM_READOUT + 3 * j + 2];
    }
    for (int s = 0; s < HRNN_SCALES && hrnn_has(&a->state->model, HRNN_SHORTCUT); s++) {
        GRADIENT(a, step_shortcut)[s] += sums[SUM_SHORTCUT + 2 * s];
        GRADIENT(a, attention_shortcut)[s] += sums[SUM_SHORTCUT + 2 * s + 1];
    }
}

/* The first state is param.init, tensor.init and global.init everywhere. */
static void add_start(hrnn_adjoint *a)
{
    const hrnn_state *state = a->state;
    for (size_t b = 0; b < count_blocks(state); b++)
        for (int j = 0; j < HRNN_H0; j++) {
            const float *row = a->cot + (b * COT_ROWS + ROW_HIDDEN + (size_t)j) * BLOCK;
            for (int i = 0; i < BLOCK; i++) GRADIENT(a, param_init)[j] += (double)row[i];
        }
    for (int k = 0; k < state->n; k++)
        vector_add_double(GRADIENT(a, tensor_init), a->tensors[k].z_cot, HRNN_H1);
    vector_add_double(GRADIENT(a, global_init), a->global_cot, HRNN_H2);
}

void hrnn_adjoint_finish(hrnn_adjoint *a, float *meta_gradient)
{
    for (int u = 0; u < a->n_units; u++) add_unit(a, &a->units[u]);
    if (a->from_start && a->left == 0) add_start(a);
    for (int i = 0; i < HRNN_META_PARAMS; i++) meta_gradient[i] = (float)a->gradient[i];
}
