/* Batch normalisation: u = (z − μ)s with s = 1/√(σ² + ε) over pixels and batch, y = γu + β. */
#include <math.h>

#include "base/lanes.h"
#include "problems/net_private.h"

static const double NORM_EPS = 1e-5;

/* unit is laid out as the map's fields. */
static float *unit_row(const layer *l, int which, int channel, int y)
{
    return l->unit[which] + (map_row(l->out, VALUE, channel, y) - l->out->field[VALUE]);
}

static double count_of(const net *n, const map *m)
{
    return (double)m->height * m->width * n->batch;
}

/* Sum over the channel's live entries of a (b NULL), or of a·b. a and b are rows' getters'
 * results. */
typedef struct {
    const float *first; /* of row 0 */
    int stride;         /* floats between rows */
} rows;

static rows rows_of(const map *m, int field, int channel)
{
    return (rows){map_row(m, field, channel, 0), m->row};
}

static rows unit_rows(const layer *l, int which, int channel)
{
    return (rows){unit_row(l, which, channel, 0), l->out->row};
}

static double sum_product(const net *n, const map *m, rows a, rows b)
{
    lanes sum = lanes_set(0);
    for (int y = 0; y < m->height; y++)
        for (int i = 0; i < m->inside; i += LANES) {
            const lanes here = *(const lanes_any *)(a.first + y * a.stride + i) *
                               *(const lanes_any *)(n->live + i);
            sum += b.first ? here * *(const lanes_any *)(b.first + y * b.stride + i) : here;
        }
    return lanes_sum(sum);
}

static double sum_only(const net *n, const map *m, rows a)
{
    return sum_product(n, m, a, (rows){NULL, 0});
}

static double variance_sum(const net *n, const map *m, rows z, float mean)
{
    lanes sum = lanes_set(0);
    for (int y = 0; y < m->height; y++)
        for (int i = 0; i < m->inside; i += LANES) {
            const lanes off = (*(const lanes_any *)(z.first + y * z.stride + i) - mean) *
                              *(const lanes_any *)(n->live + i);
            sum += off * off;
        }
    return lanes_sum(sum);
}

void net_norm_forward(const net *n, layer *l, const float *x)
{
    const map *in = l->in, *out = l->out;
    const double count = count_of(n, out);
    for (int c = 0; c < out->channels; c++) {
        const rows z = rows_of(in, VALUE, c);
        const float mean = (float)(sum_only(n, out, z) / count);
        l->inverse[c] = 1 / sqrt(variance_sum(n, out, z, mean) / count + NORM_EPS);
        const float s = (float)l->inverse[c];
        const float scale = x[l->weights + (size_t)c], shift = x[l->biases + (size_t)c];
        for (int y = 0; y < out->height; y++) {
            const float *from = z.first + y * z.stride;
            float *unit = unit_row(l, 0, c, y), *to = map_row(out, VALUE, c, y);
            for (int i = 0; i < out->inside; i++) {
                unit[i] = (from[i] - mean) * s * n->live[i];
                to[i] = scale * unit[i] + shift;
            }
        }
    }
}

/* Rs = −s³·mean((z − μ)Rz) = −s²·mean(u Rz); Ru = s(Rz − Rμ) + u Rs/s. */
void net_norm_tangent(const net *n, layer *l, const float *x, const float *v)
{
    const map *in = l->in, *out = l->out;
    const double count = count_of(n, out);
    for (int c = 0; c < out->channels; c++) {
        const rows rz = rows_of(in, TANGENT, c);
        const double s = l->inverse[c];
        const float mean = (float)(sum_only(n, out, rz) / count);
        const double along = sum_product(n, out, unit_rows(l, 0, c), rz) / count;
        l->inverse_tangent[c] = -s * s * along;
        const float scale = x[l->weights + (size_t)c], scale_tangent = v[l->weights + (size_t)c];
        const float shift_tangent = v[l->biases + (size_t)c];
        const float stretch = (float)s, turn = (float)(-s * along);
        for (int y = 0; y < out->height; y++) {
            const float *from = rz.first + y * rz.stride, *unit = unit_row(l, 0, c, y);
            float *unit_tangent = unit_row(l, 1, c, y), *to = map_row(out, TANGENT, c, y);
            for (int i = 0; i < out->inside; i++) {
                unit_tangent[i] = (stretch * (from[i] - mean) + turn * unit[i]) * n->live[i];
                to[i] = scale * unit_tangent[i] + scale_tangent * unit[i] + shift_tangent;
            }
        }
    }
}

