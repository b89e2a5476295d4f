/* Evaluations against what is known: a gradient descent on a quadratic in closed form, the best of
 * the rates, ties, divergences; the same bits with any number of threads, after stops too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/median.h"
#include "problems/corpus.h"
#include "meta/evaluate_report.h"
#include "meta/meta_model.h"
#include "meta/meta_random.h"
#include "hrnn/rule_hrnn.h"
#include "scratch.h"

#define BOWL(c)                                                                                    \
    {                                                                                              \
        .family = bowl_problem, .condition = c                                                     \
    }
static const problem_spec bowl_1 = BOWL(1), bowl_5 = BOWL(5);
static const problem_spec still = {
    .family = sparse_problem, .amount = 0.999999, .parts = &bowl_1, .n_parts = 1};
static const problem_spec quadratic = {.family = quadratic_problem, .dimension = 12};
static const problem_spec impossible = {.family = quadratic_problem, .dimension = -1};

/* w ← w − rate·g */
static opt_options descent(double rate)
{
    opt_options options = opt_default_options("sgd");
    options.momentum = 0;
    options.rate = (float)rate;
    return options;
}

/* --- one run --- */

static trial_result run_trial(const trial *t)
{
    trial_result result;
    opt_error error = {0};
    if (trial_run(t, NULL, NULL, &result, &error)) fail_msg("%s", error.message);
    return result;
}

static void assert_near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("%.10g, expected %.10g", found, expected);
}

/* ½‖x‖² falls by (1 − rate)² a step. */
static void test_closed_form(void **state)
{
    (void)state;
    static const int tenth[TRIAL_MARKS] = {1, 25, 40}, measured[TRIAL_MARKS] = {1, 20, 20};
    const trial t = {
        .spec = &bowl_1, .seed = 5, .optimizer = descent(0.01), .marks = 3, .steps = {7, 250, 400}};
    const trial_result r = run_trial(&t);
    assert_true(r.complete && r.start > 0);
    for (int k = 0; k < TRIAL_MARKS; k++) {
        double sum = 0;
        for (int j = 0; j < measured[k]; j++)
            sum += r.start * pow(0.99, 2 * ((int)t.steps[k] - j * tenth[k] / measured[k]));
        assert_near(r.loss[k], sum / measured[k], 1e-4);
        assert_false(trial_diverged(r.start, r.loss[k]));
    }
}

/* |1 − 3| = 2: the loss grows fourfold a step, until it overflows. */
static void test_divergence(void **state)
{
    (void)state;
    const trial t = {
        .spec = &bowl_1, .seed = 5, .optimizer = descent(3), .marks = 2, .steps = {10, 500}};
    const trial_result r = run_trial(&t);
    assert_near(r.loss[0], r.start * pow(4, 10), 1e-4);
    assert_true(isinf(r.loss[1]));
    assert_true(trial_diverged(r.start, r.loss[0]) && trial_diverged(r.start, r.loss[1]));
    assert_true(trial_diverged(1, (double)NAN) && trial_diverged(1, 1.6));
    assert_false(trial_diverged(1, 1.4) || trial_diverged(1, 1));
}

/* With attention the loss is that of the true parameters, and the run goes on at the others. */
static void test_true_parameters(void **state)
{
    (void)state;
    hrnn_model model;
    opt_error error = {0};
    meta_random_model(&model, 3, 0.5);
    model.initial_lr = 0.01f;
    const trial t = {.spec = &quadratic,
                     .seed = 9,
                     .optimizer = opt_default_options("hrnn"),
                     .model = &model,
                     .marks = 1,
                     .steps = {3}};
    problem *p = problem_create(&quadratic, 9, NULL, &error);
    assert_non_null(p);
    float *x = problem_floats(p->n, &error), *g = problem_floats(p->n, &error);
    problem_start(p, x);
    const opt_tensor tensor = {"x", x, g, p->n, 1, 0, 1};
    optimizer *opt = opt_create_with_model(&t.optimizer, &model, &tensor, 1, &error);
    assert_non_null(opt);
    for (uint64_t step = 0; step < 3; step++) {
        problem_gradient(p, x, step, g);
        opt_step(opt, NAN, 1, NULL);
    }
    const double attended = problem_gradient(p, x, 0, NULL);
    opt_show_true(opt);
    const double loss = problem_gradient(p, x, 0, NULL);
    assert_true(fabs(attended - loss) > 1e-4 * loss);
    assert_true(run_trial(&t).loss[0] == loss);
    opt_free(opt);
    problem_free(p);
    free(x);
    free(g);
}

/* --- evaluations --- */

static const source_row rows[] = {
    {"one", "round", 1, &bowl_1}, {"two", "system", 1, &quadratic}, {"two", "long", 1, &bowl_5}};
