/* The shapes of a network: maps, parameters, and the lists that its contractions run over. */
#include "problems/net_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lanes.h"

enum { MAX_SIDE = 64, MAX_CHANNELS = 4096, MAX_BATCH = 4096, MAX_MAP = 1 << 26 };

static size_t pad(size_t n) { return (n + LANES - 1) / LANES * LANES; }

/* --- maps --- */

/* The offset of a pixel in a field; (0, 0) is the first inner one. */
static int pixel_offset(const net *n, const map *m, int channel, int y, int x)
{
    return channel * m->plane + (y + m->border) * m->row + (x + m->border) * n->padded;
}

/* Not zeroed: what only a Hessian-vector product needs costs nothing until the first one. */
static float *raw_floats(size_t count, opt_error *error)
{
    enum { ALIGN = 64 };
    float *x = aligned_alloc(ALIGN, (count * sizeof *x / ALIGN + 1) * ALIGN);
    if (!x) opt_fail(error, OPT_NO_MEMORY, "no memory for %zu floats of a network", count);
    return x;
}

static bool shape_map(net *n, map *m, int channels, int height, int width, opt_error *error)
{
    if (!problem_check("the channels of a layer", channels, 1, MAX_CHANNELS, error) ||
        !problem_check("the height of a layer", height, 1, MAX_SIDE, error) ||
        !problem_check("the width of a layer", width, 1, MAX_SIDE, error))
        return false;
    m->channels = channels, m->height = height, m->width = width;
    m->border = height > 1 || width > 1;
    m->row = (width + 2 * m->border) * n->padded;
    m->plane = (height + 2 * m->border) * m->row;
    m->inside = width * n->padded;
    m->size = (size_t)channels * (size_t)m->plane;
    if (!problem_check("the size of a layer", (double)m->size, 1, MAX_MAP, error)) return false;
    for (int half = 0; half < 2; half++) {
        const int first = half ? TANGENT : VALUE, second = half ? SLOPE_TANGENT : SLOPE;
        m->field[first] =
            half ? raw_floats(2 * m->size, error) : problem_floats(2 * m->size, error);
        if (!m->field[first]) return false;
        m->field[second] = m->field[first] + m->size;
    }
    return true;
}

/* --- contractions --- */

static bool make_lists(contraction *c, int m, int k, int n_runs, opt_error *error)
{
    c->m = m, c->k = k, c->n_runs = n_runs;
    int *lists = malloc(((size_t)m + 2 * (size_t)k + 2 * (size_t)n_runs) * sizeof *lists);
    if (!lists) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for a layer of %d x %d weights", m, k);
        return false;
    }
    c->out_offset = lists;
    c->in_offset = c->out_offset + m;
    c->weight = c->in_offset + k;
    c->to = c->weight + k;
    c->from = c->to + n_runs;
    return true;
}

static int input_offset(const net *n, const map *in, int i)
{
    const int pixels = in->height * in->width, pixel = i % pixels;
    return pixel_offset(n, in, i / pixels, pixel / in->width, pixel % in->width);
}

static bool link_dense(net *n, layer *l, opt_error *error)
{
    const int inputs = l->in->channels * l->in->height * l->in->width, units = l->out->channels;
    contraction *f = &l->forward, *b = &l->backward[0];
    if (!make_lists(f, units, inputs, 1, error) || !make_lists(b, inputs, units, 1, error))
        return false;
    for (int i = 0; i < inputs; i++) {
        f->in_offset[i] = b->out_offset[i] = input_offset(n, l->in, i);
        f->weight[i] = i;
    }
    for (int u = 0; u < units; u++) {
        f->out_offset[u] = b->in_offset[u] = u * n->padded;
        b->weight[u] = u * inputs;
    }
    f->weight_step = inputs, b->weight_step = 1;
    f->to[0] = f->from[0] = b->to[0] = b->from[0] = 0;
    f->run = b->run = n->padded;
    l->n_backward = 1;
    return true;
}

/* Runs from the pixels of `in` at (first + step·i) to those of `out` at (first' + step'·i). Whole
 * rows are one run when both steps are 1. */
typedef struct {
    int y, x, step;
} lattice;

