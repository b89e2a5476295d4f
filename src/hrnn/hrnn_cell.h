/* The mathematics of one step of the hierarchical RNN for one parameter (algorithm.md, steps 1 to
 * 8; Wichrowska et al., 2017, sections 3.2 and 3.3) and, below it, of the step's adjoint, written
 * once for the CPU's vectors and for a CUDA thread. A tile is `nv` vectors of LANES parameters of
 * one tensor; nv is a constant where these are inlined. No loops over a tensor, no memory but the
 * tile's: those are hrnn_step.c's. */
#ifndef HRNN_CELL_H
#define HRNN_CELL_H

#include "hrnn/hrnn_model.h"
#include "base/lanes.h"

/* Vectors in a full tile: as many as let a product of 5 outputs stay in registers. */
#if LANES == 16
enum { TILE_VECTORS = 4 };
#elif LANES == 1
enum { TILE_VECTORS = 1 };
#else
enum { TILE_VECTORS = 2 };
#endif

/* Columns of an outer product that stay in registers with two of its rows. */
#if LANES == 16
enum { OUTER_WIDE = 10 };
#else
enum { OUTER_WIDE = 5 };
#endif

/* A block of state is 64 parameters, structure of arrays: block[row][64], in the formats of
 * hrnn_rows.h. */
enum {
    BLOCK = 64,
    ROW_HIDDEN = 0,                              /* h, 10 rows */
    ROW_AVERAGE = ROW_HIDDEN + HRNN_H0,          /* a_s, 4 rows */
    ROW_MEAN_SQUARE = ROW_AVERAGE + HRNN_SCALES, /* m_s, 4 rows */
    ROW_LOG_LR = ROW_MEAN_SQUARE + HRNN_SCALES,  /* η */
    ROW_ATTENTION, /* with attention: θ while param holds φ, φ while it holds θ; compact: φ − θ */
};

/* What a tile adds up over its parameters, LANES partial sums each. */
enum {
    SUM_INPUT = 0,       /* Σ[h, x], the 22 inputs of the tensor RNN */
    SUM_STEP = HRNN_FAN, /* Σ d² */
    SUM_ATTENTION,       /* Σ q² */
    SUM_LOG_LR,          /* Σ η after the step */
    SUM_BAD,             /* number of non-finite gradients */
    SUMS
};

/* What one parameter's step reads of the model. On a GPU it is an argument of the kernel: there the
 * weights are operands of instructions, where loads would cost as much as the arithmetic. */
#ifdef __CUDACC__
typedef struct {
    float param_gates_weight[HRNN_FAN * 2 * HRNN_H0], param_candidate_weight[HRNN_FAN * HRNN_H0];
    float step_weight[HRNN_H0], step_shortcut[HRNN_SCALES];
    float attention_weight[HRNN_H0], attention_shortcut[HRNN_SCALES];
    float scale_decay_weight[HRNN_H0], scale_decay_bias[1];
    float input_decay_weight[HRNN_H0], input_decay_bias[1];
    float log_lr_weight[HRNN_H0], step_offset[1], min_log_lr;
} cell_model;
#else
typedef hrnn_model cell_model;
#endif

typedef struct {
    const cell_model *model;
    unsigned features;     /* model->features, a constant where the step is specialised */
    int first;             /* no step taken yet: both decays are 0 */
    float mean_log_lr;     /* η̄ over the whole network before the step */
    float log_lr_momentum; /* γ */
    /* Of the tensor: */
    const float *bias; /* [30] r, u, c: the cell's own and those injected by tensor and network */
    float log_lr_bias, max_log_lr; /* of step 7; the model's own but with a context */
} cell_constants;

typedef lanes tile_row[TILE_VECTORS];

#define CELL_HAS(k, feature) (((k)->features >> (feature)) & 1)
#define EACH_VECTOR(v, nv) LANES_FOR(int v = 0; v < (nv); v++)

/* sum[i] += Σ_k x[k]·w[k, i] for `wide` <= 5 of a product's columns; w points at the first, those
 * of one k are n_out from those of the next. */
LANES_FN void cell_product(const int nv, const float *w, const int n_in, const int wide,
                           const int n_out, const tile_row *x, lanes sum[5][TILE_VECTORS])
{
    THREAD_FOR(int k = 0; k < n_in; k++)
        LANES_FOR(int i = 0; i < wide; i++) {
            const float weight = w[k * n_out + i];
            EACH_VECTOR(v, nv) sum[i][v] += weight * x[k][v];
        }
}

