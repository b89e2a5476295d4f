/* The GRUs of 20 units of a tensor and of the network (algorithm.md, steps 5 and 6) and the affine
 * maps between states and biases, for one vector at a time, each beside its adjoint. Weights are
 * [in, out], row-major. Meta-gradients are added to doubles: over an episode there are many.
 *
 * On a GPU all threads of a block call these together, with vectors that they share. A thread has
 * the same entries of every vector of one length or less, so that only reading another's entry
 * needs VECTOR_SYNC before it: inputs and states must be complete when a function is called. */
#ifndef HRNN_VECTOR_H
#define HRNN_VECTOR_H

#include <string.h>

#include "hrnn/hrnn_model.h"
#include "base/lanes.h"

#ifdef __CUDACC__
#define VECTOR_FN static __device__ inline
#define EACH_ENTRY(j, n) for (int j = (int)threadIdx.x; j < (n); j += (int)blockDim.x)
#define EACH_LANES(j, n) EACH_ENTRY(j, n)
#define VECTOR_ONE if (threadIdx.x == 0)
#define VECTOR_SYNC() __syncthreads()
#else
#define VECTOR_FN static inline
#define EACH_ENTRY(j, n) for (int j = 0; j < (n); j++)
#define EACH_LANES(j, n) for (int j = 0; j < (n); j += LANES)
#define VECTOR_ONE
#define VECTOR_SYNC() ((void)0)
#endif
#ifdef __cplusplus
#define VECTOR_ALIGNED alignas(64)
#else
#define VECTOR_ALIGNED _Alignas(64)
#endif

enum {
    GRU_UNITS = 20,
    GRU_BIASES = 3 * GRU_UNITS, /* of r, u and c */
    GRU_PAD = 64,               /* activations are padded to whole vectors */
};

/* [r,u] = σ([x,h]·gates), c = tanh([x, r∘h]·candidate); x is [n_in], h [20]. */
typedef struct {
    const float *gates_weight, *gates_bias, *candidate_weight, *candidate_bias;
    int n_in;
} gru;

/* Of one step; gates: r, u. */
typedef struct {
    VECTOR_ALIGNED float gates[GRU_PAD], candidate[GRU_PAD];
    float reset[GRU_UNITS]; /* r∘h */
} gru_activations;

/* What the adjoint adds to, and the weights transposed: [out, in]. */
typedef struct {
    double *gates_weight, *gates_bias, *candidate_weight, *candidate_bias;
    const float *gates_transposed, *candidate_transposed;
} gru_adjoint_weights;

VECTOR_FN gru tensor_gru(const hrnn_model *m)
{
    const gru w = {m->tensor_gates_weight, m->tensor_gates_bias, m->tensor_candidate_weight,
                   m->tensor_candidate_bias, HRNN_FAN};
    return w;
}

VECTOR_FN gru global_gru(const hrnn_model *m)
{
    const gru w = {m->global_gates_weight, m->global_gates_bias, m->global_candidate_weight,
                   m->global_candidate_bias, HRNN_H1};
    return w;
}

VECTOR_FN void vector_set(float *y, float x, int n)
{
    EACH_ENTRY(j, n) y[j] = x;
}

VECTOR_FN void vector_add(float *__restrict__ y, const float *__restrict__ x, int n)
{
    EACH_ENTRY(j, n) y[j] += x[j];
}

/* y[j] += Σ_k x[k]·w[k, j]; w is [n_in, n_out]. */
VECTOR_FN void vector_product(float *__restrict__ y, const float *__restrict__ x,
                              const float *__restrict__ w, int n_in, int n_out)
{
#ifdef __CUDACC__
    EACH_ENTRY(j, n_out) {
        float sum = y[j];
        for (int k = 0; k < n_in; k++) sum += x[k] * w[k * n_out + j];
        y[j] = sum;
    }
#else
    for (int k = 0; k < n_in; k++)
        for (int j = 0; j < n_out; j++) y[j] += x[k] * w[k * n_out + j];
#endif
}

