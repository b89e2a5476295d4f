/* The walk over the layers of a network: which arrays are parameters. A new kind of layer is a row
 * of `parts`. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "darknet/darknet_private.h"

enum { ITSELF = -1, NOWHERE = -1 };

/* An array of a layer, l->NAME on the host and l->NAME_gpu on a GPU, as a twin. */
#ifdef GPU
#define TWIN(l, name) ((twin){(l)->name, (l)->name##_gpu})
#define ON_GPU(name) offsetof(layer, name)
#else
#define TWIN(l, name) ((twin){(l)->name, NULL})
#define ON_GPU(name) NOWHERE
#endif

/* The layers that hold parameters, or have layers inside that do. */
static const struct part {
    LAYER_TYPE type;
    const char *prefix;
    ptrdiff_t offset; /* of the pointer to the inner layer; ITSELF */
} parts[] = {
    {CONVOLUTIONAL, "", ITSELF},
    {DECONVOLUTIONAL, "", ITSELF},
    {CONNECTED, "", ITSELF},
    {LOCAL, "", ITSELF},
    {BATCHNORM, "", ITSELF},
    {RNN, "input_layer.", offsetof(layer, input_layer)},
    {RNN, "self_layer.", offsetof(layer, self_layer)},
    {RNN, "output_layer.", offsetof(layer, output_layer)},
    {CRNN, "input_layer.", offsetof(layer, input_layer)},
    {CRNN, "self_layer.", offsetof(layer, self_layer)},
    {CRNN, "output_layer.", offsetof(layer, output_layer)},
    {GRU, "ur.", offsetof(layer, ur)},
    {GRU, "uz.", offsetof(layer, uz)},
    {GRU, "uh.", offsetof(layer, uh)},
    {GRU, "wr.", offsetof(layer, wr)},
    {GRU, "wz.", offsetof(layer, wz)},
    {GRU, "wh.", offsetof(layer, wh)},
    {LSTM, "wf.", offsetof(layer, wf)},
    {LSTM, "wi.", offsetof(layer, wi)},
    {LSTM, "wg.", offsetof(layer, wg)},
    {LSTM, "wo.", offsetof(layer, wo)},
    {LSTM, "uf.", offsetof(layer, uf)},
    {LSTM, "ui.", offsetof(layer, ui)},
    {LSTM, "ug.", offsetof(layer, ug)},
    {LSTM, "uo.", offsetof(layer, uo)},
};
enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };

/* Recurrent state that lives on from batch to batch: [outputs * batch] floats each. */
static const struct carried {
    LAYER_TYPE type;
    const char *name;
    ptrdiff_t on_host, on_gpu; /* offsets of the pointers to it */
} carried[] = {
    {RNN, "state", offsetof(layer, state), ON_GPU(state_gpu)},
    {GRU, "state", offsetof(layer, state), ON_GPU(state_gpu)},
    {LSTM, "h", offsetof(layer, h_cpu), ON_GPU(h_gpu)},
    {LSTM, "c", offsetof(layer, c_cpu), ON_GPU(c_gpu)},
};
enum { N_CARRIED = sizeof(carried) / sizeof(carried[0]) };

const char *hook_layer_name(LAYER_TYPE type)
{
    static const struct {
        LAYER_TYPE type;
        const char *name;
    } names[] = {
        {CONVOLUTIONAL, "convolutional"},
        {DECONVOLUTIONAL, "deconvolutional"},
        {CONNECTED, "connected"},
        {LOCAL, "local"},
        {BATCHNORM, "batchnorm"},
        {RNN, "rnn"},
        {CRNN, "crnn"},
        {GRU, "gru"},
        {LSTM, "lstm"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].type == type) return names[i].name;
    return "layer";
}

static layer *inner_layer(layer *outer, const struct part *part)
{
    if (part->offset == ITSELF) return outer;
    return *(layer **)((char *)outer + part->offset);
}

static float *array_at(layer *l, ptrdiff_t offset)
{
    return offset == NOWHERE ? NULL : *(float **)((char *)l + offset);
}

/* Where the network computes with it. */
static float *in_use(twin p) { return p.device ? p.device : p.host; }

/* Entries of a layer's biases, scales and statistics. */
static size_t channels_of(const layer *l)
{
    if (l->type == CONNECTED || l->type == LOCAL) return (size_t)l->outputs;
    return (size_t)(l->type == BATCHNORM ? l->c : l->n);
}

