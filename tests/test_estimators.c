/* Evolution strategies against gradients that are known, and the episodes and populations under
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "adjoint/hrnn_unroll.h"
#include "meta/estimator_bptt.h"
#include "meta/estimator_es.h"
#include "meta/meta_model.h"
#include "meta/population.h"
#include "hrnn/rule_hrnn.h"
#include "optimizer/rule.h"

/* --- a system whose meta-loss is a quadratic of the meta-parameters --- */

enum { N = 5, STEPS = 6, CUT = 2, PAIRS = 1000, ROUNDS = 120 };
static const double theta_0[N] = {0.3, -0.5, 0.8, 0.1, -0.2};
static const double inputs[2][N] = {{1, 0.5, -0.3, 0.2, 0.7}, {-0.4, 1, 0.6, -0.8, 0.1}};
static const double target[2] = {1, -2};

/* s ← 0.9·s + B·θ for `steps` steps; the sum of ½‖s − target‖² after each. d is ∂s/∂θ, or NULL. */
static double advance(double s[2], double d[2][N], const double *theta, int steps, double *gradient)
{
    double loss = 0;
    for (int t = 0; t < steps; t++)
        for (int j = 0; j < 2; j++) {
            s[j] *= 0.9;
            for (int i = 0; i < N; i++) s[j] += inputs[j][i] * theta[i];
            loss += 0.5 * (s[j] - target[j]) * (s[j] - target[j]);
            for (int i = 0; d && i < N; i++) {
                d[j][i] = 0.9 * d[j][i] + inputs[j][i];
                gradient[i] += (s[j] - target[j]) * d[j][i];
            }
        }
    return loss;
}

/* The mean of the estimates over many episodes, its standard error, and the exact gradient of the
 * mean loss of a step. forget: the sums of PES start anew with every truncation. */
static void estimate(es_kind kind, int forget, double mean[N], double error[N], double exact[N])
{
    es_estimator es;
    assert_int_equal(es_init(&es, kind, PAIRS, 0.3, N, 11, NULL, NULL), OPT_OK);
    static double states[PAIRS][2][2];
    static uint64_t numbers[PAIRS];
    static unsigned char starts[PAIRS];
    double plus[PAIRS], minus[PAIRS], squares[N] = {0};
    const int cuts = kind == ES_WHOLE ? 1 : STEPS / CUT, length = STEPS / cuts;
    memset(mean, 0, N * sizeof *mean);
    for (int round = 0; round < ROUNDS; round++) {
        double of_round[N] = {0};
        for (int p = 0; p < PAIRS; p++) numbers[p] = (uint64_t)round;
        memset(states, 0, sizeof states);
        for (int cut = 0; cut < cuts; cut++) {
            double gradient[N];
            memset(starts, cut == 0 || forget, sizeof starts);
            es_draw(&es, (uint64_t)(round * cuts + cut), numbers, starts);
            for (int p = 0; p < PAIRS; p++)
                for (int side = 0; side < 2; side++) {
                    float rounded[N];
                    double theta[N];
                    es_perturb(&es, theta_0, p, side ? -1 : 1, rounded);
                    for (int i = 0; i < N; i++) theta[i] = (double)rounded[i];
                    (side ? minus : plus)[p] =
                        advance(states[p][side], NULL, theta, length, NULL) / length;
                }
            es_gradient(&es, plus, minus, gradient);
            for (int i = 0; i < N; i++) of_round[i] += gradient[i] / cuts;
        }
        for (int i = 0; i < N; i++) {
            mean[i] += of_round[i] / ROUNDS;
            squares[i] += of_round[i] * of_round[i] / ROUNDS;
        }
    }
    double s[2] = {0}, d[2][N] = {{0}};
    memset(exact, 0, N * sizeof *exact);
    advance(s, d, theta_0, STEPS, exact);
    for (int i = 0; i < N; i++) {
        exact[i] /= STEPS;
        error[i] = sqrt((squares[i] - mean[i] * mean[i]) / (ROUNDS - 1));
    }
    es_release(&es);
}

