/* Wrappers: their identities, the statistics of noise, sparsity, scales and mixtures; and of
 * draws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "problem_checks.h"

/* clang-format off */
#define QUADRATIC(n) {.family = quadratic_problem, .dimension = n}
#define MLP                                                                                      \
    {.family = mlp_problem, .dimension = 6, .samples = 60, .batch = 20, .hidden = {7, 4}}
#define PARTS(...)                                                                               \
    .parts = (const problem_spec[]){__VA_ARGS__},                                                \
    .n_parts = sizeof((const problem_spec[]){__VA_ARGS__}) / sizeof(problem_spec)
#define NOISE(s, ...) {.family = noise_problem, .amount = s, PARTS(__VA_ARGS__)}
#define SPARSE(q, ...) {.family = sparse_problem, .amount = q, PARTS(__VA_ARGS__)}
#define RESCALE(how, from, to, ...)                                                              \
    {.family = rescale_problem, .mode = how, .low = from, .high = to, PARTS(__VA_ARGS__)}
#define LOG(...) {.family = log_problem, PARTS(__VA_ARGS__)}
#define SUM(...) {.family = sum_problem, PARTS(__VA_ARGS__)}
/* clang-format on */

/* The part of any wrapper of one seed is the same instance, so wrappers are compared with this
 * one. */
static const problem_spec plain_mlp = SUM(MLP);

typedef struct {
    problem *p;
    float *x, *g, *hv; /* [n]; x at the start */
} instance;

static instance create(const problem_spec *spec, uint64_t seed)
{
    opt_error error = {0};
    instance i = {.p = problem_create(spec, seed, NULL, &error)};
    if (!i.p) fail_msg("%s", error.message);
    i.x = calloc(3 * i.p->n, sizeof *i.x);
    i.g = i.x + i.p->n, i.hv = i.g + i.p->n;
    problem_start(i.p, i.x);
    return i;
}

static void destroy(instance *i)
{
    problem_free(i->p);
    free(i->x);
}

static void assert_same(const instance *a, const instance *b, uint64_t t)
{
    const size_t bytes = a->p->n * sizeof(float);
    assert_int_equal(a->p->n, b->p->n);
    assert_memory_equal(a->x, b->x, bytes);
    assert_true(problem_gradient(a->p, a->x, t, a->g) == problem_gradient(b->p, b->x, t, b->g));
    assert_memory_equal(a->g, b->g, bytes);
    problem_hvp(a->p, a->x, t, a->g, a->hv);
    problem_hvp(b->p, b->x, t, b->g, b->hv);
    assert_memory_equal(a->hv, b->hv, bytes);
    assert_true(problem_full_loss(a->p, a->x) == problem_full_loss(b->p, b->x));
    for (int k = 0; k < a->p->n_tensors; k++)
        assert_string_equal(a->p->tensors[k].name, b->p->tensors[k].name);
}

static void test_identities(void **state)
{
    (void)state;
    const problem_spec same[] = {NOISE(0, MLP), SPARSE(0, MLP), RESCALE(SCALE_ALL, 1, 1, MLP),
                                 RESCALE(SCALE_TENSOR, 1, 1, MLP),
                                 RESCALE(SCALE_PARAMETER, 1, 1, MLP)};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        instance a = create(&plain_mlp, 11), b = create(&same[i], 11);
        for (uint64_t t = 0; t < 5; t++) assert_same(&a, &b, t);
        destroy(&a), destroy(&b);
    }
}

