/* The CUDA runtime on a CPU: threads of a block are stacks that take turns between barriers, and
 * the memory of either side is out of the reach of the other. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "cuda_runtime_api.h"

enum { MAX_THREADS = 1024, STACK = 128 * 1024 };

int emulation_devices = 1, emulation_backwards, emulation_fails, emulation_hides_heap;
unsigned emulation_launches, emulation_waits;
static cudaError_t last_error;

__attribute__((noreturn)) static void stop(const char *why)
{
    fprintf(stderr, "emulated GPU: %s\n", why);
    abort();
}

/* --- memory --- */

typedef struct allocation {
    struct allocation *next;
    char *pages, *memory;
    size_t bytes; /* of the pages, without the guard */
} allocation;
static allocation *allocations;
static int access_depth;

/* Kernels and copies are between these two. */
static void open_memory(void)
{
    if (access_depth++ > 0) return;
    for (allocation *a = allocations; a; a = a->next)
        mprotect(a->pages, a->bytes, PROT_READ | PROT_WRITE);
}

static void close_memory(void)
{
    if (--access_depth > 0) return;
    for (allocation *a = allocations; a; a = a->next) mprotect(a->pages, a->bytes, PROT_NONE);
}

/* Whether these bytes are the device's. */
static int on_device(const void *memory, size_t bytes)
{
    const char *m = memory;
    for (const allocation *a = allocations; a; a = a->next)
        if (m >= a->memory && m + bytes <= a->pages + a->bytes) return 1;
    return 0;
}

size_t emulation_allocations(void)
{
    size_t n = 0;
    for (const allocation *a = allocations; a; a = a->next) n++;
    return n;
}

void emulation_reset(void)
{
    emulation_devices = 1;
    emulation_backwards = emulation_fails = 0;
    emulation_launches = emulation_waits = 0;
    last_error = cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t exact = (bytes + 15) / 16 * 16, whole = (exact + page - 1) / page * page + page;
    allocation *a = malloc(sizeof *a);
    char *pages = whole < bytes ? MAP_FAILED
                                : mmap(NULL, whole + page, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!a || pages == MAP_FAILED) {
        free(a);
        return last_error = cudaErrorMemoryAllocation;
    }
    *a = (allocation){allocations, pages, pages + whole - exact, whole};
    allocations = a;
    memset(a->memory, 0xff, exact);
    mprotect(pages + whole, page, PROT_NONE);
    if (access_depth == 0) mprotect(pages, whole, PROT_NONE);
    *memory = a->memory;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    if (!memory) return cudaSuccess;
    for (allocation **at = &allocations; *at; at = &(*at)->next) {
        allocation *a = *at;
        if (a->memory != memory) continue;
        *at = a->next;
        munmap(a->pages, a->bytes + (size_t)sysconf(_SC_PAGESIZE));
        free(a);
        return cudaSuccess;
    }
    stop("freed memory that is not the device's");
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    *memory = malloc(bytes);
    return *memory ? cudaSuccess : (last_error = cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *memory)
{
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    emulation_waits++;
    return cudaMemsetAsync(memory, value, bytes, NULL);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    if (last_error) return last_error;
    if (!on_device(memory, bytes)) stop("memset of memory that is not the device's");
    open_memory();
    memset(memory, value, bytes);
    close_memory();
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)stream;
    emulation_waits--; /* this one does not */
    return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind)
{
    const int up = kind == cudaMemcpyHostToDevice;
    emulation_waits++;
    if (last_error) return last_error;
    if (width == 0 || height == 0) return cudaSuccess;
    if (on_device(to, (height - 1) * to_pitch + width) != up ||
        on_device(from, (height - 1) * from_pitch + width) == up)
        stop("a copy whose direction is not that of its pointers");
    open_memory();
    for (size_t r = 0; r < height; r++)
        memcpy((char *)to + r * to_pitch, (const char *)from + r * from_pitch, width);
    close_memory();
    return cudaSuccess;
}

/* --- the rest of the runtime --- */

cudaError_t cudaGetDeviceCount(int *devices)
{
    *devices = emulation_devices;
    return emulation_devices ? cudaSuccess : (last_error = cudaErrorNoDevice);
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    if (!emulation_fails) last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorNoDevice ? "no CUDA-capable device is detected"
           : error                    ? "out of memory"
                                      : "no error";
}

cudaError_t cudaDeviceSynchronize(void)
{
    emulation_waits++;
    return last_error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = malloc(1);
    return *event ? cudaSuccess : (last_error = cudaErrorMemoryAllocation);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)event, (void)stream;
    return last_error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    return last_error;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    return cudaSuccess;
}

/* --- kernels --- */

typedef struct {
    unsigned x, y, z;
} emulated_index;
extern emulated_index threadIdx, blockIdx, blockDim, gridDim;
emulated_index threadIdx, blockIdx, blockDim, gridDim;
void emulation_launch(void (*thread)(void *), void *argument, unsigned blocks, unsigned threads);
void emulation_barrier(const char *file, int line);

