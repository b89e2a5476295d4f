/* Networks: derivatives of every kind of layer and activation, against finite differences; the
 * forward pass against a plain one in double; batches of all sizes; what is not finite stays so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "problems/classifier.h"
#include "problem_checks.h"

/* clang-format off */
#define DENSE(units, f) {.kind = NET_DENSE, .channels = units, .act = f}
#define CONV(maps, by, f) {.kind = NET_CONV, .channels = maps, .stride = by, .act = f}
#define NORMAL(f) {.kind = NET_NORM, .act = f}
#define POOL {.kind = NET_POOL}
#define MAX_POOL(f) {.kind = NET_MAX_POOL, .act = f}
#define ADD(a, b, f) {.kind = NET_ADD, .from = a, .other = b, .act = f}
#define DETECTOR(n) .loss = NET_DETECTOR, .cells = n
#define UNBIASED(units) {.kind = NET_DENSE, .channels = units, .no_bias = 1}
/* An input's shape, the regulariser, and layers. */
#define NET(c, h, w, l2, ...)                                                                    \
    {.channels = c, .height = h, .width = w, .l2_mean = l2,                                      \
     .n_layers = sizeof((const net_layer[]){__VA_ARGS__}) / sizeof(net_layer),                   \
     .layers = {__VA_ARGS__}}
/* clang-format on */

typedef struct {
    const char *name;
    int kinks, batch;
    net_spec spec;
} net_case;

static const net_case cases[] = {
    {"linear", 0, 10, NET(7, 1, 1, 0, DENSE(3, 0))},
    {"linear with a regulariser", 0, 16, NET(5, 1, 1, 0.3, DENSE(2, 0))},
    {"no bias", 0, 9, NET(4, 1, 1, 0, UNBIASED(6), DENSE(3, 0))},
    {"tanh", 0, 23, NET(6, 1, 1, 0, DENSE(9, ACT_TANH), DENSE(5, ACT_TANH), DENSE(4, 0))},
    {"sigmoid", 0, 33, NET(1, 5, 3, 0, DENSE(17, ACT_SIGMOID), DENSE(10, 0))},
    {"relu", 8, 40, NET(6, 1, 1, 0, DENSE(12, ACT_RELU), DENSE(7, ACT_RELU), DENSE(5, 0))},
    {"normalised dense", 0, 11,
     NET(6, 1, 1, 0, DENSE(5, 0), NORMAL(ACT_TANH), DENSE(6, ACT_SIGMOID), DENSE(3, 0))},
    {"convolution", 0, 5, NET(2, 6, 7, 0, CONV(3, 1, ACT_TANH), DENSE(4, 0))},
    {"strided convolutions", 0, 6,
     NET(1, 7, 8, 0, CONV(5, 2, ACT_TANH), CONV(3, 2, ACT_SIGMOID), CONV(4, 1, ACT_TANH),
         DENSE(3, 0))},
    {"one row of pixels", 0, 8,
     NET(2, 1, 9, 0, CONV(3, 1, ACT_TANH), CONV(2, 2, ACT_TANH), DENSE(2, 0))},
    {"pooled", 0, 17,
     NET(1, 5, 5, 0, CONV(4, 2, ACT_TANH), CONV(5, 1, ACT_TANH), POOL, DENSE(3, 0))},
    {"maxima", 8, 11,
     NET(2, 6, 4, 0, CONV(4, 1, ACT_TANH), MAX_POOL(0), CONV(3, 1, ACT_TANH), MAX_POOL(ACT_SIGMOID),
         DENSE(3, 0))},
    {"maxima of odd maps", 8, 5,
     NET(1, 7, 5, 0, MAX_POOL(0), CONV(5, 1, 0), NORMAL(ACT_RELU), MAX_POOL(0), MAX_POOL(ACT_TANH),
         DENSE(4, 0))},
    {"detector of pixels",
     0,
     5,
     {.channels = 2,
      .height = 6,
      .width = 4,
      .n_layers = 2,
      DETECTOR(6),
      .layers = {CONV(3, 1, ACT_TANH), CONV(8, 2, 0)}}},
    {"detector of units",
     0,
     11,
     {.channels = 1,
      .height = 5,
      .width = 5,
      .n_layers = 2,
      DETECTOR(4),
      .l2_mean = 0.1,
      .layers = {CONV(4, 2, ACT_TANH), DENSE(4 * 7, 0)}}},
    {"normalised convolutions", 0, 7,
     NET(1, 6, 6, 0, CONV(4, 2, 0), NORMAL(ACT_TANH), CONV(3, 1, 0), NORMAL(ACT_SIGMOID),
         DENSE(4, 0))},
    {"residual", 0, 12,
     NET(1, 6, 6, 0, CONV(3, 2, ACT_TANH), CONV(3, 1, ACT_TANH), CONV(3, 1, 0), ADD(3, 1, ACT_TANH),
         CONV(3, 1, ACT_TANH), ADD(5, 4, 0), DENSE(4, 0))},
    {"residual, normalised, relu", 8, 24,
     NET(1, 8, 8, 0, CONV(4, 2, 0), NORMAL(ACT_RELU), CONV(4, 1, 0), NORMAL(ACT_RELU),
         CONV(4, 1, 0), ADD(5, 2, ACT_RELU), POOL, DENSE(5, 0))},
};
enum { CASES = sizeof cases / sizeof *cases };

