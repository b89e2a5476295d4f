/* A network on a fixed set of labelled samples, as a problem: what the families of classifiers
 * share. */
#ifndef META_CLASSIFIER_H
#define META_CLASSIFIER_H

#include "problems/net.h"
#include "problems/problem.h"

/* How parameters start: N(0,1) times what is said. */
typedef enum {
    START_NORMAL,  /* 1 */
    START_FAN_IN,  /* scale/√(inputs of a unit); biases: over √units */
    START_NETWORK, /* weights as START_FAN_IN; biases and shifts 0, scales 1 */
} start_kind;

typedef struct {
    problem base;
    net *net;
    int samples, batch;
    float *images;   /* [samples][inputs] */
    uint8_t *labels; /* [samples] */
    uint32_t *chosen;
    float *part; /* [n] the gradient of a part of the samples */
    start_kind start;
    double start_scale;
} classifier;

/* Batches of `batch` samples, drawn with replacement. The caller fills images and labels (zeroed
 * here) before use. NULL and *error. */
classifier *classifier_create(const net_spec *spec, int samples, int batch, uint64_t seed,
                              opt_error *error);

#endif