static size_t weights_of(const layer *l)
{
    size_t square = (size_t)l->size * (size_t)l->size;
    switch (l->type) {
    case BATCHNORM: return 0;
    case CONNECTED: return (size_t)l->inputs * (size_t)l->outputs;
    case LOCAL: return square * (size_t)l->c * (size_t)l->n * (size_t)l->out_w * (size_t)l->out_h;
    default: return (size_t)l->nweights;
    }
}

static int is_normalised(const layer *l) { return l->type == BATCHNORM || l->batch_normalize; }

static void add_tensor(tensor_table *table, const char *prefix, const char *array, twin param,
                       twin grad, size_t n, opt_tensor common)
{
    if (!param.host || !n) return;
    char *name = table->names[table->n];
    snprintf(name, sizeof(table->names[0]), "%s%s", prefix, array);
    common.name = name;
    common.param = in_use(param);
    common.grad = in_use(grad);
    common.n = n;
    table->host_grad[table->n] = grad.host;
    table->tensors[table->n++] = common;
}

/* Rows of one layer that has arrays of its own. */
static void add_layer(tensor_table *table, const char *prefix, const layer *l, opt_tensor common,
                      int reached)
{
    size_t n = channels_of(l);
    opt_tensor undecayed = common;
    int first = table->n;
    undecayed.l2 = 0;
    add_tensor(table, prefix, "weights", TWIN(l, weights), TWIN(l, weight_updates), weights_of(l),
               common);
    add_tensor(table, prefix, "biases", TWIN(l, biases), TWIN(l, bias_updates), n, undecayed);
    if (is_normalised(l))
        add_tensor(table, prefix, "scales", TWIN(l, scales), TWIN(l, scale_updates), n, undecayed);
    for (int k = first; k < table->n; k++)
        table->clear[k] = reached && common.lr_scale == 0 && table->tensors[k].grad;
}

tensor_table hook_list_tensors(network *net)
{
    size_t most = 3 * N_PARTS * (size_t)net->n + 1;
    tensor_table table = {hook_alloc(most, sizeof(opt_tensor)), hook_alloc(most, 64), 0,
                          hook_alloc(most, sizeof(int)), hook_alloc(most, sizeof(float *))};
    int last_stop = -1;
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].stopbackward) last_stop = i;
    for (int i = 0; i < net->n; i++) {
        layer *outer = &net->layers[i];
        int reached = i > last_stop;
        opt_tensor common = {
            .grad_scale = -1.f / ((float)net->batch * (float)net->subdivisions),
            .l2 = net->decay,
            .lr_scale = reached ? outer->learning_rate_scale : 0,
        };
        for (const struct part *p = parts; p < parts + N_PARTS; p++) {
            if (p->type != outer->type) continue;
            char prefix[48];
            snprintf(prefix, sizeof(prefix), "%d.%s", i, p->prefix);
            add_layer(&table, prefix, inner_layer(outer, p), common, reached);
        }
    }
    return table;
}

void hook_free_tensors(tensor_table *table)
{
    free(table->tensors);
    free(table->names);
    free(table->clear);
    free(table->host_grad);
    *table = (tensor_table){0};
}

/* --- what goes beside the weights --- */

void hook_add_blob(blob_list *list, const char *name, twin data, size_t bytes)
{
    size_t n = (size_t)list->n + 1;
    opt_blob *items = realloc(list->items, n * sizeof(*items));
    if (items) list->items = items;
    float **device = realloc(list->device, n * sizeof(*device));
    if (device) list->device = device;
    if (!items || !device) hook_die("no memory for the list of what a resume needs");
    device[list->n] = data.device;
    items[list->n++] = (opt_blob){hook_copy(name), data.host, bytes};
}

twin hook_twin_of(const blob_list *list, int i)
{
    return (twin){list->items[i].data, list->device[i]};
}

void hook_pull_blobs(const blob_list *list)
{
    for (int i = 0; i < list->n; i++)
        hook_pull(hook_twin_of(list, i), list->items[i].bytes / sizeof(float));
}

void hook_push_blobs(const blob_list *list)
{
    for (int i = 0; i < list->n; i++)
        hook_push(hook_twin_of(list, i), list->items[i].bytes / sizeof(float));
}

void hook_free_blobs(blob_list *list)
{
    for (int i = 0; i < list->n; i++) free((char *)list->items[i].name);
    free(list->items);
    free(list->device);
    *list = (blob_list){0};
}

snapshot hook_take_snapshot(blob_list list)
{
    snapshot s = {list, hook_alloc((size_t)list.n + 1, sizeof(*s.copies))};
    hook_pull_blobs(&list);
    for (int i = 0; i < list.n; i++) {
        s.copies[i] = hook_alloc(list.items[i].bytes, 1);
        memcpy(s.copies[i], list.items[i].data, list.items[i].bytes);
    }
    return s;
}

