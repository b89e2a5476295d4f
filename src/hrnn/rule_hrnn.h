/* Private: the hierarchical RNN with a model in memory (tools and meta-training). */
#ifndef RULE_HRNN_H
#define RULE_HRNN_H

#include "hrnn/hrnn_model.h"
#include "optimizer/rule.h"

/* As opt_create with options->rule "hrnn", but from model (copied) instead of options->model. */
static inline optimizer *opt_create_with_model(const opt_options *options, const hrnn_model *model,
                                               const opt_tensor *tensors, int n, opt_error *error)
{
    return opt_create_from(options, model, tensors, n, error);
}

/* The state, which is a full one, goes on under another model (copied), which has the same
 * features. */
void opt_set_model(optimizer *opt, const hrnn_model *model);

/* Everything that steps change, the attended parameters too, as bytes: to go on in an optimizer
 * with the same tensors and features (of any model), on the CPU. `steps` were taken. */
size_t opt_packed_size(const optimizer *opt);
void opt_pack(const optimizer *opt, void *bytes);
void opt_unpack(optimizer *opt, const void *bytes, uint64_t steps);

#endif