/* f_s(x s) = f(x), g_s = g/s, H_s v = (H (v/s))/s with the scale of each parameter. */
static void test_rescale(void **state)
{
    (void)state;
    const problem_spec all = RESCALE(SCALE_ALL, 350, 350, MLP),
                       tensor = RESCALE(SCALE_TENSOR, 1e-2, 1e2, MLP),
                       parameter = RESCALE(SCALE_PARAMETER, 1e-1, 1e1, MLP);
    const problem_spec *const specs[] = {&all, &tensor, &parameter};
    for (int which = 0; which < 3; which++) {
        instance a = create(&plain_mlp, 5), b = create(specs[which], 5);
        const size_t n = a.p->n;
        float *s = calloc(3 * n, sizeof *s), *v = s + n, *scaled_v = v + n;
        int changes = 0;
        for (size_t i = 0; i < n; i++) s[i] = b.x[i] / a.x[i];
        for (size_t i = 0; i < n; i++) v[i] = sinf((float)i), scaled_v[i] = v[i] / s[i];
        for (int k = 0; k < a.p->n_tensors; k++)
            for (size_t i = 1; i < a.p->tensors[k].n; i++) {
                const size_t at = a.p->tensors[k].offset + i;
                if (which == 2)
                    changes += fabsf(s[at] / s[at - 1] - 1) > 1e-3f;
                else
                    assert_float_equal(s[at] / s[at - 1], 1, 1e-5);
            }
        assert_true(which < 2 || changes > (int)n / 2);
        if (which == 0) assert_float_equal(s[0] / 350, 1, 1e-5);
        if (which == 1) assert_true(fabsf(s[0] / s[a.p->tensors[1].offset] - 1) > 1e-3f);
        const double fa = problem_gradient(a.p, a.x, 2, a.g),
                     fb = problem_gradient(b.p, b.x, 2, b.g);
        assert_float_equal(fa, fb, 1e-6);
        assert_float_equal(problem_full_loss(a.p, a.x), problem_full_loss(b.p, b.x), 1e-6);
        problem_hvp(a.p, a.x, 2, scaled_v, a.hv);
        problem_hvp(b.p, b.x, 2, v, b.hv);
        const double size = sqrt(probe_dot(a.g, a.g, n) / (double)n);
        const double size_hv = sqrt(probe_dot(a.hv, a.hv, n) / (double)n);
        for (size_t i = 0; i < n; i++) {
            assert_float_equal(b.g[i] * s[i], a.g[i], 1e-4 * size);
            assert_float_equal(b.hv[i] * s[i], a.hv[i], 2e-3 * size_hv);
        }
        free(s);
        destroy(&a), destroy(&b);
    }
}

/* Scales are log-uniform: their logarithm has the mean and variance of a uniform one, and its
 * bounds. */
static void test_scales(void **state)
{
    (void)state;
    enum { SEEDS = 2000 };
    const problem_spec scaled = RESCALE(SCALE_ALL, 1e-3, 1e3, QUADRATIC(2)),
                       plain = SUM(QUADRATIC(2));
    double sum = 0, squares = 0, least = 0, most = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        instance a = create(&plain, seed), b = create(&scaled, seed);
        const double z = log10((double)b.x[0] / a.x[0]);
        sum += z, squares += z * z, least = fmin(least, z), most = fmax(most, z);
        destroy(&a), destroy(&b);
    }
    assert_float_equal(sum / SEEDS, 0, 4 * 3 / sqrt(3.0 * SEEDS));
    assert_float_equal(squares / SEEDS, 3, 0.2);
    assert_true(least > -3.0001 && least < -2.9 && most < 3.0001 && most > 2.9);
}

static void test_log(void **state)
{
    (void)state;
    const problem_spec log_mlp = LOG(MLP);
    instance a = create(&plain_mlp, 3), b = create(&log_mlp, 3);
    const double f = problem_gradient(a.p, a.x, 1, a.g), log_f = problem_gradient(b.p, b.x, 1, b.g);
    assert_float_equal(log_f, log((f + 1e-6) / 1e-6), 1e-9);
    assert_float_equal(problem_full_loss(b.p, b.x), log(problem_full_loss(a.p, a.x) / 1e-6 + 1),
                       1e-9);
    for (size_t i = 0; i < a.p->n; i++) assert_float_equal(b.g[i], a.g[i] / (f + 1e-6), 1e-6);
    destroy(&a), destroy(&b);
    const problem_spec noisy = LOG(NOISE(1, QUADRATIC(3)));
    opt_error error;
    assert_null(problem_create(&noisy, 1, NULL, &error));
}

