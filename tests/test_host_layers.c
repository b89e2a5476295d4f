/* The host's layers beside their gradients: recurrent states, frozen layers, labels and cfgs that
 * cannot be, numbers that overflow, detectors that must learn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "darknet.h"
#include "host_network.h"

static void fill(float *to, int n, uint64_t seed, float low, float high)
{
    random_stream stream;
    random_stream_start(&stream, seed, STREAM_OTHER, 0);
    for (int i = 0; i < n; ++i) to[i] = uniform(&stream, low, high);
}

static void forward(network *net)
{
    mute();
    forward_network(net);
    unmute();
}

static void backward(network *net)
{
    mute();
    backward_network(net);
    unmute();
}

/* --- recurrent layers --- */

static const char *const recurrent[] = {"[rnn]\noutput=4\nactivation=tanh\n",
                                        "[rnn]\noutput=4\nactivation=tanh\nshortcut=1\n",
                                        "[gru]\noutput=4\n", "[lstm]\noutput=4\n"};

static network *recurrent_network(const char *layer, int steps)
{
    char cfg[256];
    snprintf(cfg, sizeof cfg, "[net]\nbatch=2\ntime_steps=%d\ninputs=3\n%s[softmax]\n", steps,
             layer);
    network *net = network_from_text(cfg);
    stir_parameters(net, 4);
    return net;
}

/* Six steps at once, two times three, and six times one give the same outputs, in training (with a
 * backward pass between) and in inference; after a reset, the first ones again. */
static void test_state_is_carried(void **state)
{
    (void)state;
    enum { STEPS = 6, BATCH = 2, IN = 3, OUT = 4 };
    float input[STEPS * BATCH * IN], expected[STEPS * BATCH * OUT];
    fill(input, STEPS * BATCH * IN, 8, -1, 1);
    for (size_t r = 0; r < sizeof recurrent / sizeof *recurrent; ++r) {
        network *whole = recurrent_network(recurrent[r], STEPS);
        memcpy(whole->input, input, sizeof input);
        forward(whole);
        memcpy(expected, whole->layers[0].output, sizeof expected);
        free_network(whole);
        for (int steps = 3; steps >= 1; steps -= 2) {
            network *net = recurrent_network(recurrent[r], steps);
            for (int run = 0; run < 4; ++run) {
                net->train = run < 2;
                for (int s = 0; s < STEPS; s += steps) {
                    memcpy(net->input, input + s * BATCH * IN,
                           sizeof *input * (size_t)(steps * BATCH * IN));
                    forward(net);
                    for (int i = 0; i < steps * BATCH * OUT; ++i)
                        assert_true(fabsf(net->layers[0].output[i] -
                                          expected[s * BATCH * OUT + i]) < 1e-6f);
                    if (net->train) backward(net);
                }
                for (int b = 0; b < BATCH; ++b) reset_network_state(net, b);
            }
            free_network(net);
        }
    }
}

/* Only the stream that is reset starts afresh. */
static void test_reset_one_stream(void **state)
{
    (void)state;
    enum { BATCH = 2, IN = 3, OUT = 4 };
    for (size_t r = 0; r < sizeof recurrent / sizeof *recurrent; ++r) {
        network *net = recurrent_network(recurrent[r], 1);
        float first[BATCH * OUT];
        fill(net->input, BATCH * IN, 8, -1, 1);
        forward(net);
        memcpy(first, net->layers[0].output, sizeof first);
        reset_network_state(net, 1);
        forward(net);
        const float *second = net->layers[0].output;
        assert_memory_not_equal(second, first, sizeof *first * OUT);
        assert_memory_equal(second + OUT, first + OUT, sizeof *first * OUT);
        free_network(net);
    }
}

/* --- frozen layers --- */

static const char three[] = "[net]\nbatch=2\ninputs=5\n[connected]\noutput=4\nactivation=tanh\n"
                            "[connected]\noutput=4\nactivation=tanh\n%s[connected]\noutput=3\n"
                            "activation=linear\n[softmax]\n";

