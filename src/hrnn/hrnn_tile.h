/* One step of one tile, from its block of the state and back (hrnn_cell.h has the mathematics), and
 * the update of a parameter once the norms of its tensor are known. */
#ifndef HRNN_TILE_H
#define HRNN_TILE_H

#include "hrnn/hrnn_step.h"

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

/* Where a tile is: its first parameter is the lane-th of a block and the index-th of its tensor. */
typedef struct {
    const row_format *format;
    unsigned char *block;
    int lane;
    uint32_t index;
} tile_place;

LANES_FN void load_tile(const int nv, const tile_place *at, int row, int rows, tile_row *to)
{
    load_state(nv, at->format, at->block, at->lane, row, rows, to);
}

/* The steps of θ and of φ before the norms of their tensor are known: e^(η̂ + offset)·d stays in
 * grad until then. What stays in param is e^η̂·q, beside θ in the block; of a compact block it is θ,
 * beside e^η̂·q. */
LANES_FN void keep_attention(const int nv, const tile_place *at, lanes_any *param,
                             const tile_row *ahead, lanes_uint *random)
{
    if (!at->format->compact) {
        EACH_VECTOR(v, nv) param[v] = ahead[0][v];
        return;
    }
    tile_row offset[1];
    load_tile(nv, at, ROW_ATTENTION, 1, offset);
    store_state(nv, at->format, at->block, at->lane, ROW_ATTENTION, 1, ahead, random);
    EACH_VECTOR(v, nv) param[v] -= offset[0][v];
}

/* One tile. grad becomes e^(η̂ + offset)·d; with attention see keep_attention. sums [SUMS] grow. */
LANES_FN void step_tile(const int nv, const cell_constants *k, const opt_tensor *t,
                        const tile_place *at, lanes_any *grad, lanes_any *param, const lanes *mask,
                        lanes *sums)
{
    const cell_model *model = k->model;
    tile_row xh[HRNN_FAN], *h = xh + HRNN_INPUTS, a[HRNN_SCALES], m[HRNN_SCALES], log_lr[1];
    tile_row g[1], d[1], proposal[1], square[1], b[HRNN_SCALES], scale_decay[1], reset[HRNN_H0];
    lanes_uint random[TILE_VECTORS];
    if (at->format->compact) rounding_start(nv, at->format, at->index, random);
    load_tile(nv, at, ROW_HIDDEN, HRNN_H0, h);
    load_tile(nv, at, ROW_AVERAGE, HRNN_SCALES, a);
    load_tile(nv, at, ROW_MEAN_SQUARE, HRNN_SCALES, m);
    load_tile(nv, at, ROW_LOG_LR, 1, log_lr);
    load_gradient(nv, t, grad, param, g[0], &sums[SUM_BAD]);
    cell_decays(nv, k, h, b, scale_decay[0]);
    cell_inputs(nv, k, b, scale_decay[0], g[0], log_lr[0], a, m, xh);
    store_state(nv, at->format, at->block, at->lane, ROW_AVERAGE, HRNN_SCALES, a, random);
    store_state(nv, at->format, at->block, at->lane, ROW_MEAN_SQUARE, HRNN_SCALES, m, random);
    cell_gru(nv, k, xh, reset, NULL, h);
    store_state(nv, at->format, at->block, at->lane, ROW_HIDDEN, HRNN_H0, h, random);
    THREAD_FOR(int j = 0; j < HRNN_H0; j++) add_tile(nv, &sums[SUM_INPUT + j], h[j], mask);
    THREAD_FOR(int j = 0; j < HRNN_INPUTS; j++)
        add_tile(nv, &sums[SUM_INPUT + HRNN_H0 + j], xh[j], mask);
    cell_learning_rate(nv, k, h, log_lr[0], proposal[0]);
    store_state(nv, at->format, at->block, at->lane, ROW_LOG_LR, 1, log_lr, random);
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
        d[0][v] *= lanes_exp(proposal[0][v]);
    }
    add_tile(nv, &sums[SUM_ATTENTION], square[0], mask);
    keep_attention(nv, at, param, d, random);
}

/* Step 8 of what step_tile left in grad: θ_new = θ − step; grad is zeroed. */
LANES_FN void update_entry(float step, float *param, float *grad)
{
    *param -= step * *grad;
    *grad = 0;
}

/* With attention param, which holds e^η̂·q, becomes φ_new = θ − attention step. */
LANES_FN void update_attended_entry(float step, float look, float *theta, float *param, float *grad)
{
    *param = *theta - look * *param;
    *theta -= step * *grad;
    *grad = 0;
}

/* The same of a compact block: param holds θ, ahead e^η̂·q, which becomes φ_new − θ_new. What param
 * becomes is θ_new: the difference is to be rounded before attend_entry adds it. */
LANES_FN void update_compact_entry(float step, float look, float *ahead, float *param, float *grad)
{
    const float moved = step * *grad;
    *ahead = moved - look * *ahead;
    *param -= moved;
    *grad = 0;
}

/* From θ to φ. The θ that is found from φ again is a neighbour of this one, at most, and leads to
 * the same φ for good. */
LANES_FN void attend_entry(float ahead, float *param)
{
    const float attended = *param + ahead, found = attended - ahead;
    *param = found + ahead;
}

#endif
