/* Networks that train side by side: what an average makes of them, on the CPU and, where there is a
 * GPU, of two networks on it. Everything is compared through files as they are saved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "attention_model.h"
#include "darknet/darknet_hook.h"
#include "host_network.h"
#include "parser.h"
#include "scratch.h"

#define NET(options) "[net]\nbatch=8\nsubdivisions=2\nlearning_rate=.05\n" options "\n"
#define IMAGES "width=6\nheight=5\nchannels=2\n"
#define END "[connected]\noutput=3\nactivation=linear\n[softmax]\n"

/* Every kind of layer that holds parameters or statistics; the last layers see them all. */
static const struct {
    const char *options, *layers;
} networks[] = {
    {IMAGES, "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
             "[deconvolutional]\nfilters=3\nsize=2\nstride=1\nbatch_normalize=1\nactivation=tanh\n"
             "[local]\nfilters=2\nsize=3\npad=1\nactivation=tanh\nlearning_rate=0\n"
             "[connected]\noutput=5\nbatch_normalize=1\nactivation=tanh\n" END},
    {"time_steps=1\ninputs=6\n",
     "[rnn]\noutput=4\nbatch_normalize=1\nactivation=tanh\n[gru]\noutput=4\n[lstm]\noutput=4\n"
     "batch_normalize=1\n" END},
    {"time_steps=1\n" IMAGES,
     "[crnn]\nhidden_filters=3\noutput_filters=2\nbatch_normalize=1\nactivation=tanh\n" END},
};
enum { N_NETWORKS = sizeof networks / sizeof networks[0] };

/* "": the host's own update. */
#define ATTENDED "hrnn with attention"
#define COMPACT "hrnn with attention, compact"
static const char *const optimizers[] = {"", "sgd", "adam", "rmsprop", "hrnn", ATTENDED, COMPACT};
enum { N_OPTIMIZERS = sizeof optimizers / sizeof optimizers[0] };

static const char *write_cfg(int which, const char *rule)
{
    static char cfg[2048];
    char optimizer[512] = "";
    if (*rule) snprintf(optimizer, sizeof optimizer, "optimizer=%s\n", rule);
    if (strncmp(rule, ATTENDED, strlen(ATTENDED)) == 0)
        snprintf(optimizer, sizeof optimizer,
                 "optimizer=hrnn\noptimizer_weights=%.400s\noptimizer_state=%s\n",
                 scratch_path("attention.safetensors"),
                 strcmp(rule, COMPACT) == 0 ? "compact" : "full");
    snprintf(cfg, sizeof cfg, NET("%s%s") "%s", networks[which].options, optimizer,
             networks[which].layers);
    return cfg;
}

/* Updates on data that step, from on, and the part of the network determine. */
static void train(network *net, int part, int from, int to)
{
    use_network(net);
    mute();
    for (int i = from * net->subdivisions; i < to * net->subdivisions; i++) {
        random_stream stream;
        random_stream_start(&stream, 3 + (uint64_t)part, STREAM_OTHER, (uint64_t)i);
        for (int j = 0; j < net->inputs * net->batch; j++) net->input[j] = uniform(&stream, -1, 1);
        memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
        for (int b = 0; b < net->batch; b++)
            net->truth[b * net->truths + (int)(random_stream_u32(&stream) % 3)] = 1;
        train_network_datum(net);
    }
    unmute();
}

static network *start(const char *cfg, const network *first, const char *weights)
{
    network *net = network_from_text(cfg);
    mute();
    if (weights) load_weights(net, (char *)weights);
    if (first)
        hook_join_training(net, first, weights, 0);
    else
        hook_start_training(net, weights, 0);
    unmute();
    return net;
}

static void release(network *net)
{
    use_network(net);
    mute();
    free_network(net);
    unmute();
}

static void save(network *net, const char *name)
{
    use_network(net);
    mute();
    save_weights(net, (char *)scratch_path(name));
    unmute();
}

