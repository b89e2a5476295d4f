/* The part of the CUDA runtime that the library calls, on a CPU, for tests on machines without a
 * GPU.
 *
 * The memory of the "device" is poisoned with 0xff bytes when it is allocated, ends at a page that
 * cannot be touched, and can be touched by nothing but kernels and copies: a host that follows a
 * pointer of the device's is stopped by a segmentation fault. All is done when it is asked for. */
#ifndef EMULATED_CUDA_RUNTIME_API_H
#define EMULATED_CUDA_RUNTIME_API_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    cudaSuccess = 0,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoDevice = 100
} cudaError_t;
typedef enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 } cudaMemcpyKind;
typedef void *cudaStream_t;
typedef void *cudaEvent_t;
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };

cudaError_t cudaGetDeviceCount(int *devices);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemset(void *memory, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);

/* --- for tests --- */

extern int emulation_devices;   /* 1; 0: a machine without a GPU */
extern int emulation_backwards; /* the threads of a block take turns from the last to the first */
/* Kernels cannot touch what malloc gave to the host (no other thread can meanwhile). */
extern int emulation_hides_heap;
extern int emulation_fails; /* the next launch fails, and all that follows */
extern unsigned emulation_launches,
    emulation_waits;                /* kernels; synchronisations and copies that wait */
size_t emulation_allocations(void); /* of the device's memory that are not freed */
/* Before another use of them: emulation_fails of an earlier test is forgotten. */
void emulation_reset(void);

#ifdef __cplusplus
}
#endif
#endif