static classifier *make(const net_case *c, int samples, uint64_t seed)
{
    opt_error error = {0};
    classifier *p = classifier_create(&c->spec, samples, c->batch, seed, &error);
    if (!p) fail_msg("%s: %s", c->name, error.message);
    random_stream stream = draw_stream(seed, STREAM_OTHER, 9);
    const size_t pixels = (size_t)(c->spec.channels * c->spec.height * c->spec.width);
    draw_normals(&stream, p->images, (size_t)samples * pixels, 1);
    /* The last tensor is the biases of the classes. */
    const size_t classes = net_tensors(p->net)[net_tensor_count(p->net) - 1].n;
    for (int i = 0; i < samples; i++)
        p->labels[i] = (uint8_t)draw_below(&stream, (uint32_t)classes);
    for (int i = 0; p->truths && i < 2 * samples * net_outputs(p->net); i++)
        p->truths[i] = draw_below(&stream, 3) ? (float)draw_uniform(&stream, 0, 2) : 0;
    p->start = START_FAN_IN; /* biases and shifts not 0, scales not 1 */
    p->start_scale = 1.5;
    return p;
}

static void test_derivatives(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        int checked = 0, strong = 0;
        for (uint64_t seed = 1; seed <= 4; seed++) {
            classifier *p = make(&cases[i], 50, seed);
            check_derivatives(&p->base, seed, 1, cases[i].kinks, cases[i].name, &checked, &strong);
            problem_free(&p->base);
        }
        printf("%s: %d segments, %d strong\n", cases[i].name, checked, strong);
        assert_true(strong > (cases[i].kinks ? 0.25 : 0.4) * checked);
    }
}

/* --- a plain forward pass in double, one value at a time --- */

enum { PLAIN = 4096 };
typedef struct {
    int c, h, w;
    double z[PLAIN]; /* [batch][c][h][w] */
} plain_map;

static double plain_at(const plain_map *m, int b, int c, int y, int x)
{
    if (y < 0 || y >= m->h || x < 0 || x >= m->w) return 0;
    return m->z[((b * m->c + c) * m->h + y) * m->w + x];
}

static double plain_act(activation act, double z)
{
    switch (act) {
    case ACT_RELU: return z > 0 ? z : 0;
    case ACT_TANH: return tanh(z);
    case ACT_SIGMOID: return 1 / (1 + exp(-z));
    default: return z;
    }
}

