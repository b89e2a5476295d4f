/* The same networks on a CPU and on a GPU: gradients of every layer, twenty updates of every
 * optimizer, and checkpoints that go from one to the other. Skipped without a GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "attention_model.h"
#include "darknet/darknet_hook.h"
#include "host_cases.h"
#include "parser.h"
#include "scratch.h"

enum { SKIPPED = 77 };

static network *make(const char *cfg, int gpu)
{
    network_gpu = gpu;
    return network_from_text(cfg);
}

static void release(network *net)
{
    use_network(net);
    mute();
    free_network(net);
    unmute();
}

/* --- gradients --- */

static double largest(const float *x, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        if (fabs((double)x[i]) > most) most = fabs((double)x[i]);
    return most;
}

/* The largest difference over the largest entry of a; infinite where one is not finite. */
static double apart(const float *a, const float *b, int n)
{
    double worst = 0;
    for (int i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
    }
    const double most = largest(a, n);
    return worst == 0 ? 0 : worst / most;
}

/* cuDNN normalises with the variance over n, the host with that over n - 1; `bound` allows for
 * it. */
static int check_case(const gradient_case *row)
{
    network *nets[2];
    double loss[2];
    int failed = 0;
    for (int k = 0; k < 2; k++) {
        nets[k] = make(row->cfg, k - 1);
        use_network(nets[k]);
        stir_parameters(nets[k], 4);
        loss[k] = mean_loss(nets[k], row, 1);
        pull_gradients(nets[k]);
    }
    if (!(fabs(loss[0] - loss[1]) <= row->bound * fabs(loss[0]))) {
        print_error("%s: loss %g on the CPU, %g on the GPU\n", row->name, loss[0], loss[1]);
        failed++;
    }
    host_tensors x = list_tensors(nets[0]), y = list_tensors(nets[1]);
    for (int t = 0; t < x.n; t++) {
        const double found = apart(x.row[t].updates, y.row[t].updates, x.row[t].n);
        if (found <= (double)row->bound) continue;
        print_error("%s: %s: gradients are %.3g of the largest entry apart, expected %g\n",
                    row->name, x.row[t].name, found, row->bound);
        failed++;
    }
    for (int k = 0; k < 2; k++) release(nets[k]);
    return failed;
}

static void test_layers(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* A [crop] on a GPU draws its window and its colours from another sequence. */
        if (strcmp(cases[i].name, "crop") != 0) failed += check_case(&cases[i]);
    }
    assert_int_equal(failed, 0);
}

/* --- training --- */

#define NET(options)                                                                               \
    "[net]\nbatch=16\nsubdivisions=2\nwidth=8\nheight=8\nchannels=3\nlearning_rate=.01\n"          \
    "decay=.0005\n" options
#define BODY                                                                                       \
    "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=linear\n[batchnorm]\n[activation]\n"    \
    "activation=relu\n[convolutional]\nfilters=6\nsize=3\npad=1\nbatch_normalize=1\n"              \
    "activation=leaky\n[shortcut]\nfrom=-2\nactivation=linear\n[batchnorm]\n[maxpool]\nsize=2\n"   \
    "stride=2\n[dropout]\nprobability=.2\n[connected]\noutput=10\nactivation=tanh\n[connected]\n"  \
    "output=3\nactivation=linear\n[softmax]\n"
#define RECURRENT                                                                                  \
    "[rnn]\noutput=5\nactivation=tanh\n[gru]\noutput=5\n[lstm]\noutput=5\n[connected]\noutput=3\n" \
    "activation=linear\n[softmax]\n"

/* bound: of the distance of the parameters, of that which they have moved; and of each loss. */
static const struct {
    const char *options, *layers;
    double bound;
} trainings[] = {
    {"", BODY, 0.05},
    {"optimizer=sgd\n", BODY, 0.05},
    {"optimizer=adam\n", BODY, 0.05},
    {"optimizer=rmsprop\n", BODY, 0.05},
    {"optimizer=hrnn\n", BODY, 0.05},
    {"optimizer=hrnn\noptimizer_weights=ATTENTION\n", BODY, 0.05},
    {"optimizer=adam\n", RECURRENT, 0.02},
    {"optimizer=hrnn\n", RECURRENT, 0.02},
};
enum { N_TRAININGS = sizeof trainings / sizeof trainings[0], UPDATES = 20 };

static const char *cfg_of(int i)
{
    static char cfg[4096];
    char options[512];
    const char *attention = strstr(trainings[i].options, "ATTENTION");
    snprintf(options, sizeof options, "%.*s%s\n",
             attention ? (int)(attention - trainings[i].options) : 400, trainings[i].options,
             attention ? scratch_path("attention.safetensors") : "");
    snprintf(cfg, sizeof cfg, NET("%s") "%s", options, trainings[i].layers);
    return cfg;
}

