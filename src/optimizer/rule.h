/* Private: what a rule is. A new optimizer is one file with one `const rule`, and one row in the
 * table of optimizer.c. */
#ifndef RULE_H
#define RULE_H

#include "base/device.h"
#include "optimizer/optimizer.h"

/* One kind of number that a rule keeps between steps, in the layout of a checkpoint. */
typedef struct {
    const char *name; /* "momentum", "hidden"; the checkpoint's tensor is "<tensor name>/<name>" */
    enum { PER_PARAM, PER_TENSOR, PER_NETWORK } scope;
    int width; /* floats per parameter (stored [n, width]), per tensor or per network ([width]) */
} rule_field;

typedef struct rule {
    const char *name;
    int takes_model; /* it steps as a meta-trained model says: options.model is needed, options.rate
                        is not */
    opt_options defaults;
    const rule_field *fields; /* ended by a NULL name */
    /* Allocates opt->state for the active tensors (lr_scale not 0) and sets it to its start. May
     * set opt->fields when what it keeps depends on the model. After a failure free_state is
     * called. */
    opt_status (*init)(optimizer *opt, opt_error *error);
    /* opt->steps: those taken before this one. report is never NULL and starts at {0, -1}. */
    void (*step)(optimizer *opt, float loss, float rate_ratio, opt_step_report *report);
    void (*free_state)(optimizer *opt); /* legal on a half-built state */
    size_t (*state_bytes)(const optimizer *opt);
    /* Copies `count` parameters' worth (or 1 tensor's, or the network's, with first 0, count 1) of
     * a field out of or into the state. k is the tensor, ignored for PER_NETWORK. */
    void (*read_field)(const optimizer *opt, const rule_field *field, int k, size_t first,
                       size_t count, float *out);
    void (*write_field)(optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                        const float *in);
    /* Optional (NULL): after all fields have been written by a load. */
    void (*loaded)(optimizer *opt);
    /* Optional: attention. */
    void (*true_params)(optimizer *opt);
    void (*attended_params)(optimizer *opt);
    /* Optional: a schedule of its own. */
    int (*has_schedule)(const optimizer *opt);
    float (*schedule)(const optimizer *opt); /* of the coming step */
    uint64_t (*horizon)(const optimizer *opt);
    void (*set_horizon)(optimizer *opt, uint64_t steps);
    /* Optional: a string that must match between checkpoint and optimizer (hrnn: the model's
     * hash). */
    const char *(*identity)(const optimizer *opt);
} rule;

struct optimizer {
    const rule *rule;
    const rule_field *fields; /* what a checkpoint holds: rule->fields, unless init set another */
    opt_options options;      /* strings are the optimizer's own copies */
    const void *model;   /* during init: a model in memory, instead of options.model; or NULL */
    opt_tensor *tensors; /* [n] */
    int n;
    int cuda; /* param and grad of the tensors are in the memory of a CUDA device */
    uint64_t steps;
    void *state; /* the rule's; NULL until init sets it */
};

/* opt_create with a model in memory (borrowed; may be freed afterwards), where the rule takes
 * one. */
optimizer *opt_create_from(const opt_options *options, const void *model, const opt_tensor *tensors,
                           int n, opt_error *error);

/* The field of that name, or NULL. */
const rule_field *opt_find_field(const optimizer *opt, const char *name);

/* Whether steps touch tensor k and the rule keeps state for it. */
static inline int opt_active(const optimizer *opt, int k) { return opt->tensors[k].lr_scale != 0; }

/* The report of what the kernels of a step counted; tensors: their number in before_end. */
static inline opt_step_report opt_report_counts(device_counts counts, int tensors)
{
    const opt_step_report none = {0, -1};
    const opt_step_report report = {(size_t)counts.non_finite, tensors - counts.before_end};
    return counts.non_finite ? report : none;
}

extern const rule rule_sgd, rule_adam, rule_rmsprop, rule_hrnn;

#endif
