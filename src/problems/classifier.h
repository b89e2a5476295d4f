/* A network on a fixed set of labelled samples, as a problem: what the families of classifiers and
 * detectors share. */
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

/* What is done to each image of a batch, drawn anew in every step; not for the loss on all data. */
typedef struct {
    int shift;   /* by up to so many pixels each way; the border is repeated */
    int mirror;  /* every second one, left and right */
    float noise; /* N(0, noise²) is added to every pixel */
} augmentation;

typedef struct {
    problem base;
    net *net;
    int samples, batch, channels, height, width;
    float *images;   /* [samples][inputs], inputs = channels·height·width */
    uint8_t *labels; /* [samples] */
    float *truths;   /* of a detector: [samples][2][outputs], as net_set_truths; else NULL */
    uint32_t *chosen;
    float *part; /* [n] the gradient of a part of the samples */
    start_kind start;
    double start_scale;
    double faint; /* not 0: a normalised unit's weights start as times log-uniform [faint, 1] */
    augmentation augment;
    /* Tensors whose parameters are constants, not among those of the problem; how many parameters
     * the network has, and those where the start is given. */
    int constant_tensors;
    size_t all, n_given;
    float *given; /* [n_given] */
    float *whole; /* [3][all] the network's parameters, gradient, direction; NULL: the problem's */
    float *augmented; /* [batch][inputs] of the last batch; NULL: as they are */
} classifier;

/* Batches of `batch` samples, drawn with replacement. The caller fills images and labels or truths
 * (zeroed here) before use. NULL and *error. */
classifier *classifier_create(const net_spec *spec, int samples, int batch, uint64_t seed,
                              opt_error *error);

/* From now on the first n parameters, whole tensors of the network, start as `from`; the first
 * `constants` tensors of these are constants and no longer parameters of the problem. Called
 * once. OPT_NO_MEMORY. */
opt_status classifier_start_from(classifier *p, const float *from, size_t n, int constants,
                                 opt_error *error);

/* From now on batches are augmented, if a does anything. OPT_NO_MEMORY. */
opt_status classifier_augment(classifier *p, const augmentation *a, opt_error *error);

#endif
