/* The networks in cfg/: how many parameters they train, beside the number that follows from the
 * architecture and the one that is published; the sizes of their stages; and that those for
 * ImageNet train. Run in the root of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <glob.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "darknet/darknet_hook.h"
#include "host_network.h"

/* --- the number of parameters, from the architecture --- */

static long dense(long in, long out) { return in * out + out; }
static long conv(long c, long n, long taps) { return c * n * taps + n; }

/* No bias, but a scale and a bias for each channel that is normalised. */
static long conv_bn(long c, long n, long taps) { return c * n * taps + 2 * n; }

static long mnist_mlp(void) { return dense(784, 64) + dense(64, 10); }
static long mnist_conv(void) { return conv(1, 8, 9) + conv(8, 8, 25) + dense(784 * 8, 10); }
static long mnist_conv_bn(void)
{
    return conv_bn(1, 8, 9) + conv_bn(8, 8, 25) + dense(784 * 8, 10);
}
static long cifar_conv(void)
{
    return conv(3, 16, 9) + conv(16, 32, 9) + conv(32, 64, 9) + dense(4 * 4 * 64, 10);
}

static long fashion_resnet(void)
{
    long sum = conv(1, 24, 9), c = 24;
    for (int block = 0; block < 4; block++) {
        long n = block < 2 ? 24 : 48;
        sum += 2 * c + conv_bn(c, n, 9) + conv(n, n, 9);
        c = n;
    }
    return sum + 2 * c + dense(c, 10);
}

static long cifar_resnet20(void)
{
    long sum = conv(3, 16, 9), c = 16;
    for (int stage = 0; stage < 3; stage++)
        for (int block = 0; block < 3; block++) {
            long n = 16 << stage;
            sum += 2 * c + conv(c, n, 9) + 2 * n + conv(n, n, 9);
            c = n;
        }
    return sum + 2 * c + dense(c, 10);
}

static long resnet50_v2(void)
{
    static const int blocks[] = {3, 4, 6, 3};
    long sum = conv(3, 64, 49), c = 64;
    for (int stage = 0; stage < 4; stage++)
        for (int block = 0; block < blocks[stage]; block++) {
            long n = 64 << stage;
            sum += 2 * c + conv_bn(c, n, 1) + conv_bn(n, n, 9) + conv(n, 4 * n, 1);
            if (block == 0) sum += conv(c, 4 * n, 1);
            c = 4 * n;
        }
    return sum + 2 * c + dense(c, 1000);
}

static long inception_v3(void)
{
    long sum = conv_bn(3, 32, 9) + conv_bn(32, 32, 9) + conv_bn(32, 64, 9) + conv_bn(64, 80, 1) +
               conv_bn(80, 192, 9);
    long c = 192;
    for (int block = 0; block < 3; block++) { /* 35 x 35 */
        long pool = block ? 64 : 32;
        sum += conv_bn(c, 64, 1) + conv_bn(c, 48, 1) + conv_bn(48, 64, 25) + conv_bn(c, 64, 1) +
               conv_bn(64, 96, 9) + conv_bn(96, 96, 9) + conv_bn(c, pool, 1);
        c = 64 + 64 + 96 + pool;
    }
    sum += conv_bn(c, 384, 9) + conv_bn(c, 64, 1) + conv_bn(64, 96, 9) + conv_bn(96, 96, 9);
    c += 384 + 96;
    for (int block = 0; block < 4; block++) { /* 17 x 17 */
        static const long inner[] = {128, 160, 160, 192};
        long n = inner[block];
        sum += 2 * conv_bn(c, 192, 1) + 2 * conv_bn(c, n, 1) + 4 * conv_bn(n, n, 7) +
               2 * conv_bn(n, 192, 7);
    }
    sum += 2 * conv_bn(c, 192, 1) + conv_bn(192, 320, 9) + 2 * conv_bn(192, 192, 7) +
           conv_bn(192, 192, 9);
    c += 320 + 192;
    for (int block = 0; block < 2; block++) { /* 8 x 8 */
        sum += conv_bn(c, 320, 1) + conv_bn(c, 384, 1) + conv_bn(c, 448, 1) + conv_bn(448, 384, 9) +
               4 * conv_bn(384, 384, 3) + conv_bn(c, 192, 1);
        c = 320 + 4 * 384 + 192;
    }
    return sum + dense(c, 1000);
}

