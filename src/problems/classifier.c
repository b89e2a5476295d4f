/* A network and its samples: a batch is drawn for each step; the full loss goes over all, batch
 * after batch. */
#include "problems/classifier.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/vectors.h"

enum { MAX_SAMPLES = 1 << 20 };

/* Each unit's weights times a factor of its own. */
static void fade(random_stream *stream, const net_tensor *t, double faint, float *weights)
{
    for (size_t i = 0; i < t->n; i += (size_t)t->fan_in) {
        const float factor = (float)draw_log_uniform(stream, faint, 1);
        for (size_t k = 0; k < (size_t)t->fan_in; k++) weights[i + k] *= factor;
    }
}

static void classifier_start(problem *base, float *x)
{
    const classifier *p = (const classifier *)base;
    const net_tensor *tensors = net_tensors(p->net) + p->constant_tensors;
    random_stream stream = draw_stream(base->seed, STREAM_INIT, 1);
    for (int k = 0; k < base->n_tensors; k++) {
        const net_tensor *t = &tensors[k];
        float *to = x + base->tensors[k].offset, scale = 1;
        if (p->start == START_NETWORK && !t->fan_in) {
            for (size_t i = 0; i < t->n; i++) to[i] = t->is_scale ? 1 : 0;
            continue;
        }
        if (p->start != START_NORMAL)
            scale = (float)(p->start_scale / sqrt(t->fan_in ? t->fan_in : (double)t->n));
        draw_normals(&stream, to, t->n, scale);
        const int normalised = k + 1 < base->n_tensors && tensors[k + 1].is_scale;
        if (p->faint > 0 && t->fan_in && normalised) fade(&stream, t, p->faint, to);
    }
    const size_t constants = p->all - base->n;
    if (p->given) memcpy(x, p->given + constants, (p->n_given - constants) * sizeof *x);
}

/* --- constants: x and what belongs to it are the end of what the network sees --- */

static const float *whole(const classifier *p, int which, const float *x)
{
    float *all = p->whole + (size_t)which * p->all;
    if (!p->whole) return x;
    memcpy(all + (p->all - p->base.n), x, p->base.n * sizeof *x);
    return all;
}

static double take_gradient(const classifier *p, const float *x, float *g)
{
    float *all = p->whole && g ? p->whole + p->all : g;
    const double f = net_gradient(p->net, whole(p, 0, x), all);
    if (all != g) memcpy(g, all + (p->all - p->base.n), p->base.n * sizeof *g);
    return f;
}

/* --- batches --- */

static size_t inputs_of(const classifier *p)
{
    return (size_t)p->channels * (size_t)p->height * (size_t)p->width;
}

static int within(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

static void augment_image(const classifier *p, random_stream *stream, const float *image, float *to)
{
    const augmentation *a = &p->augment;
    const uint32_t shifts = 2 * (uint32_t)a->shift + 1;
    const int down = (int)draw_below(stream, shifts) - a->shift;
    const int right = (int)draw_below(stream, shifts) - a->shift;
    const int mirror = draw_flag(stream, 0.5) && a->mirror;
    for (int c = 0; c < p->channels; c++, image += p->height * p->width)
        for (int y = 0; y < p->height; y++)
            for (int x = 0; x < p->width; x++) {
                const int from = within((mirror ? p->width - 1 - x : x) + right, p->width);
                *to++ = image[within(y + down, p->height) * p->width + from];
            }
}

/* The chosen images as step t sees them. */
static const float *augment(const classifier *p, uint64_t t)
{
    enum { BLOCK = 256 };
    float noise[BLOCK];
    const size_t inputs = inputs_of(p), all = inputs * (size_t)p->batch;
    random_stream stream = draw_stream(p->base.seed, STREAM_AUGMENT, t);
    for (int i = 0; i < p->batch; i++)
        augment_image(p, &stream, p->images + p->chosen[i] * inputs,
                      p->augmented + (size_t)i * inputs);
    for (size_t i = 0; i < all && p->augment.noise > 0; i += BLOCK) {
        const size_t here = all - i < BLOCK ? all - i : BLOCK;
        draw_normals(&stream, noise, here, p->augment.noise);
        vector_add(p->augmented + i, 1, noise, here);
    }
    return p->augmented;
}

static void set_batch(classifier *p, int batch)
{
    net_set_batch(p->net, p->images, p->labels, p->chosen, batch);
    if (p->truths) net_set_truths(p->net, p->truths, p->chosen);
}

static void draw_batch(classifier *p, uint64_t t)
{
    random_stream stream = draw_stream(p->base.seed, STREAM_ORDER, t);
    for (int i = 0; i < p->batch; i++) p->chosen[i] = draw_below(&stream, (uint32_t)p->samples);
    set_batch(p, p->batch);
    if (p->augmented) net_set_images(p->net, augment(p, t));
}

static double classifier_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    classifier *p = (classifier *)base;
    draw_batch(p, t);
    return take_gradient(p, x, g);
}

