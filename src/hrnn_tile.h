/* One step of one tile, from its block of the state and back (hrnn_cell.h has the mathematics), and
 * the update of a parameter once the norms of its tensor are known. */
#ifndef HRNN_TILE_H
#define HRNN_TILE_H

#include "hrnn_step.h"

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
 * e^η̂·q with attention. sums [SUMS] grow. */
LANES_FN void step_tile(const int nv, const cell_constants *k, const opt_tensor *t, float *block,
                        lanes_any *grad, lanes_any *param, const lanes *mask, lanes *sums)
{
    const cell_model *model = k->model;
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
    THREAD_UNROLL for (int j = 0; j < HRNN_H0; j++)
        add_tile(nv, &sums[SUM_INPUT + j], h[j], mask);
    THREAD_UNROLL for (int j = 0; j < HRNN_INPUTS; j++)
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

#endif