LANES_FN void cell_bias(const int nv, const float *bias, lanes sum[5][TILE_VECTORS])
{
    LANES_FOR(int i = 0; i < 5; i++)
        EACH_VECTOR(v, nv) sum[i][v] = lanes_set(bias[i]);
}

/* y = bias + Σ_k x[k]·w[k], k < n. */
LANES_FN void cell_dot(const int nv, const float *w, float bias, const int n, const tile_row *x,
                       lanes *y)
{
    EACH_VECTOR(v, nv) y[v] = lanes_set(bias);
    LANES_FOR(int k = 0; k < n; k++)
        EACH_VECTOR(v, nv) y[v] += w[k] * x[k][v];
}

/* The gradient that enters the step: an entry that is not finite becomes 0 and counts, huge ones
 * are clamped so that their squares are floats. */
LANES_FN lanes cell_gradient(lanes raw, lanes *bad)
{
    const lanes size = lanes_abs(raw), zero = lanes_set(0), limit = lanes_set(INFINITY);
    *bad += lanes_if_less(size, limit, zero, lanes_set(1));
    return lanes_clamp(lanes_if_less(size, limit, raw, zero), -1e18f, 1e18f);
}

/* The decays of step 7 as the coming step uses them, from h: b_s = β_g^(2^-s) [4] and β_λ. */
LANES_FN void cell_decays(const int nv, const cell_constants *k, const tile_row *h, tile_row *b,
                          lanes *scale_decay)
{
    const cell_model *model = k->model;
    cell_dot(nv, model->input_decay_weight, model->input_decay_bias[0], HRNN_H0, h, b[0]);
    cell_dot(nv, model->scale_decay_weight, model->scale_decay_bias[0], HRNN_H0, h, scale_decay);
    const float later = k->first ? 0.0f : 1.0f;
    EACH_VECTOR(v, nv) {
        b[0][v] = later * lanes_sigmoid(b[0][v]);
        scale_decay[v] = later * lanes_sigmoid(scale_decay[v]);
    }
    LANES_FOR(int s = 1; s < HRNN_SCALES; s++)
        EACH_VECTOR(v, nv)
            b[s][v] = CELL_HAS(k, HRNN_TIMESCALES) ? lanes_sqrt(b[s - 1][v]) : b[0][v];
}

/* Steps 1 to 3: from the gradient and the state to the RNN's inputs x [12]; a and m are updated. */
LANES_FN void cell_inputs(const int nv, const cell_constants *k, const tile_row *b,
                          const lanes *scale_decay, const lanes *g, const lanes *log_lr,
                          tile_row *a, tile_row *m, tile_row *x)
{
    lanes mean[TILE_VECTORS];
    EACH_VECTOR(v, nv) mean[v] = lanes_set(0);
    LANES_FOR(int s = 0; s < HRNN_SCALES; s++)
        EACH_VECTOR(v, nv) {
            const lanes c = scale_decay[v];
            a[s][v] = (1.0f - b[s][v]) * g[v] + b[s][v] * a[s][v];
            const lanes square = a[s][v] * a[s][v] + 1e-12f;
            m[s][v] = (1.0f - c) * square + c * m[s][v];
            const lanes variance = m[s][v] + 1e-16f;
            const lanes scaled =
                CELL_HAS(k, HRNN_INPUT_SCALING) ? a[s][v] * lanes_rsqrt(variance) : a[s][v];
            x[INPUT_AVERAGE + s][v] = lanes_asinh(scaled);
            x[INPUT_MEAN_SQUARE + s][v] = lanes_log(variance);
            mean[v] += 0.25f * x[INPUT_MEAN_SQUARE + s][v];
        }
    LANES_FOR(int s = 0; s < HRNN_SCALES; s++)
        EACH_VECTOR(v, nv) {
            x[INPUT_MEAN_SQUARE + s][v] = CELL_HAS(k, HRNN_LOG_MEAN_SQUARE)
                                              ? x[INPUT_MEAN_SQUARE + s][v] - mean[v]
                                              : lanes_set(0);
            if (s + 1 < HRNN_SCALES)
                x[INPUT_PRODUCT + s][v] =
                    CELL_HAS(k, HRNN_PRODUCTS)
                        ? x[INPUT_AVERAGE + s][v] * x[INPUT_AVERAGE + s + 1][v]
                        : lanes_set(0);
        }
    EACH_VECTOR(v, nv)
        x[INPUT_RELATIVE_LR][v] =
            CELL_HAS(k, HRNN_RELATIVE_LR) ? log_lr[v] - k->mean_log_lr : lanes_set(0);
}