static const problem_source source = {"made", rows, 3, NULL};

static evaluate_options make_options(opt_options subject)
{
    evaluate_options o = evaluate_defaults();
    o.subject = subject;
    o.n_baselines = 1;
    o.baseline[0] = descent(0);
    o.seeds = 3;
    o.steps = 20;
    o.horizon = 8;
    o.threads = 1;
    return o;
}

static evaluation *evaluate(const evaluate_options *o, const evaluate_callbacks *callbacks)
{
    opt_error error = {0};
    evaluation *e = evaluate_create(o, &source, &error);
    if (!e) fail_msg("%s", error.message);
    if (evaluate_run(e, callbacks, &error)) fail_msg("%s", error.message);
    return e;
}

/* Both bowls have the least largest |1 − rate·curvature| at known rates of the grid. */
static void test_best_rate(void **state)
{
    (void)state;
    const evaluate_options o = make_options(descent(evaluate_rate(9)));
    evaluation *e = evaluate(&o, NULL);
    evaluate_mean best, subject, other;
    assert_near(evaluate_rate(0), 1e-5, 1e-12);
    assert_near(evaluate_rate(9), sqrt(0.1), 1e-12);
    assert_near(evaluate_rate(EVALUATE_RATES - 1), 1, 1e-12);

    assert_int_equal(evaluate_best_rate(e, 0, 1, &best), 10);
    assert_true(best.loss == 0 && best.diverged == 0 && best.start > 0);
    assert_true(evaluate_row_mean(e, 0, 0, 0, &subject));
    assert_true(subject.loss > 0 && subject.start == best.start);
    assert_int_equal(evaluate_outcome(evaluate_ratio(subject.loss + 1e-6, best.loss)), -1);

    assert_int_equal(evaluate_best_rate(e, 2, 1, &best), 9);
    assert_true(evaluate_row_mean(e, 2, 0, 0, &subject));
    assert_true(subject.loss == best.loss); /* the same rate, the same run */
    assert_true(evaluate_row_mean(e, 2, 1, 10, &other));
    assert_int_equal(other.diverged, 3); /* |1 − 5| */

    for (int row = 0; row < 3; row++) {
        const int rate = evaluate_best_rate(e, row, 1, &best);
        for (int k = 0; k < EVALUATE_RATES; k++) {
            assert_true(evaluate_row_mean(e, row, 1, k, &other));
            assert_true(k < rate ? other.loss > best.loss : other.loss >= best.loss);
        }
    }
    evaluate_free(e);
}

/* No gradient: the lowest rate wins the tie of all. */
static void test_tied_rates(void **state)
{
    (void)state;
    const source_row row = {"one", "still", 1, &still};
    const problem_source stills = {"stills", &row, 1, NULL};
    const evaluate_options o = make_options(descent(1));
    opt_error error = {0};
    evaluate_mean best;
    evaluation *e = evaluate_create(&o, &stills, &error);
    assert_non_null(e);
    assert_int_equal(evaluate_run(e, NULL, &error), OPT_OK);
    assert_int_equal(evaluate_best_rate(e, 0, 1, &best), 0);
    assert_near(best.loss, best.start, 1e-9);
    evaluate_free(e);
}

static void test_ratios(void **state)
{
    (void)state;
    assert_true(evaluate_ratio(INFINITY, INFINITY) == 1);
    assert_true(isinf(evaluate_ratio(INFINITY, 1)) && evaluate_ratio(1, INFINITY) == 0);
    assert_near(evaluate_ratio(2, 1), 2, 1e-5);
    assert_near(evaluate_ratio(0, 1e-6), 0.5, 1e-9);
    assert_int_equal(evaluate_outcome(1), 0);
    assert_int_equal(evaluate_outcome(0.9995), 0);
    assert_int_equal(evaluate_outcome(0.998), 1);
    assert_int_equal(evaluate_outcome(1.002), -1);
    assert_int_equal(evaluate_outcome(INFINITY), -1);
    double odd[] = {3, INFINITY, 1}, even[] = {4, 1, 3, 2};
    assert_true(median(odd, 3) == 3 && median(even, 4) == 2.5);
    assert_true(isnan(median(odd, 0)));
}

/* The smallest row of a group; and a long run cut at the horizon is a run of that length. */
static void test_lengths(void **state)
{
    (void)state;
    const evaluate_options o = make_options(descent(0.01));
    evaluation *e = evaluate(&o, NULL);
    assert_int_equal(evaluate_n_long_rows(e), 2);
    assert_string_equal(evaluate_long_row(e, 0)->name, "round");
    assert_string_equal(evaluate_long_row(e, 1)->name, "long");
    for (int seed = 0; seed < 3; seed++) {
        trial_result r;
        assert_true(evaluate_long_run(e, 0, seed, &r));
        assert_near(r.loss[0], r.start * pow(0.99, 2 * 8), 1e-4);
        assert_true(r.loss[1] < r.loss[0] && r.loss[2] < r.loss[1]);
        const double last = 0.99 * 0.99; /* of the last 20 of 200 steps, 20 are measured */
        assert_near(r.loss[2], r.start * pow(last, 181) * (1 - pow(last, 20)) / (1 - last) / 20,
                    1e-4);
    }
    evaluate_free(e);
}