static double train_step(network *net, int step)
{
    double loss = 0;
    use_network(net);
    mute();
    for (int part = 0; part < net->subdivisions; part++) {
        random_stream stream;
        random_stream_start(&stream, 3, STREAM_OTHER, (uint64_t)(step * net->subdivisions + part));
        memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
        for (int b = 0; b < net->batch; b++) { /* each class has a mean of its own */
            const int class = (int)(random_stream_u32(&stream) % 3);
            net->truth[b * net->truths + class] = 1;
            for (int j = 0; j < net->inputs; j++)
                net->input[b * net->inputs + j] =
                    uniform(&stream, -1, 1) + 0.5f * (float)(j % 3 == class);
        }
        loss += (double)train_network_datum(net) / (net->batch * net->subdivisions);
    }
    unmute();
    return loss;
}

static network *start(const char *cfg, int gpu, const char *weights)
{
    network *net = make(cfg, gpu);
    mute();
    if (weights) load_weights(net, (char *)weights);
    hook_start_training(net, weights, 0);
    unmute();
    return net;
}

static void save(network *net, const char *path)
{
    use_network(net);
    mute();
    save_weights(net, (char *)path);
    unmute();
}

static float *saved(network *net, size_t *n)
{
    enum { HEADER = 20 };
    size_t bytes;
    const char *path = scratch_path("saved.weights");
    save(net, path);
    unsigned char *file = scratch_read(path, &bytes);
    *n = (bytes - HEADER) / sizeof(float);
    float *values = malloc(*n * sizeof(float));
    memcpy(values, file + HEADER, *n * sizeof(float));
    free(file);
    return values;
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum);
}

static void test_training(void **state)
{
    (void)state;
    int failed = 0;
    for (int i = 0; i < N_TRAININGS; i++) {
        const double bound = trainings[i].bound;
        double worst = 0;
        size_t n;
        network *nets[2];
        float *values[2];
        for (int k = 0; k < 2; k++) nets[k] = start(cfg_of(i), k - 1, NULL);
        float *began = saved(nets[0], &n);
        for (int step = 0; step < UPDATES; step++) {
            const double cpu = train_step(nets[0], step), gpu = train_step(nets[1], step);
            const double d = fabs(cpu - gpu) / cpu;
            if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        }
        for (int k = 0; k < 2; k++) values[k] = saved(nets[k], &n);
        const double moved = distance(values[0], began, n);
        const double off = distance(values[0], values[1], n) / moved;
        print_message("%d: %.*s: losses %.2g apart, parameters %.2g of what they moved\n", i,
                      (int)strcspn(trainings[i].options, "\n"), trainings[i].options, worst, off);
        failed += !(worst <= bound && off <= bound && moved > 0);
        free(began);
        for (int k = 0; k < 2; k++) {
            free(values[k]);
            release(nets[k]);
        }
    }
    assert_int_equal(failed, 0);
}

/* --- checkpoints --- */

static void assert_same_file(const char *a, const char *b)
{
    size_t na, nb;
    unsigned char *x = scratch_read(a, &na), *y = scratch_read(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* Resumed on the other device and saved at once, weights and sidecar are the same to the bit:
 * nothing is lost on the way, statistics, recurrent states and attended parameters included. */
static void test_checkpoints_travel(void **state)
{
    (void)state;
    char there[400], back[400], sidecars[2][420];
    snprintf(there, sizeof there, "%s", scratch_path("there.weights"));
    snprintf(back, sizeof back, "%s", scratch_path("back.weights"));
    snprintf(sidecars[0], sizeof sidecars[0], "%s.optimizer", there);
    snprintf(sidecars[1], sizeof sidecars[1], "%s.optimizer", back);
    for (int i = 1; i < N_TRAININGS; i++)
        for (int from = -1; from < 1; from++) {
            network *net = start(cfg_of(i), from, NULL);
            for (int step = 0; step < 4; step++) train_step(net, step);
            save(net, there);
            network *resumed = start(cfg_of(i), -1 - from, there);
            assert_true(hook_resumed(resumed));
            save(resumed, back);
            assert_same_file(there, back);
            assert_same_file(sidecars[0], sidecars[1]);
            /* Both go on alike. */
            double loss[2] = {0};
            for (int step = 4; step < 8; step++) {
                loss[0] += train_step(net, step);
                loss[1] += train_step(resumed, step);
            }
            assert_true(fabs(loss[0] - loss[1]) <= trainings[i].bound * loss[0]);
            release(net);
            release(resumed);
        }
}

static int make_files(void **state)
{
    if (scratch_make(state)) return -1;
    write_attention_model(scratch_path("attention.safetensors"));
    return 0;
}

int main(void)
{
    if (!has_gpu()) {
        puts("no GPU, or a build without GPU=1");
        return SKIPPED;
    }
    setenv("HRNN_WEIGHTS", "weights/hrnn.safetensors", 1);
    setenv("NVIDIA_TF32_OVERRIDE", "0", 1); /* products with all bits of a float */
    use_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_checkpoints_travel),
    };
    return cmocka_run_group_tests(tests, make_files, scratch_remove);
}