/* Step 4: xh is [x, h] (22 rows); new_h [10], which may be h itself, is the new state. gates [30]:
 * r, u and c for the adjoint, NULL elsewhere; reset [10]: r∘h. */
LANES_FN void cell_gru(const int nv, const cell_constants *k, const tile_row *xh, tile_row *reset,
                       tile_row *gates, tile_row *new_h)
{
    enum { N = HRNN_H0 };
    const float *weight = k->model->param_gates_weight;
    const float *candidate = k->model->param_candidate_weight;
    const tile_row *h = xh + HRNN_INPUTS;
    tile_row update[N];
    lanes sum[5][TILE_VECTORS];
    THREAD_FOR(int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + j, sum);
        cell_product(nv, weight + j, HRNN_FAN, 5, 2 * N, xh, sum);
        LANES_FOR(int i = 0; i < 5; i++)
            EACH_VECTOR(v, nv) {
                const lanes r = lanes_sigmoid(sum[i][v]);
                reset[j + i][v] = r * h[j + i][v];
                if (gates) gates[j + i][v] = r;
            }
    }
    THREAD_FOR(int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + N + j, sum);
        cell_product(nv, weight + N + j, HRNN_FAN, 5, 2 * N, xh, sum);
        LANES_FOR(int i = 0; i < 5; i++)
            EACH_VECTOR(v, nv) {
                update[j + i][v] = lanes_sigmoid(sum[i][v]);
                if (gates) gates[N + j + i][v] = update[j + i][v];
            }
    }
    THREAD_FOR(int j = 0; j < N; j += 5) {
        cell_bias(nv, k->bias + 2 * N + j, sum);
        cell_product(nv, candidate + j, HRNN_INPUTS, 5, N, xh, sum);
        cell_product(nv, candidate + HRNN_INPUTS * N + j, N, 5, N, reset, sum);
        LANES_FOR(int i = 0; i < 5; i++)
            EACH_VECTOR(v, nv) {
                const lanes c = lanes_tanh(sum[i][v]);
                if (gates) gates[2 * N + j + i][v] = c;
                new_h[j + i][v] = c + update[j + i][v] * (h[j + i][v] - c);
            }
    }
}

/* Step 7, a direction before its normalisation: h·weight + ĝ·shortcut. */
LANES_FN void cell_direction(const int nv, const cell_constants *k, const float *weight,
                             const float *shortcut, const tile_row *h, const tile_row *x, lanes *d)
{
    cell_dot(nv, weight, 0, HRNN_H0, h, d);
    if (CELL_HAS(k, HRNN_SHORTCUT))
        LANES_FOR(int s = 0; s < HRNN_SCALES; s++)
            EACH_VECTOR(v, nv) d[v] += shortcut[s] * x[INPUT_AVERAGE + s][v];
}

/* Step 7, the learning rate: log_lr becomes η, and proposal η̂. */
LANES_FN void cell_learning_rate(const int nv, const cell_constants *k, const tile_row *h,
                                 lanes *log_lr, lanes *proposal)
{
    const cell_model *model = k->model;
    if (!CELL_HAS(k, HRNN_DYNAMIC_LR)) {
        EACH_VECTOR(v, nv) proposal[v] = log_lr[v];
        return;
    }
    cell_dot(nv, model->log_lr_weight, k->log_lr_bias, HRNN_H0, h, proposal);
    EACH_VECTOR(v, nv) {
        proposal[v] = lanes_clamp(log_lr[v] + proposal[v], model->min_log_lr, k->max_log_lr);
        log_lr[v] = proposal[v] + k->log_lr_momentum * (log_lr[v] - proposal[v]);
    }
}

