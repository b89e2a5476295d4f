/* Private: the step of sgd, adam and rmsprop on a CUDA device (moments.cu), launched by
 * moments.c. */
#ifndef MOMENTS_CUDA_H
#define MOMENTS_CUDA_H

#include "base/device.h"

#ifdef GPU
#ifdef __cplusplus
extern "C" {
#endif

/* What a block of threads gets: a span of a tensor. All is in the memory of the device. */
typedef struct {
    float *param, *grad, *state; /* of the span's first entry; state: in the rule's first field */
    unsigned count;              /* entries */
    float grad_scale, l2, lr_scale;
    int before_end; /* tensors from this one to the last: see device_counts */
} device_span;
typedef struct {
    device_span *spans;
    unsigned n_spans;
    size_t stride; /* floats from a field to the next */
} moments_device;

/* The update of all spans. constants: of the rule (moments_rules.h); rate: with the ratio. */
typedef void moments_launch(const void *constants, const moments_device *m, float rate,
                            device_counts *counts);
moments_launch moments_launch_sgd, moments_launch_adam, moments_launch_rmsprop;
#define MOMENTS_LAUNCH(rule) moments_launch_##rule

#ifdef __cplusplus
}
#endif
#else
typedef void moments_launch(void);
#define MOMENTS_LAUNCH(rule) NULL
#endif
#endif