/* Parameters and statistics as they are saved; the caller frees. */
static float *saved(network *net, size_t *n)
{
    enum { HEADER = 20 };
    size_t bytes;
    save(net, "saved.weights");
    unsigned char *file = scratch_read(scratch_path("saved.weights"), &bytes);
    *n = (bytes - HEADER) / sizeof(float);
    float *values = malloc(*n * sizeof(float));
    memcpy(values, file + HEADER, *n * sizeof(float));
    free(file);
    return values;
}

static void assert_saved_alike(network *a, network *b)
{
    size_t na, nb;
    float *x = saved(a, &na), *y = saved(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na * sizeof(float));
    free(x);
    free(y);
}

/* rounding: a compact state finds the true parameters again from those that are attended to, to
 * within a rounding of these. */
static void check_mean(const char *cfg, double rounding)
{
    size_t n;
    float *before[2], *after[2];
    network *nets[2] = {start(cfg, NULL, NULL), NULL};
    nets[1] = start(cfg, nets[0], NULL);
    for (int k = 0; k < 2; k++) train(nets[k], k, 0, 3);
    for (int k = 0; k < 2; k++) before[k] = saved(nets[k], &n);
    hook_average(nets, 2);
    for (int k = 0; k < 2; k++) after[k] = saved(nets[k], &n);
    size_t differed = 0;
    for (size_t i = 0; i < n; i++) {
        const double mean = ((double)before[0][i] + (double)before[1][i]) / 2;
        differed += before[0][i] != before[1][i];
        assert_true(fabs((double)after[0][i] - (double)(float)mean) <= rounding);
        assert_true(after[1][i] == after[0][i]);
    }
    assert_true(differed > n / 8);
    /* Each trains on with an optimizer of its own. */
    for (int k = 0; k < 2; k++) train(nets[k], 0, 3, 5);
    for (int k = 0; k < 2; k++) {
        free(before[k]);
        free(after[k]);
        release(nets[k]);
    }
}

static void test_mean(void **state)
{
    (void)state;
    for (int which = 0; which < N_NETWORKS; which++)
        for (int r = 0; r < N_OPTIMIZERS; r++)
            check_mean(write_cfg(which, optimizers[r]), strcmp(optimizers[r], COMPACT) ? 0 : 3e-7);
}

/* Networks that are alike stay what they were, also where they are attended: to the bit. */
static void test_mean_of_equals(void **state)
{
    (void)state;
    for (int r = 0; r < N_OPTIMIZERS; r++) {
        const char *cfg = write_cfg(0, optimizers[r]);
        network *alone = start(cfg, NULL, NULL);
        network *nets[3] = {start(cfg, NULL, NULL), NULL, NULL};
        for (int k = 1; k < 3; k++) nets[k] = start(cfg, nets[0], NULL);
        for (int i = 0; i < 4; i++) {
            train(alone, 0, i, i + 1);
            for (int k = 0; k < 3; k++) train(nets[k], 0, i, i + 1);
            hook_average(nets, 3);
        }
        for (int k = 0; k < 3; k++) assert_saved_alike(alone, nets[k]);
        for (int k = 0; k < 3; k++) release(nets[k]);
        release(alone);
    }
}

/* After an average the parameters that networks train on are the same, not only those they save:
 * on the same data they stay the same when their optimizers are. */
static void test_both_train_on_the_mean(void **state)
{
    (void)state;
    for (int r = 0; r < N_OPTIMIZERS; r++) {
        const char *cfg = write_cfg(0, optimizers[r]);
        network *nets[2] = {start(cfg, NULL, NULL), NULL};
        nets[1] = start(cfg, nets[0], NULL);
        for (int k = 0; k < 2; k++) train(nets[k], k, 0, 3);
        hook_average(nets, 2);
        host_tensors x = list_tensors(nets[0]), y = list_tensors(nets[1]);
        for (int t = 0; t < x.n; t++) /* on a GPU, what was averaged last */
            assert_memory_equal(x.row[t].param, y.row[t].param, (size_t)x.row[t].n * sizeof(float));
        for (int k = 0; k < 2; k++) release(nets[k]);
    }
}

