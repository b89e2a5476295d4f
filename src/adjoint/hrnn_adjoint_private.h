/* Private to hrnn_adjoint*.c: what an adjoint holds, and how its work is cut. */
#ifndef HRNN_ADJOINT_PRIVATE_H
#define HRNN_ADJOINT_PRIVATE_H

#include <stddef.h>

#include "adjoint/hrnn_adjoint.h"
#include "hrnn/hrnn_step.h"
#include "optimizer/rule.h"

/* A unit of work has its own sums: small tensors share one, a large one has several. */
enum { UNIT_PARAMS = 4096 };

/* Rows of a block of cotangents: those of the state, then these. */
enum { COT_THETA = ROW_ATTENTION, COT_PHI, COT_GRAD, COT_ROWS };

/* Where a meta-gradient's outer products lie among a unit's sums. */
enum {
    SUM_GATES = 0,                                      /* [22, 20] */
    SUM_CANDIDATE = SUM_GATES + HRNN_FAN * 2 * HRNN_H0, /* [22, 10] */
    SUM_DECAY = SUM_CANDIDATE + HRNN_FAN * HRNN_H0,     /* [10, 2]: β_g, β_λ */
    SUM_READOUT = SUM_DECAY + HRNN_H0 * 2,              /* [10, 3]: d, q, η */
    SUM_SHORTCUT = SUM_READOUT + HRNN_H0 * 3,           /* [4, 2]: d, q */
    OUTER_SUMS = SUM_SHORTCUT + HRNN_SCALES * 2
};

typedef struct {
    lanes sums[OUTER_SUMS];
    tile_row rows[OUTER_ROWS];  /* of a full tile */
    tile_row tails[OUTER_ROWS]; /* of vectors of several tensors' ends, side by side */
    double totals[OUTER_SUMS];
    int first_chunk, chunks;
    unsigned n_tails; /* vectors in tails */
    int tiles;        /* since the last fold */
} adjoint_unit;

typedef struct {
    double step, attention; /* Σ e^(η̂ + offset)·d·(dL/dθ), the same for q and φ */
    double sums[ADJOINT_SUMS];
} chunk_sums;

typedef struct {
    size_t first; /* of its parameters among the P */
    float z_cot[HRNN_H1];
    cell_adjoint_constants cell;
} adjoint_tensor;

/* Weights [out, in] of the vector-valued cells. */
typedef struct {
    cell_transposed cell;
    float tensor_gates[2 * HRNN_H1 * HRNN_TENSOR_FAN], tensor_candidate[HRNN_H1 * HRNN_TENSOR_FAN];
    float global_gates[2 * HRNN_H2 * HRNN_GLOBAL_FAN], global_candidate[HRNN_H2 * HRNN_GLOBAL_FAN];
    float param_from_tensor[3 * HRNN_H0 * HRNN_H1], param_from_global[3 * HRNN_H0 * HRNN_H2];
    float tensor_from_global[3 * HRNN_H1 * HRNN_H2];
} transposed_weights;

struct hrnn_adjoint {
    optimizer *opt;
    hrnn_state *state;
    int capacity, steps, left; /* of the tape; recorded; not yet gone back through */
    int from_start;
    char *arena;
    size_t arena_bytes;
    hrnn_record *records;    /* [capacity] */
    float *cot;              /* blocks of COT_ROWS rows */
    adjoint_tensor *tensors; /* [state->n] */
    chunk_sums *chunks;      /* [state->n_chunks] */
    adjoint_unit *units;
    int n_units;
    float global_cot[HRNN_H2];
    double log_lr_shift;
    double gradient[HRNN_META_PARAMS];
    transposed_weights transposed;
};

/* The meta-gradient of a field of the model. */
#define GRADIENT(a, field) ((a)->gradient + offsetof(hrnn_model, field) / sizeof(float))

static inline size_t count_blocks(const hrnn_state *state)
{
    return state->arena_bytes / state->block_bytes;
}

/* The block of cotangents that holds parameter i, a multiple of 64, of a tensor. */
static inline float *cot_block(const hrnn_adjoint *a, const hrnn_tensor *tensor, size_t i)
{
    const hrnn_state *state = a->state;
    const size_t block = (size_t)(tensor->blocks - state->arena) / state->block_bytes;
    return a->cot + (block * BLOCK + i) * COT_ROWS;
}

#endif
