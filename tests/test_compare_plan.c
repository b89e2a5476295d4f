/* Which runs a comparison has, what their cfgs say, what their logs amount to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "compare/net_cfg.h"
#include "compare/plan.h"
#include "compare/run_files.h"
#include "scratch.h"

static const char cfg[] =
    "# a net\n[net]\nbatch = 8\nlearning_rate=0.1 \r\noptimizer=adam\nseed=4\n"
    "max_batches=200\npolicy=poly\n\n[connected]\nlearning_rate=7\n"
    "output=3\n[softmax]\n[cost]\ntype=sse";

/* --- cfgs --- */

static void test_cfg_values(void **state)
{
    (void)state;
    char value[32];
    assert_true(net_cfg_value(cfg, "batch", value, sizeof(value)));
    assert_string_equal(value, "8");
    assert_true(net_cfg_value(cfg, "learning_rate", value, sizeof(value)));
    assert_string_equal(value, "0.1");
    assert_false(net_cfg_value(cfg, "output", value, sizeof(value))); /* not of [net] */
    assert_false(net_cfg_value(cfg, "bat", value, sizeof(value)));
    assert_true(net_cfg_ends_in_softmax(cfg));
    assert_true(net_cfg_ends_in_softmax("[net]\n[ soft max ]\n"));
    assert_false(net_cfg_ends_in_softmax("[net]\n[softmax]\n[connected]\n"));
}

static void test_cfg_edit(void **state)
{
    (void)state;
    net_option options[] = {{"optimizer", "sgd"}, {"seed", NULL}, {"learning_rate", "0.01"}};
    char *edited = net_cfg_edit(cfg, options, 3);
    assert_string_equal(
        edited,
        "# a net\n[net]\noptimizer=sgd\nlearning_rate=0.01\nbatch = 8\nmax_batches=200\n"
        "policy=poly\n\n[connected]\nlearning_rate=7\noutput=3\n[softmax]\n[cost]\ntype=sse\n");
    free(edited);
}

static void test_cfg_normal(void **state)
{
    (void)state;
    const char *without[] = {"learning_rate", "optimizer", "seed", NULL};
    char *one = net_cfg_normal(cfg, without);
    char *other = net_cfg_normal("[net]\n batch=8\nmax_batches= 200\n;x\npolicy=poly\n[connected]\n"
                                 "learning_rate=7\noutput=3\n[softmax]\n[cost]\ntype=sse\n",
                                 without);
    assert_string_equal(one, other);
    free(one);
    free(other);
}

/* --- plans --- */

static void make_data(const char *list)
{
    char data[1500];
    scratch_write(scratch_path("list"), list, strlen(list));
    snprintf(data, sizeof(data),
             "classes=2\ntrain = %s\nvalid=%s\nbackup=elsewhere\nsave_every=7\n",
             scratch_path("list"), scratch_path("list"));
    scratch_write(scratch_path("data"), data, strlen(data));
}

static plan make_plan(const char *text, const char *optimizers, const char *rates)
{
    opt_error error = {0};
    plan p = {.seeds = 3, .scan_seeds = 1, .valid_images = 10};
    p.cfg_path = strdup("some/my.cfg");
    p.cfg = strdup(text);
    p.out = strdup("out");
    assert_int_equal(data_cfg_read(&p.data, scratch_path("data"), &error), OPT_OK);
    assert_int_equal(plan_add_optimizers(&p, optimizers, &error), OPT_OK);
    if (rates) assert_int_equal(plan_set_rates(&p, rates, &error), OPT_OK);
    assert_int_equal(plan_finish(&p, "/nowhere/darknet", &error), OPT_OK);
    return p;
}

static void setting_of(const char *text, char setting[17])
{
    plan p = make_plan(text, "sgd", "1e-3");
    memcpy(setting, p.setting, 17);
    plan_free(&p);
}

