/* The meta-parameters of the hierarchical RNN (Wichrowska et al., 2017): names, shapes, start
 * values, and which features a model was trained without. format=hrnn-1; hrnn-2, which adds a
 * context of each tensor: how its learning rate stands to its size and to 1e-3, and the time; and
 * hrnn-3, which adds an outlook of the network: how much of the training is done and left, and
 * where its loss goes. */
#ifndef HRNN_MODEL_H
#define HRNN_MODEL_H

#include <assert.h>
#include <stddef.h>

#include "files/safetensors.h"

enum {
    HRNN_H0 = 10,                         /* units of the parameter RNN */
    HRNN_H1 = 20,                         /* of the tensor RNN */
    HRNN_H2 = 20,                         /* of the global RNN */
    HRNN_SCALES = 4,                      /* timescales of momentum */
    HRNN_INPUTS = 12,                     /* of the parameter RNN: INPUT_… below */
    HRNN_FAN = HRNN_INPUTS + HRNN_H0,     /* inputs and state of the parameter RNN */
    HRNN_TENSOR_FAN = HRNN_FAN + HRNN_H1, /* inputs and state of the tensor RNN */
    HRNN_GLOBAL_FAN = HRNN_H1 + HRNN_H2,  /* inputs and state of the global RNN */
    HRNN_CONTEXT = 3,                     /* numbers of a tensor's context: see hrnn_step.h */
    HRNN_PROGRESS = 8,                    /* numbers of an outlook that are functions of t and T */
    HRNN_OUTLOOK = HRNN_PROGRESS + 7,     /* all of them: see hrnn_outlook.h */
};

/* Where the inputs x of the parameter RNN begin (algorithm.md, step 3). */
enum {
    INPUT_AVERAGE = 0,                                   /* ĝ_s, HRNN_SCALES of them */
    INPUT_PRODUCT = INPUT_AVERAGE + HRNN_SCALES,         /* ĝ_s·ĝ_{s+1}, one less */
    INPUT_MEAN_SQUARE = INPUT_PRODUCT + HRNN_SCALES - 1, /* ℓ_s − mean ℓ, HRNN_SCALES of them */
    INPUT_RELATIVE_LR = INPUT_MEAN_SQUARE + HRNN_SCALES, /* η − η̄ */
};
static_assert(INPUT_RELATIVE_LR + 1 == HRNN_INPUTS, "these are all of the inputs");

/* Features that a model may be trained without ("without" in its metadata); bit = 1 << value. */
typedef enum {
    HRNN_ATTENTION,
    HRNN_TIMESCALES,
    HRNN_PRODUCTS,
    HRNN_LOG_MEAN_SQUARE,
    HRNN_RELATIVE_LR,
    HRNN_SHORTCUT,
    HRNN_INPUT_SCALING,
    HRNN_STEP_NORMALISATION,
    HRNN_DYNAMIC_LR,
    HRNN_TENSOR_RNN,
    HRNN_GLOBAL_RNN,
    HRNN_FEATURES_1, /* those of hrnn-1; what follows is of hrnn-2 */
    HRNN_RATE_TO_SIZE = HRNN_FEATURES_1,
    HRNN_ABSOLUTE_LR,
    HRNN_TIME,
    HRNN_LR_LIMIT,
    HRNN_FEATURES_2, /* what follows is of hrnn-3 */
    HRNN_HORIZON = HRNN_FEATURES_2,
    HRNN_LOSSES,
    HRNN_SCHEDULE,
    HRNN_FEATURES
} hrnn_feature;

/* A GRU with fan inputs+state and n units: [r,u] = σ([x,h]·gates), c = tanh([x, r∘h]·candidate).
 * Weights are [in, out], row-major. */