#ifndef __CUDACC__
/* --- the adjoint --- From cotangents (dL/d of what a step yields) to those of what it was given;
 * the step is recomputed from the state before it. What meta-gradients are sums of is left in the
 * rows below: of [x,h]ᵀ·δ, [x,r∘h]ᵀ·δ_c and the like, which cell_outer adds up. */

enum {
    OUTER_INPUT = 0,                          /* x, 12 rows */
    OUTER_HIDDEN = OUTER_INPUT + HRNN_INPUTS, /* h before the step, 10 */
    OUTER_RESET = OUTER_HIDDEN + HRNN_H0,     /* r∘h, 10 */
    OUTER_NEW = OUTER_RESET + HRNN_H0,        /* h after the step, 10 */
    OUTER_DELTA = OUTER_NEW + HRNN_H0,        /* δ of the GRU: r, u, c, 30 */
    OUTER_DECAY = OUTER_DELTA + 3 * HRNN_H0,  /* δ of the logits of β_g and β_λ, 2 */
    OUTER_READOUT = OUTER_DECAY + 2,          /* cotangents of d, q and the readout of η, 3 */
    OUTER_ROWS = OUTER_READOUT + 3
};

/* What the adjoint of a tile adds up over its parameters, LANES partial sums each. */
enum {
    ADJOINT_DELTA = 0,                   /* Σ of the 32 rows from OUTER_DELTA on */
    ADJOINT_LOG_LR = ADJOINT_DELTA + 32, /* Σ of the cotangents of the readout of η */
    ADJOINT_MOMENTUM,                    /* of γ */
    ADJOINT_RELATIVE,                    /* Σ of the cotangents of η - η̄ */
    ADJOINT_SUMS
};

/* Weights of the GRU, transposed, for the products of its adjoint. */
typedef struct {
    float input[3 * HRNN_H0 * HRNN_INPUTS]; /* [30, 12]: from δ to x */
    float hidden[2 * HRNN_H0 * HRNN_H0];    /* [20, 10]: from δ_r, δ_u to h */
    float reset[HRNN_H0 * HRNN_H0];         /* [10, 10]: from δ_c to r∘h */
} cell_transposed;

/* Of one tensor in one step. dn = norm·d are directions after their normalisation. */
typedef struct {
    const cell_transposed *transposed;
    float grad_scale;
    float rate; /* rate_ratio·lr_scale */
    float step_norm, attention_norm;
    float step_mean, attention_mean; /* mean over the tensor of dn·(dL/d dn), the same for q */
    float log_lr_shift;              /* dL/dη̄ of the next step over the network's size */
    float mean_cot[HRNN_FAN];        /* dL/d mean[h,x] over the tensor's size */
} cell_adjoint_constants;

/* State before the step; cotangents of the state, after it on entry and before it on return. */
typedef struct {
    tile_row a[HRNN_SCALES], m[HRNN_SCALES], log_lr[1], g[1]; /* h is in the rows */
    tile_row h_cot[HRNN_H0], a_cot[HRNN_SCALES], m_cot[HRNN_SCALES], log_lr_cot[1];
    tile_row theta_cot[1], phi_cot[1]; /* of θ and φ after the step: read only */
    tile_row g_cot[1];                 /* set: of the gradient */
    tile_row mask[1];                  /* 1; beyond the tensor's end 0, as all cotangents are */
} cell_adjoint_tile;

/* Of one direction after step 8: cot is of -e^η̂·dn. Sets d_cot, of d; adds to h_cot and x_cot.
 * Returns in log_lr_cot what comes to η̂. */
LANES_FN void cell_direction_adjoint(const int nv, const cell_constants *k, const float *weight,
                                     const float *shortcut, float norm, float mean,
                                     const tile_row *rows, const lanes *rate, const lanes *cot,
                                     const lanes *mask, lanes *d_cot, lanes *log_lr_cot,
                                     tile_row *h_cot, tile_row *x_cot)
{
    lanes d[TILE_VECTORS];
    cell_direction(nv, k, weight, shortcut, rows + OUTER_NEW, rows + OUTER_INPUT, d);
    EACH_VECTOR(v, nv) {
        const lanes dn = norm * d[v], dn_cot = -rate[v] * cot[v];
        log_lr_cot[v] += dn_cot * dn;
        d_cot[v] = norm * (dn_cot - mask[v] * (mean * dn));
    }
    LANES_FOR(int j = 0; j < HRNN_H0; j++)
        EACH_VECTOR(v, nv) h_cot[j][v] += weight[j] * d_cot[v];
    if (CELL_HAS(k, HRNN_SHORTCUT))
        LANES_FOR(int s = 0; s < HRNN_SCALES; s++)
            EACH_VECTOR(v, nv) x_cot[INPUT_AVERAGE + s][v] += shortcut[s] * d_cot[v];
}