static void test_unbiased(void **state)
{
    (void)state;
    for (es_kind kind = ES_WHOLE; kind <= ES_NRES; kind++) {
        double mean[N], error[N], exact[N], worst = 0, size = 0, noise = 0;
        estimate(kind, 0, mean, error, exact);
        for (int i = 0; i < N; i++) {
            worst = fmax(worst, fabs(mean[i] - exact[i]) / error[i]);
            size += exact[i] * exact[i];
            noise += error[i] * error[i];
        }
        print_message("estimator %d: at most %.2f standard errors off, which are %.2f %% of |g|\n",
                      kind, worst, 100 * sqrt(noise / size));
        assert_true(worst < 4.5);
        assert_true(noise < 0.03 * 0.03 * size);
    }
}

/* The test above would see a truncated estimator's bias. */
static void test_bias_is_seen(void **state)
{
    (void)state;
    double mean[N], error[N], exact[N], worst = 0;
    estimate(ES_PES, 1, mean, error, exact);
    for (int i = 0; i < N; i++) worst = fmax(worst, fabs(mean[i] - exact[i]) / error[i]);
    assert_true(worst > 30);
}

static void test_one_direction(void **state)
{
    (void)state;
    unsigned char used[N] = {1, 1, 0, 1, 1}, starts[2] = {1, 1};
    uint64_t numbers[2] = {7, 8};
    es_estimator es;
    assert_int_equal(es_init(&es, ES_NRES, 2, 0.25, N, 3, used, NULL), OPT_OK);
    es_draw(&es, 0, numbers, starts);
    float up[N], down[N], again[N];
    es_perturb(&es, theta_0, 1, 1, up);
    es_perturb(&es, theta_0, 1, -1, down);
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)up[i] + (double)down[i] - 2 * theta_0[i]) < 1e-6);
        assert_true((up[i] == down[i]) == (i == 2));
    }
    /* NRES keeps the direction of an episode, and takes another for the next. */
    es_draw(&es, 1, numbers, starts);
    es_perturb(&es, theta_0, 1, 1, again);
    assert_memory_equal(up, again, sizeof up);
    numbers[1]++;
    es_draw(&es, 2, numbers, starts);
    es_perturb(&es, theta_0, 1, 1, again);
    assert_memory_not_equal(up, again, sizeof up);
    /* One pair's loss is not finite: it gives nothing; the other gives (L+ − L−)/(2σ·2)·ε. */
    double gradient[N];
    es_gradient(&es, (double[]){1, NAN}, (double[]){0.5, 0}, gradient);
    for (int i = 0; i < N; i++)
        assert_true(fabs(gradient[i] - 0.5 * (double)es.direction[i]) < 1e-12);
    es_release(&es);
}

/* --- episodes --- */

static const problem_spec quadratic = {.family = quadratic_problem, .dimension = 20};
static const problem_spec small = {.family = quadratic_problem, .dimension = 3};
static const problem_spec noisy = {
    .family = noise_problem, .amount = 0.5, .parts = &quadratic, .n_parts = 1};
static const problem_spec both[2] = {{.family = quadratic_problem, .dimension = 20},
                                     {.family = quadratic_problem, .dimension = 70}};
static const problem_spec sum = {.family = sum_problem, .parts = both, .n_parts = 2};

static const episode_options usual = {
    .clip = 0.4, .eps = 0.01, .tail = 1, .rates = {1e-4, 1e-2}, .every = 1};

static hrnn_model make_model(int attention)
{
    hrnn_model model;
    meta_random_model(&model, 5, 0.1);
    if (!attention) assert_int_equal(meta_switch_off(&model, "attention", NULL), OPT_OK);
    return model;
}

/* The meta-loss of a whole episode, run in truncations of `cut` steps. */
static double run_in_cuts(const problem_spec *spec, const episode_options *options, uint64_t steps,
                          uint64_t cut, int attention)
{
    const hrnn_model model = make_model(attention);
    episode *e = episode_create(spec, NULL, 9, steps, &model, options, NULL);
    assert_non_null(e);
    double loss = 0;
    uint64_t cuts = 0;
    for (episode_result r = {0}; !r.done; cuts++) {
        episode_run(e, cut, &r);
        loss += r.loss * (double)(cut < steps ? cut : steps) / (double)steps;
        assert_false(r.diverged);
    }
    assert_int_equal(cuts, (steps + cut - 1) / cut);
    episode_free(e);
    return loss;
}