typedef struct hrnn_model {
    float param_gates_weight[HRNN_FAN * 2 * HRNN_H0], param_gates_bias[2 * HRNN_H0];
    float param_candidate_weight[HRNN_FAN * HRNN_H0], param_candidate_bias[HRNN_H0];
    float param_init[HRNN_H0];
    float tensor_gates_weight[HRNN_TENSOR_FAN * 2 * HRNN_H1], tensor_gates_bias[2 * HRNN_H1];
    float tensor_candidate_weight[HRNN_TENSOR_FAN * HRNN_H1], tensor_candidate_bias[HRNN_H1];
    float tensor_init[HRNN_H1];
    float global_gates_weight[HRNN_GLOBAL_FAN * 2 * HRNN_H2], global_gates_bias[2 * HRNN_H2];
    float global_candidate_weight[HRNN_GLOBAL_FAN * HRNN_H2], global_candidate_bias[HRNN_H2];
    float global_init[HRNN_H2];
    float param_from_tensor_weight[HRNN_H1 * 3 * HRNN_H0], param_from_tensor_bias[3 * HRNN_H0];
    float param_from_global_weight[HRNN_H2 * 3 * HRNN_H0], param_from_global_bias[3 * HRNN_H0];
    float tensor_from_global_weight[HRNN_H2 * 3 * HRNN_H1], tensor_from_global_bias[3 * HRNN_H1];
    float step_weight[HRNN_H0], step_shortcut[HRNN_SCALES];
    float attention_weight[HRNN_H0], attention_shortcut[HRNN_SCALES];
    float scale_decay_weight[HRNN_H0], scale_decay_bias[1];
    float input_decay_weight[HRNN_H0], input_decay_bias[1];
    float log_lr_weight[HRNN_H0], log_lr_bias[1];
    float momentum_logit[1];
    float step_offset[1];
    /* --- hrnn-2; 0 in a model of hrnn-1 --- */
    float param_from_context_weight[HRNN_CONTEXT * 3 * HRNN_H0];
    float tensor_from_context_weight[HRNN_CONTEXT * 3 * HRNN_H1];
    float log_lr_from_context_weight[HRNN_CONTEXT];
    float lr_limit[1]; /* of the context's rate to size */
    /* --- hrnn-3; 0 in the others --- */
    float param_from_outlook_weight[HRNN_OUTLOOK * 3 * HRNN_H0];
    float tensor_from_outlook_weight[HRNN_OUTLOOK * 3 * HRNN_H1];
    float global_from_outlook_weight[HRNN_OUTLOOK * 3 * HRNN_H2];
    float log_lr_from_outlook_weight[HRNN_OUTLOOK];
    float schedule_weight[HRNN_PROGRESS];
    /* --- the metadata --- */
    float min_log_lr, max_log_lr; /* clip of the log learning rate */
    float initial_lr;             /* starting rate for a user; 0: the file names none */
    unsigned features;            /* bit set: the model has it */
} hrnn_model;

/* Sets of features, bits. */
enum {
    HRNN_FULL = (1 << HRNN_FEATURES_1) - 1, /* all of hrnn-1 */
    HRNN_FULL_NO_ATTENTION = HRNN_FULL & ~(1 << HRNN_ATTENTION),
    HRNN_2_FEATURES = (1 << HRNN_FEATURES_2) - 1 - HRNN_FULL,
    HRNN_3_FEATURES = (1 << HRNN_FEATURES) - (1 << HRNN_FEATURES_2),
};

#ifdef __CUDACC__
#define HRNN_ANYWHERE static inline __host__ __device__
#else
#define HRNN_ANYWHERE static inline
#endif

HRNN_ANYWHERE int hrnn_has(const hrnn_model *model, hrnn_feature feature)
{
    return model->features >> feature & 1;
}

/* Whether it gives the network an outlook: format=hrnn-3. */
HRNN_ANYWHERE int hrnn_has_outlook(const hrnn_model *model)
{
    return (model->features & HRNN_3_FEATURES) != 0;
}