static void test_stopbackward(void **state)
{
    (void)state;
    float updates[2][3 * 4];
    for (int stop = 0; stop < 2; ++stop) {
        char cfg[512];
        snprintf(cfg, sizeof cfg, three, stop ? "stopbackward=1\n" : "");
        network *net = network_from_text(cfg);
        fill(net->input, 2 * 5, 8, -1, 1);
        net->truth[0] = net->truth[3 + 1] = 1;
        pass(net, 1);
        memcpy(updates[stop], net->layers[2].weight_updates, sizeof updates[0]);
        for (int k = 0; k < 2; ++k) {
            const layer *l = &net->layers[k];
            int moved = 0;
            for (int i = 0; i < l->inputs * l->outputs; ++i) moved |= l->weight_updates[i] != 0;
            assert_int_equal(moved, !stop);
        }
        free_network(net);
    }
    assert_memory_equal(updates[0], updates[1], sizeof updates[0]);
}

/* learning_rate= of a section with sublayers reaches them in the host's own update. */
static void test_frozen_recurrent(void **state)
{
    (void)state;
    static const char *const sections[] = {
        "[rnn]\noutput=4\nactivation=tanh\n", "[gru]\noutput=4\n", "[lstm]\noutput=4\n",
        "[crnn]\nhidden_filters=2\noutput_filters=2\nactivation=tanh\n"};
    for (size_t r = 0; r < sizeof sections / sizeof *sections; ++r)
        for (int rate = 0; rate < 2; ++rate) {
            char cfg[512];
            snprintf(
                cfg, sizeof cfg,
                "[net]\nbatch=2\ntime_steps=2\nwidth=3\nheight=2\nchannels=2\nlearning_rate=0.1\n"
                "decay=0.1\n%slearning_rate=%d\n[connected]\noutput=3\n[softmax]\n",
                sections[r], rate);
            network *net = network_from_text(cfg);
            stir_parameters(net, 4);
            host_tensors list = list_tensors(net);
            fill(net->input, net->inputs * net->batch, 8, -1, 1);
            net->truth[0] = 1;
            float *start[MAX_TENSORS];
            for (int k = 0; k < list.n; ++k) {
                size_t bytes = (size_t)list.row[k].n * sizeof(float);
                start[k] = memcpy(malloc(bytes), list.row[k].param, bytes);
            }
            mute();
            for (int step = 0; step < 3; ++step) train_network_datum(net);
            unmute();
            for (int k = 0; k < list.n; ++k) {
                int same =
                    memcmp(start[k], list.row[k].param, (size_t)list.row[k].n * sizeof(float)) == 0;
                assert_int_equal(same, rate == 0 && list.row[k].name[0] == '0');
                free(start[k]);
            }
            free_network(net);
        }
}

/* --- numbers that overflow --- */

static void test_large_inputs(void **state)
{
    (void)state;
    static const char *const names[] = {"logistic", "loggy", "relu",    "elu",   "selu",
                                        "relie",    "plse",  "hardtan", "lhtan", "linear",
                                        "ramp",     "leaky", "tanh",    "stair"};
    static const float large[] = {-3e38f, -1e6f, -800, -100, 100, 400, 800, 1e6f, 3e37f};
    enum { N = sizeof large / sizeof *large };
    for (size_t a = 0; a < sizeof names / sizeof *names; ++a) {
        char cfg[256];
        snprintf(cfg, sizeof cfg,
                 "[net]\nbatch=1\ninputs=%d\n[activation]\nactivation=%s\n[cost]\n", N, names[a]);
        network *net = network_from_text(cfg);
        memcpy(net->input, large, sizeof large);
        pass(net, 1);
        for (int i = 0; i < N; ++i) assert_true(isfinite(net->layers[0].output[i]));
        if (strcmp(names[a], "tanh") == 0) {
            assert_true(net->layers[0].output[0] == -1);
            assert_true(net->layers[0].output[N - 1] == 1);
        }
        free_network(net);
    }
}