/* Darknet's tiny.cfg up to its layer 18, and a head for three classes. */
static long tiny_detector(void)
{
    static const long narrow[] = {16, 16, 32, 32, 64, 64}, wide[] = {128, 128, 256, 256, 512, 512};
    long sum = conv_bn(3, 16, 9) + conv_bn(16, 32, 9), c = 32;
    for (int i = 0; i < 6; i++) {
        sum += conv_bn(c, narrow[i], 1) + conv_bn(narrow[i], wide[i], 9);
        c = wide[i];
    }
    return sum + conv_bn(c, 128, 1) + conv_bn(128, 256, 9) + dense(256, 3 * (3 + 5));
}

/* trained: weights, biases and scales. normalised: channels that a batch normalisation has a
 * running mean and variance for, which are not trained. */
static const struct known {
    const char *cfg;
    long (*formula)(void);
    long trained, normalised;
} known[] = {
    {"cfg/cifar-conv.cfg", cifar_conv, 33834, 0},
    {"cfg/cifar-resnet20.cfg", cifar_resnet20, 270410, 688},
    {"cfg/fashion-resnet.cfg", fashion_resnet, 94810, 312},
    /* Keras' ResNet50V2: 25,613,800 parameters, of which 45,440 are running means and variances */
    {"cfg/imagenet-resnet50-v2.cfg", resnet50_v2, 25613800 - 45440, 45440 / 2},
    /* Keras' InceptionV3: 23,851,784, of which 34,432 are running means and variances; it has no
     * scales, the host does */
    {"cfg/imagenet-inception-v3.cfg", inception_v3, 23851784 - 34432 + 34432 / 2, 34432 / 2},
    {"cfg/mnist-conv-bn.cfg", mnist_conv_bn, 64434, 16},
    {"cfg/mnist-conv-relu.cfg", mnist_conv, 64418, 0},
    {"cfg/mnist-conv-sigmoid.cfg", mnist_conv, 64418, 0},
    {"cfg/mnist-mlp-relu.cfg", mnist_mlp, 50890, 0},
    {"cfg/mnist-mlp-sigmoid.cfg", mnist_mlp, 50890, 0},
    {"cfg/tiny-detector.cfg", tiny_detector, 1214696, 2448},
};

/* The cfg with these lines under [net], "key=value\n" each, in place of its own. */
static network *network_from_cfg(const char *cfg, const char *options)
{
    char text[1 << 16], line[256], key[64] = "\n";
    size_t n = (size_t)snprintf(text, sizeof text, "[net]\n%s", options);
    FILE *file = fopen(cfg, "r");
    if (!file) fail_msg("%s: cannot be read", cfg);
    int in_net = 0, seen = 0;
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '[') in_net = !seen++;
        if (!seen || (in_net && line[0] == '[')) continue;
        size_t length = strcspn(line, "=");
        if (in_net && line[length] == '=' && length + 3 < sizeof key) {
            snprintf(key + 1, sizeof key - 1, "%.*s=", (int)length, line);
            if (strstr(options, key + 1) == options || strstr(options, key)) continue;
        }
        assert_true(n + strlen(line) < sizeof text);
        memcpy(text + n, line, strlen(line) + 1);
        n += strlen(line);
    }
    fclose(file);
    return network_from_text(text);
}

static void release(network *net)
{
    mute();
    free_network(net);
    unmute();
}