/* Of steps 7 and 8: h_cot becomes that of the new h, log_lr_cot that of the old η; x_cot grows. */
LANES_FN void cell_update_adjoint(const int nv, const cell_constants *k,
                                  const cell_adjoint_constants *c, tile_row *rows,
                                  cell_adjoint_tile *t, tile_row *x_cot, lanes *sums)
{
    const cell_model *model = k->model;
    lanes log_lr[TILE_VECTORS], proposal[TILE_VECTORS], cot[TILE_VECTORS], rate[TILE_VECTORS];
    tile_row *readout = rows + OUTER_READOUT;
    EACH_VECTOR(v, nv) {
        log_lr[v] = t->log_lr[0][v];
        t->log_lr_cot[0][v] += c->log_lr_shift * t->mask[0][v];
        cot[v] = readout[1][v] = readout[2][v] = lanes_set(0);
    }
    cell_learning_rate(nv, k, rows + OUTER_NEW, log_lr, proposal);
    EACH_VECTOR(v, nv) rate[v] = c->rate * lanes_exp(proposal[v] + model->step_offset[0]);
    cell_direction_adjoint(nv, k, model->step_weight, model->step_shortcut, c->step_norm,
                           c->step_mean, rows, rate, t->theta_cot[0], t->mask[0], readout[0], cot,
                           t->h_cot, x_cot);
    if (CELL_HAS(k, HRNN_ATTENTION)) {
        EACH_VECTOR(v, nv) rate[v] = c->rate * lanes_exp(proposal[v]);
        cell_direction_adjoint(nv, k, model->attention_weight, model->attention_shortcut,
                               c->attention_norm, c->attention_mean, rows, rate, t->phi_cot[0],
                               t->mask[0], readout[1], cot, t->h_cot, x_cot);
    }
    if (!CELL_HAS(k, HRNN_DYNAMIC_LR)) {
        EACH_VECTOR(v, nv) t->log_lr_cot[0][v] += cot[v];
        return;
    }
    EACH_VECTOR(v, nv) {
        const lanes after = t->log_lr_cot[0][v];
        sums[ADJOINT_MOMENTUM] += after * (t->log_lr[0][v] - proposal[v]);
        readout[2][v] = cot[v] + (1.0f - k->log_lr_momentum) * after;
        sums[ADJOINT_LOG_LR] += readout[2][v];
        t->log_lr_cot[0][v] = readout[2][v] + k->log_lr_momentum * after;
    }
    LANES_FOR(int j = 0; j < HRNN_H0; j++)
        EACH_VECTOR(v, nv) t->h_cot[j][v] += model->log_lr_weight[j] * readout[2][v];
}

/* y[i] += Σ_j delta[j]·w[j, i], i < n_out: `wide` columns at a time. */
LANES_FN void cell_product_adjoint(const int nv, const float *w, const int n_in, const int wide,
                                   const int n_out, const tile_row *delta, tile_row *y)
{
    lanes sum[5][TILE_VECTORS];
    for (int i = 0; i < n_out; i += wide) {
        LANES_FOR(int j = 0; j < wide; j++)
            EACH_VECTOR(v, nv) sum[j][v] = y[i + j][v];
        cell_product(nv, w + i, n_in, wide, n_out, delta, sum);
        LANES_FOR(int j = 0; j < wide; j++)
            EACH_VECTOR(v, nv) y[i + j][v] = sum[j][v];
    }
}