static void fill_runs(const net *n, contraction *c, const map *out, lattice to, const map *in,
                      lattice from, int rows, int columns)
{
    const bool whole = to.step == 1 && from.step == 1;
    int r = 0;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < (whole ? 1 : columns); x++, r++) {
            c->to[r] = pixel_offset(n, out, 0, to.y + to.step * y, to.x + to.step * x);
            c->from[r] = pixel_offset(n, in, 0, from.y + from.step * y, from.x + from.step * x);
        }
    c->run = (whole ? columns : 1) * n->padded;
}

static bool link_conv_forward(net *n, layer *l, opt_error *error)
{
    const map *in = l->in, *out = l->out;
    const int stride = l->spec.stride, rows = out->height, columns = out->width;
    contraction *f = &l->forward;
    if (!make_lists(f, out->channels, in->channels * 9, stride == 1 ? rows : rows * columns, error))
        return false;
    for (int o = 0; o < out->channels; o++) f->out_offset[o] = o * out->plane;
    for (int k = 0; k < f->k; k++) {
        f->in_offset[k] = (k / 9) * in->plane + (k / 3 % 3 - 1) * in->row + (k % 3 - 1) * n->padded;
        f->weight[k] = k;
    }
    f->weight_step = f->k;
    fill_runs(n, f, out, (lattice){0, 0, 1}, in, (lattice){0, 0, stride}, rows, columns);
    return true;
}

/* Pixels of `in` whose row and column have this parity: with stride 2, those read by the taps t for
 * which parity + 1 − t is even, at the output pixel (parity + 1 − t)/2 beside the halved one. */
static bool link_conv_backward(net *n, layer *l, int parity_y, int parity_x, opt_error *error)
{
    const map *in = l->in, *out = l->out;
    const int stride = l->spec.stride;
    const int rows = (in->height - parity_y + stride - 1) / stride;
    const int columns = (in->width - parity_x + stride - 1) / stride;
    if (rows <= 0 || columns <= 0) return true;
    int taps = 0;
    for (int t = 0; t < 9; t++)
        taps += (parity_y + 1 - t / 3) % stride == 0 && (parity_x + 1 - t % 3) % stride == 0;
    contraction *b = &l->backward[l->n_backward++];
    if (!make_lists(b, in->channels, out->channels * taps, stride == 1 ? rows : rows * columns,
                    error))
        return false;
    for (int c = 0; c < in->channels; c++) b->out_offset[c] = c * in->plane;
    int k = 0;
    for (int o = 0; o < out->channels; o++)
        for (int t = 0; t < 9; t++) {
            const int down = parity_y + 1 - t / 3, right = parity_x + 1 - t % 3;
            if (down % stride || right % stride) continue;
            b->in_offset[k] =
                o * out->plane + down / stride * out->row + right / stride * n->padded;
            b->weight[k++] = o * in->channels * 9 + t;
        }
    b->weight_step = 9;
    fill_runs(n, b, in, (lattice){parity_y, parity_x, stride}, out, (lattice){0, 0, 1}, rows,
              columns);
    return true;
}

static bool link_conv(net *n, layer *l, opt_error *error)
{
    if (!link_conv_forward(n, l, error)) return false;
    for (int y = 0; y < l->spec.stride; y++)
        for (int x = 0; x < l->spec.stride; x++)
            if (!link_conv_backward(n, l, y, x, error)) return false;
    return true;
}

/* --- layers --- */

static size_t add_tensor(net *n, int index, const char *what, size_t size, int fan_in, int is_scale)
{
    net_tensor *t = &n->tensors[n->n_tensors++];
    snprintf(t->name, sizeof t->name, "%d.%s", index, what);
    t->n = size, t->layer = index, t->fan_in = fan_in, t->is_scale = is_scale;
    n->n_parameters += size;
    return n->n_parameters - size;
}

static bool find_inputs(net *n, layer *l, int index, opt_error *error)
{
    net_layer *s = &l->spec;
    if (s->from <= 0) s->from = index - 1;
    if (!problem_check("the map a layer reads", s->from, 0, index - 1, error) ||
        !problem_check("the second map a layer reads", s->other, 0, index - 1, error) ||
        !problem_check("the activation of a layer", s->act, 0, ACT_COUNT - 1, error))
        return false;
    l->in = &n->maps[s->from], l->other = &n->maps[s->other], l->out = &n->maps[index];
    return true;
}