/* The same by hand. */
static double run_by_hand(const problem_spec *spec, const episode_options *options, int steps,
                          int attention)
{
    const hrnn_model model = make_model(attention);
    problem *p = problem_create(spec, 9, NULL, NULL);
    float *x = problem_floats(p->n, NULL), *g = problem_floats(p->n, NULL), log_lr[200];
    problem_start(p, x);
    opt_options o = opt_default_options("hrnn");
    o.rate = 1;
    opt_tensor *tensors = problem_opt_tensors(p, x, g, NULL);
    optimizer *opt = opt_create_with_model(&o, &model, tensors, p->n_tensors, NULL);
    free(tensors);
    assert_non_null(opt);
    for (size_t i = 0; i < 200; i++) log_lr[i] = logf((float)options->rates[0]);
    for (int k = 0; k < p->n_tensors; k++) opt_set_log_lr(opt, k, log_lr);
    const double start = problem_full_loss(p, x);
    double total = 0;
    int counted = 0;
    for (int t = 0; t < steps; t++) {
        problem_gradient(p, x, (uint64_t)t, g);
        opt_step(opt, NAN, 1, NULL);
        if (options->loss == LOSS_FULL && (t + 1) % options->every && t + 1 < steps) continue;
        double loss = problem_gradient(p, x, (uint64_t)t + 1, NULL);
        if (options->loss == LOSS_FULL) {
            opt_show_true(opt);
            loss = problem_full_loss(p, x);
            opt_show_attended(opt);
        }
        if (t < steps - options->tail * steps) continue;
        total += fmin(log((loss + options->eps) / (start + options->eps)), options->clip);
        counted++;
    }
    opt_free(opt);
    problem_free(p);
    free(x);
    free(g);
    return total / counted;
}

static void test_episode(void **state)
{
    (void)state;
    const problem_spec *specs[] = {&quadratic, &noisy, &sum};
    for (int kind = 0; kind < 24; kind++) {
        episode_options options = usual;
        const int attention = kind & 1;
        options.loss = kind & 2 ? LOSS_FULL : LOSS_BATCH;
        options.every = 7;
        if (kind & 4) options.tail = 0.25;
        options.rates[0] = options.rates[1] = 1e-3;
        const problem_spec *spec = specs[kind / 8];
        const double whole = run_in_cuts(spec, &options, 60, 1000, attention);
        assert_true(whole < -0.02 && whole > -5);
        assert_true(fabs(whole - run_by_hand(spec, &options, 60, attention)) < 1e-5);
        assert_true(fabs(whole - run_in_cuts(spec, &options, 60, 7, attention)) < 1e-12);
        assert_true(fabs(whole - run_in_cuts(spec, &options, 60, 60, attention)) < 1e-12);
    }
}

/* [n], where the gradient is taken: the tensors are parts of one array. */
static const float *params_of(const episode *e) { return episode_optimizer(e)->tensors[0].param; }

static void test_learning_rates(void **state)
{
    (void)state;
    const problem_spec large = {.family = quadratic_problem, .dimension = 500};
    const hrnn_model model = make_model(0);
    episode_options options = usual;
    /* The first steps change η by the model's own rule, from the same state: where η was different,
     * so is x. */
    options.rates[0] = 1e-6;
    float x[2][500];
    for (int run = 0; run < 2; run++) {
        episode_result r;
        episode *e = episode_create(&large, NULL, 4, 1, &model, &options, NULL);
        assert_non_null(e);
        memcpy(x[run], params_of(e), sizeof x[run]);
        episode_run(e, 1, &r);
        if (run) memcpy(x[run], params_of(e), sizeof x[run]);
        episode_free(e);
    }
    double low = INFINITY, high = 0;
    for (int i = 0; i < 500; i++) {
        const double move = fabs((double)x[1][i] - (double)x[0][i]);
        low = fmin(low, move);
        high = fmax(high, move);
    }
    /* Half of the log, two decades, lies within a tensor; the directions differ too. */
    assert_true(high <= 1e-2 * 3 && high > 20 * low);
}

