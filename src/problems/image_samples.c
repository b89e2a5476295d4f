#include "problems/image_samples.h"

#include <math.h>

#include "problems/draw.h"

void image_standardise(float *values, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    const double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    const float shift = (float)mean, scale = (float)(1 / sqrt(variance + 1e-6));
    for (size_t i = 0; i < n; i++) values[i] = (values[i] - shift) * scale;
}

void image_paint(const uint8_t *front, const uint8_t *behind, size_t pixels, const colours *c,
                 float *to)
{
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < pixels; i++) {
            const float seen = c->blend * (float)behind[i] / 255;
            const float ground = c->ground[k] + seen * (c->behind[k] - c->ground[k]);
            *to++ = ground + (float)front[i] / 255 * (c->front[k] - ground);
        }
}

void image_colour_draw(random_stream *stream, float colour[3])
{
    for (int k = 0; k < 3; k++) colour[k] = (float)draw_uniform(stream, 0, 1);
}

void image_classes_draw(random_stream *stream, int n, int order[IMAGE_CLASSES])
{
    for (int c = 0; c < IMAGE_CLASSES; c++) order[c] = c;
    for (int c = 0; c < n; c++) {
        const int other = c + (int)draw_below(stream, (uint32_t)(IMAGE_CLASSES - c));
        const int swap = order[c];
        order[c] = order[other], order[other] = swap;
    }
}

/* How the images of an instance are coloured: how much of a front's colour is its class's. */
typedef struct {
    float of_class[IMAGE_CLASSES][3], loyalty, blend;
} palette;

static palette draw_palette(random_stream *stream)
{
    palette p;
    for (int c = 0; c < IMAGE_CLASSES; c++) image_colour_draw(stream, p.of_class[c]);
    p.loyalty = (float)draw_uniform(stream, 0, 1);
    p.blend = (float)draw_uniform(stream, 0, 0.8);
    return p;
}

static void draw_painted(random_stream *stream, const palette *p, uint32_t class,
                         const image_set *set, const uint8_t *front, int side, float *to)
{
    const size_t pixels = (size_t)(image_sides[side] * image_sides[side]);
    const uint8_t *behind = set->pixels[side] + draw_below(stream, (uint32_t)set->n) * pixels;
    colours c = {.blend = p->blend};
    image_colour_draw(stream, c.front);
    image_colour_draw(stream, c.ground);
    image_colour_draw(stream, c.behind);
    for (int k = 0; k < 3; k++) c.front[k] += p->loyalty * (p->of_class[class][k] - c.front[k]);
    image_paint(front, behind, pixels, &c, to);
}

void image_samples_draw(classifier *p, random_stream *stream, const sample_options *options,
                        const image_data *images)
{
    const image_set *set = &images->sets[draw_below(stream, (uint32_t)images->n_sets)];
    const size_t pixels = (size_t)(image_sides[options->side] * image_sides[options->side]);
    const size_t inputs = options->colour ? 3 * pixels : pixels;
    int order[IMAGE_CLASSES];
    image_classes_draw(stream, options->classes, order);
    palette colouring = {0};
    if (options->colour) colouring = draw_palette(stream);
    for (int i = 0; i < p->samples; i++) {
        const uint32_t class = draw_below(stream, (uint32_t)options->classes);
        const size_t first = set->first[order[class]], end = set->first[order[class] + 1];
        const size_t from = first + draw_below(stream, (uint32_t)(end - first));
        const int wrong = draw_flag(stream, options->label_noise);
        const uint32_t other = draw_below(stream, (uint32_t)options->classes);
        const uint8_t *image = set->pixels[options->side] + from * pixels;
        float *to = p->images + (size_t)i * inputs;
        p->labels[i] = (uint8_t)(wrong ? other : class);
        if (options->colour)
            draw_painted(stream, &colouring, class, set, image, options->side, to);
        else
            for (size_t k = 0; k < pixels; k++) to[k] = (float)image[k] / 255;
    }
    if (options->standardised) image_standardise(p->images, (size_t)p->samples * inputs);
}
