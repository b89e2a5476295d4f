/* Numbers of a distribution from a stream (random_stream.h). */
#ifndef META_DRAW_H
#define META_DRAW_H

#include <stddef.h>

#include "base/random_stream.h"

/* A stream named by the seed of a problem. */
random_stream draw_stream(uint64_t seed, stream_purpose purpose, uint64_t index);

uint64_t draw_seed(random_stream *stream);
double draw_uniform(random_stream *stream, double low, double high);     /* [low, high) */
double draw_log_uniform(random_stream *stream, double low, double high); /* 0 < low <= high */
uint32_t draw_below(random_stream *stream, uint32_t n);                  /* 0 .. n - 1, n > 0 */
int draw_flag(random_stream *stream, double probability);                /* of 1 */
int draw_size(random_stream *stream, int low, int high); /* log-uniform, whole; 0 < low <= high */
float draw_normal(random_stream *stream);                /* N(0,1); two numbers of it */

/* out[n] = scale·N(0,1), drawn in pairs: the stream is left where that leaves it. */
void draw_normals(random_stream *stream, float *out, size_t n, float scale);

#endif
