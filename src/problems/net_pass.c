/* Forward and backward through a network, and their derivatives along a direction of the
 * parameters. */
#include <math.h>
#include <string.h>

#include "base/lanes.h"
#include "problems/net_private.h"

/* --- activations, in place; derivatives are functions of the output --- */

/* z − z keeps what was not finite visible where the function would hide it. */
LANES_FN lanes activate(activation act, lanes z)
{
    switch (act) {
    case ACT_RELU: return lanes_max(z, lanes_set(0)) + (z - z);
    case ACT_TANH: return lanes_tanh(z) + (z - z);
    case ACT_SIGMOID: return lanes_sigmoid(z) + (z - z);
    default: return z;
    }
}

LANES_FN lanes slope_of(activation act, lanes y)
{
    switch (act) {
    case ACT_RELU: return lanes_if_less(lanes_set(0), y, lanes_set(1), lanes_set(0));
    case ACT_TANH: return 1.0f - y * y;
    case ACT_SIGMOID: return y * (1.0f - y);
    default: return lanes_set(1);
    }
}

/* Along v, of the slope: y_tangent is the output's tangent. */
LANES_FN lanes slope_tangent_of(activation act, lanes y, lanes y_tangent)
{
    switch (act) {
    case ACT_TANH: return -2.0f * y * y_tangent;
    case ACT_SIGMOID: return (1.0f - 2.0f * y) * y_tangent;
    default: return lanes_set(0);
    }
}

#define FOR_EACH_ROW(m)                                                                            \
    for (int c = 0; c < (m)->channels; c++)                                                        \
        for (int y = 0; y < (m)->height; y++)
#define AT(row, i) (*(lanes_any *)((row) + (i)))

LANES_FN void activate_map(activation act, const map *m)
{
    FOR_EACH_ROW(m) {
        float *z = map_row(m, VALUE, c, y);
        for (int i = 0; i < m->inside; i += LANES) AT(z, i) = activate(act, AT(z, i));
    }
}

LANES_FN void activate_tangent(activation act, const map *m)
{
    FOR_EACH_ROW(m) {
        const float *z = map_row(m, VALUE, c, y);
        float *r = map_row(m, TANGENT, c, y);
        for (int i = 0; i < m->inside; i += LANES)
            AT(r, i) = AT(r, i) * slope_of(act, *(const lanes_any *)(z + i));
    }
}

LANES_FN void deactivate(activation act, const map *m, int with_tangent)
{
    FOR_EACH_ROW(m) {
        const float *z = map_row(m, VALUE, c, y), *r = map_row(m, TANGENT, c, y);
        float *d = map_row(m, SLOPE, c, y), *rd = map_row(m, SLOPE_TANGENT, c, y);
        for (int i = 0; i < m->inside; i += LANES) {
            const lanes value = *(const lanes_any *)(z + i), slope = slope_of(act, value);
            if (with_tangent)
                AT(rd, i) = AT(rd, i) * slope +
                            AT(d, i) * slope_tangent_of(act, value, *(const lanes_any *)(r + i));
            AT(d, i) = AT(d, i) * slope;
        }
    }
}

/* Calls function with the activation as a constant. */
#define BY_ACTIVATION(act, function, ...)                                                          \
    switch (act) {                                                                                 \
    case ACT_RELU: function(ACT_RELU, __VA_ARGS__); break;                                         \
    case ACT_TANH: function(ACT_TANH, __VA_ARGS__); break;                                         \
    case ACT_SIGMOID: function(ACT_SIGMOID, __VA_ARGS__); break;                                   \
    default: break;                                                                                \
    }

/* --- sums over maps --- */

/* out = a + b */
static void add_maps(const map *a, const map *b, const map *out, int field)
{
    for (size_t i = 0; i < out->size; i++)
        out->field[field][i] = a->field[field][i] + b->field[field][i];
}

static void pool(const map *in, const map *out, int field)
{
    const int padded = out->row;
    const float share = 1.0f / (float)(in->height * in->width);
    memset(out->field[field], 0, out->size * sizeof(float));
    FOR_EACH_ROW(in) {
        const float *z = map_row(in, field, c, y);
        float *to = map_row(out, field, c, 0);
        for (int x = 0; x < in->width; x++)
            for (int i = 0; i < padded; i += LANES)
                AT(to, i) += share * *(const lanes_any *)(z + x * padded + i);
    }
}