static bool make_weighted(net *n, layer *l, int index, opt_error *error)
{
    const bool conv = l->spec.kind == NET_CONV;
    const map *in = l->in;
    const int stride = conv ? l->spec.stride : 1;
    if (!problem_check("the stride of a layer", stride, 1, 2, error)) return false;
    const int height = conv ? (in->height + stride - 1) / stride : 1;
    const int width = conv ? (in->width + stride - 1) / stride : 1;
    /* A convolution's taps may lie in the border, which a map of one pixel has not. */
    if (conv && !problem_check("the pixels of a convolution", height * width, 2, 1e9, error))
        return false;
    if (!shape_map(n, &n->maps[index], l->spec.channels, height, width, error)) return false;
    const int fan_in = in->channels * (conv ? 9 : in->height * in->width);
    const size_t units = (size_t)l->out->channels;
    l->weights = add_tensor(n, index, "weights", units * (size_t)fan_in, fan_in, 0);
    if (!l->spec.no_bias) l->biases = add_tensor(n, index, "biases", units, 0, 0);
    return conv ? link_conv(n, l, error) : link_dense(n, l, error);
}

static bool make_norm(net *n, layer *l, int index, opt_error *error)
{
    const map *in = l->in;
    if (!shape_map(n, &n->maps[index], in->channels, in->height, in->width, error)) return false;
    const size_t channels = (size_t)in->channels, size = l->out->size;
    l->weights = add_tensor(n, index, "scales", channels, 0, 1);
    l->biases = add_tensor(n, index, "shifts", channels, 0, 0);
    l->unit[0] = problem_floats(size, error);
    l->unit[1] = raw_floats(size, error);
    l->inverse = calloc(2 * channels, sizeof *l->inverse);
    if (!l->unit[0] || !l->unit[1]) return false;
    if (!l->inverse) {
        opt_fail(error, OPT_NO_MEMORY, "no memory to normalise %zu channels", channels);
        return false;
    }
    l->inverse_tangent = l->inverse + channels;
    return true;
}

static bool make_layer(net *n, int index, opt_error *error)
{
    layer *l = &n->layers[index - 1];
    l->spec = n->spec.layers[index - 1];
    if (!find_inputs(n, l, index, error)) return false;
    const map *in = l->in, *other = l->other;
    switch (l->spec.kind) {
    case NET_DENSE:
    case NET_CONV: return make_weighted(n, l, index, error);
    case NET_NORM: return make_norm(n, l, index, error);
    case NET_ADD:
        if (in->channels != other->channels || in->height != other->height ||
            in->width != other->width) {
            opt_fail(error, OPT_BAD_OPTION, "layer %d adds maps %d and %d of different shapes",
                     index, l->spec.from, l->spec.other);
            return false;
        }
        return shape_map(n, &n->maps[index], in->channels, in->height, in->width, error);
    case NET_POOL: return shape_map(n, &n->maps[index], in->channels, 1, 1, error);
    case NET_MAX_POOL:
        return shape_map(n, &n->maps[index], in->channels, (in->height + 1) / 2,
                         (in->width + 1) / 2, error);
    }
    opt_fail(error, OPT_BAD_OPTION, "layer %d is of no kind", index);
    return false;
}

static bool make_batch(net *n, opt_error *error)
{
    size_t widest = 1;
    for (int i = 0; i < n->n_maps; i++)
        if ((size_t)n->maps[i].inside > widest) widest = (size_t)n->maps[i].inside;
    n->live = problem_floats(widest, error);
    n->labels = calloc((size_t)n->padded, 1);
    if (!n->labels) opt_fail(error, OPT_NO_MEMORY, "no memory for a batch of %d", n->padded);
    return n->live && n->labels;
}

static bool make_detector(net *n, const map *last, opt_error *error)
{
    const int outputs = net_outputs(n), cells = n->spec.cells, pixels = last->height * last->width;
    if (!problem_check("the cells of a detector", cells, pixels > 1 ? pixels : 1,
                       pixels > 1 ? pixels : outputs, error))
        return false;
    if (outputs % cells || outputs / cells < 6) {
        opt_fail(error, OPT_BAD_OPTION,
                 "a detector of %d cells has %d outputs, expected 6 or more for each", cells,
                 outputs);
        return false;
    }
    n->truth = problem_floats(2 * (size_t)outputs * (size_t)n->padded, error);
    return n->truth != NULL;
}

