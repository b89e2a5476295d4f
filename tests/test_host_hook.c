/* The optimizers inside the host: what is updated and by how much, schedules, frozen layers, and
 * what a save and a resume give back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "attention_model.h"
#include "darknet/darknet_hook.h"
#include "held_out.h"
#include "host_network.h"
#include "option_list.h"
#include "parser.h"

#define NET(options) "[net]\nbatch=8\nsubdivisions=2\nwidth=6\nheight=6\nchannels=2\n" options "\n"
#define BODY                                                                                        \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n[batchnorm]\n"                   \
    "[activation]\nactivation=relu\n[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\n" \
    "activation=leaky\n[dropout]\nprobability=.2\n[connected]\noutput=3\nactivation=linear\n"       \
    "[softmax]\n"

static void fill(network *net, uint64_t step)
{
    random_stream stream;
    random_stream_start(&stream, 3, STREAM_OTHER, step);
    for (int i = 0; i < net->inputs * net->batch; i++) net->input[i] = uniform(&stream, -1, 1);
    memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
    for (int b = 0; b < net->batch; b++)
        net->truth[b * net->truths + (int)(random_stream_u32(&stream) % (unsigned)net->truths)] = 1;
}

/* Updates `from` to `to`, the same data for the same number. */
static void train(network *net, int from, int to)
{
    mute();
    for (int i = from * net->subdivisions; i < to * net->subdivisions; i++) {
        fill(net, (uint64_t)i);
        train_network_datum(net);
    }
    unmute();
}

static void start(network *net, const char *weights, int clear)
{
    mute();
    if (weights) load_weights(net, (char *)weights);
    hook_start_training(net, weights, clear);
    unmute();
}

static network *trained(const char *cfg, int updates)
{
    network *net = network_from_text(cfg);
    start(net, NULL, 0);
    train(net, 0, updates);
    return net;
}

static void release(network *net)
{
    mute();
    free_network(net);
    unmute();
}

static double difference(const network *a, const network *b)
{
    host_tensors x = list_tensors(a), y = list_tensors(b);
    double worst = 0;
    assert_int_equal(x.n, y.n);
    for (int k = 0; k < x.n; k++)
        for (int i = 0; i < x.row[k].n; i++) {
            const double d = fabs((double)x.row[k].param[i] - (double)y.row[k].param[i]);
            if (!(d <= worst)) worst = d;
        }
    return worst;
}

/* The host never trains a [batchnorm]; without one, its SGD and ours agree. */
static void test_sgd_is_the_hosts(void **state)
{
    (void)state;
#define PLAIN "learning_rate=.05\nmomentum=.9\ndecay=.01\npolicy=steps\nsteps=3,6\nscales=.1,10\n"
#define LAYERS                                                                                     \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"             \
    "[local]\nfilters=2\nsize=3\npad=1\nactivation=tanh\n[connected]\noutput=3\n"                  \
    "activation=linear\n[softmax]\n"
    network *ours = trained(NET(PLAIN "optimizer=sgd") LAYERS, 10);
    network *hosts = trained(NET(PLAIN) LAYERS, 10);
    network *start_ = network_from_text(NET(PLAIN) LAYERS);
    const double moved = difference(hosts, start_), apart = difference(hosts, ours);
    print_message("moved %.3g, apart %.3g\n", moved, apart);
    assert_true(moved > 0.05);
    assert_true(apart < 1e-5 * moved + 1e-6);
    release(ours);
    release(hosts);
    release(start_);
}

