/* Classifiers of small real images. Everything is drawn from the seed: the collection, which
 * classes and images, wrong labels, the scale of the pixels, the batch, the network and the scale
 * of its start; of coloured images their colours and how batches are augmented; weight decay.
 * Networks are drawn until one is within the spec's limits. */
#include <math.h>
#include <stdlib.h>

#include "problems/classifier.h"
#include "problems/draw.h"
#include "problems/image_networks.h"
#include "problems/image_samples.h"

enum { MIN_BATCH = 8, MAX_BATCH = 128, MIN_SAMPLES = 256, MAX_SAMPLES = 2048, TRIES = 1000 };
enum { MAX_COLOURED = 1024 }; /* samples */
static const double MAX_LABEL_NOISE = 0.3, MAX_PIXEL_NOISE = 0.3, LEAST_DECAY = 1e-5;
static const double FAINTEST = 1e-3; /* inputs of variance 1 then have outputs of 1e-6 */

typedef struct {
    int batch, samples;
    sample_options sample;
    double start_scale, faint, decay;
    augmentation augment;
    net_spec net;
} task;

static void draw_augmentation(random_stream *stream, augmentation *a)
{
    a->shift = (int)draw_below(stream, 3);
    a->mirror = draw_flag(stream, 0.5);
    a->noise = draw_flag(stream, 0.5) ? (float)draw_uniform(stream, 0, MAX_PIXEL_NOISE) : 0;
}

/* Multiples of MIN_BATCH, and of the batch: no batch of the full loss is smaller than the
 * others. */
static void draw_task(random_stream *stream, const problem_spec *spec, task *t)
{
    const int most = spec->colour ? MAX_COLOURED : MAX_SAMPLES;
    sample_options *s = &t->sample;
    *t = (task){.sample.colour = spec->colour};
    s->classes = 2 + (int)draw_below(stream, IMAGE_CLASSES - 1);
    t->batch = draw_size(stream, MIN_BATCH, MAX_BATCH) / MIN_BATCH * MIN_BATCH;
    t->samples = (draw_size(stream, MIN_SAMPLES, most) + t->batch - 1) / t->batch * t->batch;
    s->label_noise = draw_flag(stream, 0.5) ? draw_uniform(stream, 0, MAX_LABEL_NOISE) : 0;
    s->standardised = draw_flag(stream, 0.5);
    t->start_scale = draw_log_uniform(stream, spec->start_low, spec->start_high);
    image_network_draw(stream, spec->network, spec->colour ? 3 : 1, spec->side, s->classes,
                       &t->net);
    if (spec->colour) draw_augmentation(stream, &t->augment);
    if (spec->decay > 0 && draw_flag(stream, 0.7))
        t->decay = draw_log_uniform(stream, LEAST_DECAY, spec->decay);
    if (spec->network == NETWORK_DEEP && draw_flag(stream, 0.3)) t->faint = FAINTEST;
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
        opt_fail(error, OPT_BAD_OPTION, "images of %d pixels across, expected %d, %d or %d",
                 spec->side, image_sides[0], image_sides[1], image_sides[2]);
        return false;
    }
    return problem_check("the least scale of a start", spec->start_low, 1e-6, 1e6, error) &&
           problem_check("the greatest scale of a start", spec->start_high, spec->start_low, 1e6,
                         error) &&
           problem_check("the greatest weight decay", spec->decay, 0, 1, error);
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

static classifier *make(const task *t, uint64_t seed, random_stream *stream,
                        const image_data *images, opt_error *error)
{
    classifier *p = classifier_create(&t->net, t->samples, t->batch, seed, error);
    if (!p) return NULL;
    p->start = START_NETWORK;
    p->start_scale = t->start_scale * (t->net.layers[0].act == ACT_RELU ? sqrt(2) : 1);
    p->faint = t->faint;
    for (int k = 0; k < p->base.n_tensors; k++)
        if (net_tensors(p->net)[k].fan_in) p->base.tensors[k].l2 = (float)t->decay;
    image_samples_draw(p, stream, &t->sample, images);
    if (!classifier_augment(p, &t->augment, error)) return p;
    problem_free(&p->base);
    return NULL;
}

problem *images_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    int side;
    if (!check(spec, images, &side, error)) return NULL;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    task t;
    if (!find_task(spec, &stream, &t, error)) return NULL;
    t.sample.side = side;
    return (problem *)make(&t, seed, &stream, images, error);
}
