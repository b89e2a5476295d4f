/* The patched host's convolution, average pooling and batch normalisation on the CPU against a
 * plain reference in double, forward and backward; and the same bits with one thread as with
 * four. */
#include "darknet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <cmocka.h>

enum { THREADS = 4 };

/* The host's own headers do not compile without warnings. */
layer make_rectangular_convolutional_layer(int batch, int h, int w, int c, int n, int groups,
                                           int size_w, int size_h, int stride, int pad_w, int pad_h,
                                           ACTIVATION activation, int batch_normalize, int binary,
                                           int xnor, int adam);
layer make_avgpool_layer(int batch, int w, int h, int c, int size, int stride, int padding);
void resize_avgpool_layer(layer *l, int w, int h);
layer make_batchnorm_layer(int batch, int w, int h, int c);
void resize_batchnorm_layer(layer *l, int w, int h);

typedef struct {
    int batch, groups, c, n, h, w; /* c, n of all groups together */
    int size_w, size_h, stride, pad_w, pad_h;
    int normalize;
    ACTIVATION activation;
} conv_case;

static const conv_case cases[] = {
    /* batch groups c n h w, size_w size_h stride pad_w pad_h */
    {3, 1, 16, 16, 32, 32, 3, 3, 1, 1, 1, 1, RELU},
    {2, 1, 3, 10, 9, 7, 3, 3, 1, 1, 1, 0, LEAKY},
    {2, 1, 4, 11, 7, 8, 3, 3, 1, 1, 1, 0, LINEAR},
    {20, 1, 5, 33, 8, 8, 3, 3, 1, 1, 1, 1, LINEAR},
    {1, 1, 7, 40, 13, 13, 3, 3, 1, 1, 1, 0, LOGISTIC},
    {2, 1, 64, 48, 7, 7, 3, 3, 1, 1, 1, 1, LEAKY},
    {2, 1, 4, 17, 11, 12, 3, 3, 2, 1, 1, 1, RELU},
    {2, 1, 6, 9, 12, 11, 5, 5, 1, 2, 2, 0, LINEAR},
    {1, 1, 3, 16, 20, 21, 7, 7, 2, 3, 3, 0, RELU},
    {2, 1, 3, 8, 14, 10, 7, 7, 1, 0, 0, 0, TANH},
    {3, 1, 8, 12, 6, 5, 1, 1, 1, 0, 0, 1, LEAKY},
    {3, 1, 8, 12, 6, 5, 1, 1, 2, 0, 0, 0, LINEAR},
    {2, 1, 4, 6, 6, 5, 1, 1, 1, 1, 1, 0, LINEAR},
    {2, 1, 3, 5, 6, 6, 3, 3, 1, 4, 4, 0, LINEAR},
    {2, 1, 3, 5, 9, 8, 2, 2, 1, 1, 1, 0, LINEAR},
    {2, 1, 3, 5, 9, 8, 4, 4, 3, 2, 2, 0, LINEAR},
    {2, 1, 5, 3, 1, 1, 3, 3, 1, 1, 1, 0, LINEAR},
    {2, 1, 2, 3, 40, 3, 3, 3, 1, 0, 0, 0, LINEAR},
    {2, 2, 8, 20, 9, 9, 3, 3, 1, 1, 1, 1, RELU},
    {2, 8, 8, 8, 9, 10, 3, 3, 1, 1, 1, 0, LINEAR},
    {2, 3, 6, 9, 9, 10, 3, 3, 2, 1, 1, 0, LINEAR},
    {2, 2, 12, 8, 5, 5, 1, 1, 1, 0, 0, 0, LINEAR},
    {1, 1, 32, 24, 60, 90, 3, 3, 1, 1, 1, 0, LEAKY},
    {1, 1, 24, 100, 50, 41, 1, 1, 1, 0, 0, 0, LEAKY},
    {1, 1, 40, 8, 50, 41, 5, 5, 2, 2, 2, 0, LEAKY},
    {1, 1, 600, 20, 6, 6, 3, 3, 1, 1, 1, 0, LINEAR},
    {8, 1, 3, 70, 1, 1, 1, 1, 1, 0, 0, 1, RELU},
    {2, 1, 6, 20, 17, 17, 7, 1, 1, 3, 0, 1, RELU},
    {2, 1, 20, 18, 17, 17, 1, 7, 1, 0, 3, 1, RELU},
    {2, 1, 20, 33, 8, 8, 3, 1, 1, 1, 0, 0, LEAKY},
    {2, 1, 20, 33, 8, 8, 1, 3, 1, 0, 1, 0, LEAKY},
    {3, 1, 5, 9, 11, 14, 5, 3, 1, 2, 1, 0, LINEAR},
    {3, 1, 5, 9, 11, 14, 3, 5, 1, 1, 2, 1, TANH},
    {2, 1, 3, 8, 13, 7, 7, 1, 2, 3, 0, 0, LINEAR},
    {2, 1, 3, 8, 7, 13, 1, 7, 2, 0, 3, 1, RELU},
    {2, 1, 3, 8, 13, 15, 5, 3, 2, 0, 0, 0, RELU},
    {2, 1, 3, 8, 9, 15, 3, 1, 3, 2, 0, 0, LINEAR},
    {2, 2, 6, 10, 9, 11, 1, 7, 1, 0, 3, 0, LINEAR},
    {2, 3, 6, 9, 9, 11, 7, 1, 2, 3, 0, 0, LINEAR},
    {2, 4, 4, 8, 9, 11, 3, 2, 1, 0, 1, 0, LINEAR},
    {2, 1, 4, 6, 9, 8, 4, 1, 1, 5, 0, 0, LINEAR}, /* padding beyond the kernel */
    {2, 1, 4, 6, 9, 8, 1, 4, 1, 0, 2, 0, LINEAR},
    {2, 1, 4, 6, 5, 6, 1, 5, 1, 1, 0, 0, LINEAR},
    {2, 1, 4, 6, 1, 9, 9, 1, 1, 0, 0, 0, LINEAR},
    {1, 1, 160, 40, 17, 17, 1, 7, 1, 0, 3, 0, LEAKY},
    {1, 1, 40, 24, 60, 91, 7, 1, 1, 3, 0, 0, LEAKY},
    {1, 1, 40, 24, 90, 61, 1, 7, 2, 0, 3, 0, LEAKY},
    {1, 1, 3, 4, 1, 1, 1, 1, 1, 0, 0, 1, LINEAR}, /* one value a channel: no variance */
};