static void test_parameters(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob("cfg/*.cfg", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const struct known *row = known, *end = known + sizeof known / sizeof *known;
        while (row < end && strcmp(row->cfg, found.gl_pathv[i])) row++;
        if (row == end) fail_msg("%s has no row in this test", found.gl_pathv[i]);
        network *net = network_from_cfg(row->cfg, "batch=1\nsubdivisions=1\n");
        host_tensors list = list_tensors(net);
        long trained = 0, normalised = 0;
        for (int k = 0; k < list.n; k++) {
            trained += list.row[k].n;
            if (strstr(list.row[k].name, ".scales")) normalised += list.row[k].n;
        }
        print_message("%-30s %9ld parameters, %5ld normalised channels\n", row->cfg, trained,
                      normalised);
        assert_int_equal(trained, row->formula());
        assert_int_equal(trained, row->trained);
        assert_int_equal(normalised, row->normalised);
        release(net);
    }
    assert_int_equal(found.gl_pathc, sizeof known / sizeof *known);
    globfree(&found);
}

/* --- sizes --- */

static void assert_sizes(const network *net, int i, int size, int channels)
{
    const layer *l = &net->layers[i];
    if (l->out_w != size || l->out_h != size || l->out_c != channels)
        fail_msg("layer %d is %d x %d x %d, expected %d x %d x %d", i, l->out_w, l->out_h, l->out_c,
                 size, size, channels);
}

/* Layers of a type that combine at least `least` others, in order, have these sizes; no more. */
static void assert_stages(const network *net, LAYER_TYPE type, int least, const int (*sizes)[2],
                          int n)
{
    int k = 0;
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (l->type != type || (type == ROUTE && l->n < least)) continue;
        assert_true(k < n);
        assert_sizes(net, i, sizes[k][0], sizes[k][1]);
        k++;
    }
    assert_int_equal(k, n);
}

static void test_resnet50_sizes(void **state)
{
    (void)state;
    static const int sizes[][2] = {
        {56, 256},  {56, 256},  {28, 256},  {28, 512},  {28, 512}, {28, 512}, {14, 512}, {14, 1024},
        {14, 1024}, {14, 1024}, {14, 1024}, {14, 1024}, {7, 1024}, {7, 2048}, {7, 2048}, {7, 2048}};
    network *net = network_from_cfg("cfg/imagenet-resnet50-v2.cfg", "batch=1\nsubdivisions=1\n");
    assert_int_equal(net->w, 224);
    assert_int_equal(net->h, 224);
    assert_sizes(net, 0, 112, 64);
    assert_sizes(net, 1, 56, 64);
    assert_stages(net, SHORTCUT, 0, sizes, sizeof sizes / sizeof *sizes);
    assert_stages(net, AVGPOOL, 0, (const int[][2]){{1, 2048}}, 1);
    assert_int_equal(net->outputs, 1000);
    release(net);
}

static void test_inception_sizes(void **state)
{
    (void)state;
    static const int stem[][2] = {{149, 32}, {147, 32}, {147, 64}, {73, 64},
                                  {73, 80},  {71, 192}, {35, 192}};
    static const int mixed[][2] = {{35, 256}, {35, 288}, {35, 288}, {17, 768}, {17, 768}, {17, 768},
                                   {17, 768}, {17, 768}, {8, 1280}, {8, 2048}, {8, 2048}};
    network *net = network_from_cfg("cfg/imagenet-inception-v3.cfg", "batch=1\nsubdivisions=1\n");
    assert_int_equal(net->w, 299);
    assert_int_equal(net->h, 299);
    for (int i = 0; i < (int)(sizeof stem / sizeof *stem); i++)
        assert_sizes(net, i, stem[i][0], stem[i][1]);
    assert_stages(net, ROUTE, 2, mixed, sizeof mixed / sizeof *mixed);
    int averages = 0, shapes[8][8] = {{0}};
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        averages += l->type == AVGPOOL && l->size == 3 && l->out_w == l->w;
        if (l->type == CONVOLUTIONAL) shapes[l->size_h][l->size_w]++;
    }
    assert_int_equal(averages, 3 + 4 + 2);
    assert_int_equal(shapes[1][7], 4 * 3 + 1);
    assert_int_equal(shapes[7][1], 4 * 3 + 1);
    assert_int_equal(shapes[1][3], 2 * 2);
    assert_int_equal(shapes[3][1], 2 * 2);
    assert_int_equal(shapes[5][5], 3);
    assert_int_equal(net->outputs, 1000);
    release(net);
}

