/* What a comparison says, against numbers worked out by hand; its tables, there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "compare/csv.h"
#include "compare/report.h"
#include "compare/statistics.h"
#include "compare/tables.h"
#include "made_comparison.h"
#include "scratch.h"

static const cmp_summary *find(const cmp_statistics *s, const char *optimizer)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->optimizers[i].optimizer, optimizer) == 0) return &s->optimizers[i];
    fail_msg("no %s", optimizer);
    return NULL;
}

static cmp_statistics statistics_of(const comparison *c)
{
    cmp_statistics s;
    opt_error error;
    assert_int_equal(cmp_make_statistics(c, &s, &error), OPT_OK);
    return s;
}

static void expect_near(double found, double expected)
{
    if (isnan(expected) ? !isnan(found)
                        : !(found == expected || fabs(found - expected) <= 1e-9 * fabs(expected)))
        fail_msg("found %.12g, expected %.12g", found, expected);
}

static void expect_spread(const cmp_spread *s, double mean, double low, double high)
{
    expect_near(s->mean, mean);
    expect_near(s->low, low);
    expect_near(s->high, high);
}

/* --- statistics --- */

static void test_best_rate(void **state)
{
    (void)state;
    comparison c = make_comparison(100);
    const double losses[][3] = {{1.0, 1.2, 1.4}, {0.5, 0.6, 0.7}, {0.3, 0.3, INFINITY}};
    const double rates[] = {1e-4, 1e-3, 1e-2};
    for (int r = 2; r >= 0; r--)
        for (int k = 0; k < 3; k++) add_run(&c, "adam", rates[r], (uint64_t)k + 1, losses[r][k]);
    add_run(&c, "hrnn", 0, 1, 0.8);
    add_run(&c, "hrnn", 0, 2, 0.9)->outcome = CMP_UNFINISHED;
    cmp_statistics s = statistics_of(&c);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.n_runs, 10);
    assert_int_equal(s.n_diverged, 1);
    assert_int_equal(s.n_unfinished, 1);
    assert_true(s.has_held_out);
    assert_string_equal(s.optimizers[0].optimizer, "adam"); /* 0.6 < 0.8 */

    const cmp_summary *adam = find(&s, "adam"), *hrnn = find(&s, "hrnn");
    assert_int_equal(adam->n_rates, 3);
    assert_int_equal(adam->best, 1);
    assert_int_equal(adam->at_default, 1);
    assert_int_equal(adam->n_diverged, 1);
    assert_int_equal(adam->best_at_edge, 0);
    const cmp_rate_result *best = &adam->rates[1];
    expect_near(best->rate, 1e-3);
    expect_spread(&best->held_out_loss, 0.6, 0.5, 0.7);
    expect_spread(&best->score, 0.6, 0.5, 0.7);
    expect_spread(&best->loss, 0.3, 0.25, 0.35);
    expect_spread(&best->accuracy, 0.94, 0.93, 0.95);
    expect_spread(&adam->rates[2].held_out_loss, INFINITY, 0.3, INFINITY);
    assert_int_equal(adam->rates[2].diverged, 1);
    expect_near(adam->state_bytes, 8);
    expect_near(adam->range_low, 1e-3);
    expect_near(adam->range_decades, 0);

    assert_int_equal(hrnn->n_rates, 1);
    assert_int_equal(hrnn->rates[0].seeds, 1);
    assert_int_equal(hrnn->at_default, 0); /* its own */
    expect_spread(&hrnn->rates[0].held_out_loss, 0.8, 0.8, 0.8);
    expect_near(hrnn->range_decades, NAN);
    expect_near(hrnn->steps, NAN); /* no curves */
    cmp_free_statistics(&s);
    cmp_free(&c);
    assert_int_equal(c.n_runs, 0);
}

static int best_of(comparison *c, double expected_rate)
{
    double rate = -1;
    int best = cmp_best_rate(c, "adam", &rate);
    expect_near(rate, expected_rate);
    return best;
}