/* One step: bias [60] is injected into r, u and c, or NULL; new_state may be state. */
VECTOR_FN void vector_gru(const gru *w, const float *input, const float *bias, const float *state,
                          gru_activations *act, float *new_state)
{
    enum { N = GRU_UNITS };
    vector_set(act->gates, 0, GRU_PAD);
    vector_set(act->candidate, 0, GRU_PAD);
    vector_add(act->gates, w->gates_bias, 2 * N);
    vector_add(act->candidate, w->candidate_bias, N);
    if (bias) {
        vector_add(act->gates, bias, 2 * N);
        vector_add(act->candidate, bias + 2 * N, N);
    }
    vector_product(act->gates, input, w->gates_weight, w->n_in, 2 * N);
    vector_product(act->gates, state, w->gates_weight + w->n_in * 2 * N, N, 2 * N);
    EACH_LANES(i, 2 * N) {
        lanes *v = (lanes *)(act->gates + i);
        *v = lanes_sigmoid(*v);
    }
    EACH_ENTRY(j, N) act->reset[j] = act->gates[j] * state[j];
    VECTOR_SYNC();
    vector_product(act->candidate, input, w->candidate_weight, w->n_in, N);
    vector_product(act->candidate, act->reset, w->candidate_weight + w->n_in * N, N, N);
    EACH_LANES(i, N) {
        lanes *v = (lanes *)(act->candidate + i);
        *v = lanes_tanh(*v);
    }
    EACH_ENTRY(j, N)
        new_state[j] = act->candidate[j] + act->gates[N + j] * (state[j] - act->candidate[j]);
}

#ifndef __CUDACC__
/* Of vector_product, to its weights: gradient[k, j] += x[k]·y_cot[j]. */
static inline void vector_product_weights(double *restrict gradient, const float *restrict x,
                                          const float *restrict y_cot, int n_in, int n_out)
{
    for (int k = 0; k < n_in; k++)
        for (int j = 0; j < n_out; j++) gradient[k * n_out + j] += (double)(x[k] * y_cot[j]);
}

static inline void vector_add_double(double *restrict y, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++) y[i] += (double)x[i];
}

/* The adjoint of vector_gru: new_cot is of the new state; sets delta [60], of what σ and tanh are
 * taken of (which is of the bias, too), input_cot [n_in] and state_cot [20], which may be
 * new_cot. */
static inline void vector_gru_adjoint(const gru_adjoint_weights *w, int n_in, const float *input,
                                      const float *state, const gru_activations *act,
                                      const float *new_cot, float *delta, float *input_cot,
                                      float *state_cot)
{
    enum { N = GRU_UNITS };
    const int fan = n_in + N;
    const float *r = act->gates, *u = act->gates + N, *c = act->candidate;
    float in_cot[GRU_PAD] = {0}, reset_cot[GRU_PAD] = {0}, kept[N];
    for (int j = 0; j < N; j++) {
        kept[j] = u[j] * new_cot[j];
        delta[N + j] = (state[j] - c[j]) * new_cot[j] * u[j] * (1 - u[j]);
        delta[2 * N + j] = (1 - u[j]) * new_cot[j] * (1 - c[j] * c[j]);
    }
    vector_product(reset_cot, delta + 2 * N, w->candidate_transposed, N, fan);
    for (int j = 0; j < N; j++) {
        const float cot = reset_cot[n_in + j];
        delta[j] = cot * state[j] * r[j] * (1 - r[j]);
        kept[j] += cot * r[j];
    }
    vector_product(in_cot, delta, w->gates_transposed, 2 * N, fan);
    for (int i = 0; i < n_in; i++) input_cot[i] = in_cot[i] + reset_cot[i];
    for (int j = 0; j < N; j++) state_cot[j] = kept[j] + in_cot[n_in + j];

    vector_add_double(w->gates_bias, delta, 2 * N);
    vector_add_double(w->candidate_bias, delta + 2 * N, N);
    vector_product_weights(w->gates_weight, input, delta, n_in, 2 * N);
    vector_product_weights(w->gates_weight + n_in * 2 * N, state, delta, N, 2 * N);
    vector_product_weights(w->candidate_weight, input, delta + 2 * N, n_in, N);
    vector_product_weights(w->candidate_weight + n_in * N, act->reset, delta + 2 * N, N, N);
}

#endif
#endif
