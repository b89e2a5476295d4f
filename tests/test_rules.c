/* Every simple rule against a plain reference in double, and what all rules have in common. hrnn's
 * mathematics is in test_hrnn.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "optimizer/optimizer.h"

static const char model_path[] = "weights/hrnn.safetensors";

/* --- a network of tensors of awkward sizes, around the vector and the span --- */

static const size_t sizes[] = {1, 7, 16, 65, 2047, 2048, 2049, 20000, 3};
enum { N = sizeof(sizes) / sizeof(sizes[0]), FROZEN = 3 };
static const char *const names[N] = {"0.weights", "0.biases",  "0.scales",  "1.frozen", "1.weights",
                                     "2.weights", "3.weights", "4.weights", "4.biases"};

typedef struct {
    opt_tensor tensors[N];
    double *reference[N], *state[N][2]; /* of the plain reference */
} network;

static double start_of(int k, size_t i) { return sin((double)i * 0.7 + k) * 0.5; }

/* A gradient that changes sign and size over steps, tensors and entries. */
static float gradient_of(int step, int k, size_t i)
{
    double x = (double)i * 12.9898 + step * 78.233 + k * 37.719;
    return (float)(sin(x * 43.7585) * exp(3 * sin((double)i * 0.37 + k)));
}

static void make_network(network *net)
{
    for (int k = 0; k < N; k++) {
        float *param = malloc(sizes[k] * sizeof(float)), *grad = malloc(sizes[k] * sizeof(float));
        net->reference[k] = malloc(sizes[k] * sizeof(double));
        for (int s = 0; s < 2; s++) net->state[k][s] = calloc(sizes[k], sizeof(double));
        for (size_t i = 0; i < sizes[k]; i++) {
            param[i] = (float)start_of(k, i);
            net->reference[k][i] = param[i];
        }
        net->tensors[k] = (opt_tensor){.name = names[k],
                                       .param = param,
                                       .grad = grad,
                                       .n = sizes[k],
                                       .grad_scale = -0.25f,
                                       .l2 = k % 2 ? 0 : 5e-4f,
                                       .lr_scale = k == FROZEN ? 0
                                                   : k == 5    ? 0.5f
                                                               : 1};
    }
}

static void free_network(network *net)
{
    for (int k = 0; k < N; k++) {
        free(net->tensors[k].param);
        free(net->tensors[k].grad);
        free(net->reference[k]);
        free(net->state[k][0]);
        free(net->state[k][1]);
    }
}

static void fill_gradients(network *net, int step)
{
    for (int k = 0; k < N; k++)
        for (size_t i = 0; i < sizes[k]; i++) net->tensors[k].grad[i] = gradient_of(step, k, i);
}

static float schedule(int step)
{
    return step < 10 ? (float)(step + 1) / 10 : step < 25 ? 1 : 0.1f;
}

/* --- plain references: one entry, one step t = 1, 2, ... --- */

typedef double reference_step(const opt_options *o, double g, double rate, int t, double *s0,
                              double *s1);

static double sgd_step(const opt_options *o, double g, double rate, int t, double *v, double *s1)
{
    (void)t, (void)s1;
    *v = o->momentum * *v + g;
    return rate * *v;
}

static double adam_step(const opt_options *o, double g, double rate, int t, double *m, double *v)
{
    *m = o->beta1 * *m + (1 - (double)o->beta1) * g;
    *v = o->beta2 * *v + (1 - (double)o->beta2) * g * g;
    double m_hat = *m / (1 - pow(o->beta1, t)), v_hat = *v / (1 - pow(o->beta2, t));
    return rate * m_hat / (sqrt(v_hat) + o->eps);
}

static double rmsprop_step(const opt_options *o, double g, double rate, int t, double *v,
                           double *s1)
{
    (void)t, (void)s1;
    *v = o->beta2 * *v + (1 - (double)o->beta2) * g * g;
    return rate * g / (sqrt(*v) + o->eps);
}

static const struct {
    const char *rule;
    reference_step *step;
    float rate;

} algorithms[] = {
    {"sgd", sgd_step, 0.01f},
    {"adam", adam_step, 0.01f},
    {"rmsprop", rmsprop_step, 0.003f},
    {"hrnn", NULL, 1e-3f},
};
enum { ALGORITHMS = sizeof(algorithms) / sizeof(algorithms[0]) };

