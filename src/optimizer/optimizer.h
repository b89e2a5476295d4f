/* The optimizers of darknet-hrnn: sgd, adam, rmsprop and hrnn behind one interface.
 *
 * A caller describes the tensors of a network once, accumulates gradients into them, and calls
 * opt_step. The library never prints and never exits: what fails returns a status and writes one
 * line into an opt_error that names the file or the tensor, what was found and what was expected.
 *
 *     opt_default_options, opt_create
 *     opt_checkpoint_open, opt_load, opt_checkpoint_close   to resume
 *     opt_set_horizon               how many steps there will be, for those that want to know
 *     { gradients are added up; opt_step }   once a batch
 *     opt_show_true                 before the network is measured or saved
 *     opt_save                      the state, beside the network's own file
 *     opt_show_attended             before the training goes on
 *     opt_free
 *
 * tools/example/train-softmax.c is a program. */
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One tensor of the network. The arrays and the name are borrowed: they belong to the caller and
 * must live as long as the optimizer. */
typedef struct {
    const char *name; /* "3.weights": unique, stable across runs, no '/'; it keys the checkpoint */
    float *param;     /* [n] where the network is evaluated: φ while training, θ for saving */
    float *grad;      /* [n] accumulated gradient; zeroed by a step. On device cuda both are in the
                       * memory of the current CUDA device */
    size_t n;         /* > 0 */
    float grad_scale; /* g = grad_scale * grad + l2 * param; Darknet: -1 / (batch * subdivisions) */
    float l2;         /* L2 decay; 0 for biases and scales */
    float lr_scale;   /* multiplies the step; 0: frozen, not read, not written, has no state */
} opt_tensor;

typedef struct {
    const char *rule;     /* "sgd", "adam", "rmsprop", "hrnn" */
    const char *device;   /* "cpu"; "cuda" in a build with GPU=1; NULL: "cpu" */
    const char *model;    /* hrnn: path of the meta-trained model; not read by the others */
    float rate;           /* learning rate; hrnn: starting rate, 0: the model's own initial_lr */
    float momentum;       /* sgd: momentum; others ignore it */
    float beta1, beta2;   /* adam: decays of the first and second moment; rmsprop: beta2 alone */
    float eps;            /* adam, rmsprop: added to the root of the second moment */
    int compact;          /* hrnn: state in half the space, rounded to 16 bits; others ignore it */
    int without_schedule; /* hrnn-3: the model's own is not followed; others ignore it */
} opt_options;

/* sgd: momentum 0.9; adam: 0.9, 0.999, 1e-7 (Darknet's); rmsprop: beta2 0.99, eps 1e-8. rate 0. */
opt_options opt_default_options(const char *rule);

/* NULL-terminated names of the rules, in the order of the table. */
const char *const *opt_rule_names(void);

/* Whether a rule steps as a meta-trained model says: it needs options.model, and takes options.rate
 * for a starting rate, 0 for the model's own. 0 for an unknown rule. */
int opt_takes_model(const char *rule);

typedef struct optimizer optimizer;

/* Copies the descriptions (not the arrays). NULL and *error on failure: unknown rule or device, a
 * device that this machine lacks, a rate that is negative or not finite, two tensors of one name,
 * an unreadable model, no memory. All memory that steps need is allocated here. */
optimizer *opt_create(const opt_options *options, const opt_tensor *tensors, int n,
                      opt_error *error);
void opt_free(optimizer *opt);

/* What one step saw; on device cuda, the step before it (nothing after the first), so that a step
 * never waits for the GPU. */
typedef struct {
    size_t non_finite;    /* entries of the gradients that were NaN or infinite, taken as 0 */
    int first_bad_tensor; /* index of the first tensor that held one; -1: none */
} opt_step_report;

/* One update from the accumulated gradients, which it zeroes. loss: the mean loss of the batch that
 * they are of, in any unit (NAN: not known); only hrnn-3 reads it. rate_ratio multiplies the step
 * (1: as created); it carries the shape of a learning-rate schedule. report may be NULL. No
 * allocation, no lock. The result does not depend on the number of threads. On device cuda a step
 * is launched on the default stream and runs on; what reads the state (opt_save, opt_get_*) waits
 * for it. */
void opt_step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report);

/* Whether steps follow a schedule of the optimizer's own, which ends when the horizon is reached:
 * rate_ratio should be 1 then. True for models of hrnn-3, unless options.without_schedule. */
