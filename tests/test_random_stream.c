/* Philox streams: the published vectors, and that a stream depends on its name alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <pthread.h>
#include <cmocka.h>

#include "base/random_stream.h"

enum { DRAWS = 1000 };

/* Random123's kat_vectors, lines "philox4x32 10". */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; ++r) {
        random_stream s = {.used = 4};
        memcpy(s.counter, rows[r].counter, sizeof s.counter);
        memcpy(s.key, rows[r].key, sizeof s.key);
        for (int i = 0; i < 4; ++i) assert_int_equal(random_stream_u32(&s), rows[r].want[i]);
    }
}

static void draw(uint32_t *out, uint64_t seed, stream_purpose purpose, uint64_t index)
{
    random_stream s;
    random_stream_start(&s, seed, purpose, index);
    for (int i = 0; i < DRAWS; ++i) out[i] = random_stream_u32(&s);
}

/* The order in which streams are drawn, interleaved or not, changes nothing. */
static void test_order_of_draws(void **state)
{
    (void)state;
    uint32_t a[DRAWS], b[DRAWS];
    draw(a, 7, STREAM_ORDER, 3);
    draw(b, 7, STREAM_ORDER, 4);
    random_stream s, t;
    random_stream_start(&t, 7, STREAM_ORDER, 4);
    random_stream_start(&s, 7, STREAM_ORDER, 3);
    for (int i = 0; i < DRAWS; ++i) {
        assert_int_equal(random_stream_u32(&t), b[i]);
        assert_int_equal(random_stream_u32(&s), a[i]);
    }
}

/* Streams that differ in one part of their name share no window of two numbers. */
static void test_names_differ(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        stream_purpose purpose;
        uint64_t index;
    } names[] = {
        {7, STREAM_ORDER, 3},   {8, STREAM_ORDER, 3}, {7 | 1ull << 40, STREAM_ORDER, 3},
        {7, STREAM_AUGMENT, 3}, {7, STREAM_ORDER, 4}, {7, STREAM_ORDER, 3 | 1ull << 32},
        {3, STREAM_ORDER, 7},
    };
    enum { N = sizeof names / sizeof *names };
    static uint32_t drawn[N][DRAWS];
    for (int i = 0; i < N; ++i) draw(drawn[i], names[i].seed, names[i].purpose, names[i].index);
    for (int i = 0; i < N; ++i) {
        for (int j = 0; j < i; ++j) {
            for (int a = 0; a + 1 < DRAWS; ++a) {
                for (int b = 0; b + 1 < DRAWS; ++b) {
                    assert_false(drawn[i][a] == drawn[j][b] && drawn[i][a + 1] == drawn[j][b + 1]);
                }
            }
        }
    }
}

/* Past 2^32 blocks the count carries, and does not start over. */
static void test_long_stream(void **state)
{
    (void)state;
    random_stream s;
    random_stream_start(&s, 1, STREAM_INIT, 0);
    uint32_t first = random_stream_u32(&s);
    random_stream_start(&s, 1, STREAM_INIT, 0);
    s.counter[2] = UINT32_MAX;
    for (int i = 0; i < 4; ++i) random_stream_u32(&s);
    assert_int_not_equal(random_stream_u32(&s), first);
    assert_int_equal(s.counter[3], ((uint32_t)STREAM_INIT << 24) + 1);
}

typedef struct {
    uint64_t index;
    int drawn[DRAWS];
} thread_job;

static void *thread_draws(void *arg)
{
    thread_job *job = arg;
    random_use(5, STREAM_AUGMENT, job->index);
    for (int i = 0; i < DRAWS; ++i) job->drawn[i] = random_next();
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    static thread_job jobs[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; ++i) {
        jobs[i].index = (uint64_t)i << 32 | 9;
        assert_int_equal(pthread_create(&threads[i], NULL, thread_draws, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; ++i) {
        uint32_t want[DRAWS];
        draw(want, 5, STREAM_AUGMENT, jobs[i].index);
        for (int k = 0; k < DRAWS; ++k) assert_int_equal(jobs[i].drawn[k], want[k] >> 1);
    }
}

static void *unnamed_draw(void *arg)
{
    *(int *)arg = random_next();
    return NULL;
}

static void test_unnamed_thread(void **state)
{
    (void)state;
    uint32_t want[DRAWS];
    draw(want, 0, STREAM_OTHER, 0);
    pthread_t thread;
    int got = -1;
    assert_int_equal(pthread_create(&thread, NULL, unnamed_draw, &got), 0);
    pthread_join(thread, NULL);
    assert_int_equal(got, want[0] >> 1);
}

/* Chi-squared of 256 bins of the top 8 of 31 bits: mean 255, standard deviation 22.6; so are the
 * lowest 8 bits, which the host takes with rand()%n. */
static void test_range_and_uniformity(void **state)
{
    (void)state;
    enum { N = 1 << 18, BINS = 256 };
    int high[BINS] = {0}, low[BINS] = {0}, largest = 0;
    random_use(11, STREAM_NETWORK, 2);
    for (int i = 0; i < N; ++i) {
        int r = random_next();
        assert_true(r >= 0);
        if (r > largest) largest = r;
        ++high[r >> 23];
        ++low[r & 255];
    }
    assert_true(largest > INT32_MAX - INT32_MAX / 1000);
    double want = (double)N / BINS, chi_high = 0, chi_low = 0;
    for (int i = 0; i < BINS; ++i) {
        chi_high += (high[i] - want) * (high[i] - want) / want;
        chi_low += (low[i] - want) * (low[i] - want) / want;
    }
    assert_true(chi_high > 165 && chi_high < 345);
    assert_true(chi_low > 165 && chi_low < 345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_order_of_draws),
        cmocka_unit_test(test_names_differ),
        cmocka_unit_test(test_long_stream),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_unnamed_thread),
        cmocka_unit_test(test_range_and_uniformity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