/* A training of two is saved by the first and resumed by both: the first goes on as if it had never
 * stopped, the other has the first's optimizer. */
static void test_resume(void **state)
{
    (void)state;
    for (int r = 1; r < N_OPTIMIZERS; r++) {
        const char *cfg = write_cfg(0, optimizers[r]);
        network *nets[2] = {start(cfg, NULL, NULL), NULL};
        nets[1] = start(cfg, nets[0], NULL);
        for (int k = 0; k < 2; k++) train(nets[k], k, 0, 3);
        hook_average(nets, 2);
        save(nets[0], "first.weights");
        const char *path = scratch_path("first.weights");
        network *resumed[2] = {start(cfg, NULL, path), NULL};
        resumed[1] = start(cfg, resumed[0], path);
        assert_true(hook_resumed(resumed[0]) && hook_resumed(resumed[1]));
        assert_true(resumed[1]->seed == resumed[0]->seed);
        train(nets[0], 0, 3, 5);
        for (int k = 0; k < 2; k++) train(resumed[k], 0, 3, 5);
        for (int k = 0; k < 2; k++) assert_saved_alike(nets[0], resumed[k]);
        for (int k = 0; k < 2; k++) {
            release(nets[k]);
            release(resumed[k]);
        }
    }
}

/* Only the first writes the log: the second does not cut it off. */
static void test_one_log(void **state)
{
    (void)state;
    char cfg[2048];
    size_t bytes;
    const char *path = scratch_path("log.csv");
    snprintf(cfg, sizeof cfg, NET(IMAGES "optimizer=sgd\noptimizer_log=%s\n") END, path);
    network *first = start(cfg, NULL, NULL);
    train(first, 0, 0, 1);
    hook_log(first, 1, 1, 1);
    network *second = start(cfg, first, NULL);
    train(second, 0, 0, 1);
    hook_log(second, 2, 2, 1);
    hook_log(first, 1, 1, 1);
    release(first);
    release(second);
    char *text = (char *)scratch_read(path, &bytes);
    int lines = 0;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    assert_int_equal(lines, 3);
    free(text);
}

/* [batchnorm], whose biases a weights file has no place for. */
static void test_batchnorm(void **state)
{
    (void)state;
    network *nets[2];
    for (int k = 0; k < 2; k++) {
        nets[k] = network_from_text(NET(IMAGES) "[batchnorm]\n" END);
        layer *l = &nets[k]->layers[0];
        l->biases[1] = l->rolling_mean[1] = 1 + (float)k;
        l->scales[0] = l->rolling_variance[0] = 3 + (float)k;
    }
    hook_average(nets, 2);
    for (int k = 0; k < 2; k++) {
        const layer *l = &nets[k]->layers[0];
        assert_true(l->biases[1] == 1.5f && l->rolling_mean[1] == 1.5f);
        assert_true(l->scales[0] == 3.5f && l->rolling_variance[0] == 3.5f);
        release(nets[k]);
    }
}

static int make_files(void **state)
{
    if (scratch_make(state)) return -1;
    write_attention_model(scratch_path("attention.safetensors"));
    return 0;
}

#define EVERYWHERE                                                                                 \
    cmocka_unit_test(test_mean), cmocka_unit_test(test_mean_of_equals),                            \
        cmocka_unit_test(test_both_train_on_the_mean), cmocka_unit_test(test_resume)

int main(void)
{
    setenv("HRNN_WEIGHTS", "weights/hrnn.safetensors", 1);
    use_threads(1);
    const struct CMUnitTest on_cpu[] = {EVERYWHERE, cmocka_unit_test(test_one_log),
                                        cmocka_unit_test(test_batchnorm)};
    const struct CMUnitTest on_gpu[] = {EVERYWHERE};
    int failed = cmocka_run_group_tests(on_cpu, make_files, scratch_remove);
    if (!has_gpu()) return failed;
    network_gpu = 0;
    return failed + cmocka_run_group_tests(on_gpu, make_files, scratch_remove);
}
