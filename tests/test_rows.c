/* The 16 bits of a compact state: every number comes back as it was, errors are those of the
 * formats, and rounding at random is right on average; what is attended to comes back too. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hrnn/hrnn_tile.h"

enum { KINDS = 4, NEAREST = 32768 };
static const int kinds[KINDS] = {ROW_HIDDEN + 3, ROW_AVERAGE + 1, ROW_MEAN_SQUARE + 3,
                                 ROW_ATTENTION};
static const row_format compact = {.compact = 1, .hidden_unit = 1.5f / 32766};

/* The lanes are alike, so that the first one tells. */
static int encode(int row, float x, int random)
{
    lanes_int r = {0};
    const lanes_int bits = narrow(&compact, row, lanes_set(x), r + random);
    _Alignas(64) uint16_t to[LANES];
    lanes_store_16(to, bits);
    return to[0];
}

static float decode(int row, int bits)
{
    lanes_int b = {0};
    float x[LANES];
    const lanes found = widen(&compact, row, b + bits);
    memcpy(x, &found, sizeof x);
    return x[0];
}

static float rounded(int row, float x) { return decode(row, encode(row, x, NEAREST)); }

static void test_all_numbers(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int bits = 0; bits < 1 << 16; bits++) {
            const float x = decode(kinds[k], bits);
            assert_true(isfinite(x));
            if (k > 0 ||
                (bits != 0x8000 && bits != 0x7fff && bits != 0x8001)) /* h is within 32766 */
                assert_int_equal(encode(kinds[k], x, NEAREST), bits);
            for (int random = 0; random < 1 << 16 && k > 0; random += 21845)
                assert_true(decode(kinds[k], encode(kinds[k], x, random)) == x);
        }
}

static void test_errors(void **state)
{
    (void)state;
    for (float x = -1.5f; x <= 1.5f; x += 1e-4f)
        assert_true(fabsf(rounded(ROW_HIDDEN, x) - x) <= 0.51f * compact.hidden_unit);
    for (float x = 1e-20f; x < 1e18f; x *= 1.0173f) {
        assert_true(fabsf(rounded(ROW_AVERAGE, x) - x) <= x / 512);
        assert_true(rounded(ROW_AVERAGE, -x) == -rounded(ROW_AVERAGE, x));
        assert_true(rounded(ROW_ATTENTION, -x) == -rounded(ROW_AVERAGE, x));
        if (x > 1e-12f) assert_true(fabsf(rounded(ROW_MEAN_SQUARE, x) - x) <= x / 1024);
    }
    assert_int_equal(encode(ROW_HIDDEN, 3e38f, NEAREST), 32766);
    assert_int_equal(encode(ROW_HIDDEN, -2, NEAREST), 65536 - 32766);
    for (int k = 1; k < KINDS; k++) {
        assert_true(rounded(kinds[k], 0) == 0);
        assert_true(rounded(kinds[k], 1e-30f) == 0);
        assert_true(rounded(kinds[k], 3e38f) == decode(kinds[k], k == 2 ? 0xffff : 0x7fff));
        assert_true(decode(kinds[k], encode(kinds[k], 3e38f, 65535)) == rounded(kinds[k], 3e38f));
    }
}

static void test_random_rounding_is_unbiased(void **state)
{
    (void)state;
    static const float numbers[] = {0.7f, 0.30001f, 1e-3f, 1.234567f, 3.14159e-7f};
    for (int k = 0; k < KINDS; k++)
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            double sum = 0;
            for (int random = 0; random < 1 << 16; random++)
                sum += (double)decode(kinds[k], encode(kinds[k], numbers[i], random));
            const double unit = k == 0 ? (double)compact.hidden_unit : numbers[i] / 256.0;
            assert_true(fabs(sum / 65536 - (double)numbers[i]) < 4e-3 * unit);
        }
}

/* Mean squares that lose 1/5000 a step, of 64 parameters. */
static double decayed(int steps, int at_random)
{
    _Alignas(64) unsigned char block[ROW_ATTENTION * BLOCK * sizeof(float)];
    float m[BLOCK];
    double sum = 0;
    unsigned char *row = block + row_offset(1, ROW_MEAN_SQUARE);
    for (int j = 0; j < BLOCK; j++) m[j] = 1e-4f;
    pack_row(&compact, ROW_MEAN_SQUARE, m, row);
    for (int step = 1; step <= steps; step++) {
        row_format format = compact;
        format.key = rounding_key((uint64_t)step, 5);
        for (int lane = 0; lane < BLOCK; lane += LANES) {
            tile_row x[1];
            lanes_uint random[TILE_VECTORS];
            rounding_start(1, &format, (uint32_t)lane, random);
            load_state(1, &format, block, lane, ROW_MEAN_SQUARE, 1, x);
            x[0][0] *= 0.9998f;
            store_state(1, &format, block, lane, ROW_MEAN_SQUARE, 1, (const tile_row *)x,
                        at_random ? random : NULL);
        }
    }
    unpack_row(&compact, ROW_MEAN_SQUARE, row, m);
    for (int j = 0; j < BLOCK; j++) sum += (double)m[j] / BLOCK;
    return sum;
}

static void test_slow_averages_move(void **state)
{
    (void)state;
    const double expected = 1e-4 * pow(0.9998, 10000);
    assert_true(fabs(decayed(10000, 1) / expected - 1) < 0.03);
    assert_true(decayed(10000, 0) > 0.99e-4); /* what random rounding is for */
}

/* What is attended to, φ = θ + d, and θ are found from each other for good, also across the powers
 * of two, where their roundings differ; and from both the d that a checkpoint does not keep. */
static void test_attended_and_true(void **state)
{
    (void)state;
    uint32_t seed = 1;
    int differ = 0;
    for (int i = 0; i < 4000000; i++) {
        seed = seed * 1664525u + 1013904223u;
        const float size = ldexpf(1, -(int)(seed >> 8) % 24),
                    away = (float)(seed >> 16) / 32768 - 1;
        const float d = rounded(ROW_ATTENTION, size * away * 1e-2f);
        const float theta = (i % 2 ? 1 : 0.25f) + size * 1e-2f * (float)(i % 7 - 3);
        float phi = theta;
        attend_entry(d, &phi);
        const float found = phi - d;
        assert_true(found + d == phi);
        assert_true((found + d) - d == found);
        const float again = rounded(ROW_ATTENTION, phi - found);
        assert_true(found + again == phi && phi - again == found);
        assert_true(fabsf(found - theta) <= 1.2e-7f);
        differ += theta + d != phi;
    }
    assert_true(differ > 0); /* what attend_entry is for */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_numbers),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_random_rounding_is_unbiased),
        cmocka_unit_test(test_slow_averages_move),
        cmocka_unit_test(test_attended_and_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
