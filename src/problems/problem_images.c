/* Classifiers of small real images. Everything is drawn from the seed: the collection, which
 * classes and images, wrong labels, the scale of the pixels, the batch, the network and the scale
 * of its start; of coloured images their colours and how batches are augmented; weight decay.
 * Networks are drawn until one is within the spec's limits.
 *
 * A pretrained one starts where some steps of Adam end on a task of its own: images, classes and
 * labels drawn anew, of any collection, for the same network but for its last layer, which then is
 * a new one. Of half of them some first layers are constants. To make an instance takes as long as
 * those steps: pretraining/4 to pretraining of them, each of one gradient. */
#include <math.h>
#include <stdlib.h>

#include "problems/classifier.h"
#include "problems/draw.h"
#include "problems/image_networks.h"
#include "problems/image_samples.h"
#include "problems/image_task.h"

enum { MIN_BATCH = 8, MAX_BATCH = 128, MIN_SAMPLES = 256, MAX_SAMPLES = 2048 };
enum { MAX_COLOURED = 1024 }; /* samples */
static const double MAX_LABEL_NOISE = 0.3, MAX_PIXEL_NOISE = 0.3;
static const double LEAST_RATE = 1e-3, GREATEST_RATE = 1e-2; /* of pretraining */
static const double FAINTEST = 1e-3; /* inputs of variance 1 then have outputs of 1e-6 */

typedef struct {
    image_task base;
    sample_options sample;
    double faint;
} task;

static int draw_classes(random_stream *stream)
{
    return 2 + (int)draw_below(stream, IMAGE_CLASSES - 1);
}

static void draw_labels_and_pixels(random_stream *stream, sample_options *s)
{
    s->label_noise = draw_flag(stream, 0.5) ? draw_uniform(stream, 0, MAX_LABEL_NOISE) : 0;
    s->standardised = draw_flag(stream, 0.5);
}

static void draw_augmentation(random_stream *stream, augmentation *a)
{
    a->shift = (int)draw_below(stream, 3);
    a->mirror = draw_flag(stream, 0.5);
    a->noise = draw_flag(stream, 0.5) ? (float)draw_uniform(stream, 0, MAX_PIXEL_NOISE) : 0;
}

/* Multiples of MIN_BATCH, and of the batch: no batch of the full loss is smaller than the
 * others. */
static void draw_task(random_stream *stream, const problem_spec *spec, image_task *base)
{
    const int most = spec->colour ? MAX_COLOURED : MAX_SAMPLES;
    task *t = (task *)base;
    sample_options *s = &t->sample;
    *t = (task){.sample.colour = spec->colour};
    s->classes = draw_classes(stream);
    base->batch = draw_size(stream, MIN_BATCH, MAX_BATCH) / MIN_BATCH * MIN_BATCH;
    base->samples =
        (draw_size(stream, MIN_SAMPLES, most) + base->batch - 1) / base->batch * base->batch;
    draw_labels_and_pixels(stream, s);
    base->start_scale = draw_log_uniform(stream, spec->start_low, spec->start_high);
    image_network_draw(stream, spec->network, spec->colour ? 3 : 1, spec->side, s->classes,
                       &base->net);
    if (base->net.layers[0].act == ACT_RELU) base->start_scale *= sqrt(2);
    if (spec->colour) draw_augmentation(stream, &base->augment);
    base->decay = image_decay_draw(stream, spec);
    if (spec->network == NETWORK_DEEP && draw_flag(stream, 0.3)) t->faint = FAINTEST;
}

static classifier *make(const task *t, uint64_t seed, random_stream *stream,
                        const image_data *images, opt_error *error)
{
    classifier *p = image_task_create(&t->base, seed, error);
    if (!p) return NULL;
    p->faint = t->faint;
    image_samples_draw(p, stream, &t->sample, images);
    return p;
}

/* Where so many steps of Adam end, to be freed; where they do not end, the start. */
static float *train(problem *p, uint64_t steps, float rate, opt_error *error)
{
    opt_options options = opt_default_options("adam");
    options.rate = rate;
    float *x = problem_floats(2 * p->n, error), *g = x + p->n;
    opt_tensor *tensors = x ? problem_opt_tensors(p, x, g, error) : NULL;
    optimizer *opt = tensors ? opt_create(&options, tensors, p->n_tensors, error) : NULL;
    free(tensors);
    if (!opt) {
        free(x);
        return NULL;
    }
    problem_start(p, x);
    double loss = 0;
    for (uint64_t t = 0; t < steps && isfinite(loss); t++) {
        loss = problem_gradient(p, x, t, g);
        opt_step(opt, (float)loss, 1, NULL);
    }
    opt_free(opt);
    if (!isfinite(loss + problem_gradient(p, x, steps, NULL))) problem_start(p, x);
    return x;
}

/* How many of the first tensors are constants: those of some layers of weights and what follows
 * each, at least one, never the last. */
static int draw_constants(random_stream *stream, const classifier *p)
{
    int layers = 0, left;
    for (int k = 0; k < p->base.n_tensors; k++) layers += net_tensors(p->net)[k].fan_in > 0;
    if (layers < 2) return 0;
    left = 1 + (int)draw_below(stream, (uint32_t)layers - 1);
    for (int k = 0; k < p->base.n_tensors; k++)
        if (net_tensors(p->net)[k].fan_in && left-- == 0) return k;
    return 0;
}

/* The same network but for its last layer, on another task, gives p its start. */
static opt_status pretrain(classifier *p, int most, const task *of, const image_data *images,
                           opt_error *error)
{
    random_stream stream = draw_stream(p->base.seed, STREAM_INIT, 2);
    const int last = p->base.n_tensors - 2; /* weights and biases of the last layer */
    task before = *of;
    before.sample.classes = draw_classes(&stream);
    draw_labels_and_pixels(&stream, &before.sample);
    before.base.net.layers[before.base.net.n_layers - 1].channels = before.sample.classes;
    const uint64_t seed = draw_seed(&stream);
    const uint64_t steps = (uint64_t)draw_size(&stream, (most + 3) / 4, most);
    const double rate = draw_log_uniform(&stream, LEAST_RATE, GREATEST_RATE);
    const int frozen = draw_flag(&stream, 0.5) ? draw_constants(&stream, p) : 0;
    classifier *q = make(&before, seed, &stream, images, error);
    if (!q) return OPT_NO_MEMORY;
    float *x = train(&q->base, steps, (float)rate, error);
    opt_status status = x ? OPT_OK : OPT_NO_MEMORY;
    if (x) status = classifier_start_from(p, x, p->base.tensors[last].offset, frozen, error);
    free(x);
    problem_free(&q->base);
    return status;
}

problem *images_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    int side;
    if (!image_spec_check(spec, spec->side, images, &side, error) ||
        !problem_check("the steps of a pretraining", spec->pretraining, 0, 1e5, error))
        return NULL;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    task t;
    if (!image_task_find(draw_task, &stream, spec, "networks", &t.base, error)) return NULL;
    t.sample.side = side;
    classifier *p = make(&t, seed, &stream, images, error);
    if (!p || spec->pretraining == 0 || !pretrain(p, spec->pretraining, &t, images, error))
        return (problem *)p;
    problem_free(&p->base);
    return NULL;
}