static void test_ties_and_divergences(void **state)
{
    (void)state;
    comparison c = make_comparison(100);
    assert_int_equal(cmp_best_rate(&c, "adam", NULL), -1);
    add_run(&c, "adam", 1e-2, 1, 0.5);
    add_run(&c, "adam", 1e-3, 1, 0.5);
    assert_int_equal(best_of(&c, 1e-3), 0); /* of equals the lower rate */
    c.runs[0].held_out_loss = 0.50000001;   /* and equal is what the tables call equal */
    c.runs[1].held_out_loss = 0.50000003;
    best_of(&c, 1e-3);
    c.runs[1].held_out_loss = 0.50001;
    best_of(&c, 1e-2);
    c.runs[0].held_out_loss = NAN; /* finished, measured nothing */
    best_of(&c, 1e-3);
    cmp_free(&c);

    /* Every rate has a diverged seed: the one with the fewest. */
    c = make_comparison(100);
    for (int k = 1; k <= 3; k++) {
        add_run(&c, "adam", 1e-3, (uint64_t)k, INFINITY);
        add_run(&c, "adam", 1e-2, (uint64_t)k, k == 1 ? INFINITY : 0.4);
        add_run(&c, "adam", 1e-1, (uint64_t)k, k <= 2 ? INFINITY : 0.1);
    }
    best_of(&c, 1e-2);
    cmp_statistics s = statistics_of(&c);
    expect_near(s.optimizers[0].range_low, NAN);
    expect_near(s.adam_loss, NAN);
    assert_int_equal(s.n_diverged, 6);
    cmp_free_statistics(&s);
    for (int i = 0; i < c.n_runs; i++) c.runs[i].outcome = CMP_DIVERGED;
    best_of(&c, 1e-3);
    s = statistics_of(&c);
    assert_true(s.has_held_out);
    expect_near(s.optimizers[0].rates[0].loss.low, INFINITY);
    cmp_free_statistics(&s);
    cmp_free(&c);
}

static void test_unequal_seeds(void **state)
{
    (void)state;
    comparison c = make_comparison(100);
    /* A scan with one seed; then two more for the best of it. The lucky 1e-1 lost to 1e-3 on
     * seed 1. */
    add_run(&c, "adam", 1e-3, 1, 0.50);
    add_run(&c, "adam", 1e-3, 2, 0.60);
    add_run(&c, "adam", 1e-3, 3, 0.70);
    add_run(&c, "adam", 1e-1, 1, 0.55);
    best_of(&c, 1e-3);
    /* An interrupted sweep: what is better on its own seeds wins in spite of having fewer. */
    add_run(&c, "adam", 1e-2, 2, 0.40);
    best_of(&c, 1e-2);
    cmp_free(&c);
}

static void test_training_loss_decides(void **state)
{
    (void)state;
    comparison c = make_comparison(100);
    add_run(&c, "sgd", 1e-2, 1, 0.5)->held_out_loss = NAN;
    add_run(&c, "sgd", 1e-1, 1, 0.4)->held_out_loss = NAN;
    for (int i = 0; i < 2; i++) c.runs[i].accuracy = NAN;
    cmp_statistics s = statistics_of(&c);
    assert_false(s.has_held_out);
    assert_int_equal(s.optimizers[0].best, 1);
    assert_int_equal(s.optimizers[0].at_default, 0);
    assert_int_equal(s.optimizers[0].best_at_edge, 1);
    expect_spread(&s.optimizers[0].rates[1].score, 0.2, 0.2, 0.2);
    expect_spread(&s.optimizers[0].rates[1].held_out_loss, NAN, NAN, NAN);
    expect_spread(&s.optimizers[0].rates[1].accuracy, NAN, NAN, NAN);
    expect_near(s.adam_loss, NAN);
    cmp_free_statistics(&s);
    cmp_free(&c);
}