static void unpool(const map *in, const map *out, int field)
{
    const int padded = out->row;
    const float share = 1.0f / (float)(in->height * in->width);
    FOR_EACH_ROW(in) {
        const float *d = map_row(out, field, c, 0);
        float *to = map_row(in, field, c, y);
        for (int x = 0; x < in->width; x++)
            for (int i = 0; i < padded; i += LANES)
                AT(to, x * padded + i) += share * *(const lanes_any *)(d + i);
    }
}

static void add_bias_gradient(const map *m, int field, float *g)
{
    for (int c = 0; c < m->channels; c++) {
        lanes sum = lanes_set(0);
        for (int y = 0; y < m->height; y++) {
            const float *d = map_row(m, field, c, y);
            for (int i = 0; i < m->inside; i += LANES) sum += *(const lanes_any *)(d + i);
        }
        g[c] += (float)lanes_sum(sum);
    }
}

static void add_field(const map *from, const map *to, int field)
{
    for (size_t i = 0; i < to->size; i++) to->field[field][i] += from->field[field][i];
}

static void clear(const net *n, int field)
{
    for (int i = 1; i < n->n_maps; i++)
        memset(n->maps[i].field[field], 0, n->maps[i].size * sizeof(float));
}

/* --- layers --- */

static void forward_layer(net *n, layer *l, const float *x)
{
    switch (l->spec.kind) {
    case NET_DENSE:
    case NET_CONV:
        contract(&l->forward, x + l->weights, l->spec.no_bias ? NULL : x + l->biases,
                 l->in->field[VALUE], l->out->field[VALUE], 0);
        break;
    case NET_NORM: net_norm_forward(n, l, x); break;
    case NET_ADD: add_maps(l->in, l->other, l->out, VALUE); break;
    case NET_POOL: pool(l->in, l->out, VALUE); break;
    case NET_MAX_POOL: net_max_pool_forward(l); break;
    }
    BY_ACTIVATION(l->spec.act, activate_map, l->out)
}

static void tangent_layer(net *n, layer *l, const float *x, const float *v)
{
    switch (l->spec.kind) {
    case NET_DENSE:
    case NET_CONV:
        contract(&l->forward, v + l->weights, l->spec.no_bias ? NULL : v + l->biases,
                 l->in->field[VALUE], l->out->field[TANGENT], 0);
        if (l->in != &n->maps[0]) /* the input has no tangent */
            contract(&l->forward, x + l->weights, NULL, l->in->field[TANGENT],
                     l->out->field[TANGENT], 1);
        break;
    case NET_NORM: net_norm_tangent(n, l, x, v); break;
    case NET_ADD: add_maps(l->in, l->other, l->out, TANGENT); break;
    case NET_POOL: pool(l->in, l->out, TANGENT); break;
    case NET_MAX_POOL: net_max_pool_tangent(l); break;
    }
    BY_ACTIVATION(l->spec.act, activate_tangent, l->out)
}

/* in's `field` += the transpose of the layer with weights w, of out's field `from`. */
static void pull_back(net *n, layer *l, const float *w, int from, int field)
{
    if (l->in == &n->maps[0]) return;
    for (int i = 0; i < l->n_backward; i++)
        contract(&l->backward[i], w, NULL, l->out->field[from], l->in->field[field], 1);
}

/* in's slopes from out's; g (unless NULL) gets a normalisation's own. */
static void pull_slopes(net *n, layer *l, const float *x, float *g)
{
    switch (l->spec.kind) {
    case NET_DENSE:
    case NET_CONV: pull_back(n, l, x + l->weights, SLOPE, SLOPE); break;
    case NET_NORM: net_norm_backward(n, l, x, g); break;
    case NET_ADD:
        add_field(l->out, l->in, SLOPE);
        add_field(l->out, l->other, SLOPE);
        break;
    case NET_POOL: unpool(l->in, l->out, SLOPE); break;
    case NET_MAX_POOL: net_max_pool_backward(l, SLOPE); break;
    }
}

static void add_weight_gradient(layer *l, int slope, int value, float *g)
{
    contract_outer(&l->forward, l->out->field[slope], l->in->field[value], g + l->weights);
}

static int has_weights(const layer *l)
{
    return l->spec.kind == NET_DENSE || l->spec.kind == NET_CONV;
}