static opt_options options_of(int a)
{
    opt_options options = opt_default_options(algorithms[a].rule);
    options.rate = algorithms[a].rate;
    options.model = model_path;
    return options;
}

static optimizer *create(int a, const network *net)
{
    opt_options options = options_of(a);
    opt_error error = {0};
    optimizer *opt = opt_create(&options, net->tensors, N, &error);
    if (!opt) fail_msg("%s: %s", algorithms[a].rule, error.message);
    return opt;
}

static void test_against_reference(void **state)
{
    (void)state;
    for (int a = 0; a < ALGORITHMS; a++) {
        if (!algorithms[a].step) continue;
        network net;
        make_network(&net);
        opt_options options = options_of(a);
        optimizer *opt = create(a, &net);
        double error = 0, moved = 0;
        for (int t = 1; t <= 40; t++) {
            fill_gradients(&net, t);
            opt_step(opt, NAN, schedule(t), NULL);
            for (int k = 0; k < N; k++) {
                const opt_tensor *x = &net.tensors[k];
                double rate = (double)options.rate * schedule(t) * x->lr_scale;
                for (size_t i = 0; i < x->n && k != FROZEN; i++) {
                    double *w = &net.reference[k][i];
                    double g = x->grad_scale * (double)gradient_of(t, k, i) + x->l2 * *w;
                    *w -= algorithms[a].step(&options, g, rate, t, &net.state[k][0][i],
                                             &net.state[k][1][i]);
                    error = fmax(error, fabs(x->param[i] - *w));
                    moved = fmax(moved, fabs(*w - start_of(k, i)));
                    if (x->grad[i] != 0) fail_msg("%s[%zu]: gradient not zeroed", x->name, i);
                }
            }
        }
        assert_int_equal(opt_steps(opt), 40);
        if (!(error <= 1e-5 * moved + 1e-6) || !(moved > 0.01))
            fail_msg("%s: error %g after moving %g", algorithms[a].rule, error, moved);
        opt_free(opt);
        free_network(&net);
    }
}

/* The host's own update_convolutional_layer, in its buffers' terms, under a changing rate. */
static void test_sgd_is_the_hosts(void **state)
{
    (void)state;
    enum { SIZE = 100, BATCH = 8 };
    const float momentum = 0.9f, decay = 5e-4f, rate = 0.05f;
    float host[SIZE], updates[SIZE] = {0}, param[SIZE], grad[SIZE] = {0};
    for (size_t i = 0; i < SIZE; i++) host[i] = param[i] = (float)start_of(0, i);
    opt_options options = opt_default_options("sgd");
    options.rate = rate;
    options.momentum = momentum;
    opt_tensor tensor = {"w", param, grad, SIZE, -1.0f / BATCH, decay, 1};
    optimizer *opt = opt_create(&options, &tensor, 1, NULL);
    for (int t = 0; t < 200; t++) {
        float now = rate * schedule(t % 40);
        for (size_t i = 0; i < SIZE; i++) {
            float backward = BATCH * (gradient_of(t, 0, i) - host[i]);
            updates[i] += backward;
            grad[i] += backward;
            updates[i] += -decay * BATCH * host[i];
            host[i] += now / BATCH * updates[i];
            updates[i] *= momentum;
        }
        opt_step(opt, NAN, schedule(t % 40), NULL);
        for (size_t i = 0; i < SIZE; i++)
            if (!(fabsf(host[i] - param[i]) <= 2e-5f))
                fail_msg("step %d: host %g, here %g", t, host[i], param[i]);
    }
    opt_free(opt);
}

/* Rows: problems that every algorithm must bring down from the same start. */
static double quadratic(const float *x, float *g, size_t n)
{
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        double scale = 1 + 9 * (double)i / (double)n, d = x[i] - 0.3;
        loss += 0.5 * scale * d * d / (double)n;
        g[i] += (float)(scale * d);
    }
    return loss;
}

static double valley(const float *x, float *g, size_t n)
{
    double loss = 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        double a = 1 - x[i], b = x[i + 1] - (double)x[i] * x[i];
        loss += (a * a + 10 * b * b) / (double)n;
        g[i] += (float)(-2 * a - 40 * b * x[i]);
        g[i + 1] += (float)(20 * b);
    }
    return loss;
}