/* Under hrnn only the shape of the schedule counts: neither learning_rate nor momentum. */
static void test_learning_rate_does_not_count(void **state)
{
    (void)state;
#define SHAPE "optimizer=hrnn\npolicy=poly\npower=2\nmax_batches=20\nburn_in=3\n"
    network *a = trained(NET(SHAPE "learning_rate=.1\nmomentum=.9") BODY, 8);
    network *b = trained(NET(SHAPE "learning_rate=0\nmomentum=.5") BODY, 8);
    network *c = trained(NET(SHAPE "learning_rate=1e-30") BODY, 8);
    network *other = trained(NET("optimizer=hrnn\npolicy=poly\npower=3\nmax_batches=20\n") BODY, 8);
    assert_true(difference(a, b) == 0);
    assert_true(difference(a, c) == 0);
    assert_true(difference(a, other) > 0);
    release(a);
    release(b);
    release(c);
    release(other);
}

/* The step is multiplied by what the policy says: the first of sgd without momentum shows it. */
static void test_policies(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int updates;
        double want;
    } rows[] = {
        {"policy=constant", 3, 1},
        {"policy=step\nstep=2\nscale=.5", 3, .5},
        {"policy=steps\nsteps=2,4\nscales=.1,.1", 3, .1},
        {"policy=exp\ngamma=.5", 3, .125},
        {"policy=poly\npower=2\nmax_batches=10", 3, .49},
        {"policy=sigmoid\ngamma=1\nstep=3", 3, .5},
        {"policy=constant\nburn_in=6\npower=2", 3, .25},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        char cfg[1024];
        snprintf(
            cfg, sizeof cfg,
            NET("%s\noptimizer=sgd\nmomentum=0\ndecay=0\nlearning_rate=0.25") "[connected]\noutput=3\nactivation=linear\n[softmax]\n",
            rows[r].options);
        network *net = network_from_text(cfg);
        start(net, NULL, 0);
        train(net, 0, rows[r].updates - 1);
        layer *l = &net->layers[0];
        float before[3], gradient[3] = {0};
        memcpy(before, l->biases, sizeof before);
        for (int part = 0; part < 2; part++) {
            fill(net, (uint64_t)part);
            pass(net, 1);
        }
        for (int i = 0; i < 3; i++) gradient[i] = l->bias_updates[i];
        *net->seen += 8;
        hook_update(net);
        for (int i = 0; i < 3; i++) {
            const double step = (double)l->biases[i] - (double)before[i];
            assert_true(fabs(step - 0.25 * rows[r].want * (double)gradient[i] / 8) < 1e-6);
        }
        assert_true(l->bias_updates[0] == 0);
        release(net);
    }
}

/* Neither below a stopbackward nor with learning_rate=0 does a bit move; the rest does. */
static void test_frozen(void **state)
{
    (void)state;
    static const char *const rules[] = {"sgd", "adam", "rmsprop", "hrnn"};
    for (int r = 0; r < 4; r++) {
        char cfg[2048];
        snprintf(
            cfg, sizeof cfg,
            NET("optimizer=%s\nlearning_rate=.1\ndecay=.1") "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\nbatch_normalize=1\n"
                                                            "[convolutional]\nfilters=4\nsize=1\nactivation=leaky\nstopbackward=1\n"
                                                            "[connected]\noutput=5\nactivation=leaky\n"
                                                            "[connected]\noutput=4\nactivation=leaky\nlearning_rate=0\n"
                                                            "[connected]\noutput=3\nactivation=linear\n[softmax]\n",
            rules[r]);
        network *net = trained(cfg, 5), *fresh = network_from_text(cfg);
        host_tensors now = list_tensors(net), was = list_tensors(fresh);
        for (int k = 0; k < now.n; k++) {
            const int layer_index = atoi(now.row[k].name);
            const int frozen = layer_index <= 1 || layer_index == 3;
            const int same = memcmp(now.row[k].param, was.row[k].param,
                                    (size_t)now.row[k].n * sizeof(float)) == 0;
            if (frozen != same) print_message("%s: %s\n", rules[r], now.row[k].name);
            assert_int_equal(frozen, same);
        }
        release(net);
        release(fresh);
    }
}

static char folder[] = "/tmp/host-hook-XXXXXX";

