#include "problems/image_networks.h"

#include "problems/draw.h"

enum { MIN_UNITS = 4, MAX_UNITS = 64, MIN_CHANNELS = 2, MAX_CHANNELS = 16, STAGES = 3 };
static const double NORM_SHARE = 0.5;

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

/* 8 to 20 layers of weights, all normalised but the last: three stages, each of half the side of
 * the one before and perhaps of twice its channels, of pairs of convolutions, with or without
 * shortcuts; then the mean over pixels. */
static void draw_deep(random_stream *stream, net_spec *n)
{
    const int pairs = (draw_size(stream, 8, 20) - STAGES - 1) / 2;
    const int shortcuts = draw_flag(stream, 0.75), widen = 1 + (int)draw_below(stream, 2);
    net_layer conv = {.kind = NET_CONV, .no_bias = 1};
    conv.channels = draw_size(stream, 3, MAX_CHANNELS / 2);
    for (int stage = 0; stage < STAGES; stage++) {
        if (stage > 0) conv.channels *= widen;
        conv.stride = stage > 0 || draw_flag(stream, 0.5) ? 2 : 1;
        int map = add_weighted(n, conv, 1, ACT_RELU);
        conv.stride = 1;
        for (int i = stage; i < pairs; i += STAGES) {
            add_weighted(n, conv, 1, ACT_RELU);
            const int last = add_weighted(n, conv, 1, shortcuts ? ACT_LINEAR : ACT_RELU);
            if (shortcuts)
                map = add_layer(
                    n, (net_layer){.kind = NET_ADD, .act = ACT_RELU, .from = last, .other = map});
        }
    }
    add_layer(n, (net_layer){.kind = NET_POOL});
}

/* 4 to 8 convolutions with ReLU, not normalised, and up to three maxima of 2x2 pixels between them,
 * after which there may be twice the channels; perhaps a hidden dense layer. */
static void draw_plain(random_stream *stream, net_spec *n)
{
    const int layers = draw_size(stream, 4, 8), widen = 1 + (int)draw_below(stream, 2);
    net_layer conv = {.kind = NET_CONV, .stride = 1, .act = ACT_RELU};
    conv.channels = draw_size(stream, 4, MAX_CHANNELS);
    for (int i = 0, maxima = 0; i < layers; i++) {
        add_layer(n, conv);
        if (maxima == STAGES || (i + STAGES - maxima < layers && draw_flag(stream, 0.5))) continue;
        add_layer(n, (net_layer){.kind = NET_MAX_POOL});
        maxima++;
        conv.channels *= conv.channels < MAX_CHANNELS ? widen : 1;
    }
    add_dense(stream, n, (int)draw_below(stream, 2), 0, ACT_RELU);
}

void image_network_draw(random_stream *stream, network_kind kind, int channels, int side,
                        int classes, net_spec *n)
{
    *n = (net_spec){.channels = channels, .height = side, .width = side};
    switch (kind) {
    case NETWORK_MLP: draw_mlp(stream, n); break;
    case NETWORK_CONV: draw_conv(stream, n); break;
    case NETWORK_RESIDUAL: draw_residual(stream, n); break;
    case NETWORK_SIGMOID: draw_sigmoid(stream, n); break;
    case NETWORK_DEEP: draw_deep(stream, n); break;
    case NETWORK_PLAIN: draw_plain(stream, n); break;
    }
    add_layer(n, (net_layer){.kind = NET_DENSE, .channels = classes});
}

void image_detector_draw(random_stream *stream, int side, int grid, int classes, net_spec *n)
{
    const int norm = draw_flag(stream, 0.6), maxima = draw_flag(stream, 0.5);
    const int layers = draw_size(stream, 3, 6);
    *n = (net_spec){.channels = 3, .height = side, .width = side, .loss = NET_DETECTOR};
    net_layer conv = {.kind = NET_CONV, .no_bias = norm};
    conv.channels = draw_size(stream, 4, MAX_CHANNELS);
    for (int i = 0; i < layers; i++) {
        const int halves = side > grid && (i + 2 >= layers || draw_flag(stream, 0.7));
        conv.stride = halves && !maxima ? 2 : 1;
        add_weighted(n, conv, norm, ACT_RELU);
        if (halves && maxima) add_layer(n, (net_layer){.kind = NET_MAX_POOL});
        side = halves ? side / 2 : side;
    }
    n->cells = grid * grid;
    if (draw_flag(stream, 0.75))
        add_layer(n, (net_layer){.kind = NET_CONV, .stride = 1, .channels = 5 + classes});
    else
        add_layer(n, (net_layer){.kind = NET_DENSE, .channels = n->cells * (5 + classes)});
}