static void test_range(void **state)
{
    (void)state;
    static const struct {
        double own, losses[5]; /* at 1e-5 .. 1e-1; 0: that rate is missing */
        double low, high, decades;
        int low_open, high_open, at_edge;
    } rows[] = {
        {0, {9, 1.1, 1.0, 1.09, 1.2}, 1e-4, 1e-2, 2, 0, 0, 0},
        {0, {1.05, 2, 1.0, 1.2, 1.05}, 1e-3, 1e-3, 0, 0, 0, 0}, /* contiguous */
        {0, {1.0, 1.05, 0, 1.09, 9}, 1e-5, 1e-2, 3, 1, 0, -1},  /* a rate that was not run */
        {0, {9, 9, 9, INFINITY, 1}, 1e-1, 1e-1, 0, 0, 1, 1},
        {1, {9, 1.2, 1.05, 1.05, 9}, 1e-3, 1e-2, 1, 0, 0, 0}, /* own is best, others are near */
        {1, {9, 1.2, 1.15, 1.15, 9}, NAN, NAN, NAN, 0, 0, 0}, /* own is best, none is near */
        {2, {9, 1.2, 1.0, 1.05, 9}, 1e-3, 1e-2, 1, 0, 0, 0},
    };
    for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
        comparison c = make_comparison(100);
        if (rows[k].own) add_run(&c, "hrnn", 0, 1, rows[k].own);
        for (int r = 0; r < 5; r++)
            if (rows[k].losses[r]) add_run(&c, "hrnn", pow(10, r - 5), 1, rows[k].losses[r]);
        cmp_statistics s = statistics_of(&c);
        const cmp_summary *hrnn = find(&s, "hrnn");
        expect_near(hrnn->range_low, rows[k].low);
        expect_near(hrnn->range_high, rows[k].high);
        expect_near(hrnn->range_decades, rows[k].decades);
        assert_int_equal(hrnn->range_low_open, rows[k].low_open);
        assert_int_equal(hrnn->range_high_open, rows[k].high_open);
        assert_int_equal(hrnn->best_at_edge, rows[k].at_edge);
        assert_int_equal(hrnn->at_default, rows[k].own ? 0 : -1);
        cmp_free_statistics(&s);
        cmp_free(&c);
    }
}

static void test_curve(void **state)
{
    (void)state;
    comparison c = make_comparison(200);
    double one[20], two[20];
    for (int i = 0; i < 20; i++) one[i] = i, two[i] = 3 * i;
    set_curve(add_run(&c, "adam", 1e-3, 1, 1), 10, 20, one);
    set_curve(add_run(&c, "adam", 1e-3, 2, 1), 10, 20, two);
    add_run(&c, "adam", 1e-3, 3, 1); /* no curve */
    cmp_curve curve;
    assert_int_equal(cmp_make_curve(&c, "adam", 1e-2, &curve), 0);
    assert_int_equal(cmp_make_curve(&c, "adam", 1e-3, &curve), 1);
    assert_int_equal(curve.n, 20);
    /* a tenth of 20 bins is 2: bin i holds (i - 1 + i) / 2 of each seed */
    expect_near(curve.mean[0], 0);
    expect_near(curve.mean[1], 1);
    expect_near(curve.low[10], 9.5);
    expect_near(curve.high[10], 28.5);
    expect_near(curve.mean[10], 19);
    expect_near(curve.batch[10], 110);
    expect_near(curve.seconds[10], 11);
    /* The second seed breaks off: from there on the mean is infinite. */
    c.runs[1].n_bins = 5;
    c.runs[0].bins[19].loss = NAN;
    cmp_make_curve(&c, "adam", 1e-3, &curve);
    expect_near(curve.mean[4], 2 * 3.5);
    expect_near(curve.mean[5], INFINITY);
    expect_near(curve.low[5], 4.5);
    expect_near(curve.seconds[5], 6);
    expect_near(curve.low[19], INFINITY);
    cmp_free(&c);
}

static void test_steps(void **state)
{
    (void)state;
    cmp_curve curve = {.n = 5,
                       .batch = {10, 20, 30, 40, 50},
                       .seconds = {1, 2, 4, 8, 16},
                       .mean = {5, 3, 4, 2, 1}};
    expect_near(cmp_steps_to(&curve, 6), 10);
    expect_near(cmp_steps_to(&curve, 5), 10);
    expect_near(cmp_steps_to(&curve, 4), 15);   /* half way from 5 to 3 */
    expect_near(cmp_steps_to(&curve, 2.5), 35); /* from the lowest so far, 3, to 2 */
    expect_near(cmp_seconds_to(&curve, 2.5), 6);
    expect_near(cmp_steps_to(&curve, 1), 50);
    expect_near(cmp_steps_to(&curve, 0.9), INFINITY);
    curve.mean[0] = curve.mean[1] = curve.mean[2] = INFINITY;
    expect_near(cmp_steps_to(&curve, 3), 40);
}

