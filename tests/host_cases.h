/* A small network for every layer of the host, its kinds of truth, and how much of its cost's
 * gradient the host delivers: for tests of gradients. */
#ifndef HOST_CASES_H
#define HOST_CASES_H

#include "host_network.h"

/* Truth: one class in every `group` outputs, or, with SPREAD, in every outputs / group at that
 * stride. */
enum { REAL = 0, SPREAD = 1000, MARKED = 2000 };

typedef struct {
    const char *name;
    const char *cfg;
    int truth;       /* size of a group with one class; REAL: numbers in 0..1; MARKED: some without
                      * label */
    float delivered; /* part of the printed cost's gradient that the host delivers */
    float bound;     /* of an entry's error, relative to the largest entry of its tensor */
    const char *
        skip; /* tensors whose gradient is an estimate by design: binary weights, signs of inputs */
} gradient_case;

#define IMAGE(batch, w, h, c)                                                                      \
    "[net]\nbatch=" #batch "\nwidth=" #w "\nheight=" #h "\nchannels=" #c "\n"
#define FLAT(batch, n) "[net]\nbatch=" #batch "\ninputs=" #n "\n"
#define STEPS(batch, steps, n) "[net]\nbatch=" #batch "\ntime_steps=" #steps "\ninputs=" #n "\n"
#define CONV(options) "[convolutional]\nactivation=tanh\n" options "\n"
#define FULL(n, options) "[connected]\noutput=" #n "\n" options "\n"
#define CLASSES(n) FULL(n, "activation=linear") "[softmax]\n"
#define SQUARES(n) FULL(n, "activation=linear") "[cost]\ntype=sse\n"
#define BN "batch_normalize=1\n"
#define TANH_ "activation=tanh\n"

