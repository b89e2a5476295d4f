/* One step of the hierarchical RNN over all tensors of a network: blocks, reductions, threads. The
 * mathematics is in hrnn_cell.h. */
#ifndef HRNN_STEP_H
#define HRNN_STEP_H

#include "hrnn_cell.h"

/* Units of work: at most CHUNK_BLOCKS blocks of one tensor. Partial sums are kept a chunk and added in
 * their order, so the result does not depend on the number of threads. */
enum { CHUNK_BLOCKS = 64 };
typedef struct {
    int tensor;          /* index in hrnn_state.tensors */
    size_t first, count; /* parameters */
    double sums[SUMS];
} hrnn_chunk;

/* A tensor that is not frozen. */
typedef struct {
    const opt_tensor *t;
    float *blocks;            /* ceil(n / 64) blocks of hrnn_state.rows rows of 64 */
    int first_chunk, chunks;
    float z[HRNN_H1];         /* state of the tensor RNN */
    float bias[3 * HRNN_H0];  /* of the parameter RNN in the next step */
    double log_lr_sum;        /* Σ η */
    size_t bad;               /* non-finite gradients in this step */
    float step_norm, attention_norm; /* 1 / √(mean d² + 1e-16), the same for q */
} hrnn_tensor;

typedef struct {
    hrnn_model model;
    char identity[33];      /* digest of the model: a checkpoint belongs to it */
    hrnn_tensor *tensors;
    int n;                  /* of tensors, frozen ones left out */
    int *of_tensor;         /* index in tensors of the optimizer's k-th tensor; -1: frozen */
    hrnn_chunk *chunks;
    int n_chunks;
    float *arena;           /* all blocks, aligned to 64 bytes */
    size_t arena_bytes;
    size_t params;          /* not frozen */
    int rows;               /* a block: ROW_OTHER, or one more with attention */
    float global[HRNN_H2];  /* G */
    float mean_log_lr;      /* η̄ */
    int mean_is_stale;      /* log_lr was written from outside: take its mean anew */
    int at_true_params;     /* attention: param holds θ */
} hrnn_state;

/* From z and G (or the start, or a checkpoint) to every tensor's bias. */
void hrnn_prepare(hrnn_state *state);

/* first: no step has been taken. rate_ratio multiplies the step. */
void hrnn_step(hrnn_state *state, int first, float rate_ratio);

#endif