/* The parts do not see each other, and the sum of one part is the part. */
static void test_sum(void **state)
{
    (void)state;
    const problem_spec two = SUM(MLP, QUADRATIC(9), NOISE(0.5, QUADRATIC(3)));
    instance a = create(&plain_mlp, 3), b = create(&two, 3);
    const size_t n = a.p->n;
    assert_int_equal(b.p->n, n + 12);
    assert_int_equal(b.p->n_tensors, a.p->n_tensors + 2);
    assert_string_equal(b.p->tensors[0].name, "0.1.weights");
    assert_string_equal(b.p->tensors[a.p->n_tensors].name, "1.x");
    assert_memory_equal(a.x, b.x, n * sizeof(float));
    const double rest = problem_gradient(b.p, b.x, 4, b.g) - problem_gradient(a.p, a.x, 4, a.g);
    assert_memory_equal(a.g, b.g, n * sizeof(float));
    assert_true(rest > 0);
    for (size_t i = 0; i < n; i++) a.x[i] = b.x[i] = -a.x[i];
    assert_float_equal(problem_gradient(b.p, b.x, 4, NULL) - problem_gradient(a.p, a.x, 4, NULL),
                       rest, 1e-6 * rest);
    assert_float_equal(problem_full_loss(b.p, b.x) - problem_full_loss(a.p, a.x), rest,
                       1e-6 * rest);
    destroy(&a), destroy(&b);
}

static void test_noise(void **state)
{
    (void)state;
    enum { STEPS = 400, N = 50 };
    const problem_spec clean = NOISE(0, QUADRATIC(N)), noisy = NOISE(2, QUADRATIC(N));
    instance a = create(&clean, 9), b = create(&noisy, 9);
    double sum = 0, squares = 0, fourth = 0, between_steps = 0, between_entries = 0;
    float last[N] = {0};
    problem_gradient(a.p, a.x, 0, a.g);
    for (uint64_t t = 0; t < STEPS; t++) {
        assert_true(problem_gradient(b.p, b.x, t, b.g) == problem_full_loss(a.p, a.x));
        for (int i = 0; i < N; i++) {
            const double z = b.g[i] - a.g[i];
            sum += z, squares += z * z, fourth += z * z * z * z;
            between_steps += z * last[i];
            if (i > 0) between_entries += z * (b.g[i - 1] - a.g[i - 1]);
        }
        for (int i = 0; i < N; i++) last[i] = b.g[i] - a.g[i];
    }
    const double count = STEPS * N, error = 4 / sqrt(count);
    assert_float_equal(sum / count / 2, 0, error);
    assert_float_equal(squares / count / 4, 1, error * sqrt(2));
    assert_float_equal(fourth / count / 16, 3, error * sqrt(96));
    assert_float_equal(between_steps / count / 4, 0, error);
    assert_float_equal(between_entries / count / 4, 0, error);
    /* Common random numbers: the same noise at another x. */
    float noise[N];
    problem_gradient(b.p, b.x, 7, b.g);
    for (int i = 0; i < N; i++) noise[i] = b.g[i] - a.g[i];
    for (int i = 0; i < N; i++) a.x[i] = b.x[i] = 0.25f * a.x[i];
    problem_gradient(a.p, a.x, 7, a.g);
    problem_gradient(b.p, b.x, 7, b.g);
    for (int i = 0; i < N; i++) assert_float_equal(b.g[i] - a.g[i], noise[i], 1e-4);
    destroy(&a), destroy(&b);
}

static void test_sparsity(void **state)
{
    (void)state;
    enum { STEPS = 20000, N = 20 };
    const problem_spec clean = NOISE(0, QUADRATIC(N)), sparse = SPARSE(0.99, QUADRATIC(N));
    instance a = create(&clean, 9), b = create(&sparse, 9);
    int kept[N] = {0}, total = 0, pairs = 0;
    problem_gradient(a.p, a.x, 0, a.g);
    for (uint64_t t = 0; t < STEPS; t++) {
        problem_gradient(b.p, b.x, t, b.g);
        for (int i = 0; i < N; i++) {
            assert_true(b.g[i] == 0 || b.g[i] == a.g[i]);
            kept[i] += b.g[i] != 0, total += b.g[i] != 0;
            pairs += i > 0 && b.g[i] != 0 && b.g[i - 1] != 0;
        }
    }
    assert_float_equal(total, 0.01 * STEPS * N, 4 * sqrt(0.01 * STEPS * N));
    for (int i = 0; i < N; i++) assert_float_equal(kept[i], 0.01 * STEPS, 4.5 * sqrt(0.01 * STEPS));
    assert_float_equal(pairs, 1e-4 * STEPS * (N - 1), 4 * sqrt(1e-4 * STEPS * (N - 1)));
    destroy(&a), destroy(&b);
}