static uint64_t state = 1;

/* Uniform in [-1, 1), the same on every run. */
static float random_value(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int64_t)(state >> 33) / (float)(1u << 30) - 1;
}

static float *random_array(size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = random_value();
    }
    return x;
}

static void set_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* Largest difference in units of the largest value wanted. */
static void assert_close(const char *what, int index, const float *got, const double *want,
                         size_t n)
{
    double largest = 1e-3, error = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) {
        double e = fabs(got[i] - want[i]) / largest;
        if (!(e <= error)) {
            error = e;
        }
    }
    if (!(error < 1e-4)) {
        fail_msg("case %d: %s is off by %g of its largest value", index, what, error);
    }
}

/* --- reference: y [batch, n, pixels] --- */

static double activate_reference(double x, ACTIVATION a)
{
    switch (a) {
    case RELU: return x > 0 ? x : 0;
    case LEAKY: return x > 0 ? x : .1 * x;
    case LOGISTIC: return 1 / (1 + exp(-x));
    case TANH: return tanh(x);
    default: return x;
    }
}

/* With respect to x, given y = activate_reference(x). */
static double gradient_reference(double y, ACTIVATION a)
{
    switch (a) {
    case RELU: return y > 0;
    case LEAKY: return y > 0 ? 1 : .1;
    case LOGISTIC: return y * (1 - y);
    case TANH: return 1 - y * y;
    default: return 1;
    }
}

typedef struct {
    size_t values, inputs, weights;
    double *output, *weight_updates, *bias_updates, *scale_updates, *delta;
} reference;

static double *zeros(size_t n)
{
    double *x = calloc(n, sizeof *x);
    assert_non_null(x);
    return x;
}

/* Calls visit(output index, weight index, input index) of every product of the convolution. */
static void each_product(const layer *l, void (*visit)(size_t o, size_t k, size_t i, void *arg),
                         void *arg)
{
    int c = l->c / l->groups, n = l->n / l->groups, taps = l->size_w * l->size_h;
    for (int b = 0; b < l->batch; b++)
        for (int f = 0; f < l->n; f++)
            for (int y = 0; y < l->out_h; y++)
                for (int x = 0; x < l->out_w; x++)
                    for (int k = 0; k < taps * c; k++) {
                        int row = y * l->stride - l->pad_h + k / l->size_w % l->size_h;
                        int column = x * l->stride - l->pad_w + k % l->size_w;
                        int channel = f / n * c + k / taps;
                        if (row < 0 || row >= l->h || column < 0 || column >= l->w) {
                            continue;
                        }
                        visit((((size_t)b * (size_t)l->n + (size_t)f) * (size_t)l->out_h +
                               (size_t)y) *
                                      (size_t)l->out_w +
                                  (size_t)x,
                              (size_t)f * (size_t)(taps * c) + (size_t)k,
                              (((size_t)b * (size_t)l->c + (size_t)channel) * (size_t)l->h +
                               (size_t)row) *
                                      (size_t)l->w +
                                  (size_t)column,
                              arg);
                    }
}

