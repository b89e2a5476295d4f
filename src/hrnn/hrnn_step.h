/* One step of the hierarchical RNN over all tensors of a network: blocks, reductions, threads. The
 * mathematics is in hrnn_cell.h. */
#ifndef HRNN_STEP_H
#define HRNN_STEP_H

#include "optimizer/optimizer.h"
#include "hrnn/hrnn_outlook.h"
#include "hrnn/hrnn_rows.h"

/* Units of work: at most CHUNK_BLOCKS blocks of one tensor. Partial sums are kept a chunk and added
 * in their order, so the result does not depend on the number of threads. */
enum { CHUNK_BLOCKS = 64 };
typedef struct {
    int tensor;          /* index in hrnn_state.tensors */
    size_t first, count; /* parameters */
    double sums[SUMS];
    double square; /* Σθ² after the step, at φ with attention; hrnn-2 only */
} hrnn_chunk;

/* hrnn-2: how a tensor's learning rate stands, before the coming step. Its inputs, [HRNN_CONTEXT]:
 *     r = (mean η − log size)/4 + 1,  (mean η − log 1e-3)/4,  log(1 + steps taken)/8 − 1/2,
 * size = √(mean θ² + 1e-4) (φ with attention); 0 for those that the model is without. They are
 * injected into the biases of the parameter RNN and the tensor RNN and added to the readout of the
 * learning rate; and η̂ is clipped where r would be above the model's limit:
 * η̂ <= 4·(limit − 1) + log size. */
typedef struct {
    float mean_log_lr, log_size; /* what a checkpoint keeps of it, in this order */
    float inputs[HRNN_CONTEXT];
} hrnn_context;

/* A tensor that is not frozen. */
typedef struct {
    const opt_tensor *t;
    unsigned char *blocks; /* ceil(n / 64) of hrnn_state.block_bytes each */
    int first_chunk, chunks;
    float z[HRNN_H1];        /* state of the tensor RNN */
    float bias[3 * HRNN_H0]; /* of the parameter RNN in the next step */
    double log_lr_sum;       /* Σ η */
    hrnn_context context;
    float log_lr_bias, max_log_lr;   /* of the coming step */
    size_t bad;                      /* non-finite gradients in this step */
    float step_norm, attention_norm; /* 1 / √(mean d² + 1e-16), the same for q */
} hrnn_tensor;

/* What the adjoint of a step needs (hrnn_adjoint.h), in memory of whoever set hrnn_state.record.
 * The tape has one block a block of state: the 19 rows of the state before the step, and these. */
enum {
    TAPE_GRADIENT = ROW_ATTENTION, /* as it was accumulated */
    TAPE_STEP,                     /* e^(η̂ + offset)·d, d before its normalisation */
    TAPE_ATTENTION,                /* with attention: e^η̂·q, the same */
};
typedef struct {
    float z[HRNN_H1], input[HRNN_FAN]; /* of the tensor RNN, before the step */
    float bias[3 * HRNN_H0];
    float step_norm, attention_norm;
} hrnn_tensor_record;
typedef struct {
    float *blocks;               /* in the order of the state's, hrnn_tape_rows rows of 64 each */
    hrnn_tensor_record *tensors; /* [hrnn_state.n] */
    float global[HRNN_H2], mean_z[HRNN_H1]; /* G before the step, the input of its RNN */
    float mean_log_lr, rate_ratio;
    int first;
} hrnn_record;

typedef struct {
    hrnn_model model;
    char identity[33]; /* digest of the model: a checkpoint belongs to it */
    hrnn_tensor *tensors;
    int n;          /* of tensors, frozen ones left out */
    int *of_tensor; /* index in tensors of the optimizer's k-th tensor; -1: frozen */
    hrnn_chunk *chunks;
    int n_chunks;
    unsigned char *arena; /* all blocks, aligned to 64 bytes; in the memory of the device */
    size_t arena_bytes;
    size_t params;          /* not frozen */
    row_format format;      /* of the blocks; its key is set for each step */
    size_t block_bytes;     /* of ROW_ATTENTION rows, or one more with attention */
    float global[HRNN_H2];  /* G */
    float mean_log_lr;      /* η̄ */
    uint64_t steps;         /* taken */
    float horizon[2];       /* steps in all, whole millions (2^20) and the rest; 0: not known */
    hrnn_losses losses;     /* of the steps taken; hrnn-3 only */
    hrnn_outlook outlook;   /* before the coming step; not in the memory of a device */
    int without_schedule;   /* steps do not follow the model's schedule */
    int mean_is_stale;      /* log_lr was written from outside: take its mean anew */
    int at_true_params;     /* attention: param holds θ */
    hrnn_record *record;    /* filled by each step, of full blocks alone; NULL: none */
    struct hrnn_cuda *cuda; /* hrnn_cuda.h; NULL: on the CPU */
} hrnn_state;

static inline int hrnn_tape_rows(const hrnn_state *state)
{
    return TAPE_ATTENTION + hrnn_has(&state->model, HRNN_ATTENTION);
}

/* The block of the tape that holds parameter i, a multiple of 64, of a tensor. */
static inline float *hrnn_tape_block(const hrnn_state *state, const hrnn_record *record,
                                     const hrnn_tensor *tensor, size_t i)
{
    const size_t block = (size_t)(tensor->blocks - state->arena) / state->block_bytes;
    return record->blocks + (block * BLOCK + i) * (size_t)hrnn_tape_rows(state);
}

/* A row of the block that holds parameter i of a tensor. */
HRNN_ANYWHERE void *hrnn_state_row(const hrnn_state *state, const hrnn_tensor *tensor, size_t i,
                                   int row)
{
    return tensor->blocks + i / BLOCK * state->block_bytes + row_offset(state->format.compact, row);
}

/* γ */
static inline float hrnn_log_lr_momentum(const hrnn_model *model)
{
    return 1 / (1 + expf(-model->momentum_logit[0]));
}

/* From z, G, context and outlook (or the start, or a checkpoint) to every tensor's bias. */
void hrnn_prepare(hrnn_state *state);

/* A float alone cannot hold all numbers of steps. */
static inline uint64_t hrnn_horizon(const hrnn_state *state)
{
    return ((uint64_t)state->horizon[0] << 20) + (uint64_t)state->horizon[1];
}

static inline void hrnn_set_horizon(hrnn_state *state, uint64_t steps)
{
    state->horizon[0] = (float)(steps >> 20);
    state->horizon[1] = (float)(steps & 0xfffff);
}

/* The outlook as it stands. */
static inline void hrnn_renew_outlook(hrnn_state *state)
{
    hrnn_look_out(&state->outlook, &state->model, &state->losses, state->steps,
                  hrnn_horizon(state));
}

/* What the coming step is multiplied by. */
static inline float hrnn_rate(const hrnn_state *state, float rate_ratio)
{
    return state->without_schedule ? rate_ratio : rate_ratio * state->outlook.schedule;
}

/* The outlook after the coming step, in which the batch had that loss; counts the step. */
static inline hrnn_outlook hrnn_next_outlook(hrnn_state *state, float loss)
{
    hrnn_outlook next = state->outlook;
    state->steps++;
    if (!hrnn_has_outlook(&state->model)) return next;
    hrnn_note_loss(&state->losses, hrnn_horizon(state), loss);
    hrnn_look_out(&next, &state->model, &state->losses, state->steps, hrnn_horizon(state));
    return next;
}

/* loss: of the batch that the gradients are of; NAN: not known. rate_ratio multiplies the step, as
 * does the model's schedule. */
void hrnn_step(hrnn_state *state, float loss, float rate_ratio);

#endif