static void test_losses_stay_finite(void **state)
{
    (void)state;
    for (int logistic = 0; logistic < 2; ++logistic) {
        network *net = network_from_text(logistic ? "[net]\nbatch=1\ninputs=4\n[logistic]\n"
                                                  : "[net]\nbatch=1\ninputs=4\n[softmax]\n");
        float input[4] = {-500, 500, 500, -500}, truth[4] = {1, 1, 0, 0};
        memcpy(net->input, input, sizeof input);
        memcpy(net->truth, truth, sizeof truth);
        assert_true(isfinite(pass(net, 1)));
        free_network(net);
    }
}

static void test_nan_under_maxpool(void **state)
{
    (void)state;
    network *net = network_from_text(
        "[net]\nbatch=1\nwidth=4\nheight=4\nchannels=1\n"
        "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n"
        "[maxpool]\nsize=2\nstride=2\n[maxpool]\nsize=2\nstride=2\npadding=6\n[cost]\n");
    fill(net->input, 16, 8, -1, 1);
    net->layers[0].biases[0] = NAN;
    pass(net, 1);
    const layer *pool = &net->layers[1];
    for (int i = 0; i < pool->outputs; ++i) {
        assert_in_range(pool->indexes[i], 0, 31);
        assert_int_equal(isnan(pool->output[i]) != 0, i < 4);
    }
    free_network(net);
}

/* --- what cannot be --- */

/* Exit status of the child that parses the cfg and trains a step with this truth; what it said last
 * on stderr. */
