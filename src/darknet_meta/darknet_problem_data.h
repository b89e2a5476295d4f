/* Private to darknet_problem*.c: the batches of `classifier train` and `cifar train`. */
#ifndef DARKNET_PROBLEM_DATA_H
#define DARKNET_PROBLEM_DATA_H

#include "darknet/darknet_private.h"

typedef struct batch_source batch_source;

/* Reads labels, list or records for a network of this shape; an error in them ends the program as
 * in the host's commands. NULL and *error: tag=1 or random=1. */
batch_source *batch_source_open(network *net, const char *cfg, const char *data, opt_error *error);
void batch_source_close(batch_source *s);
/* Changes when the records, or the paths in the list, do. */
uint64_t batch_source_digest(const batch_source *s);
/* The tree of classes that the truths are on, of tree= or of the network's own, or NULL. */
tree *batch_source_tree(const batch_source *s);

/* Draws batch number t of a training of this seed: `images` entries of chosen. */
void batch_draw(const batch_source *s, uint64_t seed, uint64_t t, int *chosen, int images);
/* Its images first to first + n - 1, augmented where the host does that, into input [n][inputs] and
 * truth [n][truths]. In several threads at once. */
void batch_fill(batch_source *s, uint64_t seed, uint64_t t, const int *chosen, int first, int n,
                float *input, float *truth);

#endif
