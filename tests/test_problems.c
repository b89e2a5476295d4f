/* Every row of the paper's corpora: derivatives, reproducibility, non-negative objectives,
 * starts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "problems/corpus.h"
#include "problem_checks.h"

static problem *create(const problem_spec *spec, uint64_t seed, const char *name)
{
    opt_error error = {0};
    problem *p = problem_create(spec, seed, NULL, &error);
    if (!p) fail_msg("%s: %s", name, error.message);
    return p;
}

#define FOR_EACH_PAPER_ROW(row)                                                                    \
    for (const corpus_row *row = corpus_table; row < corpus_table + corpus_table_rows; row++)      \
        if (row->corpora & CORPUS_PAPER_ALL)

static void test_derivatives(void **state)
{
    (void)state;
    int checked = 0, strong = 0;
    FOR_EACH_PAPER_ROW(row) {
        int checked_row = 0, strong_row = 0;
        for (uint64_t seed = 1; seed <= 3; seed++) {
            problem *p = create(&row->spec, seed, row->name);
            if (p->n <= 500 || seed == 1)
                check_derivatives(p, seed, is_clean(&row->spec),
                                  strncmp(row->name, "norm 1 ", 7) == 0 ? 6 : 0, row->name,
                                  &checked_row, &strong_row);
            problem_free(p);
        }
        /* Nearly all of a sparse gradient is 0, and so is the Hessian of a norm of power 1. */
        if (strong_row == 0 && strcmp(row->group, "sparse") != 0 &&
            strncmp(row->name, "norm 1 ", 7) != 0)
            fail_msg("%s: no segment's change stands out of the rounding", row->name);
        checked += checked_row, strong += strong_row;
    }
    printf("%d segments, %d of them strong\n", checked, strong);
    assert_true(checked > 500 && strong > 0.7 * checked);
}

/* Noise and sparsity, which the corpus has on nearly everything, are not in it. */
static void test_full_gradients(void **state)
{
    (void)state;
    int checked = 0, strong = 0;
    FOR_EACH_PAPER_ROW(row) {
        for (uint64_t seed = 1; seed <= 2; seed++) {
            problem *p = create(&row->spec, seed, row->name);
            if (p->n <= 500)
                check_full_gradient(p, seed, strncmp(row->name, "norm 1 ", 7) == 0 ? 6 : 0,
                                    row->name, &checked, &strong);
            problem_free(p);
        }
    }
    printf("%d segments, %d of them strong\n", checked, strong);
    assert_true(checked > 250 && strong > 0.8 * checked);
}

/* Some terms count only near the origin. */
static void test_derivatives_near_the_origin(void **state)
{
    (void)state;
    FOR_EACH_PAPER_ROW(row) {
        int checked = 0, strong = 0;
        if (strcmp(row->group, "functions") != 0 && strcmp(row->group, "snake") != 0) continue;
        for (uint64_t seed = 1; seed <= 4; seed++) {
            problem *p = create(&row->spec, seed, row->name);
            check_derivatives_at(p, 0.02, seed, 1, 0, row->name, &checked, &strong);
            problem_free(p);
        }
        if (strong == 0) fail_msg("%s: no segment's change stands out of the rounding", row->name);
    }
}

/* A wrong derivative must not pass: x₂ of Rosenbrock's gradient is off by a percent. */
static double wrong_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    problem *right = create(&(problem_spec){.family = rosenbrock_problem}, p->seed, "rosenbrock");
    const double f = problem_gradient(right, x, t, g);
    if (g) g[1] *= 1.01f;
    problem_free(right);
    return f;
}

static int rejects(problem *p, int first)
{
    prober c = probe(p, 1);
    double rough, total, size;
    aim(&c, 0, 0.01, 1, 0);
    const double integral = integrate(&c, !first, &rough, &total);
    const double change = value_at(&c, c.b, !first, &size) - value_at(&c, c.a, !first, &size);
    end_probe(&c);
    return fabs(change - integral) > 2e-3 * total + 1e-6 * size;
}

