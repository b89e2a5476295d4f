/* Detectors of small images on a ground: scenes of one to four, each of a class, a place, a size
 * and a colour of its own. The cell that an object's middle lies in is positive; the numbers of its
 * box are where in the cell the middle is, and the logarithms of its size. As in a training of
 * users the loss is a sum over cells (net_detector.c), tens to hundreds in size, most of it of few
 * cells. */
#include <math.h>

#include "problems/draw.h"
#include "problems/image_networks.h"
#include "problems/image_samples.h"
#include "problems/image_task.h"

enum { CELL = 4, SIDE = 16, MIN_SIZE = 5, MAX_SIZE = 12, MAX_OBJECTS = 4, MAX_SIDE = 32 };
enum { MIN_BATCH = 8, MAX_BATCH = 32, MIN_SAMPLES = 128, MAX_SAMPLES = 384 };
enum { OBJECT, BOX, CLASSES = 5 }; /* numbers of a cell */
static const double MEAN_SIZE = 8, MAX_PIXEL_NOISE = 0.2;

typedef struct {
    image_task base;
    int grid, classes, standardised;
    int order[IMAGE_CLASSES];   /* of the collection's classes; the first are used */
    float object, nothing, box; /* weights: of a positive cell, of the others, of a box */
} task;

/* One scene that is being painted. */
typedef struct {
    const task *t;
    const uint8_t *pixels; /* [images][SIDE][SIDE] */
    const image_set *set;
    float *image, *truth;
} scene;

static void draw_task(random_stream *stream, const problem_spec *spec, image_task *base)
{
    task *t = (task *)base;
    *t = (task){.grid = 4 + 2 * (int)draw_below(stream, 3)};
    t->classes = 1 + (int)draw_below(stream, 5);
    base->batch = draw_size(stream, MIN_BATCH, MAX_BATCH) / MIN_BATCH * MIN_BATCH;
    base->samples =
        (draw_size(stream, MIN_SAMPLES, MAX_SAMPLES) + base->batch - 1) / base->batch * base->batch;
    t->standardised = draw_flag(stream, 0.5);
    t->object = (float)draw_log_uniform(stream, 1, 5);
    t->nothing = (float)draw_log_uniform(stream, 0.2, 1);
    t->box = (float)draw_log_uniform(stream, 1, 20);
    base->start_scale =
        draw_log_uniform(stream, spec->start_low, spec->start_high) * sqrt(2); /* ReLU */
    base->decay = image_decay_draw(stream, spec);
    if (draw_flag(stream, 0.5))
        base->augment.noise = (float)draw_uniform(stream, 0, MAX_PIXEL_NOISE);
    image_detector_draw(stream, CELL * t->grid, t->grid, t->classes, &base->net);
}

static const uint8_t *draw_image(random_stream *stream, const scene *s, int class)
{
    const size_t first = s->set->first[class], end = s->set->first[class + 1];
    return s->pixels + (first + draw_below(stream, (uint32_t)(end - first))) * SIDE * SIDE;
}

/* Two colours, mixed as the image of any class has it. */
static void paint_ground(random_stream *stream, scene *s)
{
    uint8_t ground[MAX_SIDE * MAX_SIDE], nothing[MAX_SIDE * MAX_SIDE] = {0};
    const int side = CELL * s->t->grid;
    const uint8_t *image = draw_image(stream, s, (int)draw_below(stream, IMAGE_CLASSES));
    colours c = {.blend = (float)draw_uniform(stream, 0, 1)};
    image_colour_draw(stream, c.ground);
    image_colour_draw(stream, c.behind);
    for (int i = 0; i < side * side; i++)
        ground[i] = image[i / side * SIDE / side * SIDE + i % side * SIDE / side];
    image_paint(nothing, ground, (size_t)(side * side), &c, s->image);
}

/* An image of SIDE pixels as one of width and height there. */
static void paint_object(const scene *s, const uint8_t *image, int left, int top, int width,
                         int height, const float colour[3])
{
    const int side = CELL * s->t->grid;
    for (int k = 0; k < 3; k++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                const float seen = (float)image[y * SIDE / height * SIDE + x * SIDE / width] / 255;
                float *at = s->image + ((k * side + top + y) * side + left + x);
                *at += seen * (colour[k] - *at);
            }
}

static void set_truth(const scene *s, int cell, int k, double target, float weight)
{
    const int cells = s->t->grid * s->t->grid, outputs = cells * (CLASSES + s->t->classes);
    s->truth[k * cells + cell] = (float)target;
    s->truth[outputs + k * cells + cell] = weight;
}

/* Nothing, where another one's middle is in the same cell. */
static void add_object(random_stream *stream, const scene *s)
{
    const task *t = s->t;
    const int side = CELL * t->grid, width = draw_size(stream, MIN_SIZE, MAX_SIZE);
    const int height = draw_size(stream, MIN_SIZE, MAX_SIZE);
    const int class = (int)draw_below(stream, (uint32_t)t->classes);
    const int left = (int)draw_below(stream, (uint32_t)(side - width + 1));
    const int top = (int)draw_below(stream, (uint32_t)(side - height + 1));
    const double x = (left + 0.5 * width) / CELL, y = (top + 0.5 * height) / CELL;
    const int cell = (int)y * t->grid + (int)x;
    float colour[3];
    image_colour_draw(stream, colour);
    if (s->truth[cell] > 0) return;
    paint_object(s, draw_image(stream, s, t->order[class]), left, top, width, height, colour);
    const double box[] = {x - floor(x) - 0.5, y - floor(y) - 0.5, log(width / MEAN_SIZE),
                          log(height / MEAN_SIZE)};
    set_truth(s, cell, OBJECT, 1, t->object);
    for (int k = 0; k < 4; k++) set_truth(s, cell, BOX + k, box[k], t->box);
    for (int c = 0; c < t->classes; c++) set_truth(s, cell, CLASSES + c, c == class, 1);
}

static void draw_scenes(classifier *p, random_stream *stream, task *t, const image_data *images,
                        int side)
{
    const image_set *set = &images->sets[draw_below(stream, (uint32_t)images->n_sets)];
    const size_t inputs = 3 * (size_t)(p->height * p->width);
    const size_t outputs = (size_t)net_outputs(p->net);
    image_classes_draw(stream, t->classes, t->order);
    for (size_t i = 0; i < (size_t)p->samples; i++) {
        scene s = {t, set->pixels[side], set, p->images + i * inputs, p->truths + 2 * i * outputs};
        const int objects = 1 + (int)draw_below(stream, MAX_OBJECTS);
        paint_ground(stream, &s);
        for (int cell = 0; cell < t->grid * t->grid; cell++)
            set_truth(&s, cell, OBJECT, 0, t->nothing);
        for (int k = 0; k < objects; k++) add_object(stream, &s);
    }
    if (t->standardised) image_standardise(p->images, (size_t)p->samples * inputs);
}

problem *detector_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                          opt_error *error)
{
    int side;
    if (!image_spec_check(spec, SIDE, images, &side, error)) return NULL;
    random_stream stream = draw_stream(seed, STREAM_INIT, 0);
    task t;
    if (!image_task_find(draw_task, &stream, spec, "detectors", &t.base, error)) return NULL;
    classifier *p = image_task_create(&t.base, seed, error);
    if (p) draw_scenes(p, &stream, &t, images, side);
    return (problem *)p;
}