static void backward_layer(net *n, layer *l, const float *x, float *g)
{
    if (has_weights(l)) {
        add_weight_gradient(l, SLOPE, VALUE, g);
        if (!l->spec.no_bias) add_bias_gradient(l->out, SLOPE, g + l->biases);
    }
    pull_slopes(n, l, x, g);
}

/* hv, and the tangents of in's slopes; pull_slopes follows. */
static void backward_tangent_layer(net *n, layer *l, const float *x, const float *v, float *hv)
{
    switch (l->spec.kind) {
    case NET_DENSE:
    case NET_CONV:
        add_weight_gradient(l, SLOPE_TANGENT, VALUE, hv);
        if (l->in != &n->maps[0]) add_weight_gradient(l, SLOPE, TANGENT, hv);
        if (!l->spec.no_bias) add_bias_gradient(l->out, SLOPE_TANGENT, hv + l->biases);
        pull_back(n, l, x + l->weights, SLOPE_TANGENT, SLOPE_TANGENT);
        pull_back(n, l, v + l->weights, SLOPE, SLOPE_TANGENT);
        break;
    case NET_NORM: net_norm_backward_tangent(n, l, x, v, hv); break;
    case NET_ADD:
        add_field(l->out, l->in, SLOPE_TANGENT);
        add_field(l->out, l->other, SLOPE_TANGENT);
        break;
    case NET_POOL: unpool(l->in, l->out, SLOPE_TANGENT); break;
    case NET_MAX_POOL: net_max_pool_backward(l, SLOPE_TANGENT); break;
    }
}

/* --- the loss --- */

static int is_detector(const net *n) { return n->spec.loss == NET_DETECTOR; }

/* Mean of −log softmax(z)[label]; leaves the softmax in SLOPE of the last map. */
static double cross_entropy(const net *n)
{
    const map *last = &n->maps[n->spec.n_layers];
    const float *z = last->field[VALUE];
    float *p = last->field[SLOPE];
    const int classes = last->channels, step = last->plane;
    double loss = 0;
    for (int i = 0; i < n->padded; i += LANES) {
        lanes top = AT((float *)z, i), sum = lanes_set(0), bad = lanes_set(0);
        for (int c = 1; c < classes; c++) top = lanes_max(top, AT((float *)z, c * step + i));
        for (int c = 0; c < classes; c++) {
            const lanes here = AT((float *)z, c * step + i), e = lanes_exp(here - top);
            AT(p, c * step + i) = e;
            sum += e;
            bad += here - here; /* exp would hide what is not finite */
        }
        float total[LANES];
        AT(total, 0) = lanes_log(sum) + top + bad;
        for (int c = 0; c < classes; c++) AT(p, c * step + i) /= sum;
        for (int j = 0; j < LANES && i + j < n->batch; j++)
            loss += total[j] - z[n->labels[i + j] * step + i + j];
    }
    return loss / n->batch;
}

static double loss_of(const net *n)
{
    return is_detector(n) ? net_detector_loss(n) : cross_entropy(n);
}

/* SLOPE of the last map: (softmax − one-hot)/batch; 0 in the padding. */
static void start_backward(const net *n)
{
    if (is_detector(n)) {
        net_detector_slope(n);
        return;
    }
    const map *last = &n->maps[n->spec.n_layers];
    float *d = last->field[SLOPE];
    const float share = 1.0f / (float)n->batch;
    for (int c = 0; c < last->channels; c++)
        for (int i = 0; i < n->padded; i++) {
            const float wanted = n->labels[i] == c ? 1 : 0;
            d[c * last->plane + i] = share * n->live[i] * (d[c * last->plane + i] - wanted);
        }
}

/* SLOPE_TANGENT of the last map, from the softmax p in SLOPE: p∘(Rz − Σ p Rz)/batch. */
static void start_backward_tangent(const net *n)
{
    if (is_detector(n)) {
        net_detector_slope_tangent(n);
        return;
    }
    const map *last = &n->maps[n->spec.n_layers];
    const float *r = last->field[TANGENT], *p = last->field[SLOPE];
    float *rd = last->field[SLOPE_TANGENT];
    const int classes = last->channels, step = last->plane;
    const float share = 1.0f / (float)n->batch;
    for (int i = 0; i < n->padded; i++) {
        float mean = 0;
        for (int c = 0; c < classes; c++) mean += p[c * step + i] * r[c * step + i];
        for (int c = 0; c < classes; c++)
            rd[c * step + i] = share * n->live[i] * p[c * step + i] * (r[c * step + i] - mean);
    }
}

