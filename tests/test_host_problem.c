/* Darknet cfgs as problems: the batches, losses and gradients are those of `darknet ... train`
 * itself; reproducible from the seed; independent of threads and of what was evaluated before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "darknet_meta/darknet_problem.h"
#include "host_network.h"
#include "network.h"
#include "problem_checks.h"
#include "scratch.h"

enum { SIDE = 6, RECORD = 1 + 3 * SIDE * SIDE, RECORDS = 40, IMAGES = 10, BATCH = 6 };
#define RATE 0.25f
#define DECAY 0.02f

#define NET(more)                                                                                  \
    "[net]\nbatch=6\nsubdivisions=2\nwidth=6\nheight=6\nchannels=3\nmomentum=0\nseed=7\n"          \
    "learning_rate=0.25\ndecay=0.02\nmax_batches=2\n" more "\n"
#define SMOOTH_BODY                                                                                \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=tanh\n"              \
    "[dropout]\nprobability=.3\n[connected]\noutput=3\nactivation=linear\n[softmax]\n"
#define KINKED_BODY                                                                                \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n[maxpool]\nsize=2\nstride=2\n"   \
    "[local]\nfilters=2\nsize=2\nstride=1\nactivation=leaky\n[convolutional]\nfilters=3\nsize=1\n" \
    "activation=linear\n[avgpool]\n[softmax]\n"
#define SQUARES_BODY                                                                               \
    "[connected]\noutput=5\nactivation=logistic\nlearning_rate=0\n"                                \
    "[connected]\noutput=3\nactivation=linear\n[cost]\ntype=sse\n"
#define AUGMENT                                                                                    \
    "angle=7\nhue=.1\nsaturation=1.3\nexposure=1.3\naspect=1.2\nmin_crop=5\nmax_crop=9\n"

static const char *const smooth = NET("") SMOOTH_BODY, *const kinked = NET("") KINKED_BODY,
                         *const squares = NET("") SQUARES_BODY,
                         *const augmented = NET(AUGMENT) SMOOTH_BODY;

/* --- data --- */

static void write_text(const char *name, const char *text)
{
    scratch_write(scratch_path(name), text, strlen(text));
}

/* Records for cifar in the scratch folder, and images of two classes with their list. */
static int make_data(void **state)
{
    static unsigned char records[RECORDS][RECORD];
    random_stream stream = draw_stream(1, STREAM_OTHER, 0);
    char text[IMAGES * 700] = "", line[700];
    if (scratch_make(state)) return -1;
    use_threads(1);
    for (int i = 0; i < RECORDS; i++)
        for (int k = 0; k < RECORD; k++)
            records[i][k] = (unsigned char)(k ? draw_below(&stream, 256) : draw_below(&stream, 3));
    scratch_write(scratch_path("data_batch_1.bin"), records, sizeof records);
    snprintf(line, sizeof line, "train=%s\nbackup=%s\nlabel_smoothing=0.2\n", scratch_folder,
             scratch_folder);
    write_text("folder.data", line);
    for (int i = 0; i < IMAGES; i++) {
        unsigned char image[300] = "P6\n8 7\n255\n";
        const char *const labels[] = {"apple", "pear", "plum"};
        for (int k = 11; k < 11 + 8 * 7 * 3; k++)
            image[k] = (unsigned char)draw_below(&stream, 256);
        snprintf(line, sizeof line, "%s/%d_%s.ppm", scratch_folder, i, labels[i % 3]);
        scratch_write(line, image, 11 + 8 * 7 * 3);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", line);
    }
    write_text("train.list", text);
    write_text("labels.list", "apple\npear\nplum\n");
    snprintf(line, sizeof line, "classes=3\ntrain=%s\nlabels=%s\nbackup=%s\n",
             scratch_path("train.list"), scratch_path("labels.list"), scratch_folder);
    write_text("list.data", line);
    return 0;
}

static darknet_task *open_task(const char *cfg, const char *data, int networks)
{
    opt_error error = {0};
    write_text("net.cfg", cfg);
    darknet_task *task =
        darknet_task_open(scratch_path("net.cfg"), scratch_path(data), networks, &error);
    if (!task) fail_msg("%s", error.message);
    return task;
}

static problem *make_problem(const darknet_task *task, uint64_t seed)
{
    opt_error error = {0};
    problem *p = problem_create(darknet_task_row(task).spec, seed, NULL, &error);
    if (!p) fail_msg("%s", error.message);
    return p;
}

/* --- the host's own training --- */

/* The host frees little of what it allocates. */
#define ALONE "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 OMP_NUM_THREADS=1"