typedef struct {
    const float *weights, *input;
    const double *out_delta;
    double *output, *weight_updates, *delta;
} products;

static void visit_forward(size_t o, size_t k, size_t i, void *arg)
{
    products *p = arg;
    p->output[o] += (double)p->weights[k] * (double)p->input[i];
}

static void visit_backward(size_t o, size_t k, size_t i, void *arg)
{
    products *p = arg;
    p->weight_updates[k] += p->out_delta[o] * (double)p->input[i];
    p->delta[i] += p->out_delta[o] * (double)p->weights[k];
}

/* In place, with the statistics of the batch: y becomes the normalised, scaled, shifted values, and
 * d, the delta of those, becomes that of y. */
static void reference_batchnorm(const layer *l, double *y, double *d, double *scale_updates)
{
    size_t pixels = (size_t)l->out_h * (size_t)l->out_w;
    double count = (double)l->batch * (double)pixels;
    for (int f = 0; f < l->out_c; f++) {
        double mean = 0, square = 0, sum = 0, product = 0;
#define EACH_VALUE                                                                                 \
    for (size_t b = 0; b < (size_t)l->batch; b++)                                                  \
        for (size_t i = (b * (size_t)l->out_c + (size_t)f) * pixels, end = i + pixels; i < end; i++)
        EACH_VALUE mean += y[i] / count;
        EACH_VALUE square += (y[i] - mean) * (y[i] - mean);
        EACH_VALUE sum += d[i];
        EACH_VALUE product += d[i] * (y[i] - mean);
        double variance = count > 1 ? square / (count - 1) : 0;
        double smooth = variance + 1e-5, scale = (double)l->scales[f];
        scale_updates[f] += product / (sqrt(variance) + 1e-6);
        EACH_VALUE
        {
            double centred = y[i] - mean;
            d[i] =
                scale * ((d[i] - sum / count) / sqrt(smooth) -
                         (count > 1 ? centred * product / (count - 1) / smooth / sqrt(smooth) : 0));
            y[i] = scale * centred / (sqrt(variance) + 1e-6) + (double)l->biases[f];
        }
#undef EACH_VALUE
    }
}

/* Everything that one forward and backward pass of l computes. */
static reference compute_reference(layer l, const float *input, const float *out_delta,
                                   const float *delta_before)
{
    size_t pixels = (size_t)l.out_h * (size_t)l.out_w;
    reference r = {.values = (size_t)l.batch * (size_t)l.outputs,
                   .inputs = (size_t)l.batch * (size_t)l.inputs,
                   .weights = (size_t)l.nweights};
    r.output = zeros(r.values);
    r.weight_updates = zeros(r.weights);
    r.bias_updates = zeros((size_t)l.n);
    r.scale_updates = zeros((size_t)l.n);
    r.delta = zeros(r.inputs);
    double *d = zeros(r.values), *sums = zeros(r.values);
    products p = {l.weights, input, d, sums, r.weight_updates, r.delta};
    each_product(&l, visit_forward, &p);
    memcpy(r.output, sums, r.values * sizeof *sums);
    if (l.batch_normalize) {
        reference_batchnorm(&l, r.output, d, r.scale_updates); /* d is 0 here */
    }
    for (size_t i = 0; i < r.values; i++) {
        size_t f = i / pixels % (size_t)l.n;
        if (!l.batch_normalize) {
            r.output[i] += (double)l.biases[f];
        }
        r.output[i] = activate_reference(r.output[i], l.activation);
        d[i] = (double)out_delta[i] * gradient_reference(r.output[i], l.activation);
        r.bias_updates[f] += d[i];
    }
    if (l.batch_normalize) {
        reference_batchnorm(&l, sums, d, r.scale_updates);
    }
    each_product(&l, visit_backward, &p);
    for (size_t i = 0; i < r.inputs; i++) {
        r.delta[i] += (double)delta_before[i];
    }
    free(d);
    free(sums);
    return r;
}

