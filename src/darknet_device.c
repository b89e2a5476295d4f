/* What the hook does with a network's arrays on a GPU. The only src/darknet_*.c that calls CUDA. */
#include <string.h>
#include "darknet_private.h"

#ifdef GPU

static void check(cudaError_t status, const char *what)
{
    if (status != cudaSuccess) hook_die("CUDA: cannot %s (%s)", what, cudaGetErrorString(status));
}

void device_use(const network *net)
{
    if (net->gpu_index >= 0) cuda_set_device(net->gpu_index);
}

void device_wait(const network *net)
{
    if (net->gpu_index >= 0) check(cudaDeviceSynchronize(), "finish what was started");
}

void device_pull(twin p, size_t n)
{
    if (p.device)
        check(cudaMemcpy(p.host, p.device, n * sizeof(float), cudaMemcpyDeviceToHost),
              "copy from the GPU");
}

void device_push(twin p, size_t n)
{
    if (p.device)
        check(cudaMemcpy(p.device, p.host, n * sizeof(float), cudaMemcpyHostToDevice),
              "copy to the GPU");
}

void zero_array(const network *net, float *array, size_t n)
{
    if (net->gpu_index >= 0) check(cudaMemset(array, 0, n * sizeof(float)), "zero a gradient");
    else memset(array, 0, n * sizeof(float));
}

#else

void device_use(const network *net) { (void)net; }

void device_wait(const network *net) { (void)net; }

void device_pull(twin p, size_t n)
{
    (void)p;
    (void)n;
}

void device_push(twin p, size_t n)
{
    (void)p;
    (void)n;
}

void zero_array(const network *net, float *array, size_t n)
{
    (void)net;
    memset(array, 0, n * sizeof(float));
}

#endif