static void test_setting(void **state)
{
    (void)state;
    static const struct {
        const char *cfg, *list;
        int same;
    } cases[] = {
        {"[net]\nbatch=8\nmax_batches=200\npolicy=poly\n[softmax]\n", "a/1.png\na/2.png\n", 1},
        {"# c\n[net]\nbatch= "
         "8\npolicy=poly\noptimizer=hrnn\nseed=9\nlearning_rate=3\nmax_batches=200\n"
         "[softmax]",
         "a/1.png\na/2.png\n", 1},
        {"[net]\nbatch=8\nmax_batches=200\npolicy=poly\n[softmax]\n", "b/1.png\n\nb/2.png", 1},
        {"[net]\nbatch=8\noptimizer_state=compact\nmax_batches=200\npolicy=poly\n[softmax]\n",
         "a/1.png\na/2.png\n", 1},
        {"[net]\nbatch=8\nmax_batches=200\npolicy=poly\n[softmax]\n", "a/2.png\na/1.png\n", 0},
        {"[net]\nbatch=8\nmax_batches=200\npolicy=poly\n[softmax]\n", "a/1.png\n", 0},
        {"[net]\nbatch=9\nmax_batches=200\npolicy=poly\n[softmax]\n", "a/1.png\na/2.png\n", 0},
        {"[net]\nbatch=8\nmax_batches=201\npolicy=poly\n[softmax]\n", "a/1.png\na/2.png\n", 0},
        {"[net]\nbatch=8\nmax_batches=200\npolicy=poly\n[softmax]\nseed=1", "a/1.png\na/2.png\n",
         0},
    };
    char first[17], setting[17];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        make_data(cases[i].list);
        setting_of(cases[i].cfg, i ? setting : first);
        if (i && (strcmp(first, setting) == 0) != cases[i].same)
            fail_msg("case %zu: %s", i, setting);
    }
}

/* A label may stand in the name of a folder: then images of one name are not the same data. */
static void test_labels_in_folders(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        int same;
    } cases[] = {{"x/pear/1.png\nx/fig/1.png\n", 1},
                 {"other/pear/1.png\n/y/fig/1.png\n", 1},
                 {"x/fig/1.png\nx/pear/1.png\n", 0},
                 {"x/pear/1.png\nx/1.png\n", 0}};
    char first[17], text[1500];
    opt_error error;
    scratch_write(scratch_path("labels"), "pear\r\n\nfig", 10);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        data_cfg data;
        scratch_write(scratch_path("list"), cases[i].list, strlen(cases[i].list));
        snprintf(text, sizeof(text), "train=%s\nlabels=%s\n", scratch_path("list"),
                 scratch_path("labels"));
        scratch_write(scratch_path("data"), text, strlen(text));
        if (data_cfg_read(&data, scratch_path("data"), &error)) fail_msg("%s", error.message);
        if (i == 0) memcpy(first, data.digest, sizeof(first));
        if ((strcmp(first, data.digest) == 0) != cases[i].same) fail_msg("case %zu", i);
        data_cfg_free(&data);
    }
}

static void test_other_lists(void **state)
{
    (void)state;
    const data_run run = {.backup = "b", .save_every = 2};
    opt_error error;
    data_cfg data;
    make_data("a/1.png\na/2.png\n");
    if (data_cfg_read(&data, scratch_path("data"), &error)) fail_msg("%s", error.message);
    scratch_write(scratch_path("rest"), "a/1.png\n", 8);
    if (data_cfg_use_lists(&data, scratch_path("rest"), scratch_path("rest"), &error))
        fail_msg("%s", error.message);
    char *text = data_cfg_text(&data, &run), expected[1500];
    snprintf(expected, sizeof(expected), "classes=2\ntrain=%s\nvalid=%s\nbackup=b\nsave_every=2\n",
             scratch_path("rest"), scratch_path("rest"));
    assert_string_equal(text, expected);
    assert_false(data_cfg_smooths(&data));
    free(text);
    data_cfg_free(&data);
    data = (data_cfg){.folder = 1, .text = "train=x\n"};
    assert_true(data_cfg_smooths(&data));
    data.text = "train=x\nlabel_smoothing = 0\n";
    assert_false(data_cfg_smooths(&data));
}

