/* What an instance of a problem on images is drawn as, classifiers and detectors alike. */
#ifndef META_IMAGE_TASK_H
#define META_IMAGE_TASK_H

#include "base/random_stream.h"
#include "problems/classifier.h"

/* The first member of a family's own. */
typedef struct {
    int batch, samples;
    double start_scale, decay; /* of START_NETWORK; of the weights */
    augmentation augment;
    net_spec net;
} image_task;

/* Whether images are loaded, in that size (*index: of image_sides), and the scales of the start and
 * the weight decay are in range. */
bool image_spec_check(const problem_spec *spec, int side, const image_data *images, int *index,
                      opt_error *error);

/* The weight decay of an instance: 0 or log-uniform up to the spec's. */
double image_decay_draw(random_stream *stream, const problem_spec *spec);

/* Draws until a network is within the spec's limits of parameters and work. what: of them, in the
 * message that none was. */
typedef void image_task_draw(random_stream *stream, const problem_spec *spec, image_task *task);
bool image_task_find(image_task_draw *draw, random_stream *stream, const problem_spec *spec,
                     const char *what, image_task *task, opt_error *error);

/* The network and room for its samples, which the caller fills. NULL and *error. */
classifier *image_task_create(const image_task *task, uint64_t seed, opt_error *error);

#endif