static void test_speedup(void **state)
{
    (void)state;
    comparison c = make_comparison(40);
    /* Fewer than 20 bins: no smoothing. Adam first reaches its last loss at 1.5 of 2..1, batch
     * 25. */
    set_curve(add_run(&c, "adam", 1e-3, 1, 0.5), 10, 4, (double[]){3, 2, 1, 1.5});
    set_curve(add_run(&c, "adam", 1e-2, 1, 0.7), 10, 4, (double[]){3, 1, 0.5, 0.1});
    set_curve(add_run(&c, "hrnn", 0, 1, 0.6), 10, 4, (double[]){2.5, 0.5, 0.5, 0.5});
    set_curve(add_run(&c, "sgd", 1e-1, 1, 0.6), 10, 4, (double[]){3, 3, 2, 1.51});
    add_run(&c, "rmsprop", 1e-1, 1, 0.6);
    cmp_statistics s = statistics_of(&c);
    expect_near(s.adam_loss, 1.5);
    expect_near(find(&s, "adam")->steps, 25);
    expect_near(find(&s, "adam")->seconds, 2.5);
    expect_near(find(&s, "adam")->speedup, 1);
    expect_near(find(&s, "hrnn")->steps, 15);
    expect_near(find(&s, "hrnn")->speedup, 25 / 15.);
    expect_near(find(&s, "hrnn")->speedup_seconds, 2.5 / 1.5);
    expect_near(find(&s, "sgd")->steps, INFINITY);
    expect_near(find(&s, "sgd")->speedup, 0);
    expect_near(find(&s, "rmsprop")->steps, NAN);
    assert_int_equal(find(&s, "sgd")->at_default, -1);
    cmp_free_statistics(&s);
    cmp_free(&c);
}

/* What adam ends with where it diverges is no aim; that something was measured remains true. */
static void test_diverged_adam(void **state)
{
    (void)state;
    comparison c = make_comparison(40);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        cmp_run *run = add_run(&c, "adam", 1e-3, seed, 50);
        set_curve(run, 10, 4, (double[]){3, 40, 30, 50});
        run->outcome = CMP_DIVERGED;
    }
    cmp_statistics s = statistics_of(&c);
    expect_near(s.adam_loss, NAN);
    expect_near(find(&s, "adam")->steps, NAN);
    assert_true(s.has_held_out);
    cmp_free_statistics(&s);
    cmp_free(&c);
}

static void test_medians(void **state)
{
    (void)state;
    comparison c = make_comparison(40);
    const double batch[] = {0.03, 0.01, NAN, 0.02, 0.04}, update[] = {1, 2, 3, 4, INFINITY};
    for (int i = 0; i < 5; i++) {
        cmp_run *run = add_run(&c, "sgd", 1e-2, (uint64_t)i, 1);
        run->batch_seconds = batch[i];
        run->update_seconds = update[i];
        run->parameters = i == 3 ? 1000 : 0;
        run->state_bytes = i == 3 ? 4500 : 0;
    }
    add_run(&c, "sgd", 1e-1, 1, 2)->batch_seconds = 100; /* not the best rate */
    cmp_statistics s = statistics_of(&c);
    expect_near(s.optimizers[0].batch_seconds, 0.025);
    expect_near(s.optimizers[0].update_seconds, 2.5);
    expect_near(s.optimizers[0].state_bytes, 4.5);
    cmp_free_statistics(&s);
    cmp_free(&c);
}

/* --- tables --- */

/* Two optimizers, three rates, two seeds, curves and held-out points everywhere. */
static comparison make_full(void)
{
    comparison c = make_comparison(40);
    const double rates[] = {1e-3, 3.16227766e-3, 1e-2};
    for (int o = 0; o < 2; o++)
        for (int r = 0; r < 3; r++)
            for (uint64_t seed = 1; seed <= 2; seed++) {
                double loss =
                    o == 0 && r == 0 ? INFINITY : 0.123456789 * (3 - r) + 0.01 * (double)seed;
                cmp_run *run = add_run(&c, o ? "adam" : "big, \"bad\"\nname", rates[r], seed, loss);
                set_curve(run, 10, 4, (double[]){2.3, r ? 1.7 : NAN, 1 + o, 1 + o + 0.1 * r});
                run->n_held_out = 2;
                run->held_out = malloc(2 * sizeof(*run->held_out));
                run->held_out[0] = (cmp_held_out){0, 2.302585, 0.1};
                run->held_out[1] = (cmp_held_out){40, loss, 0.9};
            }
    add_run(&c, "adam", 1, 1, 1)->outcome = CMP_UNFINISHED;
    c.times = malloc(sizeof(*c.times));
    c.n_times = 1;
    c.times[0] = (cmp_step_time){"adam", 64, 0.01, 0.002};
    return c;
}

