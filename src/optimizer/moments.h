/* Private: the state of the rules that keep whole arrays (sgd, adam, rmsprop), and the loop that
 * runs them. Each field of the rule is one array over the parameters of all active tensors, and
 * starts at 0. The loop goes over spans of at most MOMENTS_SPAN entries of one tensor, all tensors
 * together, in one parallel region; spans do not depend on the number of threads. On device cuda
 * the arrays are there, and a block of threads has a span. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "optimizer/moments_cuda.h"
#include "optimizer/moments_rules.h"
#include "optimizer/rule.h"

enum { MOMENTS_SPAN = 2048 };

/* The update of one span. g: [n] finite gradients; state[f]: [n] of field f; rate: with the ratio
 * and the tensor's scale; constants: as given to moments_step. */
typedef void moments_update(const void *constants, float rate, size_t n, float *param,
                            const float *g, float *const *state);

opt_status moments_init(optimizer *opt, opt_error *error);
/* The same for rules that divide by a root plus eps: an eps of 0 is OPT_BAD_OPTION. */
opt_status moments_init_divided(optimizer *opt, opt_error *error);
void moments_free(optimizer *opt);
size_t moments_bytes(const optimizer *opt);
void moments_read(const optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                  float *out);
void moments_write(optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                   const float *in);

/* Takes the gradients (a non-finite one as 0, counted in report), updates, zeroes the gradients.
 * launch: MOMENTS_LAUNCH of the rule, for device cuda. */
void moments_step(optimizer *opt, float rate_ratio, moments_update *update, moments_launch *launch,
                  const void *constants, opt_step_report *report);
#endif