static const gradient_case cases[] = {
    {"connected", FLAT(4, 7) FULL(6, "activation=logistic") CLASSES(3), 3, 1, 0.01f, 0},
    {"connected bn", FLAT(64, 5) FULL(6, BN TANH_) CLASSES(3), 3, 1, 0.04f, 0},
    {"conv", IMAGE(3, 7, 6, 2) CONV("filters=4\nsize=3\npad=1") CLASSES(3), 3, 1, 0.01f, 0},
    {"conv twice",
     IMAGE(3, 7, 6, 2) CONV("filters=4\nsize=3\npad=1") CONV("filters=3\nsize=3") CLASSES(3), 3, 1,
     0.01f, 0},
    {"conv stride",
     IMAGE(2, 9, 8, 2) CONV("filters=3\nsize=3\npad=1") CONV("filters=4\nsize=3\nstride=2\npad=1")
         CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv groups",
     IMAGE(2, 5, 6, 4) CONV("filters=4\nsize=3\npad=1") CONV("filters=6\ngroups=2\nsize=3\npad=1")
         CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv 1x1 stride 2",
     IMAGE(2, 6, 6, 2) CONV("filters=3\nsize=3\npad=1") CONV("filters=4\nsize=1\nstride=2")
         CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv 1x1 beside a shortcut",
     IMAGE(2, 5, 5, 2) CONV("filters=3\nsize=3\npad=1") CONV("filters=4\nsize=1")
         CONV("filters=3\nsize=3\npad=1") "[shortcut]\nfrom=-3\nactivation=logistic\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv bn",
     IMAGE(8, 6, 6, 2) CONV(BN "filters=4\nsize=3\npad=1")
         CONV(BN "filters=3\nsize=3") "[avgpool]\n" CLASSES(3),
     3, 1, 0.04f, 0},
    {"conv pad beyond",
     IMAGE(2, 5, 4, 2) CONV("filters=3\nsize=3\npadding=2") CONV("filters=2\nsize=1\npadding=1")
         CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv 1x7 and 7x1",
     IMAGE(2, 9, 8, 2) CONV("filters=3\nsize_w=7\nsize_h=1\npad=1")
         CONV("filters=4\nsize_w=1\nsize_h=7\npad=1\ngroups=1") CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv 5x3 stride",
     IMAGE(2, 9, 8, 2) CONV("filters=4\nsize=3\nsize_w=5\npad=1") CONV(
         "filters=4\nsize_w=3\nsize_h=5\nstride=2\npadding_w=0\npadding_h=1\ngroups=2") CLASSES(3),
     3, 1, 0.01f, 0},
    {"conv 1x3 bn",
     IMAGE(8, 6, 6, 2) CONV(BN "filters=4\nsize=1\nsize_w=3\npad=1")
         CONV(BN "filters=3\nsize=1\nsize_h=3\npad=1") "[avgpool]\n" CLASSES(3),
     3, 1, 0.04f, 0},
    {"binary 3x1",
     IMAGE(2, 5, 5, 2) CONV("filters=3\nsize=3") CONV("filters=3\nsize_w=3\nsize_h=1\nbinary=1")
         CLASSES(3),
     3, 1, 0.01f, "1.weights"},
    {"binary",
     IMAGE(2, 5, 5, 2) CONV("filters=3\nsize=3") CONV("filters=3\nsize=3\nbinary=1") CLASSES(3), 3,
     1, 0.01f, "1.weights"},
    {"xnor",
     IMAGE(2, 5, 5, 2) CONV("filters=3\nsize=3") CONV("filters=3\nsize=3\nxnor=1") CLASSES(3), 3, 1,
     0.01f, "0.weights 0.biases 1.weights"},
    {"deconv",
     IMAGE(2, 4, 3, 2) CONV("filters=3\nsize=1") "[deconvolutional]\nfilters=2\nsize=4\nstride="
                                                 "2\npadding=1\nactivation=tanh\n[cost]\n",
     REAL, 0.5f, 0.01f, 0},
    {"deconv bn",
     IMAGE(16, 4, 3,
           2) "[deconvolutional]\nfilters=3\nsize=3\nstride=2\nactivation=tanh\n" BN CLASSES(3),
     3, 1, 0.04f, 0},
    {"local",
     IMAGE(2, 6, 5, 2)
         CONV("filters=3\nsize=3\npad=1") "[local]\nfilters=2\nsize=3\npad=1\nactivation=tanh\n"
                                          "[local]\nfilters=2\nsize=5\nstride=2\npad=1\nactivation="
                                          "tanh\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"batchnorm", IMAGE(16, 5, 4, 2) CONV("filters=3\nsize=3\npad=1") "[batchnorm]\n" SQUARES(2),
     REAL, 0.5f, 0.04f, 0},
    {"batchnorm beside a shortcut",
     IMAGE(16, 5, 4, 3) CONV("filters=3\nsize=3\npad=1") "[batchnorm]\n" CONV(
         "filters=3\nsize=3\npad=1") "[shortcut]\nfrom=-3\nactivation=linear\n" SQUARES(2),
     REAL, 0.5f, 0.04f, 0},
    {"rnn",
     STEPS(3, 4,
           5) "[rnn]\noutput=4\nactivation=tanh\n[rnn]\noutput=4\nactivation=tanh\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"rnn shortcut",
     STEPS(3, 4, 5) FULL(5, TANH_) "[rnn]\noutput=4\nactivation=logistic\nshortcut=1\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"rnn bn", STEPS(64, 3, 4) "[rnn]\noutput=4\nactivation=tanh\n" BN CLASSES(3), 3, 1, 0.04f, 0},
    {"gru", STEPS(3, 4, 5) FULL(5, TANH_) "[gru]\noutput=4\n[gru]\noutput=4\ntanh=1\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"gru bn", STEPS(64, 3, 4) "[gru]\noutput=4\ntanh=1\n" BN CLASSES(3), 3, 1, 0.04f, 0},
    {"lstm", STEPS(3, 4, 5) FULL(5, TANH_) "[lstm]\noutput=4\n[lstm]\noutput=3\n" CLASSES(3), 3, 1,
     0.01f, 0},
    {"lstm bn", STEPS(64, 3, 4) "[lstm]\noutput=4\n" BN CLASSES(3), 3, 1, 0.04f, 0},
    {"lstm under dropout", STEPS(3, 3, 5) "[lstm]\noutput=6\n[dropout]\n" CLASSES(3), 3, 1, 0.01f,
     0},
    {"crnn",
     "[net]\nbatch=2\ntime_steps=3\nwidth=5\nheight=4\nchannels=2\n" CONV(
         "filters=2\nsize=3\npad=1") "[crnn]\nhidden_filters=3\noutput_filters=2\nactivation=tanh\n"
                                     "[crnn]\nhidden_filters=2\noutput_filters=3\nactivation="
                                     "tanh\nshortcut=1\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"crnn bn",
     "[net]\nbatch=8\ntime_steps=3\nwidth=5\nheight=4\nchannels=2\n"
     "[crnn]\nhidden_filters=3\noutput_filters=2\nactivation=tanh\n" BN CLASSES(3),
     3, 1, 0.04f, 0},
    {"two subdivisions",
     "[net]\nbatch=6\nsubdivisions=2\nwidth=5\nheight=4\nchannels=2\n" CONV("filters=2\nsize=3")
         CLASSES(3),
     3, 1, 0.01f, 0},
    {"maxpool",
     IMAGE(2, 7, 6, 2) CONV("filters=3\nsize=3\npad=1") "[maxpool]\nsize=3\nstride=2\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"avgpool windows",
     IMAGE(2, 7, 6, 2)
         CONV("filters=3\nsize=3\npad=1") "[avgpool]\nsize=3\n"
                                          "[avgpool]\nsize=3\nstride=2\npadding=1\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"branches, as in Inception",
     IMAGE(8, 6, 5, 2) CONV("filters=4\nsize=3\npad=1") CONV(
         BN
         "filters=2\nsize=1") "[route]\nlayers=0\n" CONV(BN "filters=2\nsize_w=3\nsize_h=1\npad=1")
         CONV(BN
              "filters=3\nsize_w=1\nsize_h=3\npad=1") "[route]\nlayers=0\n"
                                                      "[avgpool]\nsize=3\n" CONV(
                                                          BN
                                                          "filters=2\nsize=1") "[route]\nlayers=1,"
                                                                               "4,7\n" CLASSES(3),
     3, 1, 0.04f, 0},
    {"route",
     IMAGE(2, 5, 5, 2) CONV("filters=3\nsize=3\npad=1")
         CONV("filters=2\nsize=3\npad=1") "[activation]\nactivation=loggy\n[route]\nlayers=-1,-2,"
                                          "0\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"reorg",
     IMAGE(2, 4, 6, 2) CONV("filters=4\nsize=3\npad=1") "[reorg]\nstride=2\n" CONV(
         "filters=2\nsize=1") "[reorg]\nstride=1\nreverse=1\n[route]\nlayers=0\n"
                              "[reorg]\nstride=2\n[route]\nlayers=-1,-3\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"upsample",
     IMAGE(2, 4, 6, 2)
         CONV("filters=2\nsize=3\npad=1") "[upsample]\nstride=2\n"
                                          "[upsample]\nstride=-2\nscale=0.5\n[shortcut]\nfrom="
                                          "0\nactivation=linear\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"l2norm", IMAGE(2, 3, 4, 2) CONV("filters=4\nsize=3\npad=1") "[l2norm]\n" CLASSES(3), 3, 1,
     0.01f, 0},
    {"normalization",
     IMAGE(2, 3, 4, 2)
         CONV("filters=7\nsize=3\npad=1") "[normalization]\nalpha=0.7\nsize=5\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"normalization of few",
     IMAGE(2, 3, 4, 2)
         CONV("filters=2\nsize=3\npad=1") "[normalization]\nalpha=0.7\nsize=8\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"dropout",
     FLAT(4, 6) FULL(9, TANH_) "[dropout]\nprobability=0.3\n" FULL(
         9, "activation=logistic") "[dropout]\n" CLASSES(3),
     3, 1, 0.01f, 0},
    {"crop",
     IMAGE(2, 7, 6, 2) "[crop]\ncrop_width=5\ncrop_height=4\n[maxpool]\n" CONV(
         "filters=3\nsize=3\npad=1") CLASSES(3),
     3, 1, 0.01f, 0},
    {"softmax groups", FLAT(3, 5) FULL(6, "activation=linear") "[softmax]\ngroups=2\n", 3, 1, 0.01f,
     0},
    {"softmax spatial",
     IMAGE(2, 3, 4, 2) "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n"
                       "[softmax]\nspatial=1\n",
     SPREAD + 3, 1, 0.01f, 0},
    {"logistic", FLAT(3, 5) FULL(6, "activation=linear") "[logistic]\n", REAL, 1, 0.01f, 0},
    {"sse", FLAT(3, 5) SQUARES(6), REAL, 0.5f, 0.01f, 0},
    {"L1", FLAT(3, 5) FULL(6, "activation=linear") "[cost]\ntype=L1\n", REAL, 1, 0.01f, 0},
    {"smooth", FLAT(3, 5) FULL(6, "activation=linear") "[cost]\ntype=smooth\n", REAL, 0.5f, 0.01f,
     0},
    {"masked", FLAT(3, 5) FULL(6, "activation=linear") "[cost]\ntype=masked\n", MARKED, 0.5f, 0.01f,
     0},
    {"seg", FLAT(3, 5) FULL(6, "activation=linear") "[cost]\ntype=seg\nnoobj=0.3\n", 3, 0.5f, 0.01f,
     0},
    {"wgan", FLAT(3, 5) FULL(6, TANH_) "[cost]\ntype=wgan\n", 3, 1, 0.01f, 0},
};

static inline void draw_truth(const network *net, int kind, random_stream *stream)
{
    memset(net->truth, 0, (size_t)net->truths * net->batch * sizeof *net->truth);
    for (int b = 0; b < net->batch; ++b) {
        float *truth = net->truth + (size_t)b * net->truths;
        int group = kind > SPREAD ? kind - SPREAD : kind;
        if (kind == REAL || kind == MARKED)
            for (int i = 0; i < net->truths; ++i) truth[i] = uniform(stream, 0, 1);
        else if (kind > SPREAD)
            for (int i = 0, stride = net->truths / group; i < stride; ++i)
                truth[i + stride * (int)(random_stream_u32(stream) % group)] = 1;
        else
            for (int i = 0; i < net->truths; i += group)
                truth[i + (int)(random_stream_u32(stream) % group)] = 1;
        if (kind == MARKED) truth[b % net->truths] = SECRET_NUM;
    }
}

/* Sum of the printed costs of all subdivisions over batch * subdivisions: the mean loss. */
static inline double mean_loss(network *net, const gradient_case *row, int backward)
{
    random_stream stream;
    random_stream_start(&stream, 3, STREAM_OTHER, 2);
    double sum = 0;
    for (int s = 0; s < net->subdivisions; ++s) {
        for (int i = 0; i < net->inputs * net->batch; ++i) net->input[i] = uniform(&stream, -1, 1);
        draw_truth(net, row->truth, &stream);
        sum += pass(net, backward);
    }
    return sum / (net->batch * net->subdivisions);
}

#endif