static void test_starts(void **state)
{
    (void)state;
    evaluate_options o = make_options(descent(0.3));
    evaluate_mean mean;
    evaluation *e = evaluate(&o, NULL);
    for (int k = 0; k < EVALUATE_START_RATES; k++) {
        assert_near(evaluate_start_rate(k), pow(10, k - 6), 1e-9);
        assert_true(evaluate_start_mean(e, 0, k, &mean));
        const double rate = evaluate_start_rate(k);
        assert_near(mean.loss, mean.start * (pow(1 - rate, 38) + pow(1 - rate, 40)) / 2, 1e-4);
    }
    evaluate_free(e);
    o.parts = EVALUATE_ROWS;
    e = evaluate(&o, NULL);
    trial_result r;
    assert_false(evaluate_start_mean(e, 0, 0, &mean) || evaluate_long_run(e, 0, 0, &r));
    evaluate_free(e);
}

/* --- reports --- */

static char *print(const evaluation *e)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    evaluate_print(e, "made.safetensors", f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static hrnn_model *test_model(void)
{
    static hrnn_model model;
    meta_random_model(&model, 3, 0.1);
    model.initial_lr = 1e-3f;
    return &model;
}

static int stop_after(void *context) { return --*(int *)context < 0; }

static void assert_same_text(char *a, char *b, int same)
{
    assert_int_equal(strcmp(a, b) == 0, same);
    free(a);
    free(b);
}

static void test_threads_and_stops(void **state)
{
    (void)state;
    evaluate_options o = make_options(opt_default_options("hrnn"));
    o.model = test_model();
    evaluation *whole = evaluate(&o, NULL);
    o.threads = 2;
    evaluation *two = evaluate(&o, NULL);
    assert_same_text(print(whole), print(two), 1);
    o.threads = 1;
    o.seed = 2;
    evaluation *other = evaluate(&o, NULL);
    char *of_one = print(whole), *of_two = print(other); /* the seed is in the first line */
    assert_string_not_equal(strchr(of_one, '\n'), strchr(of_two, '\n'));
    free(of_one);
    free(of_two);
    evaluate_free(other);

    o.seed = 1;
    int left = 60; /* enough for one row of twelve variants and three seeds */
    uint64_t done;
    evaluate_mean mean;
    const evaluate_callbacks callbacks = {NULL, stop_after, &left};
    evaluation *stopped = evaluate(&o, &callbacks);
    const uint64_t runs = evaluate_runs(stopped, &done);
    assert_int_equal(runs, 3 * (1 + 11) * 3 + 2 * 3 + 3 * 5 * 3);
    assert_true(done > 0 && done < runs);
    char *text = print(stopped);
    assert_non_null(strstr(text, "Unfinished"));
    free(text);
    int rows_done = 0;
    for (int row = 0; row < 3; row++) rows_done += evaluate_best_rate(stopped, row, 1, &mean) >= 0;
    assert_true(rows_done < 3);
    opt_error error = {0};
    assert_int_equal(evaluate_run(stopped, NULL, &error), OPT_OK);
    assert_same_text(print(whole), print(stopped), 1);
    evaluate_free(whole);
    evaluate_free(two);
    evaluate_free(stopped);
}

static char *read_text(const char *folder, const char *name)
{
    char path[700];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!scratch_exists(path)) return NULL;
    char *text = (char *)scratch_read(path, &size);
    text[size] = 0;
    unlink(path);
    return text;
}

