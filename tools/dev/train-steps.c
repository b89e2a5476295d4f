/* Trains any cfg for a few steps on random images and random truth of the kind that its loss
 * expects, and checks that every number stays finite and that something was learned. For tests.
 *
 *   train-steps CFG [STEPS]
 *
 * Prints each step's cost. Exit status 0: trained; 1: the host refused the cfg; 3: the cfg has no
 * loss layer; 4: a cost or a parameter is not finite, or no parameter moved. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "darknet.h"
#include "darknet/darknet_hook.h"
#include "base/random_stream.h"

enum { TRAINED = 0, USAGE = 2, NO_LOSS = 3, FAILED = 4 };

static float uniform(random_stream *random)
{
    return (float)random_stream_u32(random) / 4294967296.0f;
}

static int below(random_stream *random, int n)
{
    return (int)(random_stream_u32(random) % (uint32_t)n);
}

/* The layer whose truth net->truth is: the last one that has a cost. */
static const layer *loss_layer(const network *net)
{
    for (int i = net->n - 1; i >= 0; --i)
        if (net->layers[i].cost && !net->layers[i].noloss) return &net->layers[i];
    return NULL;
}

/* A class of a hierarchy: its ancestors hold too; groups off the path have no label. */
static void fill_tree_truth(const tree *tree, float *truth, random_stream *random)
{
    for (int i = 0; i < tree->n; ++i) truth[i] = 0;
    for (int c = below(random, tree->n); c >= 0; c = tree->parent[c]) truth[c] = 1;
    for (int g = 0; g < tree->groups; ++g) {
        float *group = truth + tree->group_offset[g];
        int labelled = 0;
        for (int i = 0; i < tree->group_size[g]; ++i) labelled |= group[i] == 1;
        for (int i = 0; !labelled && i < tree->group_size[g]; ++i) group[i] = SECRET_NUM;
    }
}

static void fill_box(float *box, random_stream *random)
{
    for (int i = 0; i < 2; ++i) box[i] = 0.1f + 0.8f * uniform(random);
    for (int i = 2; i < 4; ++i) box[i] = 0.05f + 0.3f * uniform(random);
}

/* Two objects: x, y, w, h, more coordinates, class. The rest stays 0: no object. */
static void fill_boxes(const layer *l, float *truth, random_stream *random)
{
    int coords = l->type == YOLO ? 4 : l->coords;
    int classes = l->classes;
    if (l->map) /* labels are numbered as its lines, which -1 ends */
        for (classes = 0; l->map[classes] >= 0;) ++classes;
    for (int t = 0; t < 2; ++t, truth += coords + 1) {
        fill_box(truth, random);
        for (int i = 4; i < coords; ++i) truth[i] = uniform(random);
        truth[coords] = (float)below(random, classes);
    }
}

/* Each cell: object or not, class, box. */
static void fill_grid(const layer *l, float *truth, random_stream *random)
{
    int cell = 1 + l->classes + l->coords;
    for (int i = 0; i < l->side * l->side; ++i, truth += cell) {
        if (below(random, 4)) continue;
        truth[0] = 1;
        truth[1 + below(random, l->classes)] = 1;
        fill_box(truth + 1 + l->classes, random);
    }
}

/* Two instances, class and mask each; the next class -1 ends the list. */
static void fill_instances(const layer *l, float *truth, random_stream *random)
{
    int size = l->w * l->h;
    for (int t = 0; t < 2; ++t, truth += 1 + size) {
        truth[0] = (float)below(random, l->classes);
        for (int i = 0; i < size; ++i) truth[1 + i] = (float)below(random, 2);
    }
    truth[0] = -1;
}

static void fill_truth(const network *net, const layer *l, float *truth, random_stream *random)
{
    memset(truth, 0, (size_t)net->truths * sizeof *truth);
    if (l->type == YOLO || l->type == REGION)
        fill_boxes(l, truth, random);
    else if (l->type == DETECTION)
        fill_grid(l, truth, random);
    else if (l->type == ISEG)
        fill_instances(l, truth, random);
    else if (l->type == SOFTMAX && l->softmax_tree)
        fill_tree_truth(l->softmax_tree, truth, random);
    else if (l->type == SOFTMAX)
        for (int g = 0; g < l->groups; ++g)
            truth[g * (net->truths / l->groups) + below(random, net->truths / l->groups)] = 1;
    else
        for (int i = 0; i < net->truths; ++i) truth[i] = uniform(random);
}

