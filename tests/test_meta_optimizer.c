/* The optimizers of meta-parameters against their formulas, and how they treat bad gradients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "meta/meta_optimizer.h"

enum { N = 3 };

static double gradient_of(int step, int i) { return sin(step * 1.7 + i) * pow(10, i - 1); }

static void test_adam(void **state)
{
    (void)state;
    meta_optimizer_options options = meta_optimizer_defaults(META_ADAM);
    options.rate = 0.01;
    options.weight_decay = 0.1;
    options.warm_up = 5;
    meta_optimizer m;
    assert_int_equal(meta_optimizer_init(&m, &options, N, NULL), OPT_OK);
    double theta[N] = {1, -2, 3}, want[N] = {1, -2, 3}, first[N] = {0}, second[N] = {0};
    for (int t = 1; t <= 50; t++) {
        double gradient[N];
        const double rate = 0.01 * (t < 5 ? t / 5.0 : 1);
        meta_step_report report;
        for (int i = 0; i < N; i++) {
            const double g = gradient[i] = gradient_of(t, i);
            first[i] = 0.9 * first[i] + 0.1 * g;
            second[i] = 0.999 * second[i] + 0.001 * g * g;
            const double mean = first[i] / (1 - pow(0.9, t));
            const double root = sqrt(second[i] / (1 - pow(0.999, t)));
            want[i] = want[i] - rate * 0.1 * want[i] - rate * mean / (root + 1e-8);
        }
        meta_optimizer_step(&m, theta, gradient, &report);
        assert_float_equal(report.rate, rate, 1e-15);
    }
    for (int i = 0; i < N; i++) assert_true(fabs(theta[i] - want[i]) < 1e-12);
    meta_optimizer_release(&m);
}

static void test_rmsprop(void **state)
{
    (void)state;
    const meta_optimizer_options options = meta_optimizer_defaults(META_RMSPROP);
    meta_optimizer m;
    assert_int_equal(meta_optimizer_init(&m, &options, N, NULL), OPT_OK);
    double theta[N] = {1, -2, 3}, want[N] = {1, -2, 3}, second[N] = {0};
    for (int t = 0; t < 50; t++) {
        double gradient[N];
        for (int i = 0; i < N; i++) {
            double g = gradient[i] = 1e4 * gradient_of(t, i);
            g = g > 1e4 ? 1e4 : g < -1e4 ? -1e4 : g; /* the third entry is clipped */
            second[i] = 0.9 * second[i] + 0.1 * g * g;
            want[i] -= 1e-6 * g / sqrt(second[i] + 1e-20);
        }
        meta_optimizer_step(&m, theta, gradient, NULL);
    }
    for (int i = 0; i < N; i++) assert_true(fabs(theta[i] - want[i]) < 1e-14);
    meta_optimizer_release(&m);
}

static void test_clipping(void **state)
{
    (void)state;
    meta_optimizer_options options = meta_optimizer_defaults(META_ADAM);
    options.clip_entry = 4;
    options.clip_norm = 1;
    meta_optimizer m;
    meta_step_report report;
    assert_int_equal(meta_optimizer_init(&m, &options, 4, NULL), OPT_OK);
    double theta[4] = {0}, gradient[4] = {3, NAN, -100, INFINITY};
    meta_optimizer_step(&m, theta, gradient, &report);
    assert_int_equal(report.non_finite, 2);
    assert_true(fabs(report.norm - 5) < 1e-12); /* of 3, 0, -4, 0 */
    const double want[4] = {0.6, 0, -0.8, 0};
    for (int i = 0; i < 4; i++) assert_true(fabs(gradient[i] - want[i]) < 1e-12);
    assert_true(theta[1] == 0 && theta[3] == 0 && theta[0] < 0 && theta[2] > 0);
    /* A gradient within the clip stays as it is. */
    double small[4] = {0.1, -0.2, 0.3, 0};
    meta_optimizer_step(&m, theta, small, &report);
    assert_int_equal(report.non_finite, 0);
    assert_true(small[0] == 0.1 && small[1] == -0.2 && small[2] == 0.3);
    meta_optimizer_release(&m);
}

static void test_schedule(void **state)
{
    (void)state;
    meta_optimizer_options options = {.rate = 2, .warm_up = 10, .cosine = 100, .final = 0.1};
    assert_true(fabs(meta_optimizer_rate(&options, 0) - 0.2) < 1e-12);
    assert_true(fabs(meta_optimizer_rate(&options, 50) - 2 * 0.55) < 1e-12);
    assert_true(fabs(meta_optimizer_rate(&options, 100) - 0.2) < 1e-12);
    assert_true(fabs(meta_optimizer_rate(&options, 100000) - 0.2) < 1e-12);
    for (uint64_t s = 10; s < 100; s++)
        assert_true(meta_optimizer_rate(&options, s + 1) < meta_optimizer_rate(&options, s));
    options.cosine = 0;
    assert_true(meta_optimizer_rate(&options, 100000) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_rmsprop),
        cmocka_unit_test(test_clipping),
        cmocka_unit_test(test_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