static const char *path_in(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void save(network *net, const char *path)
{
    mute();
    save_weights(net, (char *)path);
    unmute();
}

/* Stopped after 4 of 9 updates and resumed: the bits of 9 updates. Also right behind the save. */
static void test_resume(void **state)
{
    (void)state;
    static const char *const rules[] = {"sgd", "adam", "rmsprop", "hrnn", "hrnn"};
    char model[256];
    write_attention_model(path_in("attention.safetensors"));
    snprintf(model, sizeof model, "optimizer_weights=%s\n", path_in("attention.safetensors"));
    const char *path = path_in("resume.weights");
    for (int r = 0; r < 5; r++) {
        char cfg[2048];
        snprintf(cfg, sizeof cfg, NET("optimizer=%s\n%slearning_rate=.05") BODY, rules[r],
                 r == 4 ? model : "");
        network *whole = trained(cfg, 9), *part = trained(cfg, 4);
        save(part, path);
        train(part, 4, 9);
        assert_true(difference(whole, part) == 0);
        network *resumed = network_from_text(cfg);
        start(resumed, path, 0);
        assert_true(hook_resumed(resumed));
        train(resumed, 4, 9);
        assert_true(difference(whole, resumed) == 0);
        network *afresh = network_from_text(cfg);
        start(afresh, path, 1);
        assert_false(hook_resumed(afresh));
        train(afresh, 4, 9);
        assert_true(difference(whole, afresh) > 0);
        release(whole);
        release(part);
        release(resumed);
        release(afresh);
    }
}

static void predict(network *net, float *out)
{
    mute();
    net->train = 0;
    fill(net, 77);
    forward_network(net);
    memcpy(out, net->output, (size_t)(net->outputs * net->batch) * sizeof(float));
    net->train = 1;
    unmute();
}

/* A reader that knows no biases of [batchnorm] computes what the trained network does; the size of
 * the file is the stock one. */
static void test_batchnorm_deploys(void **state)
{
    (void)state;
    const char *path = path_in("batchnorm.weights");
    network *net = trained(NET("optimizer=adam\nlearning_rate=.05") BODY, 30);
    const layer *normal = &net->layers[1];
    assert_true(fabsf(normal->biases[0]) > 1e-3f);
    float want[12], got[12];
    predict(net, want);
    save(net, path);
    for (int beside = 1; beside >= 0; beside--) {
        network *deployed = network_from_text(NET("") BODY);
        mute();
        load_weights(deployed, (char *)path);
        unmute();
        const float bias = deployed->layers[1].biases[0];
        assert_true(bias == (beside ? normal->biases[0] : 0));
        predict(deployed, got);
        for (int i = 0; i < 12; i++) assert_true(fabsf(want[i] - got[i]) < 2e-5f);
        release(deployed);
        unlink(path_in("batchnorm.weights.optimizer"));
        path = path_in("batchnorm.weights");
    }
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const long floats = (4 * 2 * 9 + 4) + 3 * 4 + (4 * 4 * 9 + 4 * 4) + (3 * 144 + 3);
    assert_int_equal(info.st_size, 20 + 4 * floats);
    release(net);
}

/* --- held-out images --- */

enum { HELD = 7 }; /* in batches of 4 */

static held_out *hold_out(network *net, data *d)
{
    random_stream stream;
    random_stream_start(&stream, 11, STREAM_OTHER, 0);
    list *options = make_list();
    d->X = make_matrix(HELD, net->inputs);
    d->y = make_matrix(HELD, net->truths);
    for (int i = 0; i < HELD; i++) {
        for (int j = 0; j < net->inputs; j++) d->X.vals[i][j] = uniform(&stream, -1, 1);
        d->y.vals[i][i % net->truths] = 1;
    }
    held_out *h = hold_out_data("test.data", options, net, *d, 1);
    free_list_contents(options);
    free_list(options);
    return h;
}

/* The same of the weights that were saved, an image at a time: the cross-entropy from the
 * probabilities, or the cost of the last layer. */
static void measure_saved(const char *cfg, const char *path, data d, int cross_entropy,
                          double *loss, double *accuracy)
{
    network *net = network_from_text(cfg);
    mute();
    load_weights(net, (char *)path);
    unmute();
    set_batch_network(net, 1);
    *loss = *accuracy = 0;
    for (int i = 0; i < HELD; i++) {
        reset_network_state(net, 0);
        memcpy(net->input, d.X.vals[i], (size_t)net->inputs * sizeof(float));
        memcpy(net->truth, d.y.vals[i], (size_t)net->truths * sizeof(float));
        net->train = 0;
        mute();
        forward_network(net);
        unmute();
        *loss += cross_entropy ? -log((double)net->output[i % net->truths]) : (double)*net->cost;
        *accuracy += max_index(net->output, net->outputs) == i % net->truths;
    }
    *loss /= HELD;
    *accuracy /= HELD;
    release(net);
}

/* Measured after every update or never: the same bits; and what is measured is what a save
 * gives. */
static void check_measuring(const char *cfg, int cross_entropy)
{
    const char *path = path_in("resume.weights");
    volatile sig_atomic_t stop = 0;
    data d = {0};
    double loss = 0, accuracy = 0, want_loss, want_accuracy;
    network *plain = trained(cfg, 8), *net = trained(cfg, 0);
    held_out *h = hold_out(net, &d);
    for (int i = 0; i < 8; i++) {
        train(net, i, i + 1);
        mute();
        assert_int_equal(measure_network(net, h, &stop, &loss, &accuracy), 1);
        unmute();
    }
    assert_true(difference(plain, net) == 0);
    float outputs[2][12];
    predict(plain, outputs[0]);
    predict(net, outputs[1]);
    assert_memory_equal(outputs[0], outputs[1],
                        sizeof outputs[0]); /* also the rolling statistics */
    save(net, path);
    measure_saved(cfg, path_in("resume.weights"), d, cross_entropy, &want_loss, &want_accuracy);
    print_message("loss %.9g, accuracy %.3g; expected %.9g, %.3g\n", loss, accuracy, want_loss,
                  want_accuracy);
    assert_true(fabs(loss - want_loss) < 2e-5 * (1 + fabs(want_loss)));
    assert_true(accuracy == want_accuracy);
    stop = 1;
    assert_int_equal(measure_network(net, h, &stop, &loss, &accuracy), 0);
    assert_true(difference(plain, net) == 0);
    free_held_out(h);
    free_data(d);
    release(plain);
    release(net);
}

static void test_measuring(void **state)
{
    (void)state;
    char cfg[2048], model[256];
    write_attention_model(path_in("attention.safetensors"));
    snprintf(model, sizeof model, "optimizer=hrnn\noptimizer_weights=%s\n",
             path_in("attention.safetensors"));
    const char *const options[] = {"", "optimizer=sgd\n", "optimizer=hrnn\n", model};
    for (int i = 0; i < 4; i++) {
        snprintf(cfg, sizeof cfg, NET("%slearning_rate=.05") BODY, options[i]);
        check_measuring(cfg, 1);
    }
#define SMALL                                                                                      \
    "[connected]\noutput=6\nactivation=tanh\n[dropout]\nprobability=.3\n[connected]\noutput=3\n"   \
    "activation=linear\n"
    check_measuring(NET("optimizer=adam\nlearning_rate=.01") SMALL "[logistic]\n", 0);
    check_measuring(NET("optimizer=adam\nlearning_rate=.01") SMALL "[cost]\n", 0);
    static const char *const recurrent[] = {
        "[rnn]\noutput=5\nhidden=4\nbatch_normalize=1\nactivation=tanh\n", "[gru]\noutput=5\n",
        "[lstm]\noutput=5\n"};
    for (int i = 0; i < 3; i++) {
        snprintf(cfg, sizeof cfg,
                 NET("%slearning_rate=.01") "%s[connected]\noutput=3\n"
                                            "activation=linear\n[softmax]\n",
                 model, recurrent[i]);
        check_measuring(cfg, 1);
    }
}

/* Images of a list that do not stay in memory give the same figures as those that do. */
static void test_list_too_long_for_memory(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 0;
    double loss[3], accuracy[3];
    char list_path[128], image[5][160];
    char *labels[] = {"cat", "dog", "eel"};
    snprintf(list_path, sizeof list_path, "%s", path_in("held.list"));
    FILE *list_file = fopen(list_path, "w");
    for (int i = 0; i < 5; i++) {
        snprintf(image[i], sizeof image[i], "%s.%d.%s", list_path, i, labels[i % 3]);
        fprintf(list_file, "%s\n", image[i]);
        FILE *file = fopen(image[i], "w");
        fprintf(file, "P5\n8 6\n255\n");
        for (int p = 0; p < 48; p++) fputc(p * (i + 2) % 251, file);
        fclose(file);
    }
    fclose(list_file);
    network *net = network_from_text("[net]\nbatch=2\nwidth=6\nheight=6\nchannels=1\n"
                                     "[connected]\noutput=3\nactivation=linear\n[softmax]\n");
    list *options = make_list();
    option_insert(options, "valid", list_path);
    held_out *h = hold_out_list("test.data", options, net, labels, 3, 1);
    assert_int_equal(h->n, 5);
    for (int i = 0; i < 3; i++) {
        h->keep = i > 0; /* the second measurement loads what the third finds */
        assert_int_equal(measure_network(net, h, &stop, loss + i, accuracy + i), 1);
        assert_true(!h->images[4] == !i);
        assert_true(loss[i] == loss[0] && accuracy[i] == accuracy[0]);
    }
    assert_true(loss[0] > 0);
    free_held_out(h);
    free_list_contents(options);
    free_list(options);
    for (int i = 0; i < 5; i++) unlink(image[i]);
    unlink(list_path);
    release(net);
}

/* A probability too small for a float has a loss all the same. */
static void test_sure_and_wrong(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 0;
    data d = {0};
    double loss, accuracy;
    network *net =
        network_from_text(NET("") "[connected]\noutput=3\nactivation=linear\n[softmax]\n");
    held_out *h = hold_out(net, &d);
    layer *l = &net->layers[0];
    memset(l->weights, 0, (size_t)(l->inputs * l->outputs) * sizeof(float));
    l->biases[0] = 500;
    assert_int_equal(measure_network(net, h, &stop, &loss, &accuracy), 1);
    assert_true(accuracy == 3. / 7); /* classes 0 1 2 0 1 2 0 */
    assert_true(fabs(loss - 500 * 4. / 7) < 1e-9);
    l->biases[1] = NAN;
    assert_int_equal(measure_network(net, h, &stop, &loss, &accuracy), 1);
    assert_true(isnan(loss));
    free_held_out(h);
    free_data(d);
    release(net);
}

static int make_folder_(void **state)
{
    (void)state;
    use_threads(1);
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"resume.weights", "resume.weights.optimizer",
                                        "batchnorm.weights", "batchnorm.weights.optimizer",
                                        "attention.safetensors"};
    for (int i = 0; i < 5; i++) unlink(path_in(names[i]));
    return rmdir(folder);
}

int main(void)
{
    setenv("HRNN_WEIGHTS", "weights/hrnn.safetensors", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd_is_the_hosts),
        cmocka_unit_test(test_learning_rate_does_not_count),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_batchnorm_deploys),
        cmocka_unit_test(test_measuring),
        cmocka_unit_test(test_sure_and_wrong),
        cmocka_unit_test(test_list_too_long_for_memory),
    };
    return cmocka_run_group_tests(tests, make_folder_, remove_folder);
}