static void test_checks_can_fail(void **state)
{
    (void)state;
    problem *p = create(&(problem_spec){.family = rosenbrock_problem}, 1, "rosenbrock");
    assert_false(rejects(p, 1));
    problem_ops wrong = *p->ops;
    wrong.gradient = wrong_gradient;
    p->ops = &wrong;
    assert_true(rejects(p, 1));
    problem_free(p);
}

/* And another seed's is another instance. */
static void test_reproducible(void **state)
{
    (void)state;
    FOR_EACH_PAPER_ROW(row) {
        problem *p = create(&row->spec, 7, row->name), *q = create(&row->spec, 7, row->name);
        problem *other = create(&row->spec, 8, row->name);
        check_reproducible(p, q);
        float *x = malloc(p->n * sizeof *x), *y = malloc(p->n * sizeof *y);
        problem_start(p, x);
        problem_start(other, y);
        if (memcmp(x, y, p->n * sizeof *x) == 0)
            fail_msg("%s: seeds 7 and 8 start alike", row->name);
        free(x), free(y);
        problem_free(p), problem_free(q), problem_free(other);
    }
}

static void test_objectives_are_not_negative(void **state)
{
    (void)state;
    FOR_EACH_PAPER_ROW(row) {
        const int points = strcmp(row->group, "quadratic, large") == 0 ? 2 : 30;
        problem *p = create(&row->spec, 3, row->name);
        float *x = malloc(p->n * sizeof *x), *move = malloc(p->n * sizeof *x);
        random_stream stream = draw_stream(1, STREAM_OTHER, 0);
        problem_start(p, x);
        for (int i = 0; i < points; i++) {
            const double full = problem_full_loss(p, x);
            const double batch = problem_gradient(p, x, (uint64_t)i, NULL);
            if (!(full >= -1e-9)) fail_msg("%s: the full loss is %g", row->name, full);
            /* A batch of rows need not be symmetric. */
            if (strcmp(row->group, "quadratics") != 0 && !(batch >= -1e-9))
                fail_msg("%s: the loss is %g", row->name, batch);
            draw_normals(&stream, move, p->n, 0.3f);
            for (size_t k = 0; k < p->n; k++) x[k] += move[k] * (1 + fabsf(x[k]));
        }
        free(x), free(move);
        problem_free(p);
    }
}

/* The mean over many batches is the objective on all data. */
static void test_batches_average_to_the_full_loss(void **state)
{
    (void)state;
    enum { BATCHES = 1500 };
    FOR_EACH_PAPER_ROW(row) {
        problem *p = create(&row->spec, 5, row->name);
        float *x = malloc(p->n * sizeof *x);
        problem_start(p, x);
        const double full = problem_full_loss(p, x);
        if (problem_gradient(p, x, 0, NULL) != full || problem_gradient(p, x, 1, NULL) != full) {
            double sum = 0, squares = 0;
            for (uint64_t t = 0; t < BATCHES; t++) {
                const double f = problem_gradient(p, x, t, NULL);
                sum += f, squares += f * f;
            }
            const double mean = sum / BATCHES, variance = squares / BATCHES - mean * mean;
            const double error = 5 * sqrt(variance / BATCHES) + 1e-6 * fabs(mean);
            if (!(fabs(mean - full) <= error))
                fail_msg("%s: batches average to %g +- %g, all data gives %g", row->name, mean,
                         error, full);
        }
        free(x);
        problem_free(p);
    }
}

/* --- starts --- */

typedef struct {
    const char *row;
    int index;
    double low, high; /* uniform between them; low = high: N(0,1) */
} start_case;

static const corpus_row *find_row(const char *name)
{
    for (size_t i = 0; i < corpus_table_rows; i++)
        if (strcmp(corpus_table[i].name, name) == 0) return &corpus_table[i];
    fail_msg("no row %s", name);
    return NULL;
}