static void free_reference(reference *r)
{
    free(r->output);
    free(r->weight_updates);
    free(r->bias_updates);
    free(r->scale_updates);
    free(r->delta);
}

/* --- the host --- */

static layer make_layer(const conv_case *t)
{
    layer l = make_rectangular_convolutional_layer(t->batch, t->h, t->w, t->c, t->n, t->groups,
                                                   t->size_w, t->size_h, t->stride, t->pad_w,
                                                   t->pad_h, t->activation, t->normalize, 0, 0, 0);
    for (int i = 0; i < l.nweights; i++) {
        l.weights[i] = random_value();
    }
    for (int i = 0; i < l.n; i++) {
        l.biases[i] = random_value();
        if (l.scales) {
            l.scales[i] = 1 + random_value() / 2;
        }
    }
    return l;
}

/* One forward and backward pass from zero updates; delta holds what others left in it. */
static void pass(layer l, float *input, const float *out_delta, float *delta)
{
    size_t seen = 1;
    network net = {.train = 1, .batch = 1, .seen = &seen};
    net.input = input;
    net.delta = delta;
    net.workspace = malloc(l.workspace_size + 1);
    assert_non_null(net.workspace);
    memset(net.workspace, 0xff, l.workspace_size); /* NaN: nothing may be read before it is set */
    memset(l.output, 0xff, (size_t)l.batch * (size_t)l.outputs * sizeof(float));
    if (l.bias_updates) {
        memset(l.bias_updates, 0, (size_t)l.out_c * sizeof(float));
    }
    if (l.scale_updates) {
        memset(l.scale_updates, 0, (size_t)l.out_c * sizeof(float));
    }
    if (l.weight_updates) {
        memset(l.weight_updates, 0, (size_t)l.nweights * sizeof(float));
    }
    l.forward(l, net);
    memcpy(l.delta, out_delta, (size_t)l.batch * (size_t)l.outputs * sizeof(float));
    l.backward(l, net);
    free(net.workspace);
}

static float *copy_of(const float *x, size_t n)
{
    float *y = malloc(n * sizeof *y + 1);
    assert_non_null(y);
    if (n) {
        memcpy(y, x, n * sizeof *y);
    }
    return y;
}

/* The same pass with one thread gives the same bits. */
static void assert_thread_independent(layer l, float *input, const float *out_delta,
                                      const float *delta_before, const float *delta)
{
    size_t values = (size_t)l.batch * (size_t)l.outputs,
           inputs = (size_t)l.batch * (size_t)l.inputs;
    float *output = copy_of(l.output, values), *biases = copy_of(l.bias_updates, (size_t)l.out_c);
    float *weights = copy_of(l.weight_updates, (size_t)l.nweights);
    float *delta_one = copy_of(delta_before, inputs);
    set_threads(1);
    pass(l, input, out_delta, delta_one);
    set_threads(THREADS);
    assert_memory_equal(output, l.output, values * sizeof(float));
    assert_memory_equal(biases, l.bias_updates, (size_t)l.out_c * sizeof(float));
    assert_memory_equal(weights, l.weight_updates, (size_t)l.nweights * sizeof(float));
    assert_memory_equal(delta, delta_one, inputs * sizeof(float));
    free(output);
    free(biases);
    free(weights);
    free(delta_one);
}

static void test_convolutions(void **unused)
{
    (void)unused;
    set_threads(THREADS);
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        layer l = make_layer(&cases[i]);
        size_t values = (size_t)l.batch * (size_t)l.outputs,
               inputs = (size_t)l.batch * (size_t)l.inputs;
        float *input = random_array(inputs), *out_delta = random_array(values);
        float *delta_before = random_array(inputs), *delta = copy_of(delta_before, inputs);
        reference want = compute_reference(l, input, out_delta, delta_before);

        pass(l, input, out_delta, delta);
        assert_close("output", i, l.output, want.output, values);
        assert_close("weight_updates", i, l.weight_updates, want.weight_updates, want.weights);
        assert_close("bias_updates", i, l.bias_updates, want.bias_updates, (size_t)l.n);
        if (l.scale_updates) {
            assert_close("scale_updates", i, l.scale_updates, want.scale_updates, (size_t)l.n);
        }
        assert_close("delta", i, delta, want.delta, inputs);
        assert_thread_independent(l, input, out_delta, delta_before, delta);

        pass(l, input, out_delta, NULL); /* the first layer: nobody wants the delta */
        free_reference(&want);
        free(input);
        free(out_delta);
        free(delta_before);
        free(delta);
        free_layer(l);
    }
}

