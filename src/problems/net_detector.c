/* The loss of a detector: a grid of cells, for each of which the last map has an objectness, four
 * numbers of a box and a logit for each class; output number k·cells + cell, with k in that order.
 * Each output z has a target t and a weight w,
 *     w·½(z − t)²                        of a box's numbers,
 *     w·(log(1 + e^z) − t z)             of the logits,
 * summed over all outputs of an image, mean over the batch. Where nothing is, the box and the
 * classes weigh nothing: few cells are positive, and the others' objectness is most of the sum. */
#include "base/lanes.h"
#include "problems/net_private.h"

enum { BOX_FIRST = 1, BOX_LAST = 4 };

/* A vector of one output: its number, and where it is in the last map. */
typedef struct {
    int number, channel, y, at; /* at: in its row */
} output;

/* Of all vectors in turn: from {0}, to false. */
static bool next_output(const net *n, const map *last, output *o)
{
    o->at += LANES;
    if (o->at % n->padded) return true;
    o->number++;
    if (o->at < last->inside) return true;
    o->at = 0;
    if (++o->y < last->height) return true;
    o->y = 0;
    return ++o->channel < last->channels;
}

static bool is_box(const net *n, const output *o)
{
    const int k = o->number / n->spec.cells;
    return k >= BOX_FIRST && k <= BOX_LAST;
}

LANES_FN lanes read_truth(const net *n, const output *o, int weight)
{
    const int number = o->number + (weight ? net_outputs(n) : 0);
    return *(const lanes_any *)(n->truth + (size_t)number * (size_t)n->padded + o->at % n->padded);
}

LANES_FN lanes_any *field_at(const map *last, int field, const output *o)
{
    return (lanes_any *)(map_row(last, field, o->channel, o->y) + o->at);
}

/* log(1 + e^z); z − z keeps what is not finite visible. */
LANES_FN lanes softplus(lanes z)
{
    const lanes size = lanes_max(z, 0.0f - z);
    return lanes_max(z, lanes_set(0)) + lanes_log(1.0f + lanes_exp(0.0f - size)) + (z - z);
}

double net_detector_loss(const net *n)
{
    const map *last = &n->maps[n->spec.n_layers];
    double sum = 0;
    output o = {0};
    do {
        const lanes z = *field_at(last, VALUE, &o), t = read_truth(n, &o, 0);
        const lanes each = is_box(n, &o) ? 0.5f * (z - t) * (z - t) : softplus(z) - t * z;
        sum += lanes_sum(read_truth(n, &o, 1) * each);
    } while (next_output(n, last, &o));
    return sum / n->batch;
}

void net_detector_slope(const net *n)
{
    const map *last = &n->maps[n->spec.n_layers];
    const float share = 1.0f / (float)n->batch;
    output o = {0};
    do {
        const lanes z = *field_at(last, VALUE, &o), t = read_truth(n, &o, 0);
        const lanes each = is_box(n, &o) ? z - t : lanes_sigmoid(z) - t;
        *field_at(last, SLOPE, &o) = share * read_truth(n, &o, 1) * each;
    } while (next_output(n, last, &o));
}

void net_detector_slope_tangent(const net *n)
{
    const map *last = &n->maps[n->spec.n_layers];
    const float share = 1.0f / (float)n->batch;
    output o = {0};
    do {
        const lanes s = lanes_sigmoid(*field_at(last, VALUE, &o));
        const lanes each = is_box(n, &o) ? lanes_set(1) : s * (1.0f - s);
        *field_at(last, SLOPE_TANGENT, &o) =
            share * read_truth(n, &o, 1) * each * *field_at(last, TANGENT, &o);
    } while (next_output(n, last, &o));
}