static void test_divergence(void **state)
{
    (void)state;
    hrnn_model model = make_model(0);
    model.step_offset[0] = model.log_lr_bias[0] = 88;
    model.max_log_lr = 88;
    episode *e = episode_create(&quadratic, NULL, 1, 40, &model, &usual, NULL);
    episode_result r;
    episode_run(e, 10, &r);
    assert_true(r.dead && !r.done && !r.diverged && fabs(r.loss - 0.4) < 0.1);
    episode_run(e, 100, &r);
    assert_true(r.dead && r.done && r.diverged && fabs(r.end - 0.4) < 1e-12);
    episode_free(e);
    /* Not dead, but worse than at the start. */
    model = make_model(0);
    model.step_offset[0] = 12;
    e = episode_create(&quadratic, NULL, 1, 40, &model, &usual, NULL);
    episode_run(e, 40, &r);
    assert_true(!r.dead && r.done && r.diverged);
    assert_true(r.loss < 0.4 + 1e-12 && r.loss > 0.3);
    episode_free(e);
}

static void test_packing(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) { /* without attention, with it, hrnn-2 */
        hrnn_model model = make_model(kind == 1);
        if (kind == 2) {
            meta_set_format(&model, 2);
            for (int i = HRNN_1_PARAMS; i < HRNN_META_PARAMS - 1; i++)
                meta_params(&model)[i] = i % 2 ? 0.05f : -0.1f;
        }
        hrnn_model other = model;
        other.step_offset[0] -= 0.1f;
        episode *e[2];
        episode_result r[2];
        e[0] = episode_create(&sum, NULL, 21, 90, &model, &usual, NULL);
        episode_run(e[0], 33, &r[0]);
        const size_t size = episode_packed_size(e[0]);
        char *bytes = malloc(size);
        assert_non_null(bytes);
        episode_pack(e[0], bytes);
        e[1] = episode_create(&sum, NULL, 21, 90, &other, &usual, NULL);
        assert_int_equal(episode_unpack(e[1], bytes, size - 4, NULL), OPT_MISMATCH);
        assert_int_equal(episode_unpack(e[1], bytes, size, NULL), OPT_OK);
        for (int i = 0; i < 2; i++) {
            episode_set_model(e[i], &other);
            episode_run(e[i], 100, &r[i]);
        }
        assert_memory_equal(&r[0], &r[1], sizeof r[0]);
        assert_true(r[0].done && r[0].loss < 0);
        assert_memory_equal(params_of(e[0]), params_of(e[1]),
                            episode_problem(e[0])->n * sizeof(float));
        for (int i = 0; i < 2; i++) episode_free(e[i]);
        free(bytes);
    }
}

/* --- back-propagation --- */

/* Two unrolls, the second at parameters moved by `by` along a direction; its meta-loss. */
static double second_unroll(const float *direction, double by, int second, float *gradient)
{
    hrnn_model model = make_model(1);
    episode_options options = usual;
    options.rates[0] = options.rates[1] = 0.1; /* a curvature that counts */
    bptt *b = bptt_new(1, NULL);
    episode *e = episode_create(&noisy, NULL, 33, (uint64_t)1 << 50, &model, &options, NULL);
    bptt_result r;
    assert_int_equal(bptt_unroll(b, 0, e, 9, second, gradient, &r, NULL), OPT_OK);
    for (int i = 0; i < HRNN_META_PARAMS; i++) meta_params(&model)[i] += (float)by * direction[i];
    episode_set_model(e, &model);
    assert_int_equal(bptt_unroll(b, 0, e, 17, second, gradient, &r, NULL), OPT_OK);
    assert_int_equal(opt_steps(episode_optimizer(e)), 26);
    assert_false(r.diverged);
    episode_free(e);
    bptt_free(b);
    return r.loss;
}