/* A [batchnorm] of its own: x is what the layer below put out, and delta is added to. */
static void test_batchnorm_layer(void **unused)
{
    (void)unused;
    static const int shapes[][4] = {{3, 5, 4, 6}, {7, 1, 1, 40}, {2, 90, 91, 3}, {1, 1, 1, 3}};
    set_threads(THREADS);
    for (int i = 0; i < 4; i++) {
        const int *s = shapes[i];
        layer l = make_batchnorm_layer(s[0], 3, 2, s[3]);
        resize_batchnorm_layer(&l, s[1], s[2]);
        size_t n = (size_t)l.batch * (size_t)l.outputs, pixels = (size_t)s[1] * (size_t)s[2];
        float *input = random_array(n), *out_delta = random_array(n), *before = random_array(n);
        float *delta = copy_of(before, n);
        for (int f = 0; f < l.c; f++) {
            l.scales[f] = 1 + random_value() / 2;
            l.biases[f] = random_value();
        }
        double *y = zeros(n), *d = zeros(n), *scales = zeros((size_t)l.c),
               *biases = zeros((size_t)l.c);
        for (size_t k = 0; k < n; k++) {
            y[k] = (double)input[k];
            d[k] = (double)out_delta[k];
            biases[k / pixels % (size_t)l.c] += d[k];
        }
        reference_batchnorm(&l, y, d, scales);
        for (size_t k = 0; k < n; k++) {
            d[k] += (double)before[k];
        }
        pass(l, input, out_delta, delta);
        assert_close("output", i, l.output, y, n);
        assert_close("scale_updates", i, l.scale_updates, scales, (size_t)l.c);
        assert_close("bias_updates", i, l.bias_updates, biases, (size_t)l.c);
        assert_close("delta", i, delta, d, n);
        assert_thread_independent(l, input, out_delta, before, delta);
        pass(l, input, out_delta, NULL);
        free(input);
        free(out_delta);
        free(before);
        free(delta);
        free(y);
        free(d);
        free(scales);
        free(biases);
        free_layer(l);
    }
}

/* Mean over the pixels of l's window at (i, j) that lie in the image, [h, w]; out_delta's share of
 * each is added to delta. */
static double average_reference(const layer *l, const float *image, int i, int j, double out_delta,
                                double *delta)
{
    int size_h = l->size ? l->size : l->h, size_w = l->size ? l->size : l->w, count = 0;
    double sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int k = 0; k < size_h * size_w; k++) {
            int y = i * l->stride - l->pad / 2 + k / size_w;
            int x = j * l->stride - l->pad / 2 + k % size_w;
            if (y < 0 || y >= l->h || x < 0 || x >= l->w) {
                continue;
            }
            if (pass == 0) {
                count++;
                sum += (double)image[y * l->w + x];
            } else {
                delta[y * l->w + x] += out_delta / count;
            }
        }
    return sum / count;
}

static void test_avgpool(void **unused)
{
    (void)unused;
    static const struct {
        int batch, w, h, c, size, stride, padding, out_w, out_h;
    } rows[] = {
        {2, 35, 35, 5, 3, 1, 2, 35, 35}, {3, 8, 8, 20, 3, 1, 2, 8, 8},
        {2, 9, 7, 3, 3, 2, 0, 4, 3},     {2, 9, 7, 3, 2, 2, 0, 4, 3},
        {2, 9, 7, 3, 2, 2, 1, 5, 4},     {2, 9, 6, 3, 5, 3, 3, 3, 2},
        {1, 6, 9, 2, 3, 1, 4, 8, 11}, /* corners see one pixel */
        {1, 6, 9, 2, 2, 3, 0, 2, 3},  /* some pixels are in no window */
        {1, 1, 1, 2, 3, 1, 2, 1, 1},     {2, 5, 4, 3, 1, 1, 0, 5, 4},
        {2, 5, 4, 3, 0, 1, 0, 1, 1}, /* the whole image */
    };
    set_threads(THREADS);
    for (int r = 0; r < (int)(sizeof rows / sizeof *rows); r++) {
        layer l = make_avgpool_layer(rows[r].batch, 3, 4, rows[r].c, rows[r].size, rows[r].stride,
                                     rows[r].padding);
        resize_avgpool_layer(&l, rows[r].w, rows[r].h);
        assert_int_equal(l.out_w, rows[r].out_w);
        assert_int_equal(l.out_h, rows[r].out_h);
        assert_int_equal(l.outputs, rows[r].out_w * rows[r].out_h * rows[r].c);
        size_t n = (size_t)l.batch * (size_t)l.outputs, area = (size_t)l.w * (size_t)l.h;
        size_t inputs = (size_t)l.batch * (size_t)l.inputs;
        float *input = random_array(inputs), *out_delta = random_array(n);
        float *before = random_array(inputs), *delta = copy_of(before, inputs);
        double *y = zeros(n), *d = zeros(inputs);
        for (size_t k = 0; k < inputs; k++) {
            d[k] = (double)before[k];
        }
        for (size_t k = 0; k < n; k++) {
            size_t pixels = (size_t)l.out_w * (size_t)l.out_h, image = k / pixels * area;
            y[k] = average_reference(&l, input + image, (int)(k % pixels) / l.out_w,
                                     (int)(k % pixels) % l.out_w, (double)out_delta[k], d + image);
        }
        pass(l, input, out_delta, delta);
        assert_close("output", r, l.output, y, n);
        assert_close("delta", r, delta, d, inputs);
        pass(l, input, out_delta, NULL);
        free(input);
        free(out_delta);
        free(before);
        free(delta);
        free(y);
        free(d);
        free_layer(l);
    }
}