void hook_swap_snapshot(snapshot *s)
{
    hook_pull_blobs(&s->list);
    for (int i = 0; i < s->list.n; i++) {
        char *data = s->list.items[i].data;
        for (size_t k = 0; k < s->list.items[i].bytes; k++) {
            const char held = s->copies[i][k];
            s->copies[i][k] = data[k];
            data[k] = held;
        }
    }
    hook_push_blobs(&s->list);
}

void hook_free_snapshot(snapshot *s)
{
    for (int i = 0; i < s->list.n; i++) free(s->copies[i]);
    free(s->copies);
    hook_free_blobs(&s->list);
    s->copies = NULL;
}

static void add_floats(blob_list *list, const char *prefix, const char *array, twin data, size_t n)
{
    char name[96];
    snprintf(name, sizeof(name), "%s%s", prefix, array);
    if (data.host && n) hook_add_blob(list, name, data, n * sizeof(float));
}

/* Whether the host's loader gives this layer, and with it those after it, something else than what
 * its save was given. */
static int loads_differently(const layer *l)
{
    return l->dontload || l->dontsave || l->numload || l->dontloadscales || l->flipped;
}

static void add_parameters(blob_list *list, const char *prefix, layer *l, int with_weights)
{
    size_t n = channels_of(l);
    if (with_weights) add_floats(list, prefix, "weights", TWIN(l, weights), weights_of(l));
    add_floats(list, prefix, "biases", TWIN(l, biases), n);
    if (is_normalised(l)) add_floats(list, prefix, "scales", TWIN(l, scales), n);
}

static void add_statistics(blob_list *list, const char *prefix, layer *l)
{
    size_t n = channels_of(l);
    if (!is_normalised(l)) return;
    add_floats(list, prefix, "rolling_mean", TWIN(l, rolling_mean), n);
    add_floats(list, prefix, "rolling_variance", TWIN(l, rolling_variance), n);
}

static void add_carried(blob_list *list, int i, layer *l)
{
    for (const struct carried *c = carried; c < carried + N_CARRIED; c++) {
        if (c->type != l->type) continue;
        char prefix[48];
        snprintf(prefix, sizeof(prefix), "%d.", i);
        const twin state = {array_at(l, c->on_host), array_at(l, c->on_gpu)};
        add_floats(list, prefix, c->name, state, (size_t)l->outputs * (size_t)l->batch);
    }
}

blob_list hook_list_recurrent_states(network *net)
{
    blob_list list = {0};
    for (int i = 0; i < net->n; i++) add_carried(&list, i, &net->layers[i]);
    return list;
}

/* Calls add for each layer among the first `layers` that has arrays of its own, those within layers
 * included. */
typedef void add_layer_arrays(blob_list *list, const char *prefix, const layer *outer, layer *l);

static void add_of_layers(blob_list *list, network *net, int layers, add_layer_arrays *add)
{
    for (int i = 0; i < layers; i++) {
        layer *outer = &net->layers[i];
        for (const struct part *p = parts; p < parts + N_PARTS; p++) {
            if (p->type != outer->type) continue;
            char prefix[48];
            snprintf(prefix, sizeof(prefix), "%d.%s", i, p->prefix);
            add(list, prefix, outer, inner_layer(outer, p));
        }
    }
}

static blob_list list_arrays(network *net, int layers, add_layer_arrays *add)
{
    blob_list list = {0};
    add_of_layers(&list, net, layers, add);
    return list;
}

static void add_learned(blob_list *list, const char *prefix, const layer *outer, layer *l)
{
    (void)outer;
    add_parameters(list, prefix, l, 1);
    add_statistics(list, prefix, l);
}

blob_list hook_list_learned(network *net) { return list_arrays(net, net->n, add_learned); }

static void add_layer_statistics(blob_list *list, const char *prefix, const layer *outer, layer *l)
{
    (void)outer;
    add_statistics(list, prefix, l);
}

blob_list hook_list_statistics(network *net)
{
    return list_arrays(net, net->n, add_layer_statistics);
}

void hook_add_rolling(blob_list *list, network *net)
{
    add_of_layers(list, net, net->n, add_layer_statistics);
    if (hook_last_normalised(net) >= 0)
        hook_add_blob(list, "rolling.batches", (twin){(float *)&net->rolling.batches, NULL},
                      sizeof(net->rolling.batches));
}

