/* Private: the state of the hierarchical RNN on a CUDA device. The blocks of parameters are there
 * and nowhere else (hrnn_state.arena points there). What a tensor and the network have is there as
 * well, and on the host, in hrnn_state, where the start, checkpoints and tools read and write it:
 * the host's is brought up to date when it is asked for, and what it changed goes to the device
 * before a step. */
#ifndef HRNN_CUDA_H
#define HRNN_CUDA_H

#include "optimizer/optimizer.h"
#include "base/device.h"
#include "hrnn/hrnn_step.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BOUNCE_BLOCKS = 1024 };

struct hrnn_cuda {
    hrnn_state *state;    /* of the device: as the host's, with pointers into the device's memory */
    hrnn_tensor *tensors; /* of the device: [hrnn_state.n] */
    hrnn_chunk *chunks;   /* of the device: [hrnn_state.n_chunks] */
    opt_tensor *described; /* of the device: the caller's descriptions, frozen tensors included */
    const opt_tensor *described_here;
    int n_described;
    hrnn_state *state_copy;     /* of the host: on their way to the device or from it */
    hrnn_tensor *tensor_copies; /* [hrnn_state.n] */
    unsigned char *bounce;      /* of the host: aligned to 64 bytes: rows of BOUNCE_BLOCKS blocks,
                                 * HRNN_H0 at most */
    device_reporter *reporter;
    int current; /* the host has what the last step left */
    int edited;  /* the host has what the device has not */
};

#ifdef GPU
/* Allocates state->cuda for a state that is laid out. tensors: [n], the optimizer's. */
opt_status hrnn_cuda_new(hrnn_state *state, const opt_tensor *tensors, int n, opt_error *error);
void hrnn_cuda_free(hrnn_state *state);

/* Before the host reads, and before it changes, what a tensor or the network has. */
void hrnn_cuda_read(const hrnn_state *state);
void hrnn_cuda_edit(hrnn_state *state);

/* Launched (hrnn_step.cu). Blocks before the first step, η everywhere log_lr; all else of them is
 * 0, as the arena is. */
void hrnn_cuda_start(hrnn_state *state, float log_lr);
/* hrnn_prepare there: what rounding leaves must be what it leaves after a step. */
void hrnn_cuda_prepare(hrnn_state *state);
/* Returns the counts of the step before. */
device_counts hrnn_cuda_step(hrnn_state *state, float loss, float rate_ratio);
void hrnn_cuda_swap(hrnn_state *state); /* θ for φ in param, or back */
/* hrnn_cuda.c's, before a launch. */
void hrnn_cuda_send(hrnn_state *state);
#else
static inline opt_status hrnn_cuda_new(hrnn_state *state, const opt_tensor *tensors, int n,
                                       opt_error *error)
{
    (void)state, (void)tensors, (void)n;
    return opt_fail(error, OPT_BAD_OPTION, "a build without GPU=1");
}
static inline void hrnn_cuda_free(hrnn_state *state) { (void)state; }
static inline void hrnn_cuda_read(const hrnn_state *state) { (void)state; }
static inline void hrnn_cuda_edit(hrnn_state *state) { (void)state; }
static inline void hrnn_cuda_start(hrnn_state *state, float log_lr) { (void)state, (void)log_lr; }
static inline void hrnn_cuda_prepare(hrnn_state *state) { (void)state; }
static inline void hrnn_cuda_swap(hrnn_state *state) { (void)state; }
static inline device_counts hrnn_cuda_step(hrnn_state *state, float loss, float rate_ratio)
{
    (void)state, (void)loss, (void)rate_ratio;
    return (device_counts){0, 0};
}
#endif

#ifdef __cplusplus
}
#endif
#endif