static void test_run_files_of_a_plan(void **state)
{
    (void)state;
    make_data("a.png\n");
    plan p = make_plan(cfg, "rmsprop", "1e-3,3e-4");
    int n;
    planned_run *runs = plan_first_runs(&p, &n);
    assert_int_equal(n, 2);
    assert_int_equal(p.batches, 200);
    assert_int_equal(p.every, 40);
    char *folder = plan_run_folder(&p, &runs[0]), *text = plan_run_cfg(&p, &runs[0]);
    assert_string_equal(folder, "out/runs/rmsprop/0.0003/1");
    assert_non_null(
        strstr(text, "\n[net]\noptimizer=rmsprop\nseed=1\noptimizer_log=out/runs/rmsprop/0.0003/1/"
                     "loss.csv\nmax_batches=200\nlearning_rate=0.0003\nbatch = 8\npolicy=poly\n"));
    assert_null(strstr(text, "adam"));
    free(folder);
    free(text);
    char *data = plan_run_data(&p, &runs[1]);
    const char *tail = strstr(data, "backup=");
    assert_string_equal(tail,
                        "backup=out/runs/rmsprop/0.001/1/backup\nsave_every=20\nvalid_every=40\n"
                        "valid_images=10\nvalid_log=out/runs/rmsprop/0.001/1/valid.csv\n");
    free(data);
    /* Nothing is saved while steps are timed. */
    planned_run timing = {runs[0].optimizer, 1e-3, 1, 16, TIMING_BATCHES};
    data = plan_run_data(&p, &timing);
    assert_string_equal(strstr(data, "backup="),
                        "backup=out/times/rmsprop/16/backup\nsave_every=100\n");
    free(data);
    char one[17], other[17];
    plan_run_digest(&p, &runs[0], one);
    plan_run_digest(&p, &runs[1], other);
    assert_string_not_equal(one, other);
    free(runs);
    plan_free(&p);
}

/* An option of the cfg that is hrnn's, and with which its runs are others. */
static void check_option_of_hrnn(const char *option)
{
    char digests[2][2][17];
    make_data("a.png\n");
    for (int i = 0; i < 2; i++) {
        char cfg[200];
        snprintf(cfg, sizeof(cfg), "[net]\nbatch=8\n%s[softmax]\n", i ? option : "");
        plan p = make_plan(cfg, "sgd,hrnn=weights/hrnn.safetensors", "1e-3");
        int n;
        planned_run *runs = plan_first_runs(&p, &n);
        assert_int_equal(n, 2);
        for (int r = 0; r < n; r++) {
            const int hrnn = strcmp(runs[r].optimizer->rule, "hrnn") == 0;
            char *text = plan_run_cfg(&p, &runs[r]);
            assert_int_equal(strstr(text, option) != NULL, hrnn && i == 1);
            plan_run_digest(&p, &runs[r], digests[i][hrnn]);
            free(text);
        }
        free(runs);
        plan_free(&p);
    }
    assert_string_equal(digests[0][0], digests[1][0]);
    assert_string_not_equal(digests[0][1], digests[1][1]);
}

static void test_options_of_hrnn(void **state)
{
    (void)state;
    check_option_of_hrnn("optimizer_state=compact\n");
    check_option_of_hrnn("optimizer_schedule=cfg\n");
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        const char *optimizers, *rates, *message;
    } bad[] = {
        {"sgd,lion", NULL, "unknown optimizer \"lion\""},
        {"sgd,sgd", NULL, "sgd stands there twice"},
        {"a/b=x", NULL, "the name \"a/b\""},
        {"=x", NULL, "the name \"\""},
        {"m=", NULL, "m= names no model"},
        {"adam=x", NULL, "adam=... would call"},
        {"sgd", "0", "\"0\" is not a learning rate"},
        {"sgd", "1e-3,nan", "\"nan\" is not"},
        {"sgd", "own", "\"own\" is not"},
        {"sgd", "1e-3,2e-3,1.0001e-3", "0.001 stands there twice"},
        {"sgd", "hrnn=1e-3", "hrnn is not among the optimizers"},
        {"hrnn", "hrnn=2", "2 is no starting rate of hrnn"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        plan p = {0};
        opt_error error = {0};
        opt_status status = plan_add_optimizers(&p, bad[i].optimizers, &error);
        if (!status && bad[i].rates) status = plan_set_rates(&p, bad[i].rates, &error);
        assert_int_equal(status, OPT_BAD_OPTION);
        if (!strstr(error.message, bad[i].message)) fail_msg("%s", error.message);
        plan_free(&p);
    }
    plan p = {0};
    assert_int_equal(plan_add_optimizers(&p, "hrnn,sgd", NULL), OPT_OK);
    assert_int_equal(plan_set_rates(&p, "1e-1,1e-2", NULL), OPT_OK);
    assert_int_equal(p.optimizers[0].n_rates, 0); /* hrnn only by its name */
    assert_int_equal(plan_set_rates(&p, "hrnn=1e-3,own", NULL), OPT_OK);
    assert_true(p.optimizers[0].rates[0] == 0 && p.optimizers[0].rates[1] == 1e-3);
    assert_true(p.optimizers[1].rates[0] == 1e-2 && p.optimizers[1].rates[1] == 1e-1);
    plan_free(&p);
}