/* l2_mean · Σ mean x², and its derivative along with `along` (x itself for the gradient). */
static double regularise(const net *n, const float *x, const float *along, float *out)
{
    double sum = 0;
    if (n->spec.l2_mean == 0) return 0;
    for (int k = 0; k < n->n_tensors; k++) {
        const size_t size = n->tensors[k].n;
        const float slope = (float)(2 * n->spec.l2_mean / (double)size);
        double square = 0;
        for (size_t i = 0; i < size; i++) {
            square += (double)x[i] * x[i];
            if (out) out[i] += slope * along[i];
        }
        sum += square / (double)size;
        x += size, along += size;
        if (out) out += size;
    }
    return n->spec.l2_mean * sum;
}

/* Image b is images[chosen[b]], or (chosen NULL) images[b]. */
static void set_images(net *n, const float *images, const uint32_t *chosen)
{
    const map *in = &n->maps[0];
    const size_t pixels = (size_t)in->channels * (size_t)in->height * (size_t)in->width;
    const float *image[n->padded];
    for (int b = 0; b < n->batch; b++)
        image[b] = images + pixels * (chosen ? chosen[b] : (uint32_t)b);
    size_t pixel = 0;
    FOR_EACH_ROW(in) {
        float *to = map_row(in, VALUE, c, y);
        for (int x = 0; x < in->width; x++, pixel++, to += n->padded)
            for (int b = 0; b < n->batch; b++) to[b] = image[b][pixel];
    }
}

void net_set_images(net *n, const float *images) { set_images(n, images, NULL); }

void net_set_batch(net *n, const float *images, const uint8_t *labels, const uint32_t *chosen,
                   int batch)
{
    const map *in = &n->maps[0];
    if (n->batch != batch) {
        int widest = 1;
        for (int i = 0; i < n->n_maps; i++)
            if (n->maps[i].width > widest) widest = n->maps[i].width;
        for (int i = 0; i < widest * n->padded; i++) n->live[i] = i % n->padded < batch;
        memset(in->field[VALUE], 0, in->size * sizeof(float));
        n->batch = batch;
    }
    for (int b = 0; b < batch; b++) n->labels[b] = labels[chosen[b]];
    set_images(n, images, chosen);
}

void net_set_truths(net *n, const float *truths, const uint32_t *chosen)
{
    const size_t outputs = (size_t)net_outputs(n), padded = (size_t)n->padded;
    memset(n->truth, 0, 2 * outputs * padded * sizeof(float));
    for (int b = 0; b < n->batch; b++) {
        const float *truth = truths + 2 * outputs * chosen[b];
        for (size_t i = 0; i < 2 * outputs; i++) n->truth[i * padded + (size_t)b] = truth[i];
    }
}

double net_gradient(net *n, const float *x, float *g)
{
    const int n_layers = n->spec.n_layers;
    for (int i = 0; i < n_layers; i++) forward_layer(n, &n->layers[i], x);
    if (g) {
        memset(g, 0, n->n_parameters * sizeof *g);
        clear(n, SLOPE);
    }
    const double loss = loss_of(n) + regularise(n, x, x, g);
    if (!g) return loss;
    start_backward(n);
    for (int i = n_layers - 1; i >= n->first_trained; i--) {
        layer *l = &n->layers[i];
        BY_ACTIVATION(l->spec.act, deactivate, l->out, 0)
        backward_layer(n, l, x, g);
    }
    return loss;
}

void net_hvp(net *n, const float *x, const float *v, float *hv)
{
    const int n_layers = n->spec.n_layers;
    net_clear_tangents(n);
    for (int i = 0; i < n_layers; i++) {
        forward_layer(n, &n->layers[i], x);
        tangent_layer(n, &n->layers[i], x, v);
    }
    memset(hv, 0, n->n_parameters * sizeof *hv);
    clear(n, SLOPE);
    clear(n, SLOPE_TANGENT);
    loss_of(n);
    start_backward_tangent(n);
    start_backward(n);
    for (int i = n_layers - 1; i >= n->first_trained; i--) {
        layer *l = &n->layers[i];
        BY_ACTIVATION(l->spec.act, deactivate, l->out, 1)
        backward_tangent_layer(n, l, x, v, hv);
        pull_slopes(n, l, x, NULL);
    }
    regularise(n, x, v, hv);
}