/* Value of one output, before the activation; x: the layer's parameters. */
static double plain_output(const net_layer *l, const plain_map *in, const plain_map *other,
                           const float *x, int units, int batch, int b, int o, int y, int u)
{
    double sum = 0, square = 0;
    const int inputs = in->c * in->h * in->w, pixels = in->h * in->w;
    switch (l->kind) {
    case NET_DENSE:
        for (int i = 0; i < inputs; i++) sum += x[o * inputs + i] * in->z[b * inputs + i];
        return l->no_bias ? sum : sum + x[units * inputs + o];
    case NET_CONV:
        for (int c = 0; c < in->c; c++)
            for (int t = 0; t < 9; t++)
                sum += x[(o * in->c + c) * 9 + t] *
                       plain_at(in, b, c, y * l->stride + t / 3 - 1, u * l->stride + t % 3 - 1);
        return l->no_bias ? sum : sum + x[units * in->c * 9 + o];
    case NET_NORM:
        for (int i = 0; i < batch * pixels; i++)
            sum += in->z[(i / pixels * in->c + o) * pixels + i % pixels] / (batch * pixels);
        for (int i = 0; i < batch * pixels; i++)
            square += pow(in->z[(i / pixels * in->c + o) * pixels + i % pixels] - sum, 2) /
                      (batch * pixels);
        return x[o] * (plain_at(in, b, o, y, u) - sum) / sqrt(square + 1e-5) + x[in->c + o];
    case NET_ADD: return plain_at(in, b, o, y, u) + plain_at(other, b, o, y, u);
    case NET_MAX_POOL:
        sum = -INFINITY;
        for (int i = 0; i < 4; i++)
            if (2 * y + i / 2 < in->h && 2 * u + i % 2 < in->w)
                sum = fmax(sum, plain_at(in, b, o, 2 * y + i / 2, 2 * u + i % 2));
        return sum;
    case NET_POOL:
        for (int i = 0; i < pixels; i++) sum += in->z[(b * in->c + o) * pixels + i] / pixels;
        return sum;
    }
    return NAN;
}

static size_t plain_parameters(const net_layer *l, const plain_map *in)
{
    const size_t units = (size_t)l->channels;
    switch (l->kind) {
    case NET_DENSE: return units * (size_t)(in->c * in->h * in->w + !l->no_bias);
    case NET_CONV: return units * (size_t)(in->c * 9 + !l->no_bias);
    case NET_NORM: return 2 * (size_t)in->c;
    default: return 0;
    }
}

static void plain_layer(const net_layer *l, const plain_map *in, const plain_map *other,
                        const float *x, plain_map *out, int batch)
{
    const int keeps = l->kind == NET_NORM || l->kind == NET_ADD;
    const int max_pool = l->kind == NET_MAX_POOL;
    const int stride = l->kind == NET_CONV ? l->stride : max_pool ? 2 : 1;
    const int flat = l->kind == NET_DENSE || l->kind == NET_POOL;
    out->c = keeps || max_pool || l->kind == NET_POOL ? in->c : l->channels;
    out->h = flat ? 1 : (in->h + stride - 1) / stride;
    out->w = flat ? 1 : (in->w + stride - 1) / stride;
    int i = 0;
    assert_true(batch * out->c * out->h * out->w <= PLAIN);
    for (int b = 0; b < batch; b++)
        for (int o = 0; o < out->c; o++)
            for (int y = 0; y < out->h; y++)
                for (int u = 0; u < out->w; u++)
                    out->z[i++] = plain_act(
                        l->act, plain_output(l, in, other, x, l->channels, batch, b, o, y, u));
}

/* Of all images. Output o of an image, [channel][pixel], is number o / cells of cell o % cells. */
static double plain_detector(const net_spec *spec, const plain_map *last, const float *truths,
                             int batch)
{
    const int outputs = last->c * last->h * last->w;
    double loss = 0;
    for (int i = 0; i < batch * outputs; i++) {
        const int k = i % outputs / spec->cells;
        const float *truth = truths + 2 * (i - i % outputs) + i % outputs;
        const double z = last->z[i], t = *truth, w = truth[outputs];
        loss += w * (k >= 1 && k <= 4 ? 0.5 * (z - t) * (z - t) : log(1 + exp(z)) - t * z) / batch;
    }
    return loss;
}