static void test_starts(void **state)
{
    (void)state;
    enum { SEEDS = 1000 };
    static const start_case cases[] = {{"ackley", 0, -32.768, 32.768},
                                       {"beale", 1, -4.5, 4.5},
                                       {"booth", 0, -10, 10},
                                       {"branin", 0, -5, 10},
                                       {"branin", 1, 0, 15},
                                       {"log_sum_exp", 0, 0, 0},
                                       {"matyas", 1, -10, 10},
                                       {"michalewicz", 0, 0, 3.14159265},
                                       {"rosenbrock", 1, -5, 10},
                                       {"styblinski_tang", 0, -5, 5},
                                       {"bowl 5", 1, 0, 0},
                                       {"quadratic 20", 19, 0, 0},
                                       {"norm 1 of 27", 3, 0, 0},
                                       {"chain 12", 11, 0, 0},
                                       {"well 13", 0, 0, 0},
                                       {"snake 12", 3, 0, 0},
                                       {"mlp 9-8", 5, 0, 0},
                                       {"mlp 9-8", 75, 0, 0},
                                       {"embedding of parity, by id", 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const start_case *c = &cases[i];
        const corpus_row *row = find_row(c->row);
        double sum = 0, squares = 0, least = 1e9, most = -1e9;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            float x[512];
            problem *p = create(&row->spec, seed, row->name);
            assert_true(p->n <= 512);
            problem_start(p, x);
            const double z = x[c->index];
            sum += z, squares += z * z;
            if (z < least) least = z;
            if (z > most) most = z;
            problem_free(p);
        }
        const int normal = c->low == c->high;
        const double width = c->high - c->low, deviation = normal ? 1 : width / sqrt(12);
        const double mean = sum / SEEDS, found = sqrt(squares / SEEDS - mean * mean);
        assert_float_equal(mean, 0.5 * (c->low + c->high), 4 * deviation / sqrt(SEEDS));
        assert_float_equal(found / deviation, 1, 0.07);
        if (!normal)
            assert_true(least >= c->low && most <= c->high && most - least > 0.99 * width);
        else
            assert_true(most > 2.5 && least < -2.5);
    }
}

static void test_special_starts(void **state)
{
    (void)state;
    float x[2048], y[2048];
    problem *matmul = create(&find_row("matmul 3 by 21")->spec, 4, "matmul");
    assert_int_equal(matmul->n, 2 * 9 * 21);
    problem_start(matmul, x);
    for (int half = 0; half < 2; half++)
        for (int r = 0; r < 21; r++) {
            double square = 0;
            for (int i = 0; i < 9; i++) square += pow(x[half * 189 + i * 21 + r], 2);
            assert_float_equal(square, 1, 1e-5);
        }
    problem_free(matmul);

    problem *softmax = create(&find_row("softmax 256")->spec, 4, "softmax");
    assert_int_equal(softmax->n, 256 * 2 + 2);
    problem_start(softmax, x);
    assert_float_equal(sqrt(probe_dot(x, x, 512) / 512), 1.2 / 16, 0.01);
    problem_free(softmax);

    /* A rescaled start is the part's times s, and 350 is quadratic 50's. */
    problem *scaled = create(&find_row("quadratic 50 by 350")->spec, 4, "rescale");
    problem_start(scaled, x);
    assert_float_equal(sqrt(probe_dot(x, x, 50) / 50) / 350, 1, 0.35);
    problem_free(scaled);

    /* The data of a row with a data seed is the same in every instance; its start is not. */
    problem *one = create(&find_row("softmax 10")->spec, 1, "softmax");
    problem *two = create(&find_row("softmax 10")->spec, 2, "softmax");
    problem_start(one, x);
    problem_start(two, y);
    assert_true(memcmp(x, y, one->n * sizeof *x) != 0);
    assert_true(problem_full_loss(one, x) == problem_full_loss(two, x));
    problem_free(one), problem_free(two);
}

/* --- known values --- */

