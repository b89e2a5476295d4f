/* Small networks, classifiers and detectors: loss, gradient and exact Hessian-vector product
 * (Pearlmutter 1994) of a batch.
 *
 * The output of a layer is a map [channels][height][width][batch]; layers of several pixels keep a
 * border of one zero pixel. The batch is padded to whole vectors; the padding takes no part in the
 * loss, nor in the statistics of batch normalisation, which are always those of the batch. */
#ifndef META_NET_H
#define META_NET_H

#include <stdint.h>
#include <stddef.h>
#include "base/error.h"
#include "problems/problem.h"

typedef enum {
    NET_DENSE,    /* every input pixel to every unit, with a bias */
    NET_CONV,     /* 3x3, borders of zeros, stride 1 or 2, with a bias */
    NET_NORM,     /* batch normalisation: scale and shift of a channel, over pixels and batch */
    NET_ADD,      /* the sum of two maps of one shape */
    NET_POOL,     /* mean over the pixels of each channel */
    NET_MAX_POOL, /* maximum of 2x2 pixels, stride 2; at an odd border of those that there are */
} net_kind;

/* Map 0 is the input; map i is the output of layer i, counted from 1. from: map numbers. */
typedef struct {
    net_kind kind;
    activation act; /* of the output */
    int from;       /* the input; -1 and 0 (but for layer 1's): the map before */
    int other;      /* NET_ADD: the second map */
    int channels;   /* NET_DENSE, NET_CONV: of the output */
    int stride;     /* NET_CONV: 1 or 2 */
    int no_bias;    /* NET_DENSE, NET_CONV */
} net_layer;

/* The loss of the last map. */
typedef enum {
    NET_CROSS_ENTROPY, /* of the softmax of one pixel's channels, mean over the batch */
    NET_DETECTOR,      /* net_detector.c */
} net_loss;

enum { NET_MAX_LAYERS = 64 };

typedef struct {
    int channels, height, width; /* of the input */
    int n_layers;
    net_layer layers[NET_MAX_LAYERS]; /* the last one's output is the logits */
    double l2_mean;                   /* loss += l2_mean · Σ over tensors of the mean of x² */
    net_loss loss;
    int cells; /* NET_DETECTOR: of the grid; those of a map of pixels are the pixels */
} net_spec;

typedef struct net net;

/* A network for batches of up to max_batch. NULL and *error: a shape does not fit, no memory. */
net *net_create(const net_spec *spec, int max_batch, opt_error *error);
void net_free(net *n);

/* The tensors of the parameters, in the order of x: "1.weights" [channels][inputs] and "1.biases"
 * of layer 1, "2.scales" and "2.shifts" of a normalisation. fan_in: inputs of a unit, of weights;
 * else 0. */
typedef struct {
    char name[24];
    size_t n;
    int layer; /* from 1 */
    int fan_in;
    int is_scale; /* starts at 1 */
} net_tensor;
int net_tensor_count(const net *n);
const net_tensor *net_tensors(const net *n);
/* The parameters of a network of a sound spec, without making it, and its multiply-adds for one
 * image, forward; a gradient takes about three times as many. */
size_t net_count(const net_spec *spec, double *multiply_adds);
double net_multiply_adds(const net *n);

/* Sets the batch: image b is images[chosen[b]] of [channels][height][width] floats, its class
 * labels[chosen[b]]. batch <= max_batch. */
void net_set_batch(net *n, const float *images, const uint8_t *labels, const uint32_t *chosen,
                   int batch);
/* NET_DETECTOR: and what is wanted, truths[chosen[b]] of [2][net_outputs]: targets, then weights;
 * after net_set_batch. */
void net_set_truths(net *n, const float *truths, const uint32_t *chosen);
int net_outputs(const net *n); /* numbers in the last map, of an image */
/* Replaces the images of the batch by images[batch]. */
void net_set_images(net *n, const float *images);

/* From now on the first so many parameters, of whole layers, are constants: a gradient's or a
 * product's entries of them mean nothing, and take no time. */
void net_freeze(net *n, size_t parameters);

/* The loss of the batch, with the regulariser; its gradient into g unless NULL. Not
 * finite when a pre-activation was not. */
double net_gradient(net *n, const float *x, float *g);

/* hv = Hessian of net_gradient's objective times v. */
void net_hvp(net *n, const float *x, const float *v, float *hv);

#endif