/* Outside of training the running statistics normalise, and do not move. */
static void test_batchnorm_inference(void **unused)
{
    (void)unused;
    layer l = make_batchnorm_layer(2, 3, 3, 2);
    float *input = random_array(36);
    network net = {0};
    net.input = input;
    for (int f = 0; f < 2; f++) {
        l.rolling_mean[f] = .5f;
        l.rolling_variance[f] = 4;
        l.scales[f] = 3;
        l.biases[f] = 1;
    }
    l.forward(l, net);
    for (int i = 0; i < 36; i++) {
        assert_true(fabsf(l.output[i] - ((input[i] - .5f) * 1.5f + 1)) < 1e-5f);
    }
    assert_true(l.rolling_mean[0] == .5f && l.rolling_variance[1] == 4);
    free(input);
    free_layer(l);
}

static void test_nan_is_visible(void **unused)
{
    (void)unused;
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases) - 1; i++) {
        layer l = make_layer(&cases[i]);
        size_t inputs = (size_t)l.batch * (size_t)l.inputs;
        float *input = random_array(inputs),
              *out_delta = random_array((size_t)l.batch * (size_t)l.outputs);
        input[0] = NAN; /* which every case reads */
        pass(l, input, out_delta, NULL);
        int bad = 0;
        for (int k = 0; k < l.nweights; k++) {
            bad += isnan(l.weight_updates[k]) != 0;
        }
        if (bad == 0) {
            fail_msg("case %d: no weight is NaN", i);
        }
        free(input);
        free(out_delta);
        free_layer(l);
    }
}

/* The rolling statistics: the mean of the first 20 batches, then 5 % of each, whatever they held
 * before and whatever the network has seen. */
static void test_rolling_statistics(void **unused)
{
    (void)unused;
    enum { BATCH = 2 };
    layer l = make_batchnorm_layer(BATCH, 1, 1, 1);
    size_t seen = 1234567;
    float input[BATCH];
    network net = {
        .train = 1, .batch = BATCH, .seen = &seen, .input = input, .rolling = {.share = .05f}};
    assert_true(l.rolling_mean[0] == 0 && l.rolling_variance[0] == 1);
    l.rolling_mean[0] = l.rolling_variance[0] = 1e30f;
    double mean = 0, variance = 0;
    for (int t = 1; t <= 50; t++) {
        double share = t < 20 ? 1. / t : .05;
        net.rolling.batches = (size_t)t - 1;
        input[0] = random_value();
        input[1] = random_value();
        double half = ((double)input[0] - (double)input[1]) / 2;
        mean += share * (((double)input[0] + (double)input[1]) / 2 - mean);
        variance += share * (2 * half * half - variance); /* divided by the images less one */
        l.forward(l, net);
        assert_true(fabs((double)l.rolling_mean[0] - mean) < 1e-5);
        assert_true(fabs((double)l.rolling_variance[0] - variance) < 1e-5);
    }
    free_layer(l);
}

int main(void)
{
    gpu_index = -1; /* layers are made here without a network */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),       cmocka_unit_test(test_avgpool),
        cmocka_unit_test(test_batchnorm_layer),    cmocka_unit_test(test_batchnorm_inference),
        cmocka_unit_test(test_rolling_statistics), cmocka_unit_test(test_nan_is_visible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
