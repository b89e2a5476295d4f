/* Shared by net.c (shapes, memory) and net_pass.c, net_norm.c, net_max_pool.c,
 * net_detector.c (arithmetic). */
#ifndef META_NET_PRIVATE_H
#define META_NET_PRIVATE_H

#include "problems/contract.h"
#include "problems/net.h"

/* The value of a map, its tangent R (the derivative along v), the derivative of the loss in it, and
 * the tangent of that. */
enum { VALUE, TANGENT, SLOPE, SLOPE_TANGENT, FIELDS };

typedef struct {
    int channels, height, width;
    int border;     /* 1 where there are several pixels: zeros */
    int row, plane; /* floats of a row, of a channel, borders included */
    int inside;     /* floats of a row's pixels */
    size_t size;
    float *field[FIELDS]; /* [channels][height + 2 border][width + 2 border][padded batch] */
} map;

typedef struct {
    net_layer spec;
    const map *in, *other, *out;
    size_t weights, biases; /* where they begin in x; scales and shifts of a normalisation */
    contraction forward;
    contraction
        backward[4]; /* convolutions with stride 2: one for each parity of rows and columns */
    int n_backward;
    float *unit[2]; /* NET_NORM: the normalised values, their tangent; laid out as out */
    double *inverse, *inverse_tangent; /* NET_NORM: [channels] 1/√(variance + ε) */
} layer;

struct net {
    net_spec spec;
    int batch, padded; /* padded: of max_batch, to whole vectors */
    int n_maps;
    map maps[NET_MAX_LAYERS + 1];
    layer layers[NET_MAX_LAYERS];
    int n_tensors;
    net_tensor tensors[2 * NET_MAX_LAYERS];
    size_t n_parameters;
    int first_trained; /* layers before it are constants, counted from 0 */
    double multiply_adds;
    float *live;     /* [widest row] 1 where a column of the batch is used, 0 in the padding */
    uint8_t *labels; /* [padded] of the batch */
    float *truth;    /* NET_DETECTOR: [2][outputs][padded]; weights are 0 in the padding */
    bool tangents_clear;
};

/* The first inner pixel of a row. */
static inline float *map_row(const map *m, int field, int channel, int y)
{
    const int pixel = m->border ? m->row / (m->width + 2) : 0;
    return m->field[field] + (size_t)channel * (size_t)m->plane + (y + m->border) * m->row + pixel;
}

/* Zeroes the tangents, borders included, before they are first used. */
void net_clear_tangents(net *n);

/* The detector's loss; SLOPE of the last map; its SLOPE_TANGENT. */
double net_detector_loss(const net *n);
void net_detector_slope(const net *n);
void net_detector_slope_tangent(const net *n);

/* out's value from in's; its tangent. */
void net_max_pool_forward(const layer *l);
void net_max_pool_tangent(const layer *l);
/* Adds to `field` of in from that of out. */
void net_max_pool_backward(const layer *l, int field);

/* out's value, or its tangent, from in's; x are all parameters, v their tangent. */
void net_norm_forward(const net *n, layer *l, const float *x);
void net_norm_tangent(const net *n, layer *l, const float *x, const float *v);
/* Adds to in's slope from out's, and to g unless NULL; the tangents of both. */
void net_norm_backward(const net *n, layer *l, const float *x, float *g);
void net_norm_backward_tangent(const net *n, layer *l, const float *x, const float *v, float *hv);

#endif