static double logistic(const float *x, float *g, size_t n)
{
    double loss = 0;
    for (size_t row = 0; row < 64; row++) {
        double score = 0, label = row % 3 == 0 ? 1 : -1;
        for (size_t i = 0; i < n; i++)
            score += x[i] * (sin((double)(row * 31 + i * 17)) + (i == 0 ? label : 0));
        loss += log1p(exp(-label * score)) / 64;
        double slope = -label / (1 + exp(label * score)) / 64;
        for (size_t i = 0; i < n; i++)
            g[i] += (float)(slope * (sin((double)(row * 31 + i * 17)) + (i == 0 ? label : 0)));
    }
    return loss;
}

static const struct {
    const char *name;
    double (*loss)(const float *x, float *g, size_t n);
    double share; /* of the first loss that must be left at most */
} problems[] = {
    {"quadratic", quadratic, 0.05}, {"valley", valley, 0.2}, {"logistic", logistic, 0.5}};

static void test_algorithms_on_problems(void **state)
{
    (void)state;
    enum { SIZE = 40, STEPS = 600 };
    for (int a = 0; a < ALGORITHMS; a++)
        for (size_t p = 0; p < sizeof(problems) / sizeof(problems[0]); p++) {
            float param[SIZE], grad[SIZE] = {0};
            for (size_t i = 0; i < SIZE; i++) param[i] = -(float)start_of(1, i);
            opt_tensor tensor = {"w", param, grad, SIZE, 1, 0, 1};
            opt_options options = options_of(a);
            optimizer *opt = opt_create(&options, &tensor, 1, NULL);
            double first = problems[p].loss(param, grad, SIZE), last = first;
            for (int t = 0; t < STEPS; t++) {
                opt_step(opt, NAN, 1, NULL);
                last = problems[p].loss(param, grad, SIZE);
            }
            print_message("%-8s %-10s %.4g -> %.4g\n", algorithms[a].rule, problems[p].name, first,
                          last);
            if (!(last <= problems[p].share * first))
                fail_msg("%s on %s: loss %g after %g", algorithms[a].rule, problems[p].name, last,
                         first);
            opt_free(opt);
        }
}

/* --- what all rules have in common --- */

static void run(optimizer *opt, network *net, int from, int to)
{
    for (int t = from; t <= to; t++) {
        fill_gradients(net, t);
        opt_step(opt, NAN, schedule(t), NULL);
    }
}

static void test_thread_counts(void **state)
{
    (void)state;
#ifdef _OPENMP
    int threads = omp_get_max_threads();
    for (int a = 0; a < ALGORITHMS; a++) {
        network first;
        make_network(&first);
        for (int count = 1; count <= 5; count++) {
            network net;
            make_network(&net);
            omp_set_num_threads(count);
            optimizer *opt = create(a, count == 1 ? &first : &net);
            run(opt, count == 1 ? &first : &net, 1, 15);
            for (int k = 0; k < N && count > 1; k++)
                assert_memory_equal(net.tensors[k].param, first.tensors[k].param,
                                    sizes[k] * sizeof(float));
            opt_free(opt);
            free_network(&net);
        }
        free_network(&first);
    }
    omp_set_num_threads(threads);
#else
    skip();
#endif
}

static void test_frozen(void **state)
{
    (void)state;
    for (int a = 0; a < ALGORITHMS; a++) {
        network net, thawed;
        make_network(&net);
        make_network(&thawed);
        thawed.tensors[FROZEN].lr_scale = 1;
        optimizer *opt = create(a, &net), *other = create(a, &thawed);
        assert_true(opt_state_bytes(opt) < opt_state_bytes(other));
        run(opt, &net, 1, 5);
        for (size_t i = 0; i < sizes[FROZEN]; i++) {
            float start = (float)start_of(FROZEN, i), gradient = gradient_of(5, FROZEN, i);
            assert_memory_equal(&net.tensors[FROZEN].param[i], &start, sizeof(float));
            assert_memory_equal(&net.tensors[FROZEN].grad[i], &gradient, sizeof(float));
        }
        opt_free(opt);
        opt_free(other);
        /* A frozen tensor's arrays are not needed at all. */
        free(net.tensors[FROZEN].param);
        free(net.tensors[FROZEN].grad);
        net.tensors[FROZEN].param = net.tensors[FROZEN].grad = NULL;
        opt = create(a, &net);
        run(opt, &thawed, 1, 1);
        opt_free(opt);
        free_network(&net);
        free_network(&thawed);
    }
}