/* Of step 4: h_cot, of the new h on entry, becomes that of the old; gates: r, u, c. */
LANES_FN void cell_gru_adjoint(const int nv, const cell_transposed *w, const tile_row *gates,
                               tile_row *rows, tile_row *h_cot, tile_row *x_cot)
{
    enum { N = HRNN_H0 };
    const tile_row *h = rows + OUTER_HIDDEN, *r = gates, *u = gates + N, *c = gates + 2 * N;
    tile_row *delta = rows + OUTER_DELTA, reset_cot[N];
    for (int j = 0; j < N; j++)
        EACH_VECTOR(v, nv) {
            const lanes cot = h_cot[j][v], keep = u[j][v] * cot;
            delta[N + j][v] = (h[j][v] - c[j][v]) * keep * (1.0f - u[j][v]);
            delta[2 * N + j][v] = (cot - keep) * (1.0f - c[j][v] * c[j][v]);
            h_cot[j][v] = keep;
            reset_cot[j][v] = lanes_set(0);
        }
    cell_product_adjoint(nv, w->reset, N, 5, N, delta + 2 * N, reset_cot);
    for (int j = 0; j < N; j++)
        EACH_VECTOR(v, nv) {
            const lanes cot = reset_cot[j][v] * r[j][v];
            delta[j][v] = cot * h[j][v] * (1.0f - r[j][v]);
            h_cot[j][v] += cot;
        }
    cell_product_adjoint(nv, w->hidden, 2 * N, 5, N, delta, h_cot);
    cell_product_adjoint(nv, w->input, 3 * N, 4, HRNN_INPUTS, delta, x_cot);
}

/* Of steps 2 and 3: from x_cot to those of a and m after step 2. */
LANES_FN void cell_inputs_adjoint(const int nv, const cell_constants *k, const tile_row *x,
                                  const tile_row *a, const tile_row *m, tile_row *x_cot,
                                  tile_row *a_cot, tile_row *m_cot)
{
    enum { AVERAGE = INPUT_AVERAGE, LOG = INPUT_MEAN_SQUARE };
    EACH_VECTOR(v, nv) {
        if (CELL_HAS(k, HRNN_PRODUCTS))
            LANES_FOR(int s = 0; s + 1 < HRNN_SCALES; s++) {
                x_cot[AVERAGE + s][v] += x_cot[INPUT_PRODUCT + s][v] * x[AVERAGE + s + 1][v];
                x_cot[AVERAGE + s + 1][v] += x_cot[INPUT_PRODUCT + s][v] * x[AVERAGE + s][v];
            }
        const lanes mean =
            0.25f * (x_cot[LOG][v] + x_cot[LOG + 1][v] + x_cot[LOG + 2][v] + x_cot[LOG + 3][v]);
        LANES_FOR(int s = 0; s < HRNN_SCALES; s++) {
            lanes log_cot = lanes_set(0);
            const lanes root = lanes_rsqrt(m[s][v] + 1e-16f);
            if (CELL_HAS(k, HRNN_LOG_MEAN_SQUARE)) log_cot = x_cot[LOG + s][v] - mean;
            if (CELL_HAS(k, HRNN_INPUT_SCALING)) {
                const lanes scaled = a[s][v] * root;
                const lanes cot = x_cot[AVERAGE + s][v] * lanes_rsqrt(1.0f + scaled * scaled);
                a_cot[s][v] += cot * root;
                log_cot -= 0.5f * cot * scaled;
            } else {
                a_cot[s][v] += x_cot[AVERAGE + s][v] * lanes_rsqrt(1.0f + a[s][v] * a[s][v]);
            }
            m_cot[s][v] += log_cot * root * root;
        }
    }
}

/* Of steps 1 and 2: from those of a and m after the step to those before it, g's and δ of the
 * decays. old_a, old_m: before the step; dβ_g^(2^-s)/d logit = 2^-s·b_s·(1 - β_g). */
