/* A model as meta-training sees it: a vector of numbers, a random start, and a file with its
 * recipe. What is particular to the formats (names, start values, what a feature switches
 * off) is here and in hrnn_model.c; the estimators and meta-optimizers only see the vector. */
#ifndef META_MODEL_H
#define META_MODEL_H

#include <stdint.h>
#include "hrnn/hrnn_model.h"

/* The vector: [HRNN_META_PARAMS], in the order of hrnn_parts; the last ones are 0 and not used in
 * hrnn-1. */
float *meta_params(hrnn_model *model);
/* model's vector becomes theta, rounded to float. */
void meta_set_params(hrnn_model *model, const double *theta);

/* used[i] = 1 where a model with these features reads entry i, 0 where it does not. */
void meta_used_params(unsigned features, unsigned char used[HRNN_META_PARAMS]);

/* The start values of hrnn/algorithm.md, drawn from seed, all features of hrnn-1 on, log learning
 * rates clipped to [-33, 33]; the weights of the readouts of step and attention have standard
 * deviation readout_scale/√10 (hrnn/algorithm.md: 0.5). */
void meta_random_model(hrnn_model *model, uint64_t seed, double readout_scale);

/* Turns a model into one of format hrnn-1, 2 or 3. Of a later format, it steps as it did, but for
 * the limit of the learning rate (hrnn-2) and steps that shrink as 1 − t/T (hrnn-3); of an earlier
 * one, it is without the later features. */
void meta_set_format(hrnn_model *model, int format);

/* Clears the features in a comma-separated list ("none": no feature); an unknown one is
 * OPT_BAD_OPTION. */
opt_status meta_switch_off(hrnn_model *model, const char *without, opt_error *error);
enum { META_WITHOUT = 200 };
void meta_print_without(const hrnn_model *model, char text[META_WITHOUT]);

/* Writes the model in its format, atomically, with n_notes more entries of metadata. */
typedef struct {
    const char *key, *value;
} meta_note;
opt_status meta_save_model(const hrnn_model *model, const char *path, const meta_note *notes,
                           int n_notes, opt_error *error);

#endif
