/* Private: the memory that an optimizer works in, a CPU's or a CUDA device's, behind one set of
 * functions; and what a step reports from there. `cuda` is 0 or 1. All run on the default stream,
 * as the host's kernels do, so they follow what was launched before. Without GPU=1 `cuda` is always
 * 0. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stddef.h>
#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From the name of an option, NULL or "cpu" or "cuda", to *cuda. OPT_BAD_OPTION: it is another one,
 * or this build or this machine has no CUDA device. */
opt_status device_find(const char *name, int *cuda, opt_error *error);

/* Aligned to 64 bytes on a CPU, to 256 on a GPU; the contents are undefined. NULL: no memory. */
void *device_alloc(int cuda, size_t bytes);
void device_free(int cuda, void *memory);
void device_zero(int cuda, void *memory, size_t bytes);

/* Waits until everything that was launched is done. */
void device_finish(int cuda);

/* To the device from the host's memory, and back. Complete on return. */
void device_put(int cuda, void *to, const void *from, size_t bytes);
void device_get(int cuda, void *to, const void *from, size_t bytes);

/* The same for `rows` pieces of `bytes`; the device's are pitch bytes apart, the host's
 * adjacent. */
void device_put_rows(int cuda, void *to, size_t pitch, const void *from, size_t bytes, size_t rows);
void device_get_rows(int cuda, void *to, const void *from, size_t pitch, size_t bytes, size_t rows);

/* Why the device cannot be used any more, or NULL. A failure of a kernel or a copy is final: what
 * the host reads after it is undefined, so what is read must not be used before this was asked. */
const char *device_failure(int cuda);

/* What the kernels of a step count, in the device's memory: zeroed before the step. */
typedef struct {
    unsigned long long non_finite;
    int before_end; /* the number of tensors less the index of the first that held one; 0: none */
} device_counts;

/* Brings these counts to the host without stalling the device: the host never waits for the step it
 * has just launched, only for the one before. NULL: no memory. */
typedef struct device_reporter device_reporter;
#ifdef GPU
device_reporter *device_reporter_new(void);
void device_reporter_free(device_reporter *reporter);
/* Where the kernels of the coming step count. */
device_counts *device_reporter_begin(device_reporter *reporter);
/* After a step's launches: the counts of the step before it; zeros after the first. */
device_counts device_reporter_end(device_reporter *reporter);
#endif

#ifdef __cplusplus
}
#endif
#endif
