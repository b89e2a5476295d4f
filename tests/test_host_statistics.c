/* The statistics of batch normalisation: how a training's roll, and those that are taken anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <cmocka.h>

#include "attention_model.h"
#include "darknet/darknet_hook.h"
#include "held_out.h"
#include "host_network.h"
#include "parser.h"
#include "scratch.h"
#include "norm_statistics.h"

#define NET(options) "[net]\nbatch=8\nsubdivisions=2\n" options "\n"
#define IMAGES "width=6\nheight=5\nchannels=2\nlearning_rate=.05\n"
#define END "[connected]\noutput=3\nactivation=linear\n[softmax]\n"
#define BODY                                                                                        \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n[batchnorm]\n"                   \
    "[activation]\nactivation=relu\n[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\n" \
    "activation=leaky\n[dropout]\nprobability=.2\n"                                                 \
    "[connected]\noutput=5\nbatch_normalize=1\nactivation=tanh\n" END

static const struct {
    const char *options, *layers;
} networks[] = {
    {IMAGES, BODY},
    {IMAGES, "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
             "[deconvolutional]\nfilters=3\nsize=2\nstride=1\nbatch_normalize=1\nactivation=tanh\n"
             "stopbackward=1\n" END},
    {"time_steps=3\ninputs=6\nlearning_rate=.05\n",
     "[rnn]\noutput=4\nbatch_normalize=1\nactivation=tanh\n[gru]\noutput=4\nbatch_normalize=1\n"
     "[lstm]\noutput=4\nbatch_normalize=1\n" END},
    {"time_steps=3\n" IMAGES,
     "[crnn]\nhidden_filters=3\noutput_filters=2\nbatch_normalize=1\nactivation=tanh\n" END},
};
enum { N_NETWORKS = sizeof networks / sizeof networks[0], BATCHES = 5 };

static const char *cfg_of(int which, const char *optimizer)
{
    static char cfg[4096];
    snprintf(cfg, sizeof cfg, NET("%s%s") "%s", networks[which].options, optimizer,
             networks[which].layers);
    return cfg;
}

static void fill_images(float *to, int n, uint64_t number)
{
    random_stream stream;
    random_stream_start(&stream, 3, STREAM_OTHER, number);
    for (int i = 0; i < n; i++) to[i] = uniform(&stream, -1, 2);
}

static void train(network *net, int from, int to)
{
    mute();
    for (int i = from * net->subdivisions; i < to * net->subdivisions; i++) {
        fill_images(net->input, net->inputs * net->batch, (uint64_t)i);
        memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
        for (int b = 0; b < net->batch; b++) net->truth[b * net->truths + (i + b) % 3] = 1;
        train_network_datum(net);
    }
    unmute();
}

static network *start(const char *cfg, const char *weights, int clear)
{
    network *net = network_from_text(cfg);
    mute();
    if (weights) load_weights(net, (char *)weights);
    hook_start_training(net, weights, clear);
    unmute();
    return net;
}

static void release(network *net)
{
    mute();
    free_network(net);
    unmute();
}

static void save(network *net, const char *name)
{
    mute();
    save_weights(net, (char *)scratch_path(name));
    unmute();
}

/* --- a plain computation beside it --- */

/* The layers with statistics, and the values that each of their channels had. */
typedef struct {
    layer *l;
    const float *x; /* before the normalisation, [images of a pass, channels, size] */
    size_t images;  /* of a pass, those of all time steps */
    double *values; /* [channels][most] */
    size_t n;       /* of a channel, so far */
} watched;
enum { MOST_WATCHED = 24, MOST_VALUES = 1 << 16 };

static size_t size_of(const layer *l) { return (size_t)l->out_h * (size_t)l->out_w; }

static void watch_layer(watched *list, int *n, layer *l, const float *x, int steps)
{
    if (!l || !(l->batch_normalize || l->type == BATCHNORM)) return;
    assert_true(*n < MOST_WATCHED);
    list[*n] = (watched){l, x, (size_t)(l->batch * steps), NULL, 0};
    list[(*n)++].values = calloc((size_t)l->out_c * MOST_VALUES, sizeof(double));
}

