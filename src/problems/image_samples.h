/* Labelled samples of image collections, drawn at random. */
#ifndef META_IMAGE_SAMPLES_H
#define META_IMAGE_SAMPLES_H

#include "base/random_stream.h"
#include "problems/classifier.h"
#include "problems/images.h"

typedef struct {
    int side;   /* index of image_sides */
    int colour; /* three channels: a grey image lies in a colour over another one; else one */
    int classes;
    double label_noise; /* the part of the labels that is drawn anew */
    int standardised;   /* pixels of mean 0 and variance 1; else within [0, 1] */
} sample_options;

/* A permutation of the classes whose first n are drawn. */
void image_classes_draw(random_stream *stream, int n, int order[IMAGE_CLASSES]);
void image_colour_draw(random_stream *stream, float colour[3]); /* each within [0, 1] */

/* Fills p's images and labels: images of some classes of one collection, every class equally
 * likely. p is of one channel or three, as colour says, and of that side. */
void image_samples_draw(classifier *p, random_stream *stream, const sample_options *options,
                        const image_data *images);

/* Paints a grey image of `pixels` pixels into [3][pixels]: in colour over a ground, whose colours
 * are those of another image, between two of its own. */
typedef struct {
    float front[3], ground[3], behind[3];
    float blend; /* of the image behind */
} colours;
void image_paint(const uint8_t *front, const uint8_t *behind, size_t pixels, const colours *c,
                 float *to);

/* Shifts and scales n values to mean 0 and variance 1. */
void image_standardise(float *values, size_t n);

#endif