int opt_has_schedule(const optimizer *opt);
float opt_schedule(const optimizer *opt); /* what multiplies the coming step; 1 without one */
/* The horizon: how many steps there will have been when the training ends, those taken (opt_steps)
 * included. 0: not known, as at first; the schedule is 1 then. It is part of the state that a
 * checkpoint restores, and may change at any time: the steps to come follow the new one. Optimizers
 * that do not look ahead have none (0, and setting does nothing). */
uint64_t opt_horizon(const optimizer *opt);
void opt_set_horizon(optimizer *opt, uint64_t steps);

/* Attention (hrnn only): put the true parameters θ into opt_tensor.param (to evaluate or save the
 * network), and the attended ones φ back (to train on). Both are idempotent; the other rules, and a
 * model without attention, have θ = φ and do nothing. */
void opt_show_true(optimizer *opt);
void opt_show_attended(optimizer *opt);

int opt_has_attention(const optimizer *opt); /* whether θ and φ may differ */
/* φ of tensor k, [n]; nothing without attention (returns 0). To be set while param holds θ; a
 * compact state rounds φ − θ to 9 bits. */
int opt_get_attended(const optimizer *opt, int k, float *attended);
int opt_set_attended(optimizer *opt, int k, const float *attended);

uint64_t opt_steps(const optimizer *opt);     /* steps taken, those before a resume included */
size_t opt_state_bytes(const optimizer *opt); /* bytes of state, beside the caller's arrays */

/* Logarithms of the learning rates of tensor k, [n]; 0 for a rule that has none (returns 0). */
int opt_get_log_lr(const optimizer *opt, int k, float *log_lr);
int opt_set_log_lr(optimizer *opt, int k, const float *log_lr);
/* Their mean over all parameters after the last step; 0 for a rule that has none. */
int opt_get_mean_log_lr(const optimizer *opt, double *mean);

/* --- checkpoints (checkpoint.c) --- */

/* What the caller keeps beside the state: "key" = "value" strings, and named arrays of bytes. */
typedef struct {
    const char *key;
    char value[256];
} opt_note;
typedef struct {
    const char *name; /* stored as a tensor "host/<name>" of type U8 */
    void *data;       /* read by opt_save; filled by opt_read_blobs */
    size_t bytes;
} opt_blob;

/* Writes the whole state with the notes and blobs to file, atomically (atomic_file.h). The
 * parameters themselves are not written, but the attended ones are, with attention. A checksum
 * covers the whole file. opt NULL: the notes and blobs alone. A checkpoint does not depend on the
 * device, nor on options.compact: one may be resumed on another. OPT_IO, too, where the GPU has
 * failed. The format is in checkpoint.c. */
opt_status opt_save(const optimizer *opt, const char *file, const opt_note *notes, int n_notes,
                    const opt_blob *blobs, int n_blobs, opt_error *error);

/* A checkpoint that is read. Opening checks its checksum and thus reads all of it, once; what is
 * read afterwards is of that file, also when another has taken its place. NULL and *error:
 * OPT_NO_FILE, OPT_BAD_FILE, OPT_NO_MEMORY. */
typedef struct st_file opt_checkpoint;
opt_checkpoint *opt_checkpoint_open(const char *file, opt_error *error);
void opt_checkpoint_close(opt_checkpoint *checkpoint);

/* Fills value of each note whose key is there, "" elsewhere (on a failure, all of them). */
opt_status opt_read_notes(const opt_checkpoint *checkpoint, opt_note *notes, int n_notes,
                          opt_error *error);

/* Fills the blobs. One that the file does not hold is left as it is; one of another size is
 * OPT_MISMATCH. On any failure nothing has changed. */
opt_status opt_read_blobs(const opt_checkpoint *checkpoint, const opt_blob *blobs, int n_blobs,
                          opt_error *error);

/* Restores state and steps. opt must have been created with the same rule, model and tensors (names
 * and sizes are checked), and its params must hold θ as it was saved: a compact state with
 * attention keeps what is attended to as a distance from there. Without attention only the steps
 * that follow read them. On any failure nothing has changed, unless the GPU failed (OPT_IO). */
opt_status opt_load(optimizer *opt, const opt_checkpoint *checkpoint, opt_error *error);

#ifdef __cplusplus
}
#endif
#endif