static double plain_loss(const net_spec *spec, const classifier *p, int batch, const float *x)
{
    plain_map *maps = calloc(NET_MAX_LAYERS + 1, sizeof *maps);
    maps[0].c = spec->channels, maps[0].h = spec->height, maps[0].w = spec->width;
    for (int i = 0; i < batch * maps[0].c * maps[0].h * maps[0].w; i++) maps[0].z[i] = p->images[i];
    double square = 0;
    for (int i = 1; i <= spec->n_layers; i++) {
        const net_layer *l = &spec->layers[i - 1];
        const plain_map *in = &maps[l->from > 0 ? l->from : i - 1];
        const size_t n = plain_parameters(l, in);
        const size_t last =
            n ? (l->kind == NET_NORM ? (size_t)in->c : (size_t)(l->no_bias ? 0 : l->channels)) : 0;
        plain_layer(l, in, &maps[l->other], x, &maps[i], batch);
        if (n) square += probe_dot(x, x, n - last) / (double)(n - last);
        if (last) square += probe_dot(x + n - last, x + n - last, last) / (double)last;
        x += n;
    }
    const plain_map *logits = &maps[spec->n_layers];
    double loss = spec->l2_mean * square;
    if (spec->loss == NET_DETECTOR) loss += plain_detector(spec, logits, p->truths, batch);
    for (int b = 0; b < batch && spec->loss == NET_CROSS_ENTROPY; b++) {
        double sum = 0;
        for (int c = 0; c < logits->c; c++) sum += exp(logits->z[b * logits->c + c]);
        loss += (log(sum) - logits->z[b * logits->c + p->labels[b]]) / batch;
    }
    free(maps);
    return loss;
}

static void test_forward(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        const net_case *c = &cases[i];
        classifier *p = make(c, c->batch, 3); /* all data is one batch */
        float *x = calloc(p->base.n, sizeof *x);
        problem_start(&p->base, x);
        const double want = plain_loss(&c->spec, p, c->batch, x);
        const double got = problem_full_loss(&p->base, x);
        double multiply_adds;
        assert_int_equal(net_count(&c->spec, &multiply_adds), p->base.n);
        assert_true(multiply_adds > 0 && multiply_adds == net_multiply_adds(p->net));
        if (!(fabs(got - want) < 2e-6 * (1 + want)))
            fail_msg("%s: the loss is %.9g, expected %.9g", c->name, got, want);
        free(x);
        problem_free(&p->base);
    }
}

/* All data of a detector, the last batch smaller than the others. */
static void test_detector_in_batches(void **state)
{
    (void)state;
    enum { SAMPLES = 13 };
    for (int i = 0; i < CASES; i++) {
        const net_case *c = &cases[i];
        if (c->spec.loss != NET_DETECTOR) continue;
        classifier *p = make(c, SAMPLES, 5);
        float *x = calloc(p->base.n, sizeof *x);
        problem_start(&p->base, x);
        const double want = plain_loss(&c->spec, p, SAMPLES, x);
        assert_float_equal(problem_full_loss(&p->base, x), want, 2e-6 * (1 + want));
        free(x);
        problem_free(&p->base);
    }
}

/* The padding of a batch counts for nothing: batches of 1 to 40 in one network, and in one of their
 * own size, and each mean over single images. */
static void test_batch_sizes(void **state)
{
    (void)state;
    static const net_case *const which[] = {&cases[3], &cases[8], &cases[11], &cases[12]};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++)
        for (int batch = 1; batch <= 40; batch += 3) {
            net_case small = *which[i], large = *which[i];
            small.batch = batch, large.batch = 64;
            classifier *p = make(&small, 40, 1), *q = make(&large, 40, 1);
            const size_t n = p->base.n;
            float *x = calloc(4 * n, sizeof *x), *g = x + n, *h = g + n;
            uint32_t chosen[40];
            for (int b = 0; b < 40; b++) chosen[b] = (uint32_t)(39 - b);
            problem_start(&p->base, x);
            net_set_batch(p->net, p->images, p->labels, chosen, batch);
            net_set_batch(q->net, q->images, q->labels, chosen, 37); /* leaves something behind */
            net_gradient(q->net, x, h);
            net_set_batch(q->net, q->images, q->labels, chosen, batch);
            const double f = net_gradient(p->net, x, g), fq = net_gradient(q->net, x, h);
            assert_float_equal(f, fq, 1e-5 * (1 + f));
            const double size = sqrt(probe_dot(g, g, n));
            for (size_t k = 0; k < n; k++) assert_float_equal(g[k], h[k], 1e-5 * size);
            net_hvp(p->net, x, x, g);
            net_hvp(q->net, x, x, h);
            const double hv = sqrt(probe_dot(g, g, n));
            for (size_t k = 0; k < n; k++) assert_float_equal(g[k], h[k], 2e-5 * hv);
            free(x);
            problem_free(&p->base), problem_free(&q->base);
        }
}