static void expect_same_file(const char *a, const char *b)
{
    size_t size_a, size_b;
    unsigned char *text_a = scratch_read(a, &size_a), *text_b = scratch_read(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(text_a, text_b, size_a);
    free(text_a);
    free(text_b);
}

static void write_tables(const comparison *c)
{
    opt_error error = {0};
    cmp_statistics all = statistics_of(c);
    if (cmp_write_tables(c, &all, scratch_folder, &error) != OPT_OK) fail_msg("%s", error.message);
    cmp_free_statistics(&all);
}

/* The one time that is in times.csv. */
static cmp_step_time read_time(void)
{
    cmp_step_time time = {0};
    uint64_t size;
    opt_error error = {0};
    csv_reader csv;
    char *path = cmp_join(scratch_folder, "times.csv");
    assert_int_equal(csv_open(&csv, path, TIMES_HEADER, &error), OPT_OK);
    assert_int_equal(csv_next(&csv), 1);
    assert_true(csv_text(&csv, 0, time.optimizer, sizeof(time.optimizer)));
    assert_true(csv_whole(&csv, 1, 1, 1000, &size));
    assert_true(csv_number(&csv, 2, &time.batch_seconds));
    assert_true(csv_number(&csv, 3, &time.update_seconds));
    time.batch_size = (int)size;
    assert_int_equal(csv_next(&csv), 0);
    csv_close(&csv);
    free(path);
    return time;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"runs.csv", "curves.csv", "times.csv", "summary.csv"};
    comparison c = make_full(), back = {0};
    opt_error error = {0};
    write_tables(&c);
    assert_true(scratch_exists(scratch_path("summary.txt")));
    assert_int_equal(cmp_read_tables(&back, scratch_folder, &error), OPT_OK);
    assert_string_equal(back.setting, c.setting);
    assert_string_equal(back.network, c.network);
    assert_int_equal(back.batches, 40);
    assert_int_equal(back.n_runs, 12); /* not the unfinished one */
    assert_int_equal(back.runs[0].outcome, CMP_DIVERGED);
    assert_string_equal(back.runs[0].optimizer, "big, \"bad\"\nname");
    assert_int_equal(back.runs[0].n_bins, 0); /* neither its best nor its default rate */
    assert_int_equal(back.runs[6].n_bins, 4); /* adam's default rate */
    assert_true(isnan(back.runs[6].bins[1].loss));
    assert_int_equal(back.runs[8].n_bins, 0);
    assert_int_equal(back.runs[10].n_bins, 4); /* adam's best rate */
    expect_near(back.runs[10].bins[3].loss, 2.2);
    assert_int_equal(back.runs[10].n_held_out, 2);
    assert_int_equal(back.runs[10].held_out[1].batch, 40);
    expect_near(back.runs[10].held_out_loss, 0.133457);
    const cmp_step_time time = read_time();
    assert_string_equal(time.optimizer, c.times[0].optimizer);
    assert_int_equal(time.batch_size, c.times[0].batch_size);
    expect_near(time.batch_seconds, c.times[0].batch_seconds);
    expect_near(time.update_seconds, c.times[0].update_seconds);
    back.times = malloc(sizeof(*back.times));
    back.times[back.n_times++] = time;

    /* What was read says the same. */
    for (int i = 0; i < 4; i++) {
        char copy[32];
        snprintf(copy, sizeof(copy), "%s.first", names[i]);
        assert_int_equal(rename(scratch_path(names[i]), scratch_path(copy)), 0);
    }
    write_tables(&back);
    for (int i = 0; i < 4; i++) {
        char copy[32];
        snprintf(copy, sizeof(copy), "%s.first", names[i]);
        expect_same_file(scratch_path(names[i]), scratch_path(copy));
    }
    cmp_free(&c);
    cmp_free(&back);
}