/* Adds up the n numbers; not finite when one of them is not. */
static double add(const float *numbers, size_t n)
{
    double sum = 0;
    for (size_t i = 0; numbers && i < n; ++i) sum += (double)numbers[i] * (double)(i % 7 + 1);
    return sum;
}

/* What training moves: the parameters, or the running means and variances of batch
 * normalisation. */
typedef enum { PARAMETERS, STATISTICS } what;

/* A number that changes when one of these does. */
static double add_layer(const layer *l, what which)
{
    if (!l) return 0;
    const layer *subs[] = {l->input_layer, l->self_layer, l->output_layer, l->ur, l->uz, l->uh,
                           l->wr,          l->wz,         l->wh,           l->wf, l->wi, l->wg,
                           l->wo,          l->uf,         l->ui,           l->ug, l->uo};
    double sum = 0;
    for (size_t s = 0; s < sizeof subs / sizeof *subs; ++s) sum += add_layer(subs[s], which);
    int conv = l->type == CONVOLUTIONAL || l->type == DECONVOLUTIONAL;
    int full = l->type == CONNECTED || l->type == LOCAL;
    int norm = l->type == BATCHNORM;
    int normalized = ((conv || full) && l->batch_normalize) || norm;
    size_t n = (size_t)(conv ? l->n : norm ? l->c : l->outputs);
    if (which == STATISTICS)
        return normalized ? sum + add(l->rolling_mean, n) + add(l->rolling_variance, n) : sum;
    if (conv) sum += add(l->weights, (size_t)l->nweights);
    if (l->type == CONNECTED) sum += add(l->weights, (size_t)l->inputs * (size_t)l->outputs);
    if (l->type == LOCAL)
        sum += add(l->weights, (size_t)l->size * l->size * l->c * l->n * l->out_w * l->out_h);
    if (conv || full || norm) sum += add(l->biases, n);
    if (normalized) sum += add(l->scales, n);
    return sum;
}

static double add_network(const network *net, what which)
{
    double sum = 0;
    for (int i = 0; i < net->n; ++i) sum += add_layer(&net->layers[i], which);
    return sum;
}

static int train(network *net, const layer *loss, int steps)
{
    random_stream random;
    random_stream_start(&random, 1, STREAM_OTHER, 0);
    double start = add_network(net, PARAMETERS), sum = start;
    for (int s = 0; s < steps * net->subdivisions; ++s) {
        for (int i = 0; i < net->inputs * net->batch; ++i) net->input[i] = uniform(&random);
        for (int b = 0; b < net->batch; ++b)
            fill_truth(net, loss, net->truth + (size_t)b * (size_t)net->truths, &random);
        float cost = train_network_datum(net);
        sum = add_network(net, PARAMETERS);
        int sound = isfinite(sum) && isfinite(add_network(net, STATISTICS));
        printf("step %d: cost %g\n", s + 1, (double)cost);
        if (isfinite(cost) && sound) continue;
        fprintf(stderr, "step %d: %s not finite\n", s + 1,
                isfinite(cost) ? "a parameter or a statistic is" : "the cost is");
        return FAILED;
    }
    if (sum != start) return TRAINED;
    fprintf(stderr, "no parameter moved\n");
    return FAILED;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s CFG [STEPS]\n", argv[0]);
        return USAGE;
    }
    gpu_index = -1;
    network *net = load_network(argv[1], NULL, 0);
    const layer *loss = loss_layer(net);
    if (!loss) {
        fprintf(stderr, "no loss layer\n");
        return NO_LOSS;
    }
    hook_start_training(net, NULL, 0);
    return train(net, loss, argc > 2 ? atoi(argv[2]) : 3);
}