/* --- training --- */

/* Two images, each its class's colour under noise. */
static void fill_images(network *net)
{
    random_stream stream;
    random_stream_start(&stream, 3, STREAM_OTHER, 0);
    int area = net->w * net->h;
    for (int i = 0; i < net->inputs * net->batch; i++) {
        int bright = i / area % net->c == i / net->inputs % net->c;
        net->input[i] = uniform(&stream, 0, 0.5f) + (bright ? 0.5f : 0);
    }
    memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
    for (int b = 0; b < net->batch; b++) net->truth[b * net->truths + 7 * b] = 1;
}

/* A few steps on the same images lower the loss, and no tensor is left where it was. */
static void assert_trains(const char *cfg, int size, const char *optimizer)
{
    enum { STEPS = 4 };
    char options[256];
    snprintf(options, sizeof options,
             "batch=2\nsubdivisions=1\nwidth=%d\nheight=%d\npolicy=constant\nlearning_rate=.01\n%s",
             size, size, optimizer);
    network *net = network_from_cfg(cfg, options);
    host_tensors list = list_tensors(net);
    float *start[MAX_TENSORS];
    for (int k = 0; k < list.n; k++) {
        size_t bytes = (size_t)list.row[k].n * sizeof(float);
        start[k] = memcpy(malloc(bytes), list.row[k].param, bytes);
    }
    fill_images(net);
    float loss[STEPS];
    mute();
    hook_start_training(net, NULL, 1);
    for (int i = 0; i < STEPS; i++) loss[i] = train_network_datum(net);
    unmute();
    print_message("%s: loss %g to %g with %s", cfg, (double)loss[0], (double)loss[STEPS - 1],
                  optimizer);
    for (int i = 0; i < STEPS; i++) assert_true(isfinite(loss[i]));
    assert_true(loss[STEPS - 1] < loss[0]);
    for (int k = 0; k < list.n; k++) {
        size_t bytes = (size_t)list.row[k].n * sizeof(float);
        if (memcmp(start[k], list.row[k].param, bytes) == 0)
            fail_msg("%s: %s did not move", cfg, list.row[k].name);
        int finite = 1;
        for (int i = 0; i < list.row[k].n; i++) finite &= isfinite(list.row[k].param[i]) != 0;
        assert_true(finite);
        free(start[k]);
    }
    release(net);
}

#define HRNN "optimizer=hrnn\noptimizer_weights=weights/hrnn.safetensors\n"

static void test_imagenet_networks_train(void **state)
{
    (void)state;
    use_threads(1);
    assert_trains("cfg/imagenet-resnet50-v2.cfg", 64, "optimizer=sgd\n");
    assert_trains("cfg/imagenet-resnet50-v2.cfg", 64, HRNN);
    assert_trains("cfg/imagenet-inception-v3.cfg", 75, "optimizer=sgd\n");
    assert_trains("cfg/imagenet-inception-v3.cfg", 75, HRNN);
}

/* --- weights files and sizes of rectangles --- */

#define IMAGE(w, h) "[net]\nbatch=2\nwidth=" #w "\nheight=" #h "\nchannels=2\n"
#define LAYERS(flipped)                                                                            \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"             \
    "[avgpool]\nsize=3\n"                                                                          \
    "[convolutional]\nfilters=6\nsize_w=5\nsize_h=3\npad=1\nstride=2\nactivation=tanh\n" flipped   \
    "[avgpool]\nsize=2\nstride=2\npadding=0\n"                                                     \
    "[convolutional]\nfilters=3\nsize_w=1\nsize_h=3\ngroups=3\npad=1\nactivation=linear\n[cost]\n"

static long read_bytes(const char *path, char *to, long room)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    long n = (long)fread(to, 1, (size_t)room, file);
    fclose(file);
    return n;
}