/* The losses of two batches of `darknet` with this cfg. */
static void train_for_real(const char *command, const char *cfg, const char *data, double loss[2])
{
    char line[4000], text[4000];
    const char *build = getenv("BUILD"), *log = scratch_path("log.csv");
    snprintf(text, sizeof text, "[net]\noptimizer_log=%s\n%s", log, strchr(cfg, '\n') + 1);
    write_text("real.cfg", text);
    unlink(log);
    if (strcmp(command, "classifier") == 0)
        snprintf(line, sizeof line, ALONE " %s/darknet -nogpu classifier train %s %s >%s 2>&1",
                 build ? build : "build", scratch_path(data), scratch_path("real.cfg"),
                 scratch_path("out"));
    else
        snprintf(line, sizeof line, ALONE " %s/darknet -nogpu cifar train -data %s %s >%s 2>&1",
                 build ? build : "build", scratch_path(data), scratch_path("real.cfg"),
                 scratch_path("out"));
    assert_int_equal(system(line), 0);
    FILE *file = fopen(log, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    for (int i = 0; i < 2; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        assert_int_equal(sscanf(line, "%*d,%*d,%lf", &loss[i]), 1);
    }
    fclose(file);
}

/* What decay adds to the objective. */
static double decay_at(const problem *p, const float *x)
{
    double sum = 0;
    for (int k = 0; k < p->n_tensors; k++) {
        const problem_tensor *t = &p->tensors[k];
        if (strstr(t->name, "weights"))
            sum += 0.5 * (double)DECAY * probe_dot(x + t->offset, x + t->offset, t->n);
    }
    return sum;
}

static void test_as_the_host_trains(void **state)
{
    (void)state;
    static const struct {
        const char *command, *data, *const *cfg;
        double factor; /* the printed cost of [cost] type=sse is twice the objective */
    } cases[] = {{"cifar", "folder.data", &smooth, 1},
                 {"cifar", "folder.data", &kinked, 1},
                 {"cifar", "folder.data", &squares, 0.5},
                 {"classifier", "list.data", &augmented, 1},
                 {"classifier", "list.data", &kinked, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double loss[2];
        train_for_real(cases[i].command, *cases[i].cfg, cases[i].data, loss);
        darknet_task *task = open_task(*cases[i].cfg, cases[i].data, 1);
        problem *p = make_problem(task, 7);
        float *x = malloc(2 * p->n * sizeof *x), *g = x + p->n;
        problem_start(p, x);
        double f = problem_gradient(p, x, 0, g) - decay_at(p, x);
        assert_float_equal(f, cases[i].factor * loss[0], 1e-5 * f);
        for (size_t k = 0; k < p->n; k++) x[k] -= RATE * g[k]; /* plain SGD */
        const double before = f;
        f = problem_gradient(p, x, 1, NULL) - decay_at(p, x);
        assert_float_equal(f, cases[i].factor * loss[1], 1e-5 * f);
        assert_true(fabs(f - before) > 1e-4 * f);
        free(x);
        problem_free(p);
        darknet_task_free(task);
    }
}

/* --- derivatives --- */

static void test_derivatives(void **state)
{
    (void)state;
    static const struct {
        const char *const *cfg;
        const char *name;
        int kinks;
    } cases[] = {{&smooth, "smooth", 0}, {&kinked, "kinked", 8}, {&squares, "squares", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int checked = 0, strong = 0;
        darknet_task *task = open_task(*cases[i].cfg, "folder.data", 1);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            problem *p = make_problem(task, seed);
            assert_false(problem_has_hvp(p));
            check_derivatives(p, seed, 1, cases[i].kinks, cases[i].name, &checked, &strong);
            check_full_gradient(p, seed, cases[i].kinks, cases[i].name, &checked, &strong);
            problem_free(p);
        }
        printf("%s: %d segments, %d of them strong\n", cases[i].name, checked, strong);
        assert_true(strong > 0.4 * checked);
        darknet_task_free(task);
    }
}

/* --- starts --- */

static void test_restart(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "width=6\nheight=6\nchannels=3\n[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize="
        "1\n"
        "[batchnorm]\n[deconvolutional]\nfilters=3\nsize=3\nstride=2\npadding=1\n[local]\nfilters="
        "2\n"
        "size=3\nstride=1\n[crnn]\nhidden_filters=3\noutput_filters=2\n[connected]\noutput=4\n"
        "batch_normalize=1\n[softmax]\n",
        "inputs=5\n[rnn]\noutput=4\n[gru]\noutput=4\n[lstm]\noutput=4\n[connected]\noutput=2\n["
        "softmax]\n"};
    for (int i = 0; i < 2; i++) {
        mute();
        network *want = parse_text("[net]\nbatch=2\nseed=19\n", bodies[i]);
        network *net = parse_text("[net]\nbatch=2\nseed=3\n", bodies[i]);
        unmute();
        stir_parameters(net, 4);
        restart_network(net, 19);
        const host_tensors a = list_tensors(want), b = list_tensors(net);
        assert_true(a.n == b.n && a.n >= 11);
        for (int k = 0; k < a.n; k++) {
            assert_string_equal(a.row[k].name, b.row[k].name);
            assert_memory_equal(a.row[k].param, b.row[k].param, (size_t)a.row[k].n * sizeof(float));
        }
        free_network(want);
        free_network(net);
    }
}

/* --- what a value depends on --- */

static void test_reproducible(void **state)
{
    (void)state;
    static const char *const data[] = {"folder.data", "list.data"};
    for (int i = 0; i < 2; i++) {
        darknet_task *one = open_task(augmented, data[i], 1),
                     *two = open_task(augmented, data[i], 3);
        assert_string_equal(darknet_task_row(one).name, darknet_task_row(two).name);
        assert_string_equal(darknet_task_row(one).family, "net");
        problem *p = make_problem(one, 7), *q = make_problem(two, 7), *other = make_problem(two, 8);
        const size_t bytes = p->n * sizeof(float);
        float *x = malloc(bytes), *y = malloc(bytes), *g = malloc(bytes), *h = malloc(bytes);
        problem_start(q, y);
        problem_start(p, x);
        assert_memory_equal(x, y, bytes);
        const double at3 = problem_gradient(p, x, 3, g), all = problem_full_loss(p, x);
        /* Other instances, other batches, and a lost one, in the same networks. */
        for (size_t k = 0; k < p->n; k++) y[k] = NAN;
        problem_gradient(other, y, 3, h);
        problem_gradient(q, x, 4, h);
        assert_true(problem_gradient(q, x, 3, NULL) == at3);
        assert_true(problem_gradient(q, x, 3, h) == at3);
        assert_memory_equal(g, h, bytes);
        assert_true(problem_full_gradient(q, x, h) == all);
        assert_true(problem_full_gradient(p, x, g) == all);
        assert_memory_equal(g, h, bytes);
        assert_true(problem_gradient(q, x, 4, NULL) != at3);
        problem_start(other, y);
        assert_true(memcmp(x, y, bytes) != 0);
        assert_true(problem_gradient(other, x, 3, NULL) != at3);
        free(x), free(y), free(g), free(h);
        problem_free(p), problem_free(q), problem_free(other);
        darknet_task_free(one), darknet_task_free(two);
    }
}

/* The tensors that do not learn are the instance's own, and no parameters. */
static void test_constants(void **state)
{
    (void)state;
    darknet_task *task = open_task(squares, "folder.data", 1);
    problem *p = make_problem(task, 1), *q = make_problem(task, 2);
    float x[18];
    assert_int_equal(p->n, 5 * 3 + 3);
    assert_string_equal(p->tensors[0].name, "1.weights");
    problem_start(p, x);
    const double before = problem_gradient(p, x, 0, NULL);
    assert_true(problem_gradient(q, x, 0, NULL) != before);
    assert_true(problem_gradient(p, x, 0, NULL) == before);
    problem_free(p), problem_free(q);
    darknet_task_free(task);
}

/* More evaluations at once than networks, and one at a time: the same bits. */
static void test_threads(void **state)
{
    (void)state;
    enum { INSTANCES = 8, STEPS = 12 };
    static const char *const data[] = {"folder.data", "list.data"};
    for (int i = 0; i < 2; i++) {
        float *x[2][INSTANCES];
        for (int way = 0; way < 2; way++) {
            darknet_task *task = open_task(augmented, data[i], way ? 3 : 1);
            use_threads(way ? 4 : 1);
            size_t n = 0;
#pragma omp parallel for schedule(dynamic, 1)
            for (int k = 0; k < INSTANCES; k++) {
                problem *p = make_problem(task, (uint64_t)k);
                float *here = x[way][k] = malloc(2 * p->n * sizeof(float));
                problem_start(p, here);
                for (uint64_t t = 0; t < STEPS; t++) {
                    problem_gradient(p, here, t, here + p->n);
                    for (size_t j = 0; j < p->n; j++) here[j] -= RATE * here[p->n + j];
                }
                if (k == 0) n = p->n;
                problem_free(p);
            }
            darknet_task_free(task);
            for (int k = 0; way && k < INSTANCES; k++)
                assert_memory_equal(x[0][k], x[1][k], 2 * n * sizeof(float));
        }
        for (int k = 0; k < INSTANCES; k++) {
            free(x[0][k]);
            free(x[1][k]);
        }
    }
    use_threads(1);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *cfg, *message;
    } cases[] = {
        {NET("random=1") SMOOTH_BODY, "random=1"},
        {NET("") "[connected]\noutput=3\nlearning_rate=0.5\n[softmax]\n", "learning_rate=0.5"},
        {NET("") "[connected]\noutput=3\nlearning_rate=0\n[softmax]\n", "no layer"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        opt_error error = {0};
        write_text("net.cfg", cases[i].cfg);
        assert_null(
            darknet_task_open(scratch_path("net.cfg"), scratch_path("list.data"), 1, &error));
        assert_non_null(strstr(error.message, "net.cfg"));
        assert_non_null(strstr(error.message, cases[i].message));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_host_trains),
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, make_data, scratch_remove);
}
