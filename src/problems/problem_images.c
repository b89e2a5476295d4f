/* Classifiers of small real images. Everything is drawn from the seed: the collection, which
 * classes and images, wrong labels, the scale of the pixels, the batch, the network and the scale
 * of its start. Networks are drawn until one is within the spec's limits. */
#include <math.h>
#include <stdlib.h>

#include "problems/classifier.h"
#include "problems/draw.h"

enum { MIN_BATCH = 8, MAX_BATCH = 128, MIN_SAMPLES = 256, MAX_SAMPLES = 2048, TRIES = 1000 };
enum { MIN_UNITS = 4, MAX_UNITS = 64, MIN_CHANNELS = 2, MAX_CHANNELS = 16 };
static const double MAX_LABEL_NOISE = 0.3, NORM_SHARE = 0.5;

typedef struct {
    int classes, batch, samples;
    double label_noise, start_scale;
    int standardised; /* pixels of mean 0 and variance 1; else within [0, 1] */
    net_spec net;
} task;

static int draw_flag(random_stream *stream, double probability)
{
    return draw_uniform(stream, 0, 1) < probability;
}

static int draw_size(random_stream *stream, int low, int high)
{
    return (int)draw_log_uniform(stream, low, high + 1);
}

static activation draw_activation(random_stream *stream)
{
    static const activation choice[] = {ACT_RELU, ACT_RELU, ACT_TANH, ACT_SIGMOID};
    return choice[draw_below(stream, 4)];
}

/* Appends a layer; returns the number of its map. */
static int add_layer(net_spec *n, net_layer l)
{
    n->layers[n->n_layers++] = l;
    return n->n_layers;
}

/* A layer of weights, normalised or not, then the activation; returns the last map. */
static int add_weighted(net_spec *n, net_layer weights, int norm, activation act)
{
    if (!norm) weights.act = act;
    const int map = add_layer(n, weights);
    return norm ? add_layer(n, (net_layer){.kind = NET_NORM, .act = act}) : map;
}

static void add_dense(random_stream *stream, net_spec *n, int layers, int norm, activation act)
{
    for (int i = 0; i < layers; i++)
        add_weighted(
            n, (net_layer){.kind = NET_DENSE, .channels = draw_size(stream, MIN_UNITS, MAX_UNITS)},
            norm, act);
}

/* The one numbered `strided` has stride 2, the others perhaps. */
static void add_convolutions(random_stream *stream, net_spec *n, int layers, int strided, int norm,
                             activation act)
{
    int side = n->height;
    for (int i = 0; i < layers; i++) {
        const int stride = side > 2 && (i == strided || draw_flag(stream, 0.5)) ? 2 : 1;
        side = (side + stride - 1) / stride;
        add_weighted(n,
                     (net_layer){.kind = NET_CONV,
                                 .stride = stride,
                                 .channels = draw_size(stream, MIN_CHANNELS, MAX_CHANNELS)},
                     norm, act);
    }
}

static void draw_mlp(random_stream *stream, net_spec *n)
{
    const activation act = draw_activation(stream);
    const int hidden = (int)draw_below(stream, 3), norm = draw_flag(stream, NORM_SHARE / 2);
    add_dense(stream, n, hidden, norm, act);
}

/* 1 to 3 convolutions, then the mean over pixels or nothing. */
static void draw_conv(random_stream *stream, net_spec *n)
{
    const activation act = draw_activation(stream);
    const int layers = 1 + (int)draw_below(stream, 3), norm = draw_flag(stream, NORM_SHARE);
    const int strided = (int)draw_below(stream, (uint32_t)layers);
    add_convolutions(stream, n, layers, strided, norm, act);
    if (draw_flag(stream, 0.5)) add_layer(n, (net_layer){.kind = NET_POOL});
}

/* A convolution of stride 2, then 1 or 2 blocks x + conv(act(conv(x))), activated after the sum. */
static void draw_residual(random_stream *stream, net_spec *n)
{
    const activation act = draw_activation(stream);
    const int blocks = 1 + (int)draw_below(stream, 2), norm = draw_flag(stream, NORM_SHARE);
    net_layer conv = {
        .kind = NET_CONV, .stride = 2, .channels = draw_size(stream, MIN_CHANNELS, MAX_CHANNELS)};
    int map = add_weighted(n, conv, norm, act);
    conv.stride = 1;
    for (int i = 0; i < blocks; i++) {
        add_weighted(n, conv, norm, act);
        const int last = add_weighted(n, conv, norm, ACT_LINEAR);
        map = add_layer(n, (net_layer){.kind = NET_ADD, .act = act, .from = last, .other = map});
    }
    if (draw_flag(stream, 0.5)) add_layer(n, (net_layer){.kind = NET_POOL});
}

/* 2 or 3 convolutions and a dense layer, or 2 to 4 dense ones, all sigmoid and not normalised:
 * whose gradients vanish at first, and the loss stays for long at what guessing gives. */
static void draw_sigmoid(random_stream *stream, net_spec *n)
{
    const int convolutions = draw_flag(stream, 0.5) ? 2 + (int)draw_below(stream, 2) : 0;
    const int dense = convolutions ? (int)draw_below(stream, 2) : 2 + (int)draw_below(stream, 3);
    add_convolutions(stream, n, convolutions, 0, 0, ACT_SIGMOID);
    add_dense(stream, n, dense, 0, ACT_SIGMOID);
}