extern char __start_emulated_shared[], __stop_emulated_shared[];

/* A thread is a stack of its own; it runs until its next barrier, and at its end waits there for
 * the next block. */
typedef struct {
    ucontext_t start;
    void *resume[5];          /* of __builtin_setjmp, which needs no system call */
    const char *barrier_file; /* where it waits */
    int barrier_line;
    char *stack;
    enum { NEW, WAITING, ENDED } status; /* NEW: without a stack */
} emulated_thread;
static emulated_thread *pool;
static unsigned current;
static void *scheduler[5];
static void (*run)(void *);
static void *run_argument;

/* Leaving a stack this way is no end of its frames. */
__attribute__((noinline, no_sanitize("address"))) static void to_scheduler(void)
{
    __builtin_longjmp(scheduler, 1);
}

__attribute__((noinline, no_sanitize("address"))) static void resume_thread(void)
{
    __builtin_longjmp(pool[current].resume, 1);
}

/* Back to the scheduler, until it takes this thread up again. */
__attribute__((noinline, no_sanitize("address"))) static void yield(void)
{
    if (__builtin_setjmp(pool[current].resume) == 0) to_scheduler();
}

static void thread_main(void)
{
    for (;;) {
        run(run_argument);
        pool[current].status = ENDED;
        yield();
    }
}

__attribute__((noinline)) void emulation_barrier(const char *file, int line)
{
    emulated_thread *t = &pool[current];
    t->status = WAITING;
    t->barrier_file = file;
    t->barrier_line = line;
    yield();
}

__attribute__((noinline, no_sanitize("address"))) static void run_until_barrier(unsigned index)
{
    emulated_thread *t = &pool[index];
    current = index;
    threadIdx = (emulated_index){index, 0, 0};
    if (__builtin_setjmp(scheduler)) return;
    if (t->status != NEW) resume_thread();
    getcontext(&t->start);
    t->start.uc_stack.ss_sp = t->stack;
    t->start.uc_stack.ss_size = STACK;
    t->start.uc_link = NULL;
    makecontext(&t->start, thread_main, 0);
    setcontext(&t->start);
    stop("a thread did not start");
}

static void run_block(unsigned threads)
{
    unsigned left = threads;
    memset(__start_emulated_shared, 0xff,
           (size_t)(__stop_emulated_shared - __start_emulated_shared));
    for (int first = 1; left > 0; first = 0) {
        const emulated_thread *waiting = NULL;
        for (unsigned turn = 0; turn < threads; turn++) {
            const unsigned i = emulation_backwards ? threads - 1 - turn : turn;
            if (pool[i].status == ENDED && !first) continue;
            run_until_barrier(i);
            if (pool[i].status == ENDED) {
                left--;
                continue;
            }
            if (waiting && (pool[i].barrier_line != waiting->barrier_line ||
                            strcmp(pool[i].barrier_file, waiting->barrier_file) != 0))
                stop("threads wait at different barriers");
            waiting = &pool[i];
        }
    }
}

static void make_threads(void)
{
    if (pool) return;
    const size_t stacks = (size_t)MAX_THREADS * STACK;
    char *memory = mmap(NULL, stacks + MAX_THREADS * sizeof *pool, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) stop("no memory");
    pool = (emulated_thread *)(void *)(memory + stacks);
    for (size_t i = 0; i < MAX_THREADS; i++) pool[i].stack = memory + i * STACK;
}

/* Where malloc has what is not large: from the start of the heap to its end now. */
static void protect_heap(int access)
{
    static char *heap;
    if (!heap) {
        char line[200];
        FILE *maps = fopen("/proc/self/maps", "r");
        while (maps && fgets(line, sizeof line, maps))
            if (strstr(line, "[heap]")) heap = (char *)strtoul(line, NULL, 16);
        if (maps) fclose(maps);
    }
    if (heap) mprotect(heap, (size_t)((char *)sbrk(0) - heap), access);
}

void emulation_launch(void (*thread)(void *), void *argument, unsigned blocks, unsigned threads)
{
    emulation_launches++;
    if (emulation_fails) last_error = cudaErrorMemoryAllocation;
    if (last_error) return;
    if (blocks == 0 || threads == 0 || threads > MAX_THREADS)
        stop("a launch of no or many threads");
    make_threads();
    run = thread;
    run_argument = argument;
    gridDim = (emulated_index){blocks, 1, 1};
    blockDim = (emulated_index){threads, 1, 1};
    open_memory();
    if (emulation_hides_heap) protect_heap(PROT_NONE);
    for (unsigned b = 0; b < blocks; b++) {
        blockIdx = (emulated_index){b, 0, 0};
        run_block(threads);
    }
    if (emulation_hides_heap) protect_heap(PROT_READ | PROT_WRITE);
    close_memory();
}