/* The derivative of a sparse gradient is not symmetric; and wrappers in wrappers. */
static void test_derivatives(void **state)
{
    (void)state;
    const problem_spec specs[] = {
        SPARSE(0.5, QUADRATIC(20)),
        SPARSE(0.5, MLP),
        NOISE(0.3, SPARSE(0.3, MLP)),
        SPARSE(0.4, RESCALE(SCALE_TENSOR, 0.1, 10, LOG(SUM(MLP, QUADRATIC(5))))),
        LOG(RESCALE(SCALE_PARAMETER, 0.1, 10, MLP)),
        LOG(LOG(QUADRATIC(6)))};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        int checked = 0, strong = 0;
        for (uint64_t seed = 1; seed <= 3; seed++) {
            instance a = create(&specs[i], seed);
            check_derivatives(a.p, seed, is_clean(&specs[i]), 0, "wrapped", &checked, &strong);
            destroy(&a);
        }
        printf("wrapped %d: %d segments, %d strong\n", (int)i, checked, strong);
        assert_true(strong > 0.3 * checked);
    }
}

static void test_mixture(void **state)
{
    (void)state;
    const problem_spec mixture = {.family = mixture_problem,
                                  PARTS(QUADRATIC(2), QUADRATIC(3), QUADRATIC(4))};
    int count[5] = {0};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        instance a = create(&mixture, seed);
        count[a.p->n]++;
        destroy(&a);
    }
    for (int n = 2; n <= 4; n++) assert_in_range(count[n], 890, 1110);
}

static void test_draws(void **state)
{
    (void)state;
    enum { N = 100000 };
    random_stream stream = draw_stream(1, STREAM_OTHER, 0);
    float *z = malloc(N * sizeof *z), part[37];
    draw_normals(&stream, z, N, 1);
    double moments[5] = {0};
    int far = 0;
    for (int i = 0; i < N; i++) {
        for (int k = 1; k < 5; k++) moments[k] += pow(z[i], k) / N;
        far += fabsf(z[i]) > 3;
    }
    assert_float_equal(moments[1], 0, 4 / sqrt(N));
    assert_float_equal(moments[2], 1, 4 * sqrt(2.0 / N));
    assert_float_equal(moments[3], 0, 4 * sqrt(15.0 / N));
    assert_float_equal(moments[4], 3, 4 * sqrt(96.0 / N));
    assert_float_equal(far, 0.0027 * N, 4 * sqrt(0.0027 * N));
    /* The first numbers do not depend on how many are drawn. */
    stream = draw_stream(1, STREAM_OTHER, 0);
    draw_normals(&stream, part, 37, 1);
    assert_memory_equal(part, z, 36 * sizeof *z);
    free(z);
    int below[7] = {0};
    for (int i = 0; i < 7000; i++) {
        below[draw_below(&stream, 7)]++;
        const double u = draw_uniform(&stream, -2, 5), l = draw_log_uniform(&stream, 0.5, 8);
        assert_true(u >= -2 && u < 5 && l >= 0.5 && l < 8.0001);
        assert_true(draw_log_uniform(&stream, 0.3, 0.3) == 0.3);
    }
    for (int i = 0; i < 7; i++) assert_in_range(below[i], 870, 1130);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identities), cmocka_unit_test(test_rescale),
        cmocka_unit_test(test_scales),     cmocka_unit_test(test_log),
        cmocka_unit_test(test_sum),        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_sparsity),   cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_mixture),    cmocka_unit_test(test_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