/* The rates that seeds 2 and 3 get when the first seed's held-out losses are these. */
static void test_more_runs(void **state)
{
    (void)state;
    static const struct {
        double losses[5]; /* at 1e-4, 1e-3, 1e-2, 1e-1, 1; infinite: diverged */
        const char *rates;
    } cases[] = {
        {{5, 4, 3, 2, INFINITY}, "0.01 0.1 1 "},
        {{1, 4, 3, 2, INFINITY}, "0.0001 0.001 0.01 "},
        {{5, 1, 3, 2, INFINITY}, "0.0001 0.001 0.01 "},
        {{5, 4, 3, 2, 1}, "0.01 0.1 1 "},
        {{INFINITY, INFINITY, INFINITY, INFINITY, INFINITY}, NULL},
    };
    make_data("a.png\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases) - 1; i++) {
        plan p = make_plan(cfg, "sgd", "1e-4,1e-3,1e-2,1e-1,1");
        cmp_run runs[5];
        for (int k = 0; k < 5; k++) {
            runs[k] =
                (cmp_run){.optimizer = "sgd",
                          .rate = p.optimizers[0].rates[k],
                          .seed = 1,
                          .outcome = isfinite(cases[i].losses[k]) ? CMP_FINISHED : CMP_DIVERGED,
                          .held_out_loss = cases[i].losses[k]};
        }
        comparison c = {.runs = runs, .n_runs = 5};
        int n;
        planned_run *more = plan_more_runs(&p, &c, &n);
        char rates[200] = "";
        assert_int_equal(n % 2, 0);
        assert_true(n <= plan_count_more(&p));
        for (int k = 0; k < n / 2; k++) {
            assert_int_equal(more[k].seed, 2);
            assert_int_equal(more[n / 2 + k].seed, 3);
            snprintf(rates + strlen(rates), sizeof(rates) - strlen(rates), "%g ", more[k].rate);
        }
        assert_string_equal(rates, cases[i].rates);
        free(more);
        plan_free(&p);
    }
}

/* --- logs --- */

static const char loss_header[] = "batch,images,loss,average,rate,seconds,update\n";

/* n rows: loss 2 until batch `turn`, then `later`; seconds 0.5, the last 9; update 0.1. */
static void write_losses(const char *folder, int n, int turn, const char *later)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/loss.csv", folder);
    FILE *file = fopen(path, "w");
    fputs(loss_header, file);
    for (int i = 1; i <= n; i++)
        fprintf(file, "%d,%d,%s,1,0.1,%s,0.1\n", i, 4 * i, i < turn ? "2" : later,
                i < n ? "0.5" : "9");
    fclose(file);
}

static void write_run(const char *loss_rows, const char *valid_rows)
{
    static const char log[] =
        "Optimizer: hrnn, model 7 bytes of state, rate 1, 1234 bytes of state, 56 "
        "parameters\n1: 2.0\n";
    char text[1200];
    if (loss_rows) scratch_write(scratch_path("loss.csv"), loss_rows, strlen(loss_rows));
    snprintf(text, sizeof(text), "batch,images,loss,accuracy,seconds\n%s", valid_rows);
    scratch_write(scratch_path("valid.csv"), text, strlen(text));
    scratch_write(scratch_path("train.log"), log, strlen(log));
}