/* Whether it gives each tensor a context: format=hrnn-2 or hrnn-3. */
HRNN_ANYWHERE int hrnn_has_context(const hrnn_model *model)
{
    return (model->features & (HRNN_2_FEATURES | HRNN_3_FEATURES)) != 0;
}

HRNN_ANYWHERE int hrnn_format(const hrnn_model *model) /* 1, 2 or 3 */
{
    return 1 + hrnn_has_context(model) + hrnn_has_outlook(model);
}
extern const char *const hrnn_format_names[]; /* "hrnn-1", "hrnn-2", "hrnn-3", NULL */
unsigned hrnn_format_features(int format);    /* all that models of it can have */

/* A part of the model: one meta-parameter tensor. In the order of algorithm.md: those of hrnn-1, of
 * hrnn-2, of hrnn-3. */
typedef struct {
    const char *name; /* "param.gates.weight" */
    int dims;
    size_t shape[2];
    size_t offset; /* of its floats in hrnn_model, in bytes */
    enum { START_NORMAL, START_UNIFORM, START_CONSTANT, START_AS_STEP, START_SHORTCUT } start;
    float value; /* START_NORMAL: standard deviation; START_CONSTANT: the value */
} hrnn_part;
enum {
    HRNN_1_PARTS = 33,
    HRNN_2_PARTS = 37,
    HRNN_PARTS = 42,
    HRNN_1_PARAMS = 8363, /* floats in the parts of hrnn-1 */
    HRNN_2_PARAMS = HRNN_1_PARAMS + HRNN_CONTEXT * (3 * HRNN_H0 + 3 * HRNN_H1 + 1) + 1,
    HRNN_META_PARAMS = HRNN_2_PARAMS +
                       HRNN_OUTLOOK * (3 * HRNN_H0 + 3 * HRNN_H1 + 3 * HRNN_H2 + 1) + HRNN_PROGRESS,
};
static_assert(offsetof(hrnn_model, param_gates_weight) == 0 &&
                  offsetof(hrnn_model, min_log_lr) == HRNN_META_PARAMS * sizeof(float),
              "the parts lead hrnn_model, one after the other, without gaps");
extern const hrnn_part hrnn_parts[HRNN_PARTS];
size_t hrnn_part_count(const hrnn_part *row);     /* floats in the tensor */
int hrnn_part_total(const hrnn_model *model);     /* parts that its format has */
size_t hrnn_param_total(const hrnn_model *model); /* floats in these */
float *hrnn_part_data(hrnn_model *model, const hrnn_part *row);

/* "attention", "timescales", …: as they stand in the metadata's "without". */
const char *hrnn_feature_name(hrnn_feature feature);
int hrnn_feature_total(const hrnn_model *model); /* features that its format has */
/* Clears the features of a comma-separated list. Returns NULL; or where an unknown name starts,
 * with its length, and nothing is cleared from there on. */
const char *hrnn_switch_off(hrnn_model *model, const char *list, int *length);

/* Reads and checks the model whose tensors are "<prefix><name>" in file ("" or "model."; metadata
 * model_format, or else format, is hrnn-1, hrnn-2 or hrnn-3, and what else it is hrnn-1). Every
 * value must be finite. readout.attention.* may be absent from a model without attention. NULL and
 * *error (OPT_BAD_FILE) on failure. hrnn_model_free releases it. */
hrnn_model *hrnn_model_read(const st_file *file, const char *prefix, opt_error *error);
/* The same for a path, with prefix "" and metadata format=hrnn-1, hrnn-2 or hrnn-3, initial_lr in
 * [1e-12, 1]. */
hrnn_model *hrnn_model_load(const char *path, opt_error *error);
void hrnn_model_free(hrnn_model *model);
/* Where the model is that nobody named: $HRNN_WEIGHTS, or beside the executable `program`. The
 * caller frees it; NULL: nowhere (OPT_NO_FILE). */
char *hrnn_model_find(const char *program, opt_error *error);

#endif
