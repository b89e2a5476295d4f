/* The mathematics of one step of the hierarchical RNN for one parameter (algorithm.md, steps 1 to 8;
 * Wichrowska et al., 2017, sections 3.2 and 3.3), written once for the CPU's vectors and for a CUDA
 * thread. A tile is `nv` vectors of LANES parameters of one tensor; nv is a constant where these are
 * inlined. No loops over a tensor, no memory but the tile's: those are hrnn_step.c's. */
#ifndef HRNN_CELL_H
#define HRNN_CELL_H

#include "hrnn_model.h"
#include "lanes.h"

/* Vectors in a full tile: as many as let a product of 5 outputs stay in registers. */
#if LANES == 16
enum { TILE_VECTORS = 4 };
#elif LANES == 1
enum { TILE_VECTORS = 1 };
#else
enum { TILE_VECTORS = 2 };
#endif

/* A block of state is 64 parameters, structure of arrays: float block[row][64]. */
enum {
    BLOCK = 64,
    ROW_HIDDEN = 0,                            /* h, 10 rows */
    ROW_AVERAGE = ROW_HIDDEN + HRNN_H0,        /* a_s, 4 rows */
    ROW_MEAN_SQUARE = ROW_AVERAGE + HRNN_SCALES, /* m_s, 4 rows */
    ROW_LOG_LR = ROW_MEAN_SQUARE + HRNN_SCALES,  /* η */
    ROW_OTHER, /* with attention: θ while param holds φ, φ while it holds θ */
};

/* What a tile adds up over its parameters, a row of LANES partial sums each. */
enum {
    SUM_INPUT = 0,                  /* Σ[h, x], the 22 inputs of the tensor RNN */
    SUM_STEP = HRNN_FAN,            /* Σ d² */
    SUM_ATTENTION,                  /* Σ q² */
    SUM_LOG_LR,                     /* Σ η after the step */
    SUM_BAD,                        /* number of non-finite gradients */
    SUMS
};

typedef struct {
    const hrnn_model *model;
    unsigned features;     /* model->features, a constant where the step is specialised */
    int first;             /* no step taken yet: both decays are 0 */
    float mean_log_lr;     /* η̄ over the whole network before the step */
    float log_lr_momentum; /* γ */
    const float *bias;     /* [30] r, u, c: the cell's own and those injected by tensor and network */
} cell_constants;

typedef lanes tile_row[TILE_VECTORS];

#define CELL_HAS(k, feature) ((k)->features >> (feature) & 1)
#define EACH_VECTOR(v, nv) LANES_UNROLL for (int v = 0; v < (nv); v++)

/* sum[i] += Σ_k x[k]·w[k, i] for 5 of a product's columns; w points at the first, rows are n_out apart. */
LANES_FN void cell_product(const int nv, const float *w, const int n_in, const int n_out,
                           const tile_row *x, lanes sum[5][TILE_VECTORS])
{
    for (int k = 0; k < n_in; k++)
        LANES_UNROLL for (int i = 0; i < 5; i++) {
            const float weight = w[k * n_out + i];
            EACH_VECTOR(v, nv) sum[i][v] += weight * x[k][v];
        }
}

LANES_FN void cell_bias(const int nv, const float *bias, lanes sum[5][TILE_VECTORS])
{
    LANES_UNROLL for (int i = 0; i < 5; i++)
        EACH_VECTOR(v, nv) sum[i][v] = lanes_set(bias[i]);
}

/* y = bias + Σ_k x[k]·w[k], k < n. */
LANES_FN void cell_dot(const int nv, const float *w, float bias, const int n, const tile_row *x,
                       lanes *y)
{
    EACH_VECTOR(v, nv) y[v] = lanes_set(bias);
    LANES_UNROLL for (int k = 0; k < n; k++)
        EACH_VECTOR(v, nv) y[v] += w[k] * x[k][v];
}