static void test_back_propagation(void **state)
{
    (void)state;
    static float direction[HRNN_META_PARAMS], gradient[HRNN_META_PARAMS], unread[HRNN_META_PARAMS];
    for (int i = 0; i < HRNN_META_PARAMS; i++) direction[i] = (float)sin(i * 1.3);
    second_unroll(direction, 0, 1, gradient);
    /* Along the gradient, where a difference of float losses has most to say, and across. */
    double size = 0, along = 0, product = 0, off[2];
    for (int i = 0; i < HRNN_META_PARAMS; i++) size += (double)gradient[i] * (double)gradient[i];
    size = sqrt(size);
    assert_true(size > 1e-3);
    for (int i = 0; i < HRNN_META_PARAMS; i++) {
        direction[i] = (float)((double)gradient[i] / size + 0.005 * (double)direction[i]);
        product += (double)gradient[i] * (double)direction[i];
    }
    for (int second = 1; second >= 0; second--) {
        const double by = 0.005;
        along = (second_unroll(direction, by, second, unread) -
                 second_unroll(direction, -by, second, unread)) /
                (2 * by);
        if (!second) second_unroll(direction, 0, 0, gradient);
        product = 0;
        for (int i = 0; i < HRNN_META_PARAMS; i++)
            product += (double)gradient[i] * (double)direction[i];
        off[second] = fabs(product / along - 1);
    }
    print_message("off by %.2g with second derivatives, %.2g without\n", off[1], off[0]);
    assert_true(off[1] < 0.01);
    assert_true(off[0] > 2 * off[1]);
}

/* The meta-loss is the paper's: of the loss on all data, not of the batches that are trained on. */
static void test_meta_loss(void **state)
{
    (void)state;
    enum { UNROLL = 12 };
    static float gradient[HRNN_META_PARAMS];
    const problem_spec mlp = {
        .family = mlp_problem, .dimension = 6, .samples = 60, .batch = 4, .hidden = {5}};
    const problem_spec noisy_mlp = {
        .family = noise_problem, .amount = 0.1, .parts = &mlp, .n_parts = 1};
    const episode_options options = {
        .loss = LOSS_FULL, .every = 1, .clip = 1e9, .eps = 1e-6, .tail = 1, .rates = {0.03, 0.03}};
    for (int attention = 0; attention < 2; attention++) {
        const hrnn_model model = make_model(attention);
        bptt *b = bptt_new(1, NULL);
        episode *e = episode_create(&noisy_mlp, NULL, 9, (uint64_t)1 << 50, &model, &options, NULL);
        bptt_result r;
        assert_int_equal(bptt_unroll(b, 0, e, UNROLL, 1, gradient, &r, NULL), OPT_OK);
        const double loss = run_by_hand(&noisy_mlp, &options, UNROLL, attention);
        assert_true(fabs(loss) > 0.01);
        assert_float_equal(r.loss, loss, 1e-5 * fabs(loss));
        episode_free(e);
        bptt_free(b);
    }
}

static void test_average(void **state)
{
    (void)state;
    enum { STRIDE = HRNN_META_PARAMS + 1 };
    static float gradients[3 * STRIDE];
    static unsigned char used[HRNN_META_PARAMS];
    static double mean[HRNN_META_PARAMS];
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < STRIDE; i++) gradients[r * STRIDE + i] = (float)(i % 5 + r);
    memset(used, 1, sizeof used);
    used[7] = 0;
    bptt_average(gradients, 3, STRIDE, used, mean);
    for (int i = 0; i < HRNN_META_PARAMS; i++) assert_true(mean[i] == (i == 7 ? 0 : i % 5 + 1));
}

/* --- populations --- */

static const source_row rows[] = {{"quadratic", "quadratic 20", 1, &quadratic},
                                  {"quadratic", "quadratic 3", 2, &small},
                                  {"noisy", "noisy 20", 1, &noisy},
                                  {"sum", "sum", 1, &sum}};
static const problem_source source = {"test", rows, 4, NULL};