static void test_merge(void **state)
{
    (void)state;
    comparison kept = make_full(), c = make_comparison(40);
    opt_error error = {0};
    write_tables(&kept);
    add_run(&c, "hrnn", 0, 1, 0.1);
    add_run(&c, "adam", 1e-2, 1, 0.7);                                /* stays */
    add_run(&c, "adam", 3.1623e-3, 2, 0.7)->outcome = CMP_UNFINISHED; /* gives way */
    assert_int_equal(cmp_read_tables(&c, scratch_folder, &error), OPT_OK);
    assert_int_equal(c.n_runs, 3 + 12 - 2);
    expect_near(c.runs[1].held_out_loss, 0.7);
    assert_int_equal(c.runs[1].n_bins, 0);
    assert_int_equal(c.runs[2].outcome, CMP_FINISHED);
    expect_near(c.runs[2].held_out_loss, 0.266914);
    assert_int_equal(cmp_read_tables(&c, scratch_folder, &error), OPT_OK); /* nothing new */
    assert_int_equal(c.n_runs, 13);

    strcpy(c.setting, "fedcba9876543210");
    assert_int_equal(cmp_read_tables(&c, scratch_folder, &error), OPT_MISMATCH);
    assert_non_null(strstr(error.message, "runs.csv:2"));
    assert_non_null(strstr(error.message, "0123456789abcdef"));
    assert_non_null(strstr(error.message, "fedcba9876543210"));
    assert_int_equal(c.n_runs, 13);
    cmp_free(&kept);
    cmp_free(&c);
}

/* Replaces the first `from` in the file by `to` and expects the message to hold both parts. */
static void expect_refused(const char *name, const char *from, const char *to, const char *part,
                           const char *part2)
{
    size_t size;
    char *text = (char *)scratch_read(scratch_path(name), &size);
    text[size] = 0;
    char *at = strstr(text, from);
    if (!at) fail_msg("no '%s' in %s", from, name);
    FILE *file = fopen(scratch_path(name), "wb");
    fwrite(text, 1, (size_t)(at - text), file);
    fputs(to, file);
    fputs(at + strlen(from), file);
    fclose(file);
    comparison c = {0};
    opt_error error = {0};
    opt_status status = cmp_read_tables(&c, scratch_folder, &error);
    if (status == OPT_OK || status == OPT_NO_MEMORY || c.n_runs || c.setting[0] ||
        !strstr(error.message, part) || !strstr(error.message, part2) ||
        !strstr(error.message, name) || strchr(error.message, '\n'))
        fail_msg("'%s' -> '%s' in %s: status %d, %d runs, message '%s'", from, to, name, status,
                 c.n_runs, error.message);
    scratch_write(scratch_path(name), text, size);
    free(text);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const rows[][5] = {
        {"runs.csv", "network,", "net,", ":1: the header", "expected 'network,"},
        {"runs.csv", ",0.01,1,", ",0.01,one,", ": seed is 'one'", "expected a whole number"},
        {"runs.csv", ",0.01,1,", ",0.01,,", ": seed is ''", "expected a whole number"},
        {"runs.csv", ",0.01,1,", ",0.01,-1,", ": seed is '-1'", "from 0 to"},
        {"runs.csv", ",0.01,1,", ",0.01,99999999999999999999,", ": seed is", "from 0 to"},
        {"runs.csv", ",0.01,1,", ",-0.01,1,", ": rate is '-0.01'", "a learning rate"},
        {"runs.csv", ",0.01,1,", ",inf,1,", ": rate is 'inf'", "a learning rate"},
        {"runs.csv", ",0.01,1,", ",0.01x,1,", ": rate is '0.01x'", "a number"},
        {"runs.csv", ",0.01,1,", ", 0.01,1,", ": rate is ' 0.01'", "a number"},
        {"runs.csv", ",0.01,1,", ",0.01,2,", ": seed is '2'", "one row for each"},
        {"runs.csv", "finished", "won", ": outcome is 'won'", "finished or diverged"},
        {"runs.csv", "diverged", "diverged,", "22 fields, expected 21", "network,data"},
        {"runs.csv", ",diverged", "", "20 fields, expected 21", "network,data"},
        {"runs.csv", ",40,64,", ",40,0,", ": batch_size is '0'", "from 1 to"},
        {"runs.csv", ",40,64,1,", ",40,64,2,", ": softmax is '2'", "from 0 to 1"},
        {"runs.csv", "diverged,40", "diverged,41", ": last_batch is '41'", "from 0 to 40"},
        {"runs.csv", "abcdef,40", "abcdef,41", "expected 41", "40 batches"},
        {"runs.csv", "89abcdef", "89abcdee", "expected 0123456789abcdee", "runs.csv:4"},
        {"runs.csv", ",adam,", ",,", ": optimizer is ''", "1 to 63 characters"},
        {"runs.csv", "\"big, \"\"", "\"big, \" \"", "a quote inside a field", "runs.csv:2"},
        {"runs.csv", ",4,2\n", ",101,2\n", ": bins is '101'", "from 0 to 100"},
        {"curves.csv", "kind", "sort", ":1: the header", "expected 'optimizer,"},
        {"curves.csv", "training", "trained", ": kind is 'trained'", "training or held-out"},
        {"curves.csv", ",20,", ",10,", ": batch is '10'", "a later batch"},
        {"curves.csv", ",20,", ",400,", ": batch is '400'", "from 0 to 40"},
        {"curves.csv", ",20,", ",2e1,", ": batch is '2e1'", "a whole number"},
        {"curves.csv", "adam,", "Adam,", ": optimizer is 'Adam'", "a run that is in"},
        {"curves.csv", ",2.3,", ",,", ": loss is ''", "a number"},
        {"curves.csv", "held-out,0,2.30259,0.1,nan\n", "training,50,1,1,1\n", "batch is '50'",
         "to 40"},
        {"curves.csv", "held-out,0,2.30259,0.1,nan\n", "training,40,1,1,1\n", "batch is '40'",
         "no more bins"},
    };
    comparison c = make_full();
    write_tables(&c);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        expect_refused(rows[i][0], rows[i][1], rows[i][2], rows[i][3], rows[i][4]);
    comparison back = {0};
    assert_int_equal(cmp_read_tables(&back, scratch_folder, NULL), OPT_OK); /* nothing was left */
    cmp_free(&back);
    cmp_free(&c);
}