static void classifier_hvp(problem *base, const float *x, uint64_t t, const float *v, float *hv)
{
    classifier *p = (classifier *)base;
    draw_batch(p, t);
    float *all = p->whole ? p->whole + p->all : hv;
    net_hvp(p->net, whole(p, 0, x), whole(p, 2, v), all);
    if (all != hv) memcpy(hv, all + (p->all - base->n), base->n * sizeof *hv);
}

/* The mean over the samples, batch after batch: a normalisation sees batches as in training. */
static double classifier_full_gradient(problem *base, const float *x, float *g)
{
    classifier *p = (classifier *)base;
    double sum = 0;
    if (g) memset(g, 0, base->n * sizeof *g);
    for (int first = 0; first < p->samples; first += p->batch) {
        const int here = p->samples - first < p->batch ? p->samples - first : p->batch;
        for (int i = 0; i < here; i++) p->chosen[i] = (uint32_t)(first + i);
        set_batch(p, here);
        sum += here * take_gradient(p, x, g ? p->part : NULL);
        if (g) vector_add(g, (float)here / (float)p->samples, p->part, base->n);
    }
    return sum / p->samples;
}

static void classifier_free(problem *base)
{
    classifier *p = (classifier *)base;
    net_free(p->net);
    free(p->images);
    free(p->labels);
    free(p->truths);
    free(p->chosen);
    free(p->part);
    free(p->augmented);
    free(p->given);
    free(p->whole);
}

static classifier *allocate(net *n, uint64_t seed, opt_error *error)
{
    static const problem_ops ops = {classifier_start, classifier_gradient, classifier_hvp,
                                    classifier_full_gradient, classifier_free};
    const net_tensor *tensors = net_tensors(n);
    const int count = net_tensor_count(n);
    const char *names[2 * NET_MAX_LAYERS];
    size_t sizes[2 * NET_MAX_LAYERS];
    for (int k = 0; k < count; k++) {
        names[k] = tensors[k].name;
        sizes[k] = tensors[k].n;
    }
    return problem_allocate(sizeof(classifier), &ops, seed, count, names, sizes, error);
}

classifier *classifier_create(const net_spec *spec, int samples, int batch, uint64_t seed,
                              opt_error *error)
{
    if (!problem_check("the samples of a problem", samples, 1, MAX_SAMPLES, error)) return NULL;
    net *n = net_create(spec, batch, error);
    if (!n) return NULL;
    classifier *p = allocate(n, seed, error);
    if (!p) {
        net_free(n);
        return NULL;
    }
    p->net = n;
    p->all = p->base.n;
    p->samples = samples;
    p->batch = batch;
    p->channels = spec->channels, p->height = spec->height, p->width = spec->width;
    const size_t inputs = inputs_of(p);
    p->images = problem_floats((size_t)samples * inputs, error);
    p->labels = calloc((size_t)samples, 1);
    p->chosen = calloc((size_t)batch, sizeof *p->chosen);
    p->part = p->images ? problem_floats(p->base.n, error) : NULL;
    const bool detects = spec->loss == NET_DETECTOR;
    if (p->part && detects)
        p->truths = problem_floats(2 * (size_t)samples * (size_t)net_outputs(n), error);
    if (p->part && p->labels && p->chosen && (p->truths || !detects)) return p;
    if (p->part) opt_fail(error, OPT_NO_MEMORY, "no memory for %d samples", samples);
    problem_free(&p->base);
    return NULL;
}

opt_status classifier_start_from(classifier *p, const float *from, size_t n, int constants,
                                 opt_error *error)
{
    problem *base = &p->base;
    if (!(p->given = problem_floats(n, error))) return OPT_NO_MEMORY;
    memcpy(p->given, from, n * sizeof *from);
    p->n_given = n;
    if (constants == 0) return OPT_OK;
    if (!(p->whole = problem_floats(3 * p->all, error))) return OPT_NO_MEMORY;
    const size_t frozen = base->tensors[constants].offset;
    memcpy(p->whole, from, frozen * sizeof *from);
    p->constant_tensors = constants;
    base->n_tensors -= constants;
    base->n -= frozen;
    memmove(base->tensors, base->tensors + constants,
            (size_t)base->n_tensors * sizeof *base->tensors);
    for (int k = 0; k < base->n_tensors; k++) base->tensors[k].offset -= frozen;
    net_freeze(p->net, frozen);
    return OPT_OK;
}

opt_status classifier_augment(classifier *p, const augmentation *a, opt_error *error)
{
    p->augment = *a;
    if (!a->shift && !a->mirror && !(a->noise > 0)) return OPT_OK;
    if (!p->augmented) p->augmented = problem_floats((size_t)p->batch * inputs_of(p), error);
    return p->augmented ? OPT_OK : OPT_NO_MEMORY;
}
