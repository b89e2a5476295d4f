/* The elementary functions of lanes.h against libm in double, over the ranges that they state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/lanes.h"

typedef lanes (*function)(lanes);

static lanes call_exp(lanes x) { return lanes_exp(x); }
static lanes call_sigmoid(lanes x) { return lanes_sigmoid(x); }
static lanes call_tanh(lanes x) { return lanes_tanh(x); }
static lanes call_log(lanes x) { return lanes_log(x); }
static lanes call_log1p(lanes x) { return lanes_log1p(x); }
static lanes call_asinh(lanes x) { return lanes_asinh(x); }
static lanes call_rsqrt(lanes x) { return lanes_rsqrt(x); }
static lanes call_reciprocal(lanes x) { return lanes_reciprocal(x); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }

/* Steps are even in x, or in log x (with both signs when negative is set). */
static const struct {
    const char *name;
    function f;
    double (*want)(double);
    double low, high;
    int logarithmic, negative;
    double relative, absolute;
} rows[] = {
    {"exp", call_exp, exp, -40, 40, 0, 0, 2.2e-6, 0},
    {"exp near 0", call_exp, exp, -2, 2, 0, 0, 4e-7, 0},
    {"sigmoid", call_sigmoid, sigmoid, -8, 80, 0, 0, 8e-7, 0},
    {"tanh", call_tanh, tanh, -30, 30, 0, 0, 0, 4e-7},
    {"log", call_log, log, 1e-30, 1e30, 1, 0, 3e-7, 3e-7},
    {"log1p", call_log1p, log1p, 1e-30, 1e30, 1, 0, 4e-7, 0},
    {"asinh", call_asinh, asinh, 1e-30, 1e18, 1, 1, 1e-6, 0},
    {"rsqrt", call_rsqrt, rsqrt, 1e-30, 1e38, 1, 0, 3e-7, 0},
    {"reciprocal", call_reciprocal, reciprocal, 1e-30, 1e37, 1, 1, 3e-7, 0},
};

static double worst_of(size_t r, double *where)
{
    const int steps = 200000;
    double worst = 0;
    for (int i = 0; i <= steps; i += LANES) {
        float x[LANES], y[LANES];
        for (int j = 0; j < LANES; j++) {
            const double t = (double)(i + j) / (steps + LANES);
            x[j] = (float)(rows[r].logarithmic ? rows[r].low * pow(rows[r].high / rows[r].low, t)
                                               : rows[r].low + t * (rows[r].high - rows[r].low));
            if (rows[r].negative && (i + j) % 2) x[j] = -x[j];
        }
        lanes v = rows[r].f(*(lanes_any *)x);
        *(lanes_any *)y = v;
        for (int j = 0; j < LANES; j++) {
            const double want = rows[r].want(x[j]);
            const double error =
                fabs(y[j] - want) / (rows[r].relative * fabs(want) + rows[r].absolute);
            if (!(error <= worst)) {
                worst = error;
                *where = x[j];
            }
        }
    }
    return worst;
}

static void test_accuracy(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double where = 0, worst = worst_of(r, &where);
        print_message("%-14s largest error %.2f of its bound, at %g\n", rows[r].name, worst, where);
        assert_true(worst <= 1);
    }
}

static float first(lanes x)
{
    float y[LANES];
    *(lanes_any *)y = x;
    return y[0];
}

static void test_extremes(void **state)
{
    (void)state;
    assert_true(fabsf(first(lanes_sigmoid(lanes_set(1e30f))) - 1) < 3e-7f);
    assert_true(fabsf(first(lanes_sigmoid(lanes_set(-1e30f)))) < 1e-37f);
    assert_true(fabsf(first(lanes_tanh(lanes_set(1e30f))) - 1) < 3e-7f);
    assert_true(fabsf(first(lanes_tanh(lanes_set(-1e30f))) + 1) < 3e-7f);
    assert_true(isfinite(first(lanes_exp(lanes_set(1e30f)))));
    assert_true(first(lanes_asinh(lanes_set(0))) == 0);
    assert_true(first(lanes_if_less(lanes_set(NAN), lanes_set(1), lanes_set(2), lanes_set(3))) ==
                3);
    assert_true(lanes_sum(lanes_set(2)) == 2 * LANES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy),
                                       cmocka_unit_test(test_extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