static int watch_network(network *net, watched *list)
{
    int n = 0;
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        layer *subs[] = {l->input_layer, l->self_layer, l->output_layer, l->ur, l->uz, l->uh,
                         l->wr,          l->wz,         l->wh,           l->wf, l->wi, l->wg,
                         l->wo,          l->uf,         l->ui,           l->ug, l->uo};
        const int recurrent =
            l->type == RNN || l->type == CRNN || l->type == GRU || l->type == LSTM;
        for (size_t s = 0; recurrent && s < sizeof subs / sizeof *subs; s++)
            if (subs[s]) watch_layer(list, &n, subs[s], subs[s]->x, l->steps);
        if (!recurrent) watch_layer(list, &n, l, l->type == BATCHNORM ? l[-1].output : l->x, 1);
    }
    return n;
}

static void note_values(watched *w)
{
    const size_t size = size_of(w->l), channels = (size_t)w->l->out_c;
    assert_true(w->n + w->images * size <= MOST_VALUES);
    for (size_t b = 0; b < w->images; b++)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < size; i++)
                w->values[c * MOST_VALUES + w->n + b * size + i] =
                    (double)w->x[(b * channels + c) * size + i];
    w->n += w->images * size;
}

static void assert_near(double found, double expected, double scale)
{
    if (fabs(found - expected) <= 2e-5 * (scale + fabs(expected))) return;
    fail_msg("found %.9g, expected %.9g", found, expected);
}

static void check_values(const watched *w)
{
    for (int c = 0; c < w->l->out_c; c++) {
        const double *values = w->values + (size_t)c * MOST_VALUES;
        double mean = 0, square = 0;
        for (size_t i = 0; i < w->n; i++) mean += values[i] / (double)w->n;
        for (size_t i = 0; i < w->n; i++) square += (values[i] - mean) * (values[i] - mean);
        const double variance = w->n > 1 ? square / (double)(w->n - 1) : 0;
        assert_near((double)w->l->rolling_mean[c], mean, sqrt(variance));
        assert_near((double)w->l->rolling_variance[c], variance, 1e-6);
    }
}

/* A forward pass on images that no training has. */
static void enter(network *net, int pass)
{
    float *X = calloc((size_t)(net->inputs * net->batch), sizeof *X);
    network part = *net;
    fill_images(X, net->inputs * net->batch, 1000000 + (uint64_t)pass);
    part.input = X;
    part.truth = 0;
    part.train = 0;
    mute();
    forward_network(&part);
    unmute();
    ++net->rolling.batches;
    free(X);
}

/* Mean and variance of all values of all passes, as if they were one batch, in every layer. */
static void check_statistics(const char *cfg)
{
    watched list[MOST_WATCHED];
    network *net = start(cfg, NULL, 0);
    train(net, 0, 6);
    const int n = watch_network(net, list);
    assert_true(n > 0);
    hook_begin_statistics(net);
    for (int pass = 0; pass < BATCHES; pass++) {
        enter(net, pass);
        for (int i = 0; i < n; i++) note_values(&list[i]);
        for (int i = 0; i < n; i++) check_values(&list[i]);
    }
    hook_end_statistics(net, 1);
    for (int i = 0; i < n; i++) free(list[i].values);
    release(net);
}

static void test_statistics_are_those_of_all_values(void **state)
{
    (void)state;
    for (int i = 0; i < N_NETWORKS; i++) check_statistics(cfg_of(i, "optimizer=adam\n"));
}

/* One image of one pixel: no variance within a batch, nothing to divide by. */
static void test_one_value_a_batch(void **state)
{
    (void)state;
    check_statistics(
        "[net]\nbatch=1\nwidth=3\nheight=3\nchannels=2\nlearning_rate=.01\n"
        "optimizer=adam\n[convolutional]\nfilters=3\nsize=3\nactivation=linear\n"
        "[batchnorm]\n[connected]\noutput=4\nbatch_normalize=1\nactivation=leaky\n" END);
}

/* --- what they leave alone, and what they get into --- */