/* dz = γ s q with q = dy − mean(dy) − u·mean(dy u). */
void net_norm_backward(const net *n, layer *l, const float *x, float *g)
{
    const map *in = l->in, *out = l->out;
    const double count = count_of(n, out);
    for (int c = 0; c < out->channels; c++) {
        const rows dy = rows_of(out, SLOPE, c);
        const double sum = sum_only(n, out, dy);
        const double along = sum_product(n, out, dy, unit_rows(l, 0, c));
        if (g) {
            g[l->weights + (size_t)c] += (float)along;
            g[l->biases + (size_t)c] += (float)sum;
        }
        const float mean = (float)(sum / count), turn = (float)(along / count);
        const float stretch = x[l->weights + (size_t)c] * (float)l->inverse[c];
        for (int y = 0; y < out->height; y++) {
            const float *from = dy.first + y * dy.stride, *unit = unit_row(l, 0, c, y);
            float *to = map_row(in, SLOPE, c, y);
            for (int i = 0; i < out->inside; i++)
                to[i] += stretch * (from[i] - mean - turn * unit[i]) * n->live[i];
        }
    }
}

/* R(dz) = R(γ s) q + γ s Rq; Rq = Rdy − mean(Rdy) − Ru·mean(dy u) − u·R mean(dy u). */
void net_norm_backward_tangent(const net *n, layer *l, const float *x, const float *v, float *hv)
{
    const map *in = l->in, *out = l->out;
    const double count = count_of(n, out);
    for (int c = 0; c < out->channels; c++) {
        const rows dy = rows_of(out, SLOPE, c), rdy = rows_of(out, SLOPE_TANGENT, c);
        const double sum_tangent = sum_only(n, out, rdy);
        const double along = sum_product(n, out, dy, unit_rows(l, 0, c));
        const double along_tangent = sum_product(n, out, rdy, unit_rows(l, 0, c)) +
                                     sum_product(n, out, dy, unit_rows(l, 1, c));
        hv[l->weights + (size_t)c] += (float)along_tangent;
        hv[l->biases + (size_t)c] += (float)sum_tangent;
        const double scale = x[l->weights + (size_t)c], s = l->inverse[c];
        const float stretch = (float)(scale * s);
        const float stretch_tangent =
            (float)(v[l->weights + (size_t)c] * s + scale * l->inverse_tangent[c]);
        const float mean = (float)(sum_only(n, out, dy) / count), turn = (float)(along / count);
        const float mean_tangent = (float)(sum_tangent / count);
        const float turn_tangent = (float)(along_tangent / count);
        for (int y = 0; y < out->height; y++) {
            const float *from = dy.first + y * dy.stride,
                        *from_tangent = rdy.first + y * rdy.stride;
            const float *unit = unit_row(l, 0, c, y), *unit_tangent = unit_row(l, 1, c, y);
            float *to = map_row(in, SLOPE_TANGENT, c, y);
            for (int i = 0; i < out->inside; i++) {
                const float q = from[i] - mean - turn * unit[i];
                const float q_tangent = from_tangent[i] - mean_tangent - turn * unit_tangent[i] -
                                        turn_tangent * unit[i];
                to[i] += (stretch_tangent * q + stretch * q_tangent) * n->live[i];
            }
        }
    }
}
