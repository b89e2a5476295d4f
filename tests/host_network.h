/* Small networks of the patched host for tests: from a cfg given as text, with its parameters
 * listed and its input and truth filled with numbers that depend on a seed alone. */
#ifndef HOST_NETWORK_H
#define HOST_NETWORK_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "darknet.h"
#include "base/random_stream.h"

/* The host frees little of what it allocates: leaks are not what these tests look for. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }

typedef struct {
    char name[32]; /* "3.self.weights" */
    float *param, *updates;
    float *param_gpu, *updates_gpu; /* NULL: on the CPU */
    int n;
} host_tensor;

enum { MAX_TENSORS = 512 };

typedef struct {
    host_tensor row[MAX_TENSORS];
    int n;
} host_tensors;

static inline void add_tensor(host_tensors *list, const char *owner, const char *name,
                              host_tensor t, int n)
{
    if (!t.param || list->n == MAX_TENSORS) abort();
    t.n = n;
    snprintf(t.name, sizeof t.name, "%s.%s", owner, name);
    list->row[list->n++] = t;
}

#ifdef GPU
#define HOST_TENSOR(l, params, updates)                                                            \
    ((host_tensor){"", (l)->params, (l)->updates, (l)->params##_gpu, (l)->updates##_gpu, 0})
#else
#define HOST_TENSOR(l, params, updates)                                                            \
    ((host_tensor){"", (l)->params, (l)->updates, NULL, NULL, 0})
#endif

static inline void add_layer(host_tensors *list, const char *owner, const layer *l)
{
    int nweights = l->nweights, nbiases = l->n;
    if (l->type == CONNECTED) {
        nweights = l->inputs * l->outputs;
        nbiases = l->outputs;
    } else if (l->type == LOCAL) {
        nweights = l->size * l->size * l->c * l->n * l->out_w * l->out_h;
        nbiases = l->outputs;
    } else if (l->type == BATCHNORM) {
        nweights = 0;
        nbiases = l->c;
    }
    if (nweights)
        add_tensor(list, owner, "weights", HOST_TENSOR(l, weights, weight_updates), nweights);
    add_tensor(list, owner, "biases", HOST_TENSOR(l, biases, bias_updates), nbiases);
    if (l->batch_normalize || l->type == BATCHNORM)
        add_tensor(list, owner, "scales", HOST_TENSOR(l, scales, scale_updates), nbiases);
}

static inline host_tensors list_tensors(const network *net)
{
    host_tensors list = {.n = 0};
    for (int i = 0; i < net->n; ++i) {
        const layer *l = &net->layers[i];
        const struct {
            const char *name;
            const layer *sub;
        } subs[] = {{"input", l->input_layer},
                    {"self", l->self_layer},
                    {"output", l->output_layer},
                    {"ur", l->ur},
                    {"uz", l->uz},
                    {"uh", l->uh},
                    {"wr", l->wr},
                    {"wz", l->wz},
                    {"wh", l->wh},
                    {"wf", l->wf},
                    {"wi", l->wi},
                    {"wg", l->wg},
                    {"wo", l->wo},
                    {"uf", l->uf},
                    {"ui", l->ui},
                    {"ug", l->ug},
                    {"uo", l->uo}};
        char owner[16];
        for (size_t s = 0; s < sizeof subs / sizeof *subs; ++s) {
            snprintf(owner, sizeof owner, "%d.%s", i, subs[s].name);
            if (subs[s].sub) add_layer(&list, owner, subs[s].sub);
        }
        snprintf(owner, sizeof owner, "%d", i);
        if (l->type == CONVOLUTIONAL || l->type == DECONVOLUTIONAL || l->type == CONNECTED ||
            l->type == LOCAL || l->type == BATCHNORM)
            add_layer(&list, owner, l);
    }
    return list;
}

static inline float uniform(random_stream *stream, float low, float high)
{
    return low + (high - low) * ((float)random_stream_u32(stream) / 4294967296.0f);
}

/* The host reports every layer and every batch of a detector. That goes to a file, which is shown
 * when the host ends the program meanwhile. */
void __sanitizer_set_report_fd(void *file) __attribute__((weak));
static int muted[2] = {-1, -1}, mute_file = -1;

static inline void unmute(void)
{
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; ++i) {
        if (muted[i] < 0) continue;
        dup2(muted[i], i + 1);
        close(muted[i]);
        muted[i] = -1;
    }
    if (__sanitizer_set_report_fd) __sanitizer_set_report_fd((void *)(intptr_t)2);
}

static inline void show_muted(void)
{
    if (muted[0] < 0) return;
    unmute();
    char text[4096];
    ssize_t size = lseek(mute_file, 0, SEEK_END);
    lseek(mute_file, size > (ssize_t)sizeof text ? size - (ssize_t)sizeof text : 0, SEEK_SET);
    size = read(mute_file, text, sizeof text);
    if (size > 0) fwrite(text, 1, (size_t)size, stderr);
}

static inline void mute(void)
{
    if (mute_file < 0) {
        char path[] = "/tmp/host-muted-XXXXXX";
        mute_file = mkstemp(path);
        unlink(path);
        atexit(show_muted);
    }
    fflush(stdout);
    fflush(stderr);
    if (ftruncate(mute_file, 0) || lseek(mute_file, 0, SEEK_SET)) abort();
    for (int i = 0; i < 2; ++i) {
        muted[i] = dup(i + 1);
        dup2(mute_file, i + 1);
    }
    if (__sanitizer_set_report_fd) __sanitizer_set_report_fd((void *)(intptr_t)muted[1]);
}

/* Where the next networks are made: -1: on the CPU. */
static int network_gpu = -1;

static inline int has_gpu(void)
{
#ifdef GPU
    return cuda_available();
#else
    return 0;
#endif
}

/* Before a network is used, when there are others on another device. */
static inline void use_network(const network *net)
{
#ifdef GPU
    cuda_set_device(net->gpu_index);
#else
    (void)net;
#endif
}

/* What the host's arrays hold, to a network on a GPU; or the gradients from there. */
static inline void push_parameters(const network *net)
{
#ifdef GPU
    use_network(net);
    host_tensors list = list_tensors(net);
    for (int k = 0; k < list.n; ++k)
        cuda_push_array(list.row[k].param_gpu, list.row[k].param, (size_t)list.row[k].n);
#else
    (void)net;
#endif
}

static inline void pull_gradients(const network *net)
{
#ifdef GPU
    use_network(net);
    host_tensors list = list_tensors(net);
    for (int k = 0; k < list.n; ++k)
        cuda_pull_array(list.row[k].updates_gpu, list.row[k].updates, (size_t)list.row[k].n);
#else
    (void)net;
#endif
}

/* A cfg in a file without a name: nothing stays behind when the host ends the program meanwhile. */
static inline network *parse_text(const char *first, const char *rest)
{
    char path[64] = "/tmp/host-network-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    if (file < 0 || dprintf(file, "%s%s", first, rest) < 0) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    gpu_index = network_gpu;
    network *net = parse_network_cfg(path);
    close(file);
    return net;
}

/* text begins with [net]. */
static inline network *network_from_text(const char *text)
{
    mute();
    network *net = parse_text("[net]\nseed=1\n", strchr(text, '\n') + 1);
    unmute();
    net->train = 1;
    return net;
}

/* Biases and scales start at 0 and 1, where a wrong gradient may hide. */
static inline void stir_parameters(const network *net, uint64_t seed)
{
    random_stream stream;
    random_stream_start(&stream, seed, STREAM_OTHER, 1);
    host_tensors list = list_tensors(net);
    for (int k = 0; k < list.n; ++k) {
        host_tensor *t = &list.row[k];
        for (int i = 0; i < t->n; ++i) t->param[i] += uniform(&stream, -0.8f, 0.8f);
    }
    push_parameters(net);
}

/* So small a network is quickest on one thread. */
static inline void use_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
#else
    (void)n;
#endif
}

/* One forward and backward pass from a fresh recurrent state and fixed random numbers; the
 * gradients add up in the updates. Returns the printed cost. */
static inline float pass(network *net, int backward)
{
    for (int b = 0; b < net->batch / net->time_steps; ++b) reset_network_state(net, b);
    random_use(5, STREAM_NETWORK, 0);
    mute();
    forward_network(net);
    if (backward) backward_network(net);
    unmute();
    return *net->cost;
}

#endif