static void load(network *net, char *path)
{
    mute();
    load_weights(net, path);
    unmute();
}

static void save(network *net, char *path)
{
    mute();
    save_weights(net, path);
    unmute();
}

/* What the file of an unpatched host holds: the header, and for each layer biases, scales and
 * statistics, then weights in the order filter, channel, row, column, which is that of the
 * array. */
static void test_weights_file(void **state)
{
    (void)state;
    char path[] = "/tmp/host-weights-XXXXXX", bytes[2][8192], *want = bytes[0];
    close(mkstemp(path));
    network *net = network_from_text(IMAGE(9, 8) LAYERS(""));
    stir_parameters(net, 4);
    *net->seen = 640;
    const int version[3] = {0, 2, 0};
    memcpy(want, version, sizeof version);
    memcpy(want + 12, net->seen, 8);
    want += 20;
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (l->type != CONVOLUTIONAL) continue;
        const float *arrays[] = {l->biases, l->scales, l->rolling_mean, l->rolling_variance};
        for (int a = 0; a < (l->batch_normalize ? 4 : 1); a++, want += 4 * l->n)
            memcpy(want, arrays[a], 4 * (size_t)l->n);
        assert_int_equal(l->nweights, l->n * l->c / l->groups * l->size_w * l->size_h);
        memcpy(want, l->weights, 4 * (size_t)l->nweights);
        want += 4 * l->nweights;
    }
    save(net, path);
    assert_int_equal(read_bytes(path, bytes[1], sizeof bytes[1]), want - bytes[0]);
    assert_memory_equal(bytes[0], bytes[1], want - bytes[0]);

    network *loaded = network_from_text(IMAGE(9, 8) LAYERS(""));
    load(loaded, path);
    save(loaded, path);
    assert_int_equal(read_bytes(path, bytes[1], sizeof bytes[1]), want - bytes[0]);
    assert_memory_equal(bytes[0], bytes[1], want - bytes[0]);
    release(loaded);

    loaded = network_from_text(IMAGE(9, 8) LAYERS("flipped=1\n"));
    load(loaded, path);
    const layer *l = &net->layers[2];
    const float *flipped = loaded->layers[2].weights;
    int size = l->nweights / l->n;
    for (int f = 0; f < l->n; f++)
        for (int t = 0; t < size; t++)
            assert_true(flipped[f * size + t] == l->weights[t * l->n + f]);
    release(loaded);
    release(net);
    unlink(path);
}

/* A network that is resized computes what one of that size does. */
static void test_resized_network(void **state)
{
    (void)state;
    char path[] = "/tmp/host-weights-XXXXXX";
    close(mkstemp(path));
    network *small = network_from_text(IMAGE(9, 8) LAYERS(""));
    network *large = network_from_text(IMAGE(14, 19) LAYERS(""));
    stir_parameters(large, 4);
    save(large, path);
    load(small, path);
    mute();
    resize_network(small, 14, 19);
    unmute();
    assert_int_equal(small->outputs, large->outputs);
    assert_int_equal(small->inputs, large->inputs);
    random_stream stream;
    random_stream_start(&stream, 3, STREAM_OTHER, 0);
    for (int i = 0; i < large->inputs * large->batch; i++)
        small->input[i] = large->input[i] = uniform(&stream, -1, 1);
    assert_true(pass(small, 1) == pass(large, 1));
    for (int i = 0; i < large->n; i++)
        assert_memory_equal(small->layers[i].output, large->layers[i].output,
                            sizeof(float) * (size_t)(large->layers[i].outputs * large->batch));
    assert_memory_equal(small->layers[0].weight_updates, large->layers[0].weight_updates,
                        sizeof(float) * (size_t)large->layers[0].nweights);
    release(small);
    release(large);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),      cmocka_unit_test(test_resnet50_sizes),
        cmocka_unit_test(test_inception_sizes), cmocka_unit_test(test_weights_file),
        cmocka_unit_test(test_resized_network), cmocka_unit_test(test_imagenet_networks_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