static bool build(net *n, opt_error *error)
{
    const net_spec *s = &n->spec;
    if (!shape_map(n, &n->maps[0], s->channels, s->height, s->width, error)) return false;
    n->n_maps = 1;
    for (int i = 1; i <= s->n_layers; i++) {
        n->n_maps = i + 1; /* so that net_free sees what was begun */
        if (!make_layer(n, i, error)) return false;
    }
    const map *last = &n->maps[s->n_layers];
    if (s->loss == NET_DETECTOR) return make_detector(n, last, error) && make_batch(n, error);
    return problem_check("the pixels of the logits", last->height * last->width, 1, 1, error) &&
           problem_check("the number of classes", last->channels, 2, 256, error) &&
           make_batch(n, error);
}

void net_clear_tangents(net *n)
{
    if (n->tangents_clear) return;
    for (int i = 0; i < n->n_maps; i++) {
        const map *m = &n->maps[i];
        memset(m->field[TANGENT], 0, 2 * m->size * sizeof(float));
        if (i > 0 && n->layers[i - 1].unit[1])
            memset(n->layers[i - 1].unit[1], 0, m->size * sizeof(float));
    }
    n->tangents_clear = true;
}

net *net_create(const net_spec *spec, int max_batch, opt_error *error)
{
    if (!problem_check("the layers of a network", spec->n_layers, 1, NET_MAX_LAYERS, error) ||
        !problem_check("a batch", max_batch, 1, MAX_BATCH, error))
        return NULL;
    net *n = calloc(1, sizeof *n);
    if (!n) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for a network");
        return NULL;
    }
    n->spec = *spec;
    n->padded = (int)pad((size_t)max_batch);
    if (build(n, error)) {
        net_count(spec, &n->multiply_adds);
        return n;
    }
    net_free(n);
    return NULL;
}

size_t net_count(const net_spec *spec, double *multiply_adds)
{
    int channels[NET_MAX_LAYERS + 1] = {spec->channels},
                                  height[NET_MAX_LAYERS + 1] = {spec->height};
    int width[NET_MAX_LAYERS + 1] = {spec->width};
    size_t parameters = 0;
    *multiply_adds = 0;
    for (int i = 1; i <= spec->n_layers; i++) {
        const net_layer *l = &spec->layers[i - 1];
        const int from = l->from > 0 ? l->from : i - 1, stride = l->kind == NET_CONV ? l->stride
                                                                 : l->kind == NET_MAX_POOL ? 2
                                                                                           : 1;
        const int flat = l->kind == NET_DENSE || l->kind == NET_POOL;
        const int weighted = l->kind == NET_DENSE || l->kind == NET_CONV;
        channels[i] = weighted ? l->channels : channels[from];
        height[i] = flat ? 1 : (height[from] + stride - 1) / stride;
        width[i] = flat ? 1 : (width[from] + stride - 1) / stride;
        if (l->kind == NET_NORM) parameters += 2 * (size_t)channels[i];
        if (!weighted) continue;
        const int pixels = l->kind == NET_CONV ? 9 : height[from] * width[from];
        const size_t weights = (size_t)channels[i] * (size_t)(channels[from] * pixels);
        parameters += weights + (l->no_bias ? 0 : (size_t)channels[i]);
        *multiply_adds += (double)weights * height[i] * width[i];
    }
    return parameters;
}

void net_free(net *n)
{
    if (!n) return;
    for (int i = 0; i < n->n_maps; i++) {
        free(n->maps[i].field[VALUE]);
        free(n->maps[i].field[TANGENT]);
    }
    for (int i = 0; i < n->spec.n_layers; i++) {
        layer *l = &n->layers[i];
        free(l->forward.out_offset);
        for (int j = 0; j < 4; j++) free(l->backward[j].out_offset);
        free(l->unit[0]);
        free(l->unit[1]);
        free(l->inverse);
    }
    free(n->live);
    free(n->labels);
    free(n->truth);
    free(n);
}

void net_freeze(net *n, size_t parameters)
{
    size_t before = 0;
    int k = 0;
    for (; k < n->n_tensors && before < parameters; k++) before += n->tensors[k].n;
    n->first_trained = k > 0 && k < n->n_tensors ? n->tensors[k].layer - 1 : 0;
}

int net_tensor_count(const net *n) { return n->n_tensors; }

const net_tensor *net_tensors(const net *n) { return n->tensors; }

int net_outputs(const net *n)
{
    const map *last = &n->maps[n->spec.n_layers];
    return last->channels * last->height * last->width;
}

double net_multiply_adds(const net *n) { return n->multiply_adds; }