static int count(const char *text, char of)
{
    int n = 0;
    for (; *text; text++) n += *text == of;
    return n;
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *header;
        int lines;
    } files[] = {
        {"rows.csv",
         "row,group,start,loss,diverged,sgd_rate,sgd_loss,sgd_diverged,sgd_ratio,sgd_outcome\n", 4},
        {"sweep.csv", "row,group,optimizer,rate,start,loss,diverged\n", 1 + 3 * EVALUATE_RATES},
        {"lengths.csv", "row,group,seed,steps,start,loss,diverged\n", 1 + 2 * 3 * 3},
        {"starts.csv", "row,group,rate,start,loss,ratio,diverged\n", 1 + 3 * 5}};
    evaluate_options o = make_options(descent(evaluate_rate(9)));
    evaluation *e = evaluate(&o, NULL);
    const char *folder = scratch_path("card");
    opt_error error = {0};
    assert_int_equal(evaluate_write(e, "made.safetensors", folder, &error), OPT_OK);
    for (int i = 0; i < 4; i++) {
        char *text = read_text(folder, files[i].name);
        assert_non_null(text);
        assert_memory_equal(text, files[i].header, strlen(files[i].header));
        assert_int_equal(count(text, '\n'), files[i].lines);
        if (i == 0) { /* a tie at that rate */
            const char *line = strstr(text, "\"long\",\"two\",");
            assert_non_null(line);
            assert_non_null(strstr(line, ",0.316,"));
            assert_non_null(strstr(line, ",0,1,0\n"));
        }
        free(text);
    }
    assert_same_text(read_text(folder, "report.txt"), print(e), 1);
    /* what another evaluation leaves out is not left from this one */
    assert_int_equal(evaluate_write(e, "made.safetensors", folder, &error), OPT_OK);
    evaluate_free(e);
    o.parts = EVALUATE_STARTS;
    e = evaluate(&o, NULL);
    assert_int_equal(evaluate_write(e, "made.safetensors", folder, &error), OPT_OK);
    assert_null(read_text(folder, "rows.csv"));
    assert_null(read_text(folder, "lengths.csv"));
    free(read_text(folder, "starts.csv"));
    free(read_text(folder, "report.txt"));
    evaluate_free(e);
    rmdir(folder);
}

/* --- what is read and refused --- */

static void test_horizon(void **state)
{
    (void)state;
    static const struct {
        const char *recipe; /* NULL: none */
        uint64_t steps;     /* 0: refused */
    } cases[] = {
        {"-corpus wide -episode 50:400 -estimator pes -truncation 50", 400},
        {"-corpus \"paper:sum, noisy\" -episode 50:2000 -estimator es", 2000},
        {"-estimator bptt -episode 50:400 -truncation 50 -unroll-tail 200 -unrolls 40", 41 * 250},
        {"prototype: episodes 50..400 then 50..1500", 0},
        {"-episode 9:3", 0},
        {NULL, 0}};
    const char *path = scratch_path("model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const meta_note note = {"recipe", cases[i].recipe};
        opt_error error = {0};
        uint64_t steps = 0;
        assert_int_equal(
            meta_save_model(test_model(), path, &note, cases[i].recipe != NULL, &error), OPT_OK);
        const opt_status status = evaluate_read_horizon(path, &steps, &error);
        assert_int_equal(status, cases[i].steps ? OPT_OK : OPT_BAD_FILE);
        if (cases[i].steps) assert_int_equal(steps, cases[i].steps);
    }
}

static void test_refused(void **state)
{
    (void)state;
    const source_row bad[] = {{"one", "round", 1, &bowl_1}, {"one", "impossible", 1, &impossible}};
    const problem_source bad_source = {"bad", bad, 2, NULL};
    evaluate_options o = make_options(descent(0.1));
    opt_error error = {0};
    assert_null(evaluate_create(&o, &bad_source, &error));
    assert_int_equal(error.status, OPT_BAD_OPTION);
    o.horizon = 0;
    assert_null(evaluate_create(&o, &source, &error));
    assert_non_null(strstr(error.message, "horizon"));
    o = make_options(descent(-1)); /* only known when the first run makes it */
    evaluation *e = evaluate_create(&o, &source, &error);
    assert_non_null(e);
    assert_int_equal(evaluate_run(e, NULL, &error), OPT_BAD_OPTION);
    evaluate_free(e);
}

/* Instances are not those that a training with the same seed draws. */
static void test_fresh(void **state)
{
    (void)state;
    for (int purpose = META_START; purpose < META_EVALUATION; purpose++) {
        random_stream of_training = meta_stream(1, (meta_purpose)purpose, 2, 3);
        random_stream of_evaluation = meta_stream(1, META_EVALUATION, 2, 3);
        assert_true(draw_seed(&of_training) != draw_seed(&of_evaluation));
    }
    const evaluate_options o = make_options(descent(0.1));
    evaluation *e = evaluate(&o, NULL);
    trial_result a, b;
    assert_true(evaluate_long_run(e, 0, 0, &a) && evaluate_long_run(e, 0, 1, &b));
    assert_true(a.start != b.start);
    random_stream stream = meta_stream(1, META_EVALUATION, XXH3_64bits("round", 5), 0);
    trial t = {.spec = &bowl_1, .optimizer = descent(0.1), .marks = 1, .steps = {1}};
    t.seed = draw_seed(&stream);
    assert_true(run_trial(&t).start == a.start);
    evaluate_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_form),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_true_parameters),
        cmocka_unit_test(test_best_rate),
        cmocka_unit_test(test_tied_rates),
        cmocka_unit_test(test_ratios),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_threads_and_stops),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_horizon),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fresh),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
