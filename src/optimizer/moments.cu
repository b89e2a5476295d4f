/* The step of sgd, adam and rmsprop on a GPU: all tensors in one launch, a block of threads a
 * span. */
#include "base/launch.h"
#include "optimizer/moments_cuda.h"
#include "optimizer/moments_rules.h"

enum { THREADS = 256 };

/* state: of the entry in the rule's first field; those of the others are `stride` floats apart. */
static __device__ void update_entry(const sgd_constants *c, float rate, float g, float *param,
                                    float *state, size_t stride)
{
    (void)stride;
    sgd_entry(c, rate, g, param, state);
}

static __device__ void update_entry(const adam_constants *c, float rate, float g, float *param,
                                    float *state, size_t stride)
{
    adam_entry(c, rate, g, param, state, state + stride);
}

static __device__ void update_entry(const rmsprop_constants *c, float rate, float g, float *param,
                                    float *state, size_t stride)
{
    (void)stride;
    rmsprop_entry(c, rate, g, param, state);
}

template <class constants>
static __global__ void __launch_bounds__(THREADS)
    update_spans(const constants c, const device_span *spans, size_t stride, float base_rate,
                 device_counts *counts)
{
    const device_span s = spans[blockIdx.x];
    const float rate = base_rate * s.lr_scale;
    unsigned bad = 0;
    for (unsigned i = threadIdx.x; i < s.count; i += THREADS) {
        float g, param = s.param[i];
        if (!moments_gradient(s.grad_scale, s.l2, s.grad[i], param, &g)) {
            g = 0;
            bad++;
        }
        update_entry(&c, rate, g, &param, s.state + i, stride);
        s.param[i] = param;
        s.grad[i] = 0;
    }
    if (bad) count_bad(counts, bad, s.before_end);
}

template <class constants>
static void launch(const void *c, const moments_device *m, float rate, device_counts *counts)
{
    if (m->n_spans)
        LAUNCH(update_spans<constants>, m->n_spans, THREADS, *(const constants *)c, m->spans,
               m->stride, rate, counts);
}

void moments_launch_sgd(const void *c, const moments_device *m, float rate, device_counts *counts)
{
    launch<sgd_constants>(c, m, rate, counts);
}

void moments_launch_adam(const void *c, const moments_device *m, float rate, device_counts *counts)
{
    launch<adam_constants>(c, m, rate, counts);
}

void moments_launch_rmsprop(const void *c, const moments_device *m, float rate,
                            device_counts *counts)
{
    launch<rmsprop_constants>(c, m, rate, counts);
}