/* The meta-parameters after `steps` plain gradient steps with `threads` threads. */
static void train(int kind, int threads, int steps, double *theta)
{
    hrnn_model model = make_model(0);
    const int bptt = kind > ES_NRES;
    const population_options options = {.kind = bptt ? ES_WHOLE : (es_kind)kind,
                                        .bptt = bptt,
                                        .second_derivatives = 1,
                                        .unrolls = 2,
                                        .unroll_tail = 9,
                                        .pairs = 5,
                                        .sigma = 0.01,
                                        .seed = 2,
                                        .steps = {5, 60},
                                        .truncation = 8,
                                        .threads = threads,
                                        .episode = usual};
    comm *c = comm_open(NULL, NULL, NULL);
    population *p = population_create(&options, &source, &model, c, NULL);
    assert_non_null(p);
    for (int i = 0; i < HRNN_META_PARAMS; i++) theta[i] = (double)meta_params(&model)[i];
    double *gradient = calloc(HRNN_META_PARAMS, sizeof *gradient);
    for (int s = 0; s < steps; s++) {
        uint64_t flags = 5;
        assert_int_equal(population_step(p, (uint64_t)s, theta, gradient, &flags, NULL), OPT_OK);
        assert_int_equal(flags, 5);
        for (int i = 0; i < HRNN_META_PARAMS; i++) theta[i] -= 1e-4 * gradient[i];
        for (int i = 0; i < options.pairs; i++) {
            const population_result *r = &population_results(p)[i];
            assert_true(r->row >= 0 && r->row < 4 && r->steps >= 1 && r->steps <= 60);
            assert_true((r->loss[0] != r->loss[1]) == !bptt);
        }
    }
    free(gradient);
    population_free(p);
}

static void test_threads(void **state)
{
    (void)state;
    static double theta[3][HRNN_META_PARAMS];
    for (int kind = ES_WHOLE; kind <= ES_NRES + 1; kind++) {
        train(kind, 1, 12, theta[0]);
        train(kind, 2, 12, theta[1]);
        train(kind, 3, 12, theta[2]);
        assert_memory_equal(theta[0], theta[1], sizeof theta[0]);
        assert_memory_equal(theta[0], theta[2], sizeof theta[0]);
        int moved = 0;
        const hrnn_model model = make_model(0);
        for (int i = 0; i < HRNN_META_PARAMS; i++)
            moved += theta[0][i] != (double)meta_params((hrnn_model *)&model)[i];
        const int without_attention = HRNN_1_PARAMS - HRNN_H0 - HRNN_SCALES;
        if (kind <= ES_NRES)
            assert_int_equal(moved, without_attention);
        else
            assert_true(moved > without_attention * 9 / 10 && moved <= without_attention);
    }
}

static void test_bad_problem(void **state)
{
    (void)state;
    const problem_spec bad = {.family = quadratic_problem, .dimension = -1};
    const source_row row = {"bad", "bad", 1, &bad};
    const problem_source one = {"bad", &row, 1, NULL};
    const hrnn_model model = make_model(0);
    const population_options options = {
        .pairs = 2, .sigma = 0.01, .steps = {5, 60}, .truncation = 8, .episode = usual};
    population *p = population_create(&options, &one, &model, comm_open(NULL, NULL, NULL), NULL);
    static double theta[HRNN_META_PARAMS], gradient[HRNN_META_PARAMS];
    uint64_t flags = 0;
    opt_error error = {0};
    assert_int_equal(population_step(p, 0, theta, gradient, &flags, &error), OPT_BAD_OPTION);
    assert_int_equal(error.status, OPT_BAD_OPTION);
    assert_true(strlen(error.message) > 0);
    population_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unbiased),       cmocka_unit_test(test_bias_is_seen),
        cmocka_unit_test(test_one_direction),  cmocka_unit_test(test_episode),
        cmocka_unit_test(test_learning_rates), cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_packing),        cmocka_unit_test(test_back_propagation),
        cmocka_unit_test(test_meta_loss),      cmocka_unit_test(test_average),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_bad_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
