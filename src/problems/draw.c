/* Each number is 32 bits of the stream; normal ones are Box and Muller's pairs, LANES at a time. */
#include "problems/draw.h"

#include <math.h>

#include "base/lanes.h"

static const float TWO_PI = 6.28318531f;

random_stream draw_stream(uint64_t seed, stream_purpose purpose, uint64_t index)
{
    random_stream stream;
    random_stream_start(&stream, seed, purpose, index);
    return stream;
}

uint64_t draw_seed(random_stream *stream)
{
    const uint64_t high = random_stream_u32(stream);
    return high << 32 | random_stream_u32(stream);
}

double draw_uniform(random_stream *stream, double low, double high)
{
    return low + (high - low) * (random_stream_u32(stream) * 0x1p-32);
}

double draw_log_uniform(random_stream *stream, double low, double high)
{
    const double x = exp(draw_uniform(stream, log(low), log(high)));
    return low == high ? low : x;
}

uint32_t draw_below(random_stream *stream, uint32_t n)
{
    return (uint32_t)((uint64_t)random_stream_u32(stream) * n >> 32);
}

int draw_flag(random_stream *stream, double probability)
{
    return draw_uniform(stream, 0, 1) < probability;
}

int draw_size(random_stream *stream, int low, int high)
{
    return (int)draw_log_uniform(stream, low, high + 1);
}

/* Sine and cosine of 2π·turns for turns in [-1/2, 1/2]: Taylor's series of the half angle, which is
 * within π/2, then the double-angle formulas. Error below 1e-6. */
LANES_FN void sine_cosine(lanes turns, lanes *sine, lanes *cosine)
{
    const lanes x = turns * (0.5f * TWO_PI), y = x * x;
    lanes s = y * -2.50521084e-8f + 2.75573192e-6f;
    s = s * y - 1.98412698e-4f;
    s = s * y + 8.33333333e-3f;
    s = s * y - 1.66666667e-1f;
    s = x + x * y * s;
    lanes c = y * -2.75573192e-7f + 2.48015873e-5f;
    c = c * y - 1.38888889e-3f;
    c = c * y + 4.16666667e-2f;
    c = c * y - 0.5f;
    c = 1.0f + y * c;
    *sine = 2.0f * s * c;
    *cosine = 1.0f - 2.0f * s * s;
}

/* Box and Muller's transform of LANES pairs of uniform numbers. */
LANES_FN void box_muller(const float *u, const float *v, float *first, float *second)
{
    const lanes length = *(const lanes_any *)u, turns = *(const lanes_any *)v;
    const lanes radius = lanes_sqrt(-2.0f * lanes_log(length));
    lanes sine, cosine;
    sine_cosine(turns, &sine, &cosine);
    *(lanes_any *)first = radius * cosine;
    *(lanes_any *)second = radius * sine;
}

/* (0, 1), and [-1/2, 1/2). */
static float open_unit(uint32_t bits) { return ((float)(bits >> 9) + 0.5f) * 0x1p-23f; }

static float centred_unit(uint32_t bits) { return (float)((int32_t)bits >> 8) * 0x1p-24f; }

float draw_normal(random_stream *stream)
{
    float one;
    draw_normals(stream, &one, 1, 1);
    return one;
}

enum { PAIRS = 16 }; /* of a block: the same numbers whatever LANES */

void draw_normals(random_stream *stream, float *out, size_t n, float scale)
{
    float u[PAIRS], v[PAIRS], z[2 * PAIRS];
    for (size_t done = 0; done < n; done += 2 * PAIRS) {
        const size_t here = n - done < 2 * PAIRS ? n - done : 2 * PAIRS;
        const size_t pairs = (here + 1) / 2;
        for (size_t i = 0; i < PAIRS; i++) {
            u[i] = i < pairs ? open_unit(random_stream_u32(stream)) : 0.5f;
            v[i] = i < pairs ? centred_unit(random_stream_u32(stream)) : 0;
        }
        for (size_t i = 0; i < PAIRS; i += LANES) {
            float first[LANES], second[LANES];
            box_muller(u + i, v + i, first, second);
            for (size_t j = 0; j < LANES; j++) {
                z[2 * (i + j)] = first[j];
                z[2 * (i + j) + 1] = second[j];
            }
        }
        for (size_t i = 0; i < here; i++) out[done + i] = scale * z[i];
    }
}