static void test_non_finite(void **state)
{
    (void)state;
    static const float poison[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (int a = 0; a < ALGORITHMS; a++) {
        network net, clean;
        make_network(&net);
        make_network(&clean);
        optimizer *opt = create(a, &net), *other = create(a, &clean);
        for (int t = 1; t <= 6; t++) {
            fill_gradients(&net, t);
            fill_gradients(&clean, t);
            opt_step_report report;
            if (t == 3) {
                /* Without decay, so that the clean run's zero is a zero gradient too. */
                for (int p = 0; p < 3; p++) net.tensors[7].grad[5000 * p] = poison[p];
                net.tensors[4].grad[2046] = NAN;
                for (int p = 0; p < 3; p++) clean.tensors[7].grad[5000 * p] = 0;
                clean.tensors[4].grad[2046] =
                    4 * clean.tensors[4].l2 * clean.tensors[4].param[2046];
            }
            opt_step(opt, NAN, 1, &report);
            assert_int_equal(report.non_finite, t == 3 ? 4 : 0);
            assert_int_equal(report.first_bad_tensor, t == 3 ? 4 : -1);
            opt_step(other, NAN, 1, NULL);
        }
        for (int k = 0; k < N; k++)
            for (size_t i = 0; i < sizes[k]; i++)
                if (!(fabsf(net.tensors[k].param[i] - clean.tensors[k].param[i]) <= 1e-6f))
                    fail_msg("%s: %s[%zu] is %g, expected %g", algorithms[a].rule, names[k], i,
                             net.tensors[k].param[i], clean.tensors[k].param[i]);
        opt_free(opt);
        opt_free(other);
        free_network(&net);
        free_network(&clean);
    }
}

/* A gradient whose square overflows must not stop its parameter for good. */
static void test_huge_gradient(void **state)
{
    (void)state;
    for (int a = 1; a < 3; a++) {
        float param = 0, grad = 3e38f;
        opt_tensor tensor = {"w", &param, &grad, 1, 1, 0, 1};
        opt_options options = options_of(a);
        optimizer *opt = opt_create(&options, &tensor, 1, NULL);
        opt_step(opt, NAN, 1, NULL);
        if (!(fabsf(param) <= 20 * options.rate)) fail_msg("%s: jumps to %g", options.rule, param);
        for (int t = 0; t < 150000; t++) {
            grad = 1;
            opt_step(opt, NAN, 1, NULL);
        }
        float before = param = 0;
        grad = 1;
        opt_step(opt, NAN, 1, NULL);
        if (!isfinite(param) || !(before - param > 0.1f * options.rate))
            fail_msg("%s: moves from %g to %g", options.rule, before, param);
        opt_free(opt);
    }
}

static void test_log_lr(void **state)
{
    (void)state;
    for (int a = 0; a < ALGORITHMS; a++) {
        network net;
        make_network(&net);
        optimizer *opt = create(a, &net);
        int has = strcmp(algorithms[a].rule, "hrnn") == 0;
        float log_lr[65], other[7] = {-1, -2, -3, -4, -5, -6, -7};
        assert_int_equal(opt_get_log_lr(opt, 1, log_lr), has);
        if (has) assert_float_equal(log_lr[6], logf(algorithms[a].rate), 1e-6);
        assert_int_equal(opt_set_log_lr(opt, 1, other), has);
        assert_int_equal(opt_get_log_lr(opt, 1, log_lr), has);
        if (has) assert_memory_equal(log_lr, other, sizeof(other));
        assert_int_equal(opt_get_log_lr(opt, FROZEN, log_lr), 0);
        assert_int_equal(opt_get_log_lr(opt, N, log_lr), 0);
        assert_int_equal(opt_get_log_lr(opt, -1, log_lr), 0);
        opt_free(opt);
        free_network(&net);
    }
}

static void test_bad_options(void **state)
{
    (void)state;
    float param[2] = {0}, grad[2] = {0};
    const opt_tensor good = {"a", param, grad, 2, 1, 0, 1};
    const opt_options sgd = opt_default_options("sgd"), adam = opt_default_options("adam"),
                      hrnn = opt_default_options("hrnn");
    opt_tensor twice[2] = {good, good}, nameless = good, slash = good, host = good, empty = good,
               no_param = good, no_grad = good, nan_scale = good;
    nameless.name = NULL;
    slash.name = "a/b";
    host.name = "host";
    empty.n = 0;
    no_param.param = NULL;
    no_grad.grad = NULL;
    nan_scale.grad_scale = NAN;
    opt_options unknown = sgd, none = sgd, device = sgd, negative = sgd, infinite = sgd, nan = sgd,
                momentum = sgd, beta = adam, eps = adam, absent = hrnn;
    unknown.rule = "newton";
    none.rule = NULL;
    device.device = "abacus";
    negative.rate = -1;
    infinite.rate = INFINITY;
    nan.rate = NAN;
    momentum.momentum = 1;
    beta.beta2 = 1;
    eps.eps = 0;
    absent.model = "absent.safetensors";
    const struct {
        const opt_options *options;
        const opt_tensor *tensors;
        int n;
        opt_status status;
        const char *message;
    } rows[] = {
        {&unknown, &good, 1, OPT_BAD_OPTION,
         "\"newton\", expected one of: sgd, adam, rmsprop, hrnn"},
        {&none, &good, 1, OPT_BAD_OPTION, "expected one of: sgd"},
        {&device, &good, 1, OPT_BAD_OPTION, "abacus"},
        {&negative, &good, 1, OPT_BAD_OPTION, "rate is -1"},
        {&infinite, &good, 1, OPT_BAD_OPTION, "rate is inf"},
        {&nan, &good, 1, OPT_BAD_OPTION, "rate is nan"},
        {&momentum, &good, 1, OPT_BAD_OPTION, "momentum is 1"},
        {&beta, &good, 1, OPT_BAD_OPTION, "beta2 is 1"},
        {&eps, &good, 1, OPT_BAD_OPTION, "eps is 0"},
        {&absent, &good, 1, OPT_NO_FILE, "absent.safetensors"},
        {&hrnn, &good, 1, OPT_BAD_OPTION, "model"},
        {&sgd, twice, 2, OPT_BAD_OPTION, "two tensors have the name \"a\""},
        {&sgd, &nameless, 1, OPT_BAD_OPTION, "tensor 0"},
        {&sgd, &slash, 1, OPT_BAD_OPTION, "a/b"},
        {&sgd, &host, 1, OPT_BAD_OPTION, "\"host\""},
        {&sgd, &empty, 1, OPT_BAD_OPTION, "0 parameters"},
        {&sgd, &no_param, 1, OPT_BAD_OPTION, "no parameter array"},
        {&sgd, &no_grad, 1, OPT_BAD_OPTION, "no gradient array"},
        {&sgd, &nan_scale, 1, OPT_BAD_OPTION, "grad_scale nan"},
        {&sgd, &good, -1, OPT_BAD_OPTION, "-1 tensors"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        opt_error error = {0};
        assert_null(opt_create(rows[i].options, rows[i].tensors, rows[i].n, &error));
        assert_int_equal(error.status, rows[i].status);
        if (!strstr(error.message, rows[i].message))
            fail_msg("row %zu: \"%s\" lacks \"%s\"", i, error.message, rows[i].message);
        assert_null(opt_create(rows[i].options, rows[i].tensors, rows[i].n, NULL));
    }
    opt_free(NULL);
}

static void test_nothing_to_train(void **state)
{
    (void)state;
    for (int a = 0; a < ALGORITHMS; a++) {
        opt_options options = options_of(a);
        opt_tensor frozen = {"a", NULL, NULL, 5, 1, 0, 0};
        for (int n = 0; n < 2; n++) {
            opt_error error = {0};
            optimizer *opt = opt_create(&options, &frozen, n, &error);
            if (!opt) fail_msg("%s: %s", options.rule, error.message);
            opt_step(opt, NAN, 1, NULL);
            assert_int_equal(opt_steps(opt), 1);
            opt_free(opt);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    const char *const *rules = opt_rule_names();
    for (int a = 0; a < ALGORITHMS; a++) assert_string_equal(rules[a], algorithms[a].rule);
    assert_null(rules[ALGORITHMS]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_sgd_is_the_hosts),
        cmocka_unit_test(test_algorithms_on_problems),
        cmocka_unit_test(test_thread_counts),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_non_finite),
        cmocka_unit_test(test_huge_gradient),
        cmocka_unit_test(test_log_lr),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_nothing_to_train),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