static void test_known_minima(void **state)
{
    (void)state;
    static const struct {
        const char *row;
        float x[2];
        double f;
    } cases[] = {{"ackley", {0, 0}, 0},
                 {"beale", {3, 0.5f}, 0},
                 {"booth", {1, 3}, 0},
                 {"branin", {3.14159265f, 2.275f}, 0.397887},
                 {"matyas", {0, 0}, 0},
                 {"michalewicz", {2.202906f, 1.570796f}, 2 - 1.8013034 + 0.0005},
                 {"rosenbrock", {1, 1}, 0},
                 {"styblinski_tang", {-2.903534f, -2.903534f}, 1.66767},
                 {"log_sum_exp", {0, 0}, 1.3124},
                 {"bowl 5 turned", {1, 1}, 0.5 * 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem *p = create(&find_row(cases[i].row)->spec, 1, cases[i].row);
        const double f = problem_full_loss(p, cases[i].x);
        if (!(fabs(f - cases[i].f) < 2e-2)) fail_msg("%s is %g", cases[i].row, f);
        problem_free(p);
    }
}

/* Strassen's seven products multiply 2x2 matrices exactly. */
static void test_strassen(void **state)
{
    (void)state;
    static const float a[4][7] = {{1, 0, 1, 0, 1, -1, 0},
                                  {0, 0, 0, 0, 1, 0, 1},
                                  {0, 1, 0, 0, 0, 1, 0},
                                  {1, 1, 0, 1, 0, 0, -1}};
    static const float b[4][7] = {{1, 1, 0, -1, 0, 1, 0},
                                  {0, 0, 1, 0, 0, 1, 0},
                                  {0, 0, 0, 1, 0, 0, 1},
                                  {1, 0, -1, 0, 1, 0, 1}};
    float x[56], g[56];
    problem *p = create(&find_row("matmul 2 by 7")->spec, 1, "matmul");
    memcpy(x, a, sizeof a);
    memcpy(x + 28, b, sizeof b);
    assert_true(problem_gradient(p, x, 0, g) < 1e-20);
    for (int i = 0; i < 56; i++) assert_true(fabsf(g[i]) < 1e-9f);
    problem_start(p, x);
    assert_true(problem_gradient(p, x, 0, g) > 0.1);
    problem_free(p);
}

static void test_bad_specs(void **state)
{
    (void)state;
    static const problem_spec bad[] = {
        {.family = quadratic_problem},
        {.family = norm_problem, .dimension = 3, .power = 0.5},
        {.family = bowl_problem},
        {.family = matmul_problem, .dimension = 2, .products = 3},
        {.family = sum_problem},
        {.family = noise_problem, .amount = 1},
        {.family = softmax_problem, .dimension = 4, .batch = 0, .samples = 10},
        {.family = images_problem},
        {.family = well_problem, .dimension = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        opt_error error = {0};
        assert_null(problem_create(&bad[i], 1, NULL, &error));
        assert_true(error.status != OPT_OK && error.message[0]);
    }
}

static void test_corpora(void **state)
{
    (void)state;
    opt_error error;
    assert_int_equal(corpus_find("paper", &error), CORPUS_PAPER);
    assert_int_equal(corpus_find("paper-all", &error), CORPUS_PAPER_ALL);
    assert_int_equal(corpus_find("wide", &error), CORPUS_WIDE);
    assert_int_equal(corpus_find("papers", &error), 0);
    assert_false(corpus_needs_images(CORPUS_PAPER_ALL));
    assert_true(corpus_needs_images(CORPUS_WIDE));
    size_t paper = 0, all = 0;
    for (size_t i = 0; i < corpus_table_rows; i++) {
        paper += (corpus_table[i].corpora & CORPUS_PAPER) != 0;
        all += (corpus_table[i].corpora & CORPUS_PAPER_ALL) != 0;
        if (corpus_table[i].corpora & CORPUS_PAPER) assert_true(corpus_table[i].weight == 1);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(corpus_table[i].name, corpus_table[j].name);
    }
    /* 4 + 3 + 8 + 8 + 18 + 12 + 10 + 6 + 9 + 6 + 8 + 9, and 4 + 2 + 5·5 */
    assert_int_equal(paper, 101);
    assert_int_equal(all, 101 + 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpora),
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_full_gradients),
        cmocka_unit_test(test_derivatives_near_the_origin),
        cmocka_unit_test(test_checks_can_fail),
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_objectives_are_not_negative),
        cmocka_unit_test(test_batches_average_to_the_full_loss),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_special_starts),
        cmocka_unit_test(test_known_minima),
        cmocka_unit_test(test_strassen),
        cmocka_unit_test(test_bad_specs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
