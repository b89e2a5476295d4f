/* Classifiers on data drawn at random: softmax regression, sigmoid MLPs, sums of embeddings. */
#include <math.h>
#include <stdlib.h>

#include "problems/classifier.h"
#include "problems/draw.h"
#include "problems/vectors.h"

static const double SOFTMAX_START = 1.2, SOFTMAX_L2 = 1e-3, LABEL_NOISE = 0.25;
enum { CLASSES = 2, LABEL_LAYERS = 6, LABEL_WIDTH = 20, IDS = 5, KINDS = 2, MAX_FEATURES = 4096 };

static random_stream data_stream(const problem_spec *spec, uint64_t seed)
{
    return draw_stream(spec->data_seed ? spec->data_seed : seed, STREAM_INIT, 0);
}

static bool check_features(const problem_spec *spec, opt_error *error)
{
    return problem_check("the features of a problem", spec->dimension, 1, MAX_FEATURES, error);
}

/* Samples of class c are z·A_c + separation·(a random vertex of the cube [-1, 1]^n), z ~ N(0,1),
 * A_c uniform in [-1, 1]: one Gaussian cluster a class, each with a covariance of its own, as
 * sklearn's make_classification draws them for the reference. */
static bool draw_clusters(classifier *p, const problem_spec *spec, random_stream *stream,
                          opt_error *error)
{
    const size_t n = (size_t)spec->dimension, samples = (size_t)p->samples;
    float *block = problem_floats(n * n + 2 * n, error);
    if (!block) return false;
    float *mix = block, *centre = mix + n * n, *z = centre + n;
    for (size_t c = 0; c < CLASSES; c++) {
        for (size_t i = 0; i < n * n; i++) mix[i] = (float)draw_uniform(stream, -1, 1);
        for (size_t i = 0; i < n; i++)
            centre[i] = (float)(draw_below(stream, 2) ? spec->separation : -spec->separation);
        for (size_t i = c; i < samples; i += CLASSES) {
            float *sample = p->images + i * n;
            draw_normals(stream, z, n, 1);
            for (size_t k = 0; k < n; k++) sample[k] = centre[k];
            for (size_t k = 0; k < n; k++) vector_add(sample, z[k], mix + k * n, n);
            p->labels[i] = (uint8_t)c;
        }
    }
    free(block);
    return true;
}

problem *softmax_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                         opt_error *error)
{
    (void)images;
    if (!check_features(spec, error)) return NULL;
    const net_spec shape = {.channels = spec->dimension,
                            .height = 1,
                            .width = 1,
                            .n_layers = 1,
                            .layers = {{.kind = NET_DENSE, .channels = CLASSES}},
                            .l2_mean = SOFTMAX_L2};
    classifier *p = classifier_create(&shape, spec->samples, spec->batch, seed, error);
    if (!p) return NULL;
    p->start = START_FAN_IN;
    p->start_scale = SOFTMAX_START;
    random_stream stream = data_stream(spec, seed);
    if (draw_clusters(p, spec, &stream, error)) return &p->base;
    problem_free(&p->base);
    return NULL;
}

/* Labels: whether the first output of a ReLU network with weights √(2/inputs)·N(0,1) is
 * positive. */
static bool draw_labelled(classifier *p, const problem_spec *spec, random_stream *stream,
                          opt_error *error)
{
    const size_t n = (size_t)spec->dimension, widest = n > LABEL_WIDTH ? n : LABEL_WIDTH;
    const size_t later = LABEL_WIDTH * LABEL_WIDTH;
    const size_t n_weights = n * LABEL_WIDTH + (LABEL_LAYERS - 1) * later;
    float *weights = problem_floats(n_weights + 2 * widest, error);
    if (!weights) return false;
    float *now = weights + n_weights, *next = now + widest;
    draw_normals(stream, weights, n_weights, sqrtf(2.0f / (float)n));
    draw_normals(stream, p->images, (size_t)p->samples * n, 1);
    for (size_t i = 0; i < (size_t)p->samples; i++) {
        const float *w = weights;
        size_t width = n;
        for (size_t k = 0; k < n; k++) now[k] = p->images[i * n + k];
        for (int l = 0; l < LABEL_LAYERS; l++) {
            for (size_t u = 0; u < LABEL_WIDTH; u++, w += width)
                next[u] = (float)fmax(vector_dot(w, now, width), 0);
            float *swap = now;
            now = next, next = swap;
            width = LABEL_WIDTH;
        }
        p->labels[i] = now[0] > 0;
    }
    free(weights);
    return true;
}

problem *mlp_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                     opt_error *error)
{
    (void)images;
    if (!check_features(spec, error)) return NULL;
    net_spec shape = {.channels = spec->dimension, .height = 1, .width = 1};
    for (int i = 0; i < MAX_HIDDEN && spec->hidden[i]; i++)
        shape.layers[shape.n_layers++] =
            (net_layer){.kind = NET_DENSE, .act = ACT_SIGMOID, .channels = spec->hidden[i]};
    shape.layers[shape.n_layers++] = (net_layer){.kind = NET_DENSE, .channels = CLASSES};
    classifier *p = classifier_create(&shape, spec->samples, spec->batch, seed, error);
    if (!p) return NULL;
    random_stream stream = data_stream(spec, seed);
    if (draw_labelled(p, spec, &stream, error)) return &p->base;
    problem_free(&p->base);
    return NULL;
}

/* The sum of the embeddings of five ids is the vector of their counts times the embedding matrix;
 * the label is the parity of the ids, wrong with probability LABEL_NOISE. */
problem *embedding_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                           opt_error *error)
{
    (void)images;
    if (!check_features(spec, error)) return NULL;
    const net_spec shape = {
        .channels = KINDS,
        .height = 1,
        .width = 1,
        .n_layers = 2,
        .layers = {{.kind = NET_DENSE, .channels = spec->dimension, .no_bias = 1},
                   {.kind = NET_DENSE, .channels = CLASSES}}};
    classifier *p = classifier_create(&shape, spec->samples, spec->batch, seed, error);
    if (!p) return NULL;
    random_stream stream = data_stream(spec, seed);
    for (int i = 0; i < p->samples; i++) {
        int ones = 0;
        for (int k = 0; k < IDS; k++) ones += (int)draw_below(&stream, KINDS);
        p->images[KINDS * i] = (float)(IDS - ones);
        p->images[KINDS * i + 1] = (float)ones;
        const int wrong = draw_uniform(&stream, 0, 1) < LABEL_NOISE;
        p->labels[i] = (uint8_t)((ones + wrong) % CLASSES);
    }
    return &p->base;
}
