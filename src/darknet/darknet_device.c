/* What the hook does with a network's arrays on a GPU, through base/device.h. */
#include "base/device.h"
#include "darknet/darknet_private.h"

static void check(const char *what)
{
    const char *failure = device_failure(1);
    if (failure) hook_die("CUDA: cannot %s (%s)", what, failure);
}

void hook_use_device(const network *net)
{
#ifdef GPU
    if (net->gpu_index >= 0) cuda_set_device(net->gpu_index);
#else
    (void)net;
#endif
}

void hook_wait_device(const network *net)
{
    if (net->gpu_index < 0) return;
    device_finish(1);
    check("finish what was started");
}

void hook_pull(twin p, size_t n)
{
    if (!p.device) return;
    device_get(1, p.host, p.device, n * sizeof(float));
    check("copy from the GPU");
}

void hook_push(twin p, size_t n)
{
    if (!p.device) return;
    device_put(1, p.device, p.host, n * sizeof(float));
    check("copy to the GPU");
}

void hook_zero_array(const network *net, float *array, size_t n)
{
    const int cuda = net->gpu_index >= 0;
    device_zero(cuda, array, n * sizeof(float));
    if (cuda) check("zero a gradient");
}