static void draw_network(random_stream *stream, const problem_spec *spec, task *t)
{
    t->net = (net_spec){.channels = 1, .height = spec->side, .width = spec->side};
    switch (spec->network) {
    case NETWORK_MLP: draw_mlp(stream, &t->net); break;
    case NETWORK_CONV: draw_conv(stream, &t->net); break;
    case NETWORK_RESIDUAL: draw_residual(stream, &t->net); break;
    case NETWORK_SIGMOID: draw_sigmoid(stream, &t->net); break;
    }
    add_layer(&t->net, (net_layer){.kind = NET_DENSE, .channels = t->classes});
}

/* Multiples of MIN_BATCH, and of the batch: no batch of the full loss is smaller than the
 * others. */
static void draw_task(random_stream *stream, const problem_spec *spec, task *t)
{
    t->classes = 2 + (int)draw_below(stream, IMAGE_CLASSES - 1);
    t->batch = draw_size(stream, MIN_BATCH, MAX_BATCH) / MIN_BATCH * MIN_BATCH;
    t->samples = (draw_size(stream, MIN_SAMPLES, MAX_SAMPLES) + t->batch - 1) / t->batch * t->batch;
    t->label_noise = draw_flag(stream, 0.5) ? draw_uniform(stream, 0, MAX_LABEL_NOISE) : 0;
    t->standardised = draw_flag(stream, 0.5);
    t->start_scale = draw_log_uniform(stream, spec->start_low, spec->start_high);
    draw_network(stream, spec, t);
}

/* Images of some classes of one collection, every class equally likely; labels, some wrong. */
static void draw_samples(classifier *p, random_stream *stream, const task *t,
                         const image_data *images, int which_side)
{
    const image_set *set = &images->sets[draw_below(stream, (uint32_t)images->n_sets)];
    const size_t pixels = (size_t)(image_sides[which_side] * image_sides[which_side]);
    int order[IMAGE_CLASSES];
    for (int c = 0; c < IMAGE_CLASSES; c++) order[c] = c;
    for (int c = 0; c < t->classes; c++) { /* the first ones of a random permutation */
        const int other = c + (int)draw_below(stream, (uint32_t)(IMAGE_CLASSES - c));
        const int swap = order[c];
        order[c] = order[other], order[other] = swap;
    }
    double sum = 0, squares = 0;
    for (int i = 0; i < t->samples; i++) {
        const uint32_t class = draw_below(stream, (uint32_t)t->classes);
        const size_t first = set->first[order[class]], end = set->first[order[class] + 1];
        const size_t from = first + draw_below(stream, (uint32_t)(end - first));
        const int wrong = draw_flag(stream, t->label_noise);
        const uint32_t other = draw_below(stream, (uint32_t)t->classes);
        p->labels[i] = (uint8_t)(wrong ? other : class);
        for (size_t k = 0; k < pixels; k++) {
            const float value = (float)set->pixels[which_side][from * pixels + k] / 255;
            p->images[(size_t)i * pixels + k] = value;
            sum += value;
            squares += (double)value * value;
        }
    }
    if (!t->standardised) return;
    const size_t count = (size_t)t->samples * pixels;
    const double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    const float shift = (float)mean, scale = (float)(1 / sqrt(variance + 1e-6));
    for (size_t i = 0; i < count; i++) p->images[i] = (p->images[i] - shift) * scale;
}

static bool check(const problem_spec *spec, const image_data *images, int *which_side,
                  opt_error *error)
{
    if (!images || images->n_sets < 1) {
        opt_fail(error, OPT_NO_FILE,
                 "a problem on images, but none are loaded; tools/get-data.sh fashion-mnist|mnist "
                 "DEST idx "
                 "fetches them");
        return false;
    }
    for (*which_side = 0; *which_side < IMAGE_SIDES; ++*which_side)
        if (image_sides[*which_side] == spec->side) break;
    if (*which_side == IMAGE_SIDES) {
        opt_fail(error, OPT_BAD_OPTION, "images of %d pixels across, expected %d or %d", spec->side,
                 image_sides[0], image_sides[1]);
        return false;
    }
    return problem_check("the least scale of a start", spec->start_low, 1e-6, 1e6, error) &&
           problem_check("the greatest scale of a start", spec->start_high, spec->start_low, 1e6,
                         error);
}

/* Draws until a network is within the limits. */
static bool find_task(const problem_spec *spec, random_stream *stream, task *t, opt_error *error)
{
    double work;
    for (int i = 0; i < TRIES; i++) {
        draw_task(stream, spec, t);
        if (net_count(&t->net, &work) <= (size_t)spec->max_parameters &&
            work * t->batch <= spec->max_work)
            return true;
    }
    opt_fail(error, OPT_BAD_OPTION,
             "none of %d networks had at most %d parameters and %g multiply-adds a batch", TRIES,
             spec->max_parameters, spec->max_work);
    return false;
}

problem *images_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    int which_side;
    if (!check(spec, images, &which_side, error)) return NULL;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    task t;
    if (!find_task(spec, &stream, &t, error)) return NULL;
    classifier *p = classifier_create(&t.net, t.samples, t.batch, seed, error);
    if (!p) return NULL;
    p->start = START_NETWORK;
    p->start_scale = t.start_scale * (t.net.layers[0].act == ACT_RELU ? sqrt(2) : 1);
    draw_samples(p, &stream, &t, images, which_side);
    return &p->base;
}