static char said[512];
static int status_of(const char *cfg, const float *truth, int n)
{
    char log[] = "/tmp/host-said-XXXXXX";
    int file = mkstemp(log);
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (!child) {
        if (!freopen(log, "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(9);
        muted[0] = -1;
        network *net = parse_text("", cfg);
        if (truth) memcpy(net->truth, truth, sizeof *truth * (size_t)n);
        net->train = 1;
        forward_network(net);
        backward_network(net);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    said[0] = 0;
    FILE *lines = fdopen(file, "r");
    while (fgets(said, sizeof said, lines)) continue;
    fclose(lines);
    unlink(log);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define IMAGE "[net]\nbatch=1\nwidth=6\nheight=6\nchannels=2\n"
#define CONV(filters) "[convolutional]\nsize=1\nactivation=linear\nfilters=" #filters "\n"

static void test_refused_cfgs(void **state)
{
    (void)state;
    static const char *const rows[] = {
        IMAGE CONV(3) "[route]\nlayers=-2\n[cost]\n",
        IMAGE CONV(3) "[route]\nlayers=-1,1\n[cost]\n",
        IMAGE CONV(3) "[route]\nlayers=-1,7\n[cost]\n",
        IMAGE CONV(3) "[route]\n[cost]\n",
        IMAGE CONV(3) "[shortcut]\nfrom=-2\n[cost]\n",
        IMAGE CONV(3) "[shortcut]\nfrom=1\n[cost]\n",
        IMAGE CONV(3) "[shortcut]\n[cost]\n",
        IMAGE CONV(20) "[yolo]\nclasses=2\nnum=3\n",
        IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\nmask=0,1,3\n",
        IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\nanchors=1,1,2,2,3,3,4\n",
        IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\nmap=/dev/null\n",
        IMAGE CONV(20) "[region]\nclasses=2\nnum=3\n",
        IMAGE CONV(21) "[region]\nclasses=2\nnum=3\nanchors=1,1,2,2,3,3,4\n",
        IMAGE CONV(4) "[iseg]\nclasses=2\nids=3\n",
        IMAGE "[connected]\noutput=10\n[detection]\nside=2\ncoords=4\n",
        IMAGE "[connected]\noutput=12\n[detection]\nside=2\n",
        IMAGE "[dropout]\n" CONV(2) "[cost]\n",
        IMAGE CONV(2) "[dropout]\nprobability=1\n[cost]\n",
        IMAGE "[crop]\ncrop_width=7\ncrop_height=6\n" CONV(2) "[cost]\n",
        IMAGE "[convolutional]\nsize=7\nfilters=2\n[cost]\n",
        IMAGE "[deconvolutional]\nsize=1\npadding=3\nfilters=2\n[cost]\n",
        IMAGE "[local]\nsize=7\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nfilters=2\nstride=0\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nfilters=4\ngroups=3\n[cost]\n",
        IMAGE "[convolutional]\nsize_w=0\nsize_h=3\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nsize_h=-3\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nsize_w=7\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nsize_h=9\npadding_w=5\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nsize_w=3\npadding_w=-1\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\nsize_w=2000000000\npad=1\nfilters=2\n[cost]\n",
        IMAGE "[convolutional]\nsize=1\npadding_h=2000000000\nfilters=2\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nsize=0\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nsize=7\npadding=0\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nsize=3\npadding=5\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nsize=3\npadding=-1\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nsize=3\nstride=0\n[cost]\n",
        IMAGE CONV(3) "[avgpool]\nstride=2\n[cost]\n",
        IMAGE CONV(3) "[reorg]\nstride=2\n[cost]\n",
        IMAGE CONV(3) "[upsample]\nstride=-4\n[cost]\n",
        IMAGE CONV(3) "[softmax]\ngroups=7\n",
        IMAGE CONV(3) "[softmax]\ntree=/nonexistent\n",
        IMAGE CONV(3) "[flux]\n[cost]\n",
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        int status = status_of(rows[i], NULL, 0);
        if (status != 1) print_error("status %d of:\n%s", status, rows[i]);
        failed += status != 1;
    }
    assert_int_equal(failed, 0);
}

/* The file and the line: of an option that is out of bounds, else of the section. */
static void test_refusals_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *cfg, *end;
    } rows[] = {
        {IMAGE "[convolutional]\nsize=1\nsize_w=7\nfilters=2\n[cost]\n",
         ":6: layer 0 [convolutional]: size of 7 x 1 does not fit its input of 6 x 6 with 0 x 0 "
         "pixels on each side\n"},
        {IMAGE "[convolutional]\nsize_w=1\n#\nsize_h=0\nfilters=2\n[cost]\n",
         ":9: layer 0 [convolutional]: size_h=0 must be at least 1\n"},
        {IMAGE CONV(3) "\n[avgpool]\nsize=3\npadding=5\n[cost]\n",
         ":11: layer 1 [avgpool]: padding=5 puts windows of size=3 outside of the image; expected "
         "at most 4\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        assert_int_equal(status_of(rows[i].cfg, NULL, 0), 1);
        const char *line = strchr(said, ':');
        assert_int_equal(strncmp(said, "/proc/self/fd/", 14), 0);
        assert_string_equal(line ? line : "", rows[i].end);
    }
}

static void test_labels(void **state)
{
    (void)state;
    static const struct {
        const char *cfg;
        float truth[5]; /* x, y, w, h, class */
        int status;
    } rows[] = {
        {IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\n", {0.5f, 0.5f, 0.2f, 0.2f, 1}, 0},
        {IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\n", {1, 1, 0.2f, 0.2f, 1}, 0},
        {IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\n", {0.5f, 0.5f, 0.2f, 0.2f, 2}, 1},
        {IMAGE CONV(21) "[yolo]\nclasses=2\nnum=3\n", {0.5f, 0.5f, 0.2f, 0.2f, -1}, 1},
        {IMAGE CONV(21) "[region]\nclasses=2\nnum=3\n", {0.5f, 0.5f, 0.2f, 0.2f, 1}, 0},
        {IMAGE CONV(21) "[region]\nclasses=2\nnum=3\n", {1, 1, 0.2f, 0.2f, 0}, 0},
        {IMAGE CONV(21) "[region]\nclasses=2\nnum=3\n", {0.5f, 0.5f, 0.2f, 0.2f, 2}, 1},
        {IMAGE CONV(3) "[iseg]\nclasses=2\nids=1\n", {2, 1, 1, 1, 1}, 1},
        {"[net]\nbatch=1\ninputs=4\n[connected]\noutput=7\n[detection]\nside=1\ncoords=4\nclasses="
         "2\nnum=1\nforced=1\n",
         {1, 1, 0, 0.5f, 0.5f},
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
        assert_int_equal(status_of(rows[i].cfg, rows[i].truth, 5), rows[i].status);
}

/* --- losses that are not the function they differentiate: a few steps of sgd must lower them
 * --- */

static void test_detectors_learn(void **state)
{
    (void)state;
    static const struct {
        const char *cfg;
        float truth[12];
    } rows[] = {
        {IMAGE "learning_rate=0.003\n" CONV(4)
             CONV(21) "[yolo]\nclasses=2\nnum=3\nanchors=1,1,2,2,3,3\n",
         {0.5f, 0.5f, 0.3f, 0.3f, 1}},
        {IMAGE "learning_rate=0.003\n" CONV(4)
             CONV(21) "[region]\nclasses=2\nnum=3\nsoftmax=1\nanchors=1,1,2,2,3,3\n",
         {0.5f, 0.5f, 0.3f, 0.3f, 1}},
        {IMAGE "learning_rate=0.003\n" CONV(4) "[connected]\noutput=24\nactivation=linear\n"
                                               "[detection]\nside=2\ncoords=4\nclasses=1\nnum=1\n",
         {1, 1, 0.5f, 0.5f, 0.3f, 0.3f, 0, 0, 0, 0, 0, 0}},
        {IMAGE "learning_rate=0.003\n" CONV(4) CONV(3) "[iseg]\nclasses=2\nids=1\n",
         {0, 1, 1, 1, 0, 0, 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        network *net = network_from_text(rows[i].cfg);
        fill(net->input, net->inputs, 8, 0, 1);
        if (net->layers[net->n - 1].type == ISEG) net->truth[net->inputs / 2 + 1] = -1;
        memcpy(net->truth, rows[i].truth, sizeof rows[i].truth);
        host_tensors list = list_tensors(net);
        float first = 0, last = 0, bottom = net->layers[0].weights[0];
        mute();
        for (int step = 0; step < 60; ++step) {
            last = train_network_datum(net);
            if (step == 0) first = last;
        }
        unmute();
        assert_true(list.n >= 4 && bottom != net->layers[0].weights[0]);
        if (!(last < 0.7f * first))
            fail_msg("%s: %g after %g", rows[i].cfg, (double)last, (double)first);
        free_network(net);
    }
}

/* Shares of a smoothed label count as such: at equal probabilities the cross-entropy is log(n). */
static void test_smoothed_label(void **state)
{
    (void)state;
    network *net = network_from_text("[net]\nbatch=1\ninputs=10\n[softmax]\n");
    for (int i = 0; i < 10; ++i) net->truth[i] = i == 3 ? 0.91f : 0.01f;
    assert_true(fabs(pass(net, 1) - log(10)) < 1e-5);
    free_network(net);
}

int main(void)
{
    use_threads(1);
    /* Those that fork come first: a child cannot use the threads that its parent has started. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_cfgs),
        cmocka_unit_test(test_refusals_say_where),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_state_is_carried),
        cmocka_unit_test(test_reset_one_stream),
        cmocka_unit_test(test_stopbackward),
        cmocka_unit_test(test_frozen_recurrent),
        cmocka_unit_test(test_large_inputs),
        cmocka_unit_test(test_losses_stay_finite),
        cmocka_unit_test(test_nan_under_maxpool),
        cmocka_unit_test(test_detectors_learn),
        cmocka_unit_test(test_smoothed_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
