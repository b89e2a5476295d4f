/* How a block of state keeps its rows, and the way of a tile from there and back.
 *
 * Full: floats. Compact: 16 bits a number, but for η, which stays a float:
 *     h             a whole number of units, 1/32766 of the largest |h| that the model can reach
 *     a_s, φ − θ    a sign, 7 bits of exponent, 8 of mantissa: 0 and from just above 2^-67 to 2^61
 *     m_s           7 bits of exponent, 9 of mantissa: 0 and from just above 2^-40 to 2^88
 * What is smaller becomes 0, what is larger the largest. A step rounds up or down at random, by how
 * near either is: to the nearest, an average that moves by less than half a unit a step would never
 * move. The random numbers are a function of the step, the tensor and the parameter, so the same
 * seed gives the same bits; all that is asked of them is that they are not biased.
 *
 * A block, 64 parameters of one tensor; each row is 64 numbers side by side, the parameters in
 * their order. Bytes from its start; where a tensor ends in a block, the numbers beyond it are
 * nobody's:
 *
 *     rows    h_0 … h_9      a_0 … a_3      m_0 … m_3        η        θ or φ; φ − θ
 *           +--------------+--------------+--------------+----------+---------------+
 *     full  |  10 x 256 B  |  4 x 256 B   |  4 x 256 B   |  256 B   |     256 B     |
 *           +--------------+--------------+--------------+----------+---------------+
 *           0            2560           3584           4608       4864            5120
 *           +--------------+--------------+--------------+----------+---------------+
 *  compact  |  10 x 128 B  |  4 x 128 B   |  4 x 128 B   |  256 B   |     128 B     |
 *           +--------------+--------------+--------------+----------+---------------+
 *           0            1280           1792           2304       2560            2688
 *
 * The last row is there with attention only: 76 bytes a parameter or 80, compact 40 or 42. */
#ifndef HRNN_ROWS_H
#define HRNN_ROWS_H

#include "hrnn/hrnn_cell.h"

typedef struct {
    int compact;       /* a constant where the step is specialised */
    float hidden_unit; /* of h in a compact block */
    uint32_t key;      /* of a tensor's random numbers in a step */
} row_format;

/* Bytes from the start of a block to a row's 64 numbers; row may be the one after the last. */
HRNN_ANYWHERE size_t row_offset(int compact, int row)
{
    const size_t halves = compact ? (size_t)(row + (row > ROW_LOG_LR)) : 2 * (size_t)row;
    return halves * BLOCK * sizeof(uint16_t);
}

/* Bytes of one number of a row. */
HRNN_ANYWHERE size_t row_width(int compact, int row)
{
    return compact && row != ROW_LOG_LR ? sizeof(uint16_t) : sizeof(float);
}

/* The key of a tensor in the steps-th step. */
HRNN_ANYWHERE uint32_t rounding_key(uint64_t steps, int tensor)
{
    return (uint32_t)((steps * 0x9E3779B97F4A7C15u) >> 32) + (uint32_t)tensor * 0x85EBCA6Bu;
}

/* The rows that are small floats: bits that are cut off the mantissa, the exponent that 0 stands
 * for, the largest number's bits. */
typedef struct {
    int cut, base, most;
} small_float;
LANES_FN small_float small_float_of(int row)
{
    const small_float average = {15, (127 - 67) << 23, 0x7fff};
    const small_float mean_square = {14, (127 - 40) << 23, 0xffff};
    return row >= ROW_MEAN_SQUARE && row < ROW_LOG_LR ? mean_square : average;
}

/* The number that the low 16 bits stand for; the others are 0. */
LANES_FN lanes widen(const row_format *format, int row, lanes_int bits)
{
    if (row < ROW_AVERAGE)
        return lanes_from_int(lanes_shift_left(bits, 16) >> 16) * format->hidden_unit;
    const small_float f = small_float_of(row);
    const lanes_int size = bits & f.most;
    const lanes_int magnitude = (lanes_shift_left(size, f.cut) + f.base) & (-size >> 31);
    return lanes_from_bits(magnitude | lanes_shift_left(bits ^ size, 16));
}

/* x in 16 bits, the others are of no meaning. random, from 0 to 65535, rounds up where what is cut
 * off, in 1/65536 of a unit, comes to 65536 with it: 32768 rounds to the nearest. */
