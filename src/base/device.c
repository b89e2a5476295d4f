/* Each function has two ways, malloc and memcpy or the CUDA runtime, which is called nowhere else,
 * kernels aside; then the reports of the steps. */
#include <stdlib.h>
#include <string.h>
#ifdef GPU
#include <cuda_runtime_api.h>
#endif
#include "base/device.h"

opt_status device_find(const char *name, int *cuda, opt_error *error)
{
    *cuda = 0;
    if (!name || strcmp(name, "cpu") == 0) return OPT_OK;
#ifdef GPU
    int devices = 0;
    if (strcmp(name, "cuda") != 0)
        return opt_fail(error, OPT_BAD_OPTION, "device \"%.100s\", expected cpu or cuda", name);
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status == cudaSuccess && devices > 0) {
        *cuda = 1;
        return OPT_OK;
    }
    cudaGetLastError(); /* the host looks at it after its own calls */
    return opt_fail(error, OPT_BAD_OPTION, "device \"cuda\": no GPU can be used (%s)",
                    status == cudaSuccess ? "none found" : cudaGetErrorString(status));
#else
    return opt_fail(error, OPT_BAD_OPTION, "device \"%.100s\", expected cpu%s", name,
                    strcmp(name, "cuda") == 0 ? " (cuda needs a build with GPU=1)" : "");
#endif
}

void *device_alloc(int cuda, size_t bytes)
{
    const size_t whole = bytes ? (bytes + 63) / 64 * 64 : 64;
    if (whole < bytes) return NULL;
#ifdef GPU
    void *memory = NULL;
    if (cuda && cudaMalloc(&memory, whole) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    if (cuda) return memory;
#endif
    (void)cuda;
    return aligned_alloc(64, whole);
}

void device_free(int cuda, void *memory)
{
#ifdef GPU
    if (cuda) {
        cudaFree(memory);
        return;
    }
#endif
    (void)cuda;
    free(memory);
}

void device_zero(int cuda, void *memory, size_t bytes)
{
#ifdef GPU
    if (cuda) {
        cudaMemset(memory, 0, bytes);
        return;
    }
#endif
    (void)cuda;
    memset(memory, 0, bytes);
}

void device_finish(int cuda)
{
#ifdef GPU
    if (cuda) cudaDeviceSynchronize();
#endif
    (void)cuda;
}

/* rows pieces of bytes, pitches apart; between the host and the device, or within the host. */
static void copy_rows(int cuda, int to_device, void *to, size_t to_pitch, const void *from,
                      size_t from_pitch, size_t bytes, size_t rows)
{
#ifdef GPU
    if (cuda) {
        const int kind = to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
        if (rows == 1)
            cudaMemcpy(to, from, bytes, kind);
        else
            cudaMemcpy2D(to, to_pitch, from, from_pitch, bytes, rows, kind);
        return;
    }
#endif
    (void)cuda, (void)to_device;
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)to + r * to_pitch, (const char *)from + r * from_pitch, bytes);
}

void device_put(int cuda, void *to, const void *from, size_t bytes)
{
    copy_rows(cuda, 1, to, bytes, from, bytes, bytes, 1);
}

void device_get(int cuda, void *to, const void *from, size_t bytes)
{
    copy_rows(cuda, 0, to, bytes, from, bytes, bytes, 1);
}

void device_put_rows(int cuda, void *to, size_t pitch, const void *from, size_t bytes, size_t rows)
{
    copy_rows(cuda, 1, to, pitch, from, bytes, bytes, rows);
}

void device_get_rows(int cuda, void *to, const void *from, size_t pitch, size_t bytes, size_t rows)
{
    copy_rows(cuda, 0, to, bytes, from, pitch, bytes, rows);
}

const char *device_failure(int cuda)
{
#ifdef GPU
    const cudaError_t status = cuda ? cudaPeekAtLastError() : cudaSuccess;
    if (status != cudaSuccess) return cudaGetErrorString(status);
#endif
    (void)cuda;
    return NULL;
}

/* --- reports --- */

#ifdef GPU
/* Two of each, for the odd and the even steps: one is read while the other is written. */
struct device_reporter {
    device_counts *counts; /* [2] of the device */
    device_counts *copies; /* [2] of the host, not paged */
    cudaEvent_t copied[2];
    unsigned steps;
};

device_reporter *device_reporter_new(void)
{
    device_reporter *r = calloc(1, sizeof(*r));
    if (!r) return NULL;
    int failed = cudaMalloc((void **)&r->counts, 2 * sizeof(*r->counts)) != cudaSuccess ||
                 cudaMallocHost((void **)&r->copies, 2 * sizeof(*r->copies)) != cudaSuccess;
    for (int i = 0; i < 2 && !failed; i++)
        failed = cudaEventCreateWithFlags(&r->copied[i], cudaEventDisableTiming) != cudaSuccess;
    if (!failed) return r;
    cudaGetLastError();
    device_reporter_free(r);
    return NULL;
}

void device_reporter_free(device_reporter *r)
{
    if (!r) return;
    for (int i = 0; i < 2; i++)
        if (r->copied[i]) cudaEventDestroy(r->copied[i]);
    cudaFree(r->counts);
    cudaFreeHost(r->copies); /* waits for what is still on its way there */
    free(r);
}

device_counts *device_reporter_begin(device_reporter *r)
{
    device_counts *counts = &r->counts[r->steps % 2];
    cudaMemsetAsync(counts, 0, sizeof(*counts), 0);
    return counts;
}

device_counts device_reporter_end(device_reporter *r)
{
    const unsigned now = r->steps++ % 2, before = !now;
    cudaMemcpyAsync(&r->copies[now], &r->counts[now], sizeof(*r->copies), cudaMemcpyDeviceToHost,
                    0);
    cudaEventRecord(r->copied[now], 0);
    if (r->steps == 1 || cudaEventSynchronize(r->copied[before]) != cudaSuccess)
        return (device_counts){0};
    return r->copies[before];
}
#endif