static data draw(void *context, size_t i)
{
    const network *net = context;
    data d = {0};
    d.X = make_matrix(net->batch * net->subdivisions, net->inputs);
    for (int r = 0; r < d.X.rows; r++)
        fill_images(d.X.vals[r], net->inputs, 2000000 + i * 1000 + (uint64_t)r);
    return d;
}

static void take(network *net)
{
    mute();
    assert_int_equal(take_statistics(net, BATCHES, draw, net, NULL), 1);
    unmute();
}

/* Everything that a save would keep and a training goes on with. */
static unsigned char *state_of(network *net, size_t *size)
{
    char sidecar[700];
    size_t weights_size, sidecar_size = 0;
    save(net, "state.weights");
    snprintf(sidecar, sizeof sidecar, "%s.optimizer", scratch_path("state.weights"));
    unsigned char *weights = scratch_read(scratch_path("state.weights"), &weights_size);
    unsigned char *beside = access(sidecar, F_OK) ? NULL : scratch_read(sidecar, &sidecar_size);
    weights = realloc(weights, weights_size + sidecar_size);
    if (beside) memcpy(weights + weights_size, beside, sidecar_size);
    free(beside);
    *size = weights_size + sidecar_size;
    return weights;
}

static void assert_same_state(network *a, network *b)
{
    size_t na, nb;
    unsigned char *x = state_of(a, &na), *y = state_of(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* Taken after every update or never: the same bits, those of rolling statistics and states
 * included. */
static void test_training_does_not_notice(void **state)
{
    (void)state;
    char model[700];
    write_attention_model(scratch_path("attention.safetensors"));
    snprintf(model, sizeof model, "optimizer=hrnn\noptimizer_weights=%s\n",
             scratch_path("attention.safetensors"));
    const char *const rules[] = {"", "optimizer=sgd\n", "optimizer=hrnn\n", model};
    for (int i = 0; i < N_NETWORKS; i++)
        for (int r = 0; r < 4; r++) {
            network *plain = start(cfg_of(i, rules[r]), NULL, 0);
            network *taken = start(cfg_of(i, rules[r]), NULL, 0);
            for (int t = 0; t < 4; t++) {
                train(plain, t, t + 1);
                train(taken, t, t + 1);
                if (t < 3) take(taken);
            }
            assert_false(hook_has_statistics(taken));
            assert_same_state(plain, taken);
            release(plain);
            release(taken);
        }
}

/* What a network computes of some images when it is used. */
static void predict(network *net, float *out)
{
    mute();
    net->train = 0;
    for (int b = 0; b < net->batch; b++) reset_network_state(net, b);
    fill_images(net->input, net->inputs * net->batch, 77);
    forward_network(net);
    memcpy(out, net->output, (size_t)(net->outputs * net->batch) * sizeof(float));
    net->train = 1;
    unmute();
}

static void predict_saved(const char *cfg, const char *name, float *out)
{
    network *net = network_from_text(cfg);
    mute();
    load_weights(net, (char *)scratch_path(name));
    unmute();
    predict(net, out);
    release(net);
}

/* A save holds what was taken, until an update; measuring shows the same. The true parameters are
 * what it is taken at: a network with attention trains at others. */
static void test_saves_hold_what_was_taken(void **state)
{
    (void)state;
    char model[700];
    snprintf(model, sizeof model, "optimizer=hrnn\noptimizer_weights=%s\n",
             scratch_path("attention.safetensors"));
    const char *const rules[] = {"", "optimizer=adam\n", model};
    for (int i = 0; i < N_NETWORKS; i++)
        for (int r = 0; r < 3; r++) {
            float rolling[64], taken[64], shown[64], by_hand[64], after[64];
            network *net = start(cfg_of(i, rules[r]), NULL, 0);
            const size_t bytes = (size_t)(net->outputs * net->batch) * sizeof(float);
            assert_true(bytes <= sizeof taken);
            train(net, 0, 6);
            save(net, "before.weights");
            predict_saved(cfg_of(i, rules[r]), "before.weights", rolling);
            take(net);
            save(net, "after.weights");
            predict_saved(cfg_of(i, rules[r]), "after.weights", taken);
            assert_true(memcmp(rolling, taken, bytes) != 0);
            hook_begin_measuring(net);
            predict(net, shown);
            hook_end_measuring(net);
            for (size_t k = 0; k < bytes / sizeof(float); k++)
                assert_near((double)shown[k], (double)taken[k], 1);
            /* The same of the file with the rolling ones, loaded for use. */
            network *used = network_from_text(cfg_of(i, ""));
            mute();
            load_weights(used, (char *)scratch_path("before.weights"));
            unmute();
            take(used);
            save(used, "mended.weights");
            predict_saved(cfg_of(i, ""), "mended.weights", by_hand);
            for (size_t k = 0; k < bytes / sizeof(float); k++)
                assert_near((double)by_hand[k], (double)taken[k], 1);
            release(used);
            train(net, 6, 7);
            train(net, 7, 8);
            assert_false(hook_has_statistics(net));
            network *plain = start(cfg_of(i, rules[r]), NULL, 0);
            train(plain, 0, 8);
            assert_same_state(plain, net);
            predict(net, after);
            release(plain);
            release(net);
        }
}

/* Recurrent states, which only an optimizer's sidecar keeps. */
static int has_state(const network *net)
{
    for (int i = 0; i < net->n; i++) {
        const LAYER_TYPE type = net->layers[i].type;
        if (type == RNN || type == GRU || type == LSTM || type == CRNN) return 1;
    }
    return 0;
}

/* A resume from weights whose statistics were taken anew goes on with the rolling ones, to the
 * bit. */
static void test_resume_from_what_was_taken(void **state)
{
    (void)state;
    /* The host's own SGD has no state without momentum and decay. */
    static const char *const rules[] = {"optimizer=hrnn\n", "momentum=0\ndecay=0\n"};
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < N_NETWORKS; i++) {
            const char *cfg = cfg_of(i, rules[r]);
            network *whole = start(cfg, NULL, 0), *part = start(cfg, NULL, 0);
            train(whole, 0, 7);
            train(part, 0, 3);
            take(part);
            save(part, "part.weights");
            network *resumed = start(cfg, scratch_path("part.weights"), 0);
            assert_int_equal(hook_resumed(resumed), r == 0);
            if (r == 0 || !has_state(resumed)) {
                train(resumed, 3, 7);
                assert_same_state(whole, resumed);
            }
            release(whole);
            release(part);
            release(resumed);
        }
}

/* Whatever the weights have seen and whatever their statistics: the first batch of a training
 * counts in full. */
static void test_a_training_starts_anew(void **state)
{
    (void)state;
    const char *cfg = cfg_of(1, "optimizer=adam\n");
    network *old = start(cfg, NULL, 0);
    train(old, 0, 40);
    for (int c = 0; c < 4; c++) old->layers[0].rolling_mean[c] = 1e6f;
    save(old, "old.weights");
    remove(scratch_path("old.weights.optimizer"));
    for (int clear = 0; clear < 2; clear++) {
        network *net = start(cfg, scratch_path("old.weights"), clear);
        assert_true(net->layers[0].rolling_mean[0] == 1e6f);
        train(net, 40, 41);
        for (int c = 0; c < 4; c++) assert_true(fabsf(net->layers[0].rolling_mean[c]) < 10);
        release(net);
    }
    release(old);
}

/* A network without batch normalisation: nothing is drawn. */
static data draw_none(void *context, size_t i)
{
    (void)context;
    (void)i;
    fail_msg("images are drawn where there is nothing to take");
    return (data){0};
}

static void test_nothing_to_take(void **state)
{
    (void)state;
    network *net = start(NET(IMAGES) END, NULL, 0);
    assert_int_equal(take_statistics(net, BATCHES, draw_none, net, NULL), 1);
    assert_false(hook_has_statistics(net));
    release(net);
}

/* 16, or 1,024 images, but at most a twentieth of the training, and at least 4; or what the cfg
 * says. */
static void test_how_many_batches(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int batches;
    } rows[] = {
        {"batch=8", 128},
        {"batch=8\nmax_batches=600", 31},
        {"batch=8\nmax_batches=600\nprecise_bn=7", 7},
        {"batch=8\nprecise_bn=0", 0},
        {"batch=128\nsubdivisions=4\nmax_batches=1000", 16},
        {"batch=128\nmax_batches=100", 6},
        {"batch=128\nmax_batches=5", 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char cfg[512];
        snprintf(cfg, sizeof cfg, "[net]\n%s\nwidth=6\nheight=5\nchannels=2\n" END,
                 rows[i].options);
        network *net = network_from_text(cfg);
        assert_int_equal(statistics_batches(net), rows[i].batches);
        release(net);
    }
}

/* Stopped meanwhile: as if nothing had happened. */
static void test_stopped(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 1;
    network *plain = start(cfg_of(0, "optimizer=hrnn\n"), NULL, 0);
    network *net = start(cfg_of(0, "optimizer=hrnn\n"), NULL, 0);
    train(plain, 0, 3);
    train(net, 0, 3);
    assert_int_equal(take_statistics(net, BATCHES, draw, net, &stop), 0);
    assert_false(hook_has_statistics(net));
    assert_same_state(plain, net);
    release(plain);
    release(net);
}

/* --- biases of [batchnorm] --- */

static void assert_biases(const network *net, const network *of, int known)
{
    const layer *l = &net->layers[1], *m = &of->layers[1];
    for (int c = 0; c < l->c; c++) {
        assert_true(m->biases[c] != 0);
        assert_true(l->biases[c] == (known ? m->biases[c] : 0));
    }
}

/* They come with the sidecar: into a training that starts afresh, under the host's own SGD and out
 * of there again, through a cut of the first layers; not with another file's. */
static void test_biases_stay(void **state)
{
    (void)state;
    network *net = start(cfg_of(0, "optimizer=adam\n"), NULL, 0);
    float want[64], got[64];
    train(net, 0, 20);
    take(net);
    save(net, "a.weights");
    predict_saved(cfg_of(0, ""), "a.weights", want);
    network *fresh = start(cfg_of(0, "optimizer=adam\n"), scratch_path("a.weights"), 1);
    assert_biases(fresh, net, 1);
    release(fresh);
    network *own = start(cfg_of(0, ""), scratch_path("a.weights"), 0);
    assert_biases(own, net, 1);
    save(own, "b.weights");
    release(own);
    network *again = start(cfg_of(0, "optimizer=hrnn\n"), scratch_path("b.weights"), 0);
    assert_false(hook_resumed(again));
    assert_biases(again, net, 1);
    mute();
    save_weights_upto(again, (char *)scratch_path("cut.weights"), 4);
    unmute();
    release(again);
    network *other =
        start(NET(IMAGES "optimizer=adam\n") BODY "[softmax]\n", scratch_path("cut.weights"), 0);
    assert_biases(other, net, 1);
    release(other);
    /* Without it the same is computed. */
    remove(scratch_path("b.weights.optimizer"));
    predict_saved(cfg_of(0, ""), "b.weights", got);
    for (int i = 0; i < 12; i++) assert_near((double)got[i], (double)want[i], 1);
    assert_int_equal(
        rename(scratch_path("cut.weights.optimizer"), scratch_path("b.weights.optimizer")), 0);
    network *foreign = start(cfg_of(0, ""), scratch_path("b.weights"), 0);
    assert_biases(foreign, net, 0);
    release(foreign);
    release(net);
}

static int set_up(void **state)
{
    use_threads(1);
    return scratch_make(state);
}

int main(void)
{
    setenv("HRNN_WEIGHTS", "weights/hrnn.safetensors", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistics_are_those_of_all_values),
        cmocka_unit_test(test_one_value_a_batch),
        cmocka_unit_test(test_training_does_not_notice),
        cmocka_unit_test(test_saves_hold_what_was_taken),
        cmocka_unit_test(test_resume_from_what_was_taken),
        cmocka_unit_test(test_a_training_starts_anew),
        cmocka_unit_test(test_nothing_to_take),
        cmocka_unit_test(test_how_many_batches),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_biases_stay),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_remove);
}