LANES_FN lanes_int narrow(const row_format *format, int row, lanes x, lanes_int random)
{
    if (row < ROW_AVERAGE) { /* 1.5·2^23 leaves the nearest whole number in the low bits */
        x = lanes_clamp(x, -32766 * format->hidden_unit, 32766 * format->hidden_unit);
        const lanes shift = lanes_from_int(random) * (1 / 65536.0f) - 0.49999f;
        return lanes_bits((x * (1 / format->hidden_unit) + shift) + 12582912.0f);
    }
    const small_float f = small_float_of(row);
    const lanes_int bits = lanes_bits(x);
    lanes_int size = (bits & INT32_MAX) - f.base + (random >> (16 - f.cut));
    size = (size & ~(size >> 31)) >> f.cut;
    const lanes_int over = (f.most - size) >> 31;
    size = (size & ~over) | (f.most & over);
    return f.most == 0x7fff ? size | ((bits >> 16) & 0x8000) : size;
}

/* Random numbers of a tile's rounding, the first parameter's index in its tensor being `index`: a
 * hash of 32 bits to start with (multipliers found by C. Wellons), then a linear congruence. */
LANES_FN void rounding_start(const int nv, const row_format *format, uint32_t index,
                             lanes_uint *random)
{
    EACH_VECTOR(v, nv) {
        lanes_uint x = lanes_count() + (format->key + index + (uint32_t)(v * LANES));
        x = (x ^ (x >> 16)) * 0x21f0aaadu;
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        random[v] = x ^ (x >> 15);
    }
}

LANES_FN lanes_int rounding_next(lanes_uint *random)
{
    *random = *random * 1664525u + 1013904223u;
    return (lanes_int)(*random >> 16);
}

/* Rows of floats to and from a tile; block points at the tile's first lane in row 0. */
LANES_FN void load_rows(const int nv, const float *block, int row, int rows, tile_row *to)
{
    for (int r = 0; r < rows; r++)
        EACH_VECTOR(v, nv) to[r][v] = *(const lanes *)(block + (row + r) * BLOCK + v * LANES);
}

LANES_FN void store_rows(const int nv, float *block, int row, int rows, const tile_row *from)
{
    for (int r = 0; r < rows; r++)
        EACH_VECTOR(v, nv) *(lanes *)(block + (row + r) * BLOCK + v * LANES) = from[r][v];
}

/* Rows of a block of state to and from the tile whose first parameter is the lane-th of the block.
 * random: as rounding_start left it; NULL: round to the nearest. */
LANES_FN void load_state(const int nv, const row_format *format, const unsigned char *block,
                         int lane, int row, int rows, tile_row *to)
{
    const void *at = block + row_offset(format->compact, row);
    if (row_width(format->compact, row) == sizeof(float)) {
        load_rows(nv, (const float *)at + lane, 0, rows, to);
        return;
    }
    const uint16_t *narrowed = (const uint16_t *)at + lane;
    for (int r = 0; r < rows; r++)
        EACH_VECTOR(v, nv)
            to[r][v] = widen(format, row, lanes_load_16(narrowed + r * BLOCK + v * LANES));
}

LANES_FN void store_state(const int nv, const row_format *format, unsigned char *block, int lane,
                          int row, int rows, const tile_row *from, lanes_uint *random)
{
    void *at = block + row_offset(format->compact, row);
    if (row_width(format->compact, row) == sizeof(float)) {
        store_rows(nv, (float *)at + lane, 0, rows, from);
        return;
    }
    uint16_t *narrowed = (uint16_t *)at + lane;
    for (int r = 0; r < rows; r++)
        EACH_VECTOR(v, nv) {
            lanes_int x = {0};
            x = random ? rounding_next(&random[v]) : x + 32768;
            lanes_store_16(narrowed + r * BLOCK + v * LANES, narrow(format, row, from[r][v], x));
        }
}

/* The 64 numbers of a row, rounded to the nearest on their way there: a number that came from there
 * goes back as it was. */
LANES_FN void unpack_row(const row_format *format, int row, const void *from, float *to)
{
    if (row_width(format->compact, row) == sizeof(float)) {
        memcpy(to, from, BLOCK * sizeof *to);
        return;
    }
    for (int i = 0; i < BLOCK; i += LANES) {
        const lanes x = widen(format, row, lanes_load_16((const uint16_t *)from + i));
        memcpy(to + i, &x, sizeof x);
    }
}

LANES_FN void pack_row(const row_format *format, int row, const float *from, void *to)
{
    if (row_width(format->compact, row) == sizeof(float)) {
        memcpy(to, from, BLOCK * sizeof *from);
        return;
    }
    for (int i = 0; i < BLOCK; i += LANES) {
        lanes x;
        lanes_int middle = {0};
        memcpy(&x, from + i, sizeof x);
        lanes_store_16((uint16_t *)to + i, narrow(format, row, x, middle + 32768));
    }
}

#endif
