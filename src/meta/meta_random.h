/* The random streams of meta-training: each is named by what it is for and by two indices, and does
 * not depend on which thread or rank draws it. */
#ifndef META_RANDOM_H
#define META_RANDOM_H

#include <xxhash.h>

#include "problems/draw.h"

typedef enum {
    META_START,         /* start values of a model; 0, 0 */
    META_PERTURBATION,  /* direction of a pair; pair, outer step or episode */
    META_EPISODE,       /* row, length and seed of an episode; pair, episode */
    META_UNROLL,        /* length of an unroll; pair, outer step */
    META_LEARNING_RATE, /* starting learning rates of an episode; tensor, 0 */
    META_EVALUATION,    /* an instance that a model is judged on; digest of its row's name, seed */
    META_BLIND,         /* whether an episode has no horizon; 0, 0 */
} meta_purpose;

static inline random_stream meta_stream(uint64_t seed, meta_purpose purpose, uint64_t a, uint64_t b)
{
    const uint64_t name[4] = {seed, (uint64_t)purpose, a, b};
    return draw_stream(XXH3_64bits(name, sizeof name), STREAM_OTHER, 0);
}

#endif