/* A parameter that is NaN or infinite shows in the loss, whatever the activations do to it. */
static void test_not_finite_shows(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, 3e38f};
    for (int i = 0; i < CASES; i++)
        for (int j = 0; j < 3; j++) {
            classifier *p = make(&cases[i], 20, 1);
            float *x = calloc(2 * p->base.n, sizeof *x);
            problem_start(&p->base, x);
            for (size_t k = 0; k < (j == 2 ? p->base.n : 1); k++) x[k] = bad[j];
            if (isfinite(problem_gradient(&p->base, x, 0, x + p->base.n)))
                fail_msg("%s: the loss is finite with %g", cases[i].name, bad[j]);
            free(x);
            problem_free(&p->base);
        }
}

static void test_starts(void **state)
{
    (void)state;
    static const net_case c = {"start", 0, 8,
                               NET(16, 8, 8, 0, CONV(32, 1, 0), NORMAL(ACT_RELU), DENSE(10, 0))};
    classifier *p = make(&c, 8, 1);
    float *x = calloc(p->base.n, sizeof *x);
    p->start = START_NETWORK;
    p->start_scale = 2;
    problem_start(&p->base, x);
    assert_int_equal(p->base.n_tensors, 6);
    static const char *const names[] = {"1.weights", "1.biases",  "2.scales",
                                        "2.shifts",  "3.weights", "3.biases"};
    static const double deviations[] = {2.0 / 12, 0, -1, 0, 2 / 45.2548, 0};
    for (int k = 0; k < 6; k++) {
        const problem_tensor *t = &p->base.tensors[k];
        const float *from = x + t->offset;
        assert_string_equal(t->name, names[k]);
        const double rms = sqrt(probe_dot(from, from, t->n) / (double)t->n);
        if (deviations[k] > 0)
            assert_float_equal(rms / deviations[k], 1, 0.03);
        else
            for (size_t i = 0; i < t->n; i++) assert_true(from[i] == (float)-deviations[k]);
    }
    free(x);
    problem_free(&p->base);
}

static void test_count(void **state)
{
    (void)state;
    double work;
    const net_spec residual = cases[CASES - 1].spec;
    /* 8x8 to 4x4 pixels: 1·9·4·16 + 2·4·9·4·16 and 4·5; weights, biases, scales and shifts */
    assert_int_equal(net_count(&residual, &work), 40 + 8 + 148 + 8 + 148 + 25);
    assert_float_equal(work, 576 + 4608 + 20, 0);
}

static void test_bad_shapes(void **state)
{
    (void)state;
    static const net_spec bad[] = {
        NET(1, 4, 4, 0, CONV(3, 1, 0)),                            /* ends with pixels */
        NET(1, 4, 4, 0, CONV(3, 3, 0), DENSE(2, 0)),               /* stride 3 */
        NET(1, 2, 2, 0, CONV(3, 2, 0), DENSE(2, 0)),               /* one pixel is left */
        NET(1, 4, 4, 0, CONV(3, 1, 0), ADD(1, 0, 0), DENSE(2, 0)), /* 3 channels and 1 */
        NET(1, 4, 4, 0, DENSE(3, 0), ADD(1, 5, 0)),                /* no map 5 */
        NET(4, 1, 1, 0, DENSE(1, 0)),                              /* one class */
        NET(0, 1, 1, 0, DENSE(2, 0)),                              /* no input */
        {.channels = 1,
         .height = 4,
         .width = 4,
         .n_layers = 1,
         DETECTOR(4),
         .layers = {CONV(6, 1, 0)}}, /* 16 cells */
        {.channels = 1,
         .height = 4,
         .width = 4,
         .n_layers = 1,
         DETECTOR(4),
         .layers = {DENSE(5 * 4, 0)}},             /* no class */
        {.channels = 1, .height = 4, .width = 4}}; /* no layer */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        opt_error error = {0};
        assert_null(net_create(&bad[i], 8, &error));
        assert_int_equal(error.status, OPT_BAD_OPTION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),     cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_batch_sizes), cmocka_unit_test(test_not_finite_shows),
        cmocka_unit_test(test_starts),      cmocka_unit_test(test_bad_shapes),
        cmocka_unit_test(test_count),       cmocka_unit_test(test_detector_in_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