static void add_batchnorm_biases(blob_list *list, const char *prefix, const layer *outer, layer *l)
{
    if (outer->type == BATCHNORM)
        add_floats(list, prefix, "biases", TWIN(l, biases), channels_of(l));
}

blob_list hook_list_batchnorm_biases(network *net, int layers)
{
    return list_arrays(net, layers, add_batchnorm_biases);
}

int hook_last_normalised(const network *net)
{
    for (int i = net->n - 1; i >= 0; i--)
        for (const struct part *p = parts; p < parts + N_PARTS; p++)
            if (p->type == net->layers[i].type && is_normalised(inner_layer(&net->layers[i], p)))
                return i;
    return -1;
}

blob_list hook_list_beside_weights(network *net, const tensor_table *table)
{
    blob_list list = {0};
    int differently = 0;
    for (int i = 0; i < net->n; i++) {
        layer *outer = &net->layers[i];
        add_carried(&list, i, outer);
        for (const struct part *p = parts; p < parts + N_PARTS; p++) {
            if (p->type != outer->type) continue;
            char prefix[48];
            differently |= loads_differently(outer);
            snprintf(prefix, sizeof(prefix), "%d.%s", i, p->prefix);
            if (differently || outer->type == BATCHNORM)
                add_parameters(&list, prefix, inner_layer(outer, p), differently);
        }
    }
    hook_add_rolling(&list, net);
    hook_add_blob(&list, "losses", (twin){net->hook->losses, NULL}, sizeof net->hook->losses);
    for (int k = 0; k < table->n && *net->seen / (size_t)net->batch % (size_t)net->subdivisions;
         k++) {
        const opt_tensor *t = &table->tensors[k];
        const twin grad = {table->host_grad[k], t->grad == table->host_grad[k] ? NULL : t->grad};
        if (t->lr_scale != 0) add_floats(&list, t->name, ".gradient", grad, t->n);
    }
    return list;
}

int hook_has_layer(const network *net, LAYER_TYPE type)
{
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].type == type) return 1;
    return 0;
}

/* --- [batchnorm] in a format without its biases --- */

/* On a CPU the host computes scale * (x - mean) / (sqrt(variance) + 1e-6) + bias (blas.c). */
static void fold_channel(float *scale, float *mean, float variance, float bias)
{
    if (bias == 0) return;
    if (fabsf(*scale) < 1e-12f) *scale = signbit(*scale) ? -1e-12f : 1e-12f;
    *mean = (float)(*mean - (double)bias * (sqrt((double)variance) + 1e-6) / *scale);
}

static void unfold_channel(float scale, float *mean, float variance, float bias)
{
    if (bias == 0 || scale == 0) return;
    *mean = (float)(*mean + (double)bias * (sqrt((double)variance) + 1e-6) / scale);
}

/* What is folded, from the GPU or to it. */
static void move_batchnorm(const layer *l, void (*move)(twin, size_t))
{
    move(TWIN(l, scales), (size_t)l->c);
    move(TWIN(l, rolling_mean), (size_t)l->c);
    if (move != hook_pull) return;
    move(TWIN(l, rolling_variance), (size_t)l->c);
    move(TWIN(l, biases), (size_t)l->c);
}

void hook_fold_batchnorm(network *net, float **kept, int to)
{
    size_t total = 0;
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].type == BATCHNORM) total += 2 * (size_t)net->layers[i].c;
    if (to) *kept = hook_alloc(total + 1, sizeof(float));
    float *k = *kept;
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (l->type != BATCHNORM) continue;
        if (to) move_batchnorm(l, hook_pull);
        for (int c = 0; c < l->c; c++, k += 2) {
            if (to) {
                k[0] = l->scales[c];
                k[1] = l->rolling_mean[c];
                fold_channel(&l->scales[c], &l->rolling_mean[c], l->rolling_variance[c],
                             l->biases[c]);
            } else {
                l->scales[c] = k[0];
                l->rolling_mean[c] = k[1];
            }
        }
        move_batchnorm(l, hook_push);
    }
    if (!to) {
        free(*kept);
        *kept = NULL;
    }
}

void hook_unfold_batchnorm(network *net, int layers)
{
    for (int i = 0; i < layers; i++) {
        layer *l = &net->layers[i];
        if (l->type != BATCHNORM) continue;
        for (int c = 0; c < l->c; c++)
            unfold_channel(l->scales[c], &l->rolling_mean[c], l->rolling_variance[c], l->biases[c]);
        hook_push(TWIN(l, rolling_mean), (size_t)l->c);
    }
}