static void test_whole_run(void **state)
{
    (void)state;
    cmp_run run = {0};
    opt_error error = {0};
    write_losses(scratch_folder, 250, 236, "1");
    write_run(NULL, "0,10,3,0.1,1\n250,10,0.75,0.5,1\n");
    if (run_files_read(scratch_folder, 250, 1, &run, &error)) fail_msg("%s", error.message);
    assert_int_equal(run.outcome, CMP_FINISHED);
    assert_int_equal(run.last_batch, 250);
    assert_true(run.first_loss == 2 && run.loss == (10 * 2 + 15 * 1) / 25.);
    assert_true(run.held_out_loss == .75 && run.accuracy == .5);
    assert_true(run.batch_seconds == .5 && run.update_seconds == .1);
    assert_int_equal(run.state_bytes, 1234);
    assert_int_equal(run.parameters, 56);
    assert_int_equal(run.n_bins, CMP_BINS);
    assert_int_equal(run.bins[0].batch, 2); /* 2.5 batches a bin */
    assert_int_equal(run.bins[1].batch, 5);
    assert_int_equal(run.bins[99].batch, 250);
    assert_true(run.bins[1].seconds == 2.5 && run.bins[99].seconds == 249 * .5 + 9);
    assert_true(run.bins[93].loss == 2 && run.bins[94].loss == 1);
    assert_int_equal(run.n_held_out, 2);
    free(run.bins);
    free(run.held_out);
}

static void test_divergence(void **state)
{
    (void)state;
    static const struct {
        int rows, batches, turn;
        const char *later, *held_out;
        cmp_outcome outcome;
        long last; /* batch that is read */
    } cases[] = {
        {40, 40, 41, "", "40,9,1,0,1\n", CMP_FINISHED, 40},
        {40, 40, 37, "2.9", "40,9,1,0,1\n", CMP_FINISHED, 40},   /* it did not learn */
        {40, 40, 37, "3.1", "40,9,1,0,1\n", CMP_DIVERGED, 40},   /* half above where it began */
        {40, 40, 38, "5", "40,9,1,0,1\n", CMP_DIVERGED, 40},     /* the mean of the last tenth is */
        {40, 40, 20, "1.9", "40,9,nan,0,1\n", CMP_DIVERGED, 40}, /* held-out loss */
        {40, 40, 40, "nan", "40,9,1,0,1\n", CMP_DIVERGED, 40},   /* one loss */
        {60, 90, 21, "-nan", "", CMP_DIVERGED, 40},              /* 20 in a row */
        {39, 90, 21, "inf", "", CMP_DIVERGED, 39},
        {90, 90, 11, "201", "90,9,1,0,1\n", CMP_DIVERGED, 60}, /* 50 in a row above 100 times */
        {59, 90, 11, "201", "", CMP_UNFINISHED, 59},
        {90, 99, 11, "200", "", CMP_UNFINISHED, 90},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cmp_run run = {0};
        opt_error error = {0};
        write_losses(scratch_folder, cases[i].rows, cases[i].turn, cases[i].later);
        write_run(NULL, cases[i].held_out);
        if (run_files_read(scratch_folder, cases[i].batches, 1, &run, &error))
            fail_msg("case %zu: %s", i, error.message);
        if (run.outcome != cases[i].outcome || run.last_batch != cases[i].last)
            fail_msg("case %zu: outcome %d after batch %ld", i, (int)run.outcome, run.last_batch);
        run_progress progress = run_files_progress(scratch_folder);
        assert_int_equal(progress.batch, cases[i].last);
        assert_int_equal(progress.hopeless, cases[i].last < cases[i].rows);
        free(run.bins);
        free(run.held_out);
    }
}