LANES_FN void cell_decays_adjoint(const int nv, const cell_constants *k, const tile_row *b,
                                  const lanes *scale_decay, const tile_row *a, tile_row *rows,
                                  cell_adjoint_tile *t)
{
    const cell_model *model = k->model;
    tile_row *decay = rows + OUTER_DECAY;
    EACH_VECTOR(v, nv) {
        const lanes c = scale_decay[v];
        lanes input = lanes_set(0), scale = lanes_set(0), g_cot = lanes_set(0);
        LANES_FOR(int s = 0; s < HRNN_SCALES; s++) {
            const float power = CELL_HAS(k, HRNN_TIMESCALES) ? 1.0f / (float)(1 << s) : 1.0f;
            const lanes m_cot = t->m_cot[s][v], square = a[s][v] * a[s][v] + 1e-12f;
            scale += m_cot * (t->m[s][v] - square);
            t->m_cot[s][v] = c * m_cot;
            const lanes a_cot = t->a_cot[s][v] + (2.0f - 2.0f * c) * m_cot * a[s][v];
            input += power * b[s][v] * (a_cot * (t->a[s][v] - t->g[0][v]));
            g_cot += a_cot * (1.0f - b[s][v]);
            t->a_cot[s][v] = b[s][v] * a_cot;
        }
        decay[0][v] = input * (1.0f - b[0][v]);
        decay[1][v] = scale * c * (1.0f - c);
        t->g_cot[0][v] = g_cot;
    }
    LANES_FOR(int j = 0; j < HRNN_H0; j++)
        EACH_VECTOR(v, nv)
            t->h_cot[j][v] += model->input_decay_weight[j] * decay[0][v] +
                              model->scale_decay_weight[j] * decay[1][v];
}

/* The whole step of a tile: rows [OUTER_ROWS] hold h at OUTER_HIDDEN and get the others. */
LANES_FN void cell_adjoint(const int nv, const cell_constants *k, const cell_adjoint_constants *c,
                           tile_row *rows, cell_adjoint_tile *t, lanes *sums)
{
    tile_row *x = rows + OUTER_INPUT, b[HRNN_SCALES], scale_decay[1], a[HRNN_SCALES];
    tile_row m[HRNN_SCALES], gates[3 * HRNN_H0], x_cot[HRNN_INPUTS];
    for (int s = 0; s < HRNN_SCALES; s++)
        EACH_VECTOR(v, nv) {
            a[s][v] = t->a[s][v];
            m[s][v] = t->m[s][v];
        }
    cell_decays(nv, k, rows + OUTER_HIDDEN, b, scale_decay[0]);
    cell_inputs(nv, k, b, scale_decay[0], t->g[0], t->log_lr[0], a, m, x);
    cell_gru(nv, k, x, rows + OUTER_RESET, gates, rows + OUTER_NEW);

    for (int j = 0; j < HRNN_H0; j++)
        EACH_VECTOR(v, nv) t->h_cot[j][v] += c->mean_cot[j] * t->mask[0][v];
    for (int j = 0; j < HRNN_INPUTS; j++)
        EACH_VECTOR(v, nv) x_cot[j][v] = c->mean_cot[HRNN_H0 + j] * t->mask[0][v];
    cell_update_adjoint(nv, k, c, rows, t, x_cot, sums);
    cell_gru_adjoint(nv, c->transposed, gates, rows, t->h_cot, x_cot);
    if (CELL_HAS(k, HRNN_RELATIVE_LR))
        EACH_VECTOR(v, nv) {
            t->log_lr_cot[0][v] += x_cot[INPUT_RELATIVE_LR][v];
            sums[ADJOINT_RELATIVE] += x_cot[INPUT_RELATIVE_LR][v];
        }
    cell_inputs_adjoint(nv, k, x, a, m, x_cot, t->a_cot, t->m_cot);
    cell_decays_adjoint(nv, k, b, scale_decay[0], a, rows, t);
    for (int j = 0; j < 32; j++)
        EACH_VECTOR(v, nv) sums[ADJOINT_DELTA + j] += rows[OUTER_DELTA + j][v];
}

/* sum[k, i] += Σ over the tile of x[k]·delta[i], k < n_x (even), i < wide, n_out entries of sum for
 * each k; a product of LANES partial sums each. */
LANES_FN void cell_outer(const int nv, const tile_row *x, const int n_x, const tile_row *delta,
                         const int wide, const int n_out, lanes *sum)
{
    for (int k = 0; k < n_x; k += 2) {
        lanes *to = sum + k * n_out, s[2][OUTER_WIDE];
        LANES_FOR(int i = 0; i < wide; i++) {
            s[0][i] = to[i];
            s[1][i] = to[n_out + i];
        }
        EACH_VECTOR(v, nv)
            LANES_FOR(int i = 0; i < wide; i++) {
                s[0][i] += x[k][v] * delta[i][v];
                s[1][i] += x[k + 1][v] * delta[i][v];
            }
        LANES_FOR(int i = 0; i < wide; i++) {
            to[i] = s[0][i];
            to[n_out + i] = s[1][i];
        }
    }
}

#endif
#endif