/* Steps 1 to 3: from the gradient and the state to the RNN's inputs x [12]; a and m are updated. */
LANES_FN void cell_inputs(const int nv, const cell_constants *k, const tile_row *h, const lanes *g,
                          const lanes *log_lr, tile_row *a, tile_row *m, tile_row *x)
{
    const hrnn_model *model = k->model;
    lanes decay[TILE_VECTORS], scale_decay[TILE_VECTORS], mean[TILE_VECTORS];
    cell_dot(nv, model->input_decay_weight, model->input_decay_bias[0], HRNN_H0, h, decay);
    cell_dot(nv, model->scale_decay_weight, model->scale_decay_bias[0], HRNN_H0, h, scale_decay);
    const float later = k->first ? 0.0f : 1.0f;
    EACH_VECTOR(v, nv) {
        decay[v] = later * lanes_sigmoid(decay[v]);
        scale_decay[v] = later * lanes_sigmoid(scale_decay[v]);
        mean[v] = lanes_set(0);
    }
    LANES_UNROLL for (int s = 0; s < HRNN_SCALES; s++) EACH_VECTOR(v, nv) {
        const lanes b = decay[v], c = scale_decay[v];
        a[s][v] = (1.0f - b) * g[v] + b * a[s][v];
        const lanes square = a[s][v] * a[s][v] + 1e-12f;
        m[s][v] = (1.0f - c) * square + c * m[s][v];
        const lanes variance = m[s][v] + 1e-16f;
        const lanes scaled = CELL_HAS(k, HRNN_INPUT_SCALING) ? a[s][v] * lanes_rsqrt(variance)
                                                             : a[s][v];
        x[s][v] = lanes_asinh(scaled);
        x[7 + s][v] = lanes_log(variance);
        mean[v] += 0.25f * x[7 + s][v];
        if (CELL_HAS(k, HRNN_TIMESCALES) && s + 1 < HRNN_SCALES) decay[v] = lanes_sqrt(b);
    }
    LANES_UNROLL for (int s = 0; s < HRNN_SCALES; s++) EACH_VECTOR(v, nv) {
        x[7 + s][v] = CELL_HAS(k, HRNN_LOG_MEAN_SQUARE) ? x[7 + s][v] - mean[v] : lanes_set(0);
        if (s < 3)
            x[4 + s][v] = CELL_HAS(k, HRNN_PRODUCTS) ? x[s][v] * x[s + 1][v] : lanes_set(0);
    }
    EACH_VECTOR(v, nv)
        x[11][v] = CELL_HAS(k, HRNN_RELATIVE_LR) ? log_lr[v] - k->mean_log_lr : lanes_set(0);
}

/* Step 4: xh is [x, h] (22 rows); h is replaced by the new state. */
LANES_FN void cell_gru(const int nv, const cell_constants *k, tile_row *xh)
{
    enum { N = HRNN_H0 };
    const float *gates = k->model->param_gates_weight;
    const float *candidate = k->model->param_candidate_weight;
    tile_row *h = xh + HRNN_INPUTS, reset[N], update[N];
    lanes sum[5][TILE_VECTORS];
    for (int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + j, sum);
        cell_product(nv, gates + j, HRNN_FAN, 2 * N, xh, sum);
        LANES_UNROLL for (int i = 0; i < 5; i++)
            EACH_VECTOR(v, nv) reset[j + i][v] = lanes_sigmoid(sum[i][v]) * h[j + i][v];
    }
    for (int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + N + j, sum);
        cell_product(nv, gates + N + j, HRNN_FAN, 2 * N, xh, sum);
        LANES_UNROLL for (int i = 0; i < 5; i++)
            EACH_VECTOR(v, nv) update[j + i][v] = lanes_sigmoid(sum[i][v]);
    }
    for (int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + 2 * N + j, sum);
        cell_product(nv, candidate + j, HRNN_INPUTS, N, xh, sum);
        cell_product(nv, candidate + HRNN_INPUTS * N + j, N, N, reset, sum);
        LANES_UNROLL for (int i = 0; i < 5; i++) EACH_VECTOR(v, nv) {
            const lanes c = lanes_tanh(sum[i][v]);
            h[j + i][v] = c + update[j + i][v] * (h[j + i][v] - c);
        }
    }
}

/* Step 7, a direction before its normalisation: h·weight + ĝ·shortcut. */
LANES_FN void cell_direction(const int nv, const cell_constants *k, const float *weight,
                             const float *shortcut, const tile_row *h, const tile_row *x, lanes *d)
{
    cell_dot(nv, weight, 0, HRNN_H0, h, d);
    if (CELL_HAS(k, HRNN_SHORTCUT))
        LANES_UNROLL for (int s = 0; s < HRNN_SCALES; s++)
            EACH_VECTOR(v, nv) d[v] += shortcut[s] * x[s][v];
}

/* Step 7, the learning rate: log_lr becomes η, and proposal η̂. */
LANES_FN void cell_learning_rate(const int nv, const cell_constants *k, const tile_row *h,
                                 lanes *log_lr, lanes *proposal)
{
    const hrnn_model *model = k->model;
    if (!CELL_HAS(k, HRNN_DYNAMIC_LR)) {
        EACH_VECTOR(v, nv) proposal[v] = log_lr[v];
        return;
    }
    cell_dot(nv, model->log_lr_weight, model->log_lr_bias[0], HRNN_H0, h, proposal);
    EACH_VECTOR(v, nv) {
        proposal[v] = lanes_clamp(log_lr[v] + proposal[v], model->min_log_lr, model->max_log_lr);
        log_lr[v] = proposal[v] + k->log_lr_momentum * (log_lr[v] - proposal[v]);
    }
}

#endif