static void test_bad_logs(void **state)
{
    (void)state;
    static const struct {
        const char *losses, *held_out, *message;
    } cases[] = {
        {"batch,images,loss,average,rate,seconds\n1,1,1,1,1,1\n", "",
         "loss.csv:1: expected batch,"},
        {"", "", "loss.csv:1: expected batch,"},
        {"H", "", "loss.csv: has no batch"},
        {"H1,4,2,2,1,1,1\n3,4,2,2,1,1,1\n", "", "loss.csv:3: batch 3, expected 2"},
        {"H1,4,2,2,1,1,1\n2,4,2,x,1,1,1\n", "",
         "loss.csv:3: expected seven numbers, found 2,4,2,x"},
        {"H1,4,2,2,1,1,1\n2,4,2,2,1,1,1\n3,4,2,2,1,1,1\n", "", "has 3 batches, expected 2"},
        {"H1,4,2,2,1,1,1\n2,4,2,2,1,1,1\n", "1,9,1,1,1\n", "valid.csv: does not end with batch 2"},
        {"H1,4,2,2,1,1,1\n2,4,2,2,1,1,1\n", "2,9,1,1\n", "valid.csv:2: expected five numbers"},
        {"H1,4,2,2,1,1,1\n2,4,2,2,1,1,1\n", "2,9,1,1,1\n1,9,1,1,1\n", "valid.csv:3: expected five"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[400];
        cmp_run run = {0};
        opt_error error = {0};
        int headed = cases[i].losses[0] == 'H';
        snprintf(text, sizeof(text), "%s%s", headed ? loss_header : "", cases[i].losses + headed);
        write_run(text, cases[i].held_out);
        assert_int_not_equal(run_files_read(scratch_folder, 2, 1, &run, &error), OPT_OK);
        if (!strstr(error.message, cases[i].message)) fail_msg("case %zu: %s", i, error.message);
        assert_null(run.bins);
    }
    unlink(scratch_path("loss.csv"));
    assert_int_equal(run_files_progress(scratch_folder).batch, 0);
}

/* A line that is being written is none yet. */
static void test_half_a_line(void **state)
{
    (void)state;
    char text[400];
    cmp_run run = {0};
    snprintf(text, sizeof(text), "%s1,4,2,2,1,1,1\n2,4,2,2,1,1", loss_header);
    write_run(text, "");
    assert_int_equal(run_files_progress(scratch_folder).batch, 1);
    assert_int_equal(run_files_read(scratch_folder, 2, 1, &run, NULL), OPT_OK);
    assert_int_equal(run.outcome, CMP_UNFINISHED);
    free(run.bins);
    free(run.held_out);
}

static void test_outcome(void **state)
{
    (void)state;
    char digest[17], difference[100];
    assert_int_equal(run_files_outcome(scratch_folder, digest), CMP_UNFINISHED);
    assert_string_equal(digest, "");
    scratch_write(scratch_path("run.cfg"), "[net]\n# fingerprint 0123456789abcdef\n", 36);
    assert_int_equal(run_files_outcome(scratch_folder, digest), CMP_UNFINISHED);
    assert_string_equal(digest, "0123456789abcdef");
    assert_int_equal(run_files_set_outcome(scratch_folder, CMP_DIVERGED, "abc", NULL), OPT_OK);
    assert_int_equal(run_files_outcome(scratch_folder, digest), CMP_DIVERGED);
    assert_string_equal(digest, "abc");
    assert_true(run_files_difference("[net]\noptimizer_log=a\nx = 1\n",
                                     "[net]\nx=2\noptimizer_log=b\n", difference,
                                     sizeof(difference)));
    assert_string_equal(difference, "x=1 instead of x=2");
    assert_false(run_files_difference("x=1\nbackup=a", "x= 1\nbackup=b\n", difference, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg_values),        cmocka_unit_test(test_cfg_edit),
        cmocka_unit_test(test_cfg_normal),        cmocka_unit_test(test_setting),
        cmocka_unit_test(test_labels_in_folders), cmocka_unit_test(test_other_lists),
        cmocka_unit_test(test_options),           cmocka_unit_test(test_run_files_of_a_plan),
        cmocka_unit_test(test_options_of_hrnn),   cmocka_unit_test(test_more_runs),
        cmocka_unit_test(test_whole_run),         cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_bad_logs),          cmocka_unit_test(test_half_a_line),
        cmocka_unit_test(test_outcome),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
