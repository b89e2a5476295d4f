/* Maxima of 2x2 pixels. What goes to an output comes from the first of its largest inputs, found
 * anew in each pass: an activation may have replaced the output. */
#include "base/lanes.h"
#include "problems/net_private.h"

enum { WINDOW = 4 };

/* The inputs of an output pixel: offsets from the first one, in floats. */
typedef struct {
    int n, at[WINDOW];
} window;

static window window_of(const map *in, int y, int x)
{
    const int padded = in->inside / in->width;
    window w = {0};
    for (int i = 0; i < WINDOW; i++)
        if (2 * y + i / 2 < in->height && 2 * x + i % 2 < in->width)
            w.at[w.n++] = i / 2 * in->row + i % 2 * padded;
    return w;
}

LANES_FN lanes largest(const float *z, const window *w)
{
    lanes top = *(const lanes_any *)z;
    for (int i = 1; i < w->n; i++) top = lanes_max(top, *(const lanes_any *)(z + w->at[i]));
    return top;
}

/* z − z keeps what is not finite visible where the maximum would hide it. */
LANES_FN lanes largest_and_bad(const float *z, const window *w)
{
    lanes bad = lanes_set(0);
    for (int i = 0; i < w->n; i++) {
        const lanes here = *(const lanes_any *)(z + w->at[i]);
        bad += here - here;
    }
    return largest(z, w) + bad;
}

/* 1 for the input that the output comes from, 0 for the others. */
LANES_FN void choose(const float *z, const window *w, lanes part[WINDOW])
{
    const lanes top = largest(z, w);
    lanes left = lanes_set(1);
    for (int i = 0; i < w->n; i++) {
        part[i] = lanes_if_less(*(const lanes_any *)(z + w->at[i]), top, lanes_set(0), left);
        left -= part[i];
    }
}

typedef enum { FORWARD, ALONG, BACKWARD } direction;

/* A vector of an output: z are its inputs' values, in and out the fields that are read and
 * written. */
LANES_FN void pool_one(direction to, const float *z, float *in, float *out, const window *w)
{
    lanes part[WINDOW], sum = lanes_set(0);
    if (to == FORWARD) {
        *(lanes_any *)out = largest_and_bad(z, w);
        return;
    }
    choose(z, w, part);
    for (int i = 0; i < w->n; i++) {
        lanes_any *at = (lanes_any *)(in + w->at[i]);
        if (to == ALONG)
            sum += part[i] * *at;
        else
            *at += part[i] * *(const lanes_any *)out;
    }
    if (to == ALONG) *(lanes_any *)out = sum;
}

LANES_FN void pool_all(direction to, const layer *l, int field_in, int field_out)
{
    const map *in = l->in, *out = l->out;
    const int padded = in->inside / in->width;
    for (int c = 0; c < out->channels; c++)
        for (int y = 0; y < out->height; y++) {
            const float *z = map_row(in, VALUE, c, 2 * y);
            float *from = map_row(in, field_in, c, 2 * y), *at = map_row(out, field_out, c, y);
            for (int x = 0; x < out->width; x++) {
                const window w = window_of(in, y, x);
                for (int i = 0; i < padded; i += LANES)
                    pool_one(to, z + 2 * x * padded + i, from + 2 * x * padded + i,
                             at + x * padded + i, &w);
            }
        }
}

void net_max_pool_forward(const layer *l) { pool_all(FORWARD, l, VALUE, VALUE); }

void net_max_pool_tangent(const layer *l) { pool_all(ALONG, l, TANGENT, TANGENT); }

void net_max_pool_backward(const layer *l, int field) { pool_all(BACKWARD, l, field, field); }