/* Every shorter prefix of either file is refused: the two count each other's rows. */
static void test_truncated(void **state)
{
    (void)state;
    comparison c = make_full();
    opt_error error = {0};
    write_tables(&c);
    cmp_free(&c);
    for (int which = 0; which < 2; which++) {
        const char *path = scratch_path(which ? "curves.csv" : "runs.csv");
        size_t size;
        unsigned char *text = scratch_read(path, &size);
        for (size_t n = 0; n < size; n++) {
            scratch_write(path, text, n);
            comparison back = {0};
            opt_status status = cmp_read_tables(&back, scratch_folder, &error);
            if (status != OPT_BAD_FILE || back.n_runs || back.runs)
                fail_msg("the first %zu bytes of %s gave %d", n, path, status);
            assert_non_null(strstr(error.message, ".csv"));
        }
        scratch_write(path, text, size);
        free(text);
    }
    comparison back = {0};
    assert_int_equal(unlink(scratch_path("curves.csv")), 0);
    assert_int_equal(cmp_read_tables(&back, scratch_folder, &error), OPT_NO_FILE);
    assert_non_null(strstr(error.message, "curves.csv: cannot be opened"));
}

static void test_unwritable(void **state)
{
    (void)state;
    comparison c = make_full();
    opt_error error = {0};
    cmp_statistics all = statistics_of(&c);
    assert_int_equal(cmp_write_tables(&c, &all, scratch_path("missing"), &error), OPT_IO);
    assert_non_null(strstr(error.message, "missing/runs.csv"));
    assert_int_equal(cmp_write_tables(&c, &all, "/dev/full", &error), OPT_IO);
    assert_null(strchr(error.message, '\n'));
    cmp_free_statistics(&all);
    cmp_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_rate),     cmocka_unit_test(test_ties_and_divergences),
        cmocka_unit_test(test_unequal_seeds), cmocka_unit_test(test_training_loss_decides),
        cmocka_unit_test(test_range),         cmocka_unit_test(test_curve),
        cmocka_unit_test(test_steps),         cmocka_unit_test(test_speedup),
        cmocka_unit_test(test_diverged_adam), cmocka_unit_test(test_medians),
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_merge),
        cmocka_unit_test(test_malformed),     cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
