/* Times problems: microseconds a gradient and a Hessian-vector product, nanoseconds a multiply-add,
 * for networks like those that `corpus wide` draws, for instances of its rows and those of
 * `corpus users`, and for gradient noise. Minimum of several runs, one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cblas.h>

#include "base/clock.h"
#include "base/lanes.h"
#include "problems/classifier.h"
#include "problems/corpus.h"
#include "problems/draw.h"

typedef enum { GRADIENT, HVP, LOSS } evaluation;

static void evaluate(problem *p, evaluation what, float *arrays, uint64_t t)
{
    float *x = arrays, *g = x + p->n, *v = g + p->n;
    switch (what) {
    case GRADIENT: problem_gradient(p, x, t, g); break;
    case HVP: problem_hvp(p, x, t, v, g); break;
    case LOSS: problem_gradient(p, x, t, NULL); break;
    }
}

/* Least seconds an evaluation over rounds of about a millisecond. */
static double time_problem(problem *p, evaluation what)
{
    enum { ROUNDS = 40 };
    float *arrays = calloc(3 * p->n, sizeof *arrays);
    double best = 1e9;
    uint64_t t = 0;
    if (!arrays) return -1;
    problem_start(p, arrays);
    problem_start(p, arrays + 2 * p->n);
    double start = clock_seconds();
    evaluate(p, what, arrays, t);
    const int repeat = 1 + (int)(1e-3 / (clock_seconds() - start));
    for (int round = 0; round < ROUNDS; round++) {
        start = clock_seconds();
        for (int i = 0; i < repeat; i++) evaluate(p, what, arrays, t++);
        const double took = (clock_seconds() - start) / repeat;
        if (took < best) best = took;
    }
    free(arrays);
    return best;
}

/* clang-format off */
#define DENSE(units, f) {.kind = NET_DENSE, .channels = units, .act = f}
#define CONV(maps, by, f) {.kind = NET_CONV, .channels = maps, .stride = by, .act = f}
#define NORMAL(f) {.kind = NET_NORM, .act = f}
#define ADD(a, b, f) {.kind = NET_ADD, .from = a, .other = b, .act = f}
/* An input's shape, and layers. */
#define NET(c, h, w, ...)                                                                        \
    {.channels = c, .height = h, .width = w,                                                     \
     .n_layers = sizeof((const net_layer[]){__VA_ARGS__}) / sizeof(net_layer),                   \
     .layers = {__VA_ARGS__}}
/* clang-format on */

static const struct {
    const char *name;
    int batch;
    net_spec spec;
} nets[] = {
    {"mlp 64-16-10 relu, batch 32", 32, NET(1, 8, 8, DENSE(16, ACT_RELU), DENSE(10, 0))},
    {"mlp 64-16-10 relu, batch 128", 128, NET(1, 8, 8, DENSE(16, ACT_RELU), DENSE(10, 0))},
    {"mlp 64-32-32-10 tanh, batch 64", 64,
     NET(1, 8, 8, DENSE(32, ACT_TANH), DENSE(32, ACT_TANH), DENSE(10, 0))},
    {"mlp 12-8-5-3-2 sigmoid, batch 200", 200,
     NET(12, 1, 1, DENSE(8, ACT_SIGMOID), DENSE(5, ACT_SIGMOID), DENSE(3, ACT_SIGMOID),
         DENSE(2, 0))},
    {"conv 8x8 4/2-8/2 relu, batch 32", 32,
     NET(1, 8, 8, CONV(4, 2, ACT_RELU), CONV(8, 2, ACT_RELU), DENSE(10, 0))},
    {"conv 8x8 8-8/2 normalised, batch 32", 32,
     NET(1, 8, 8, CONV(8, 1, 0), NORMAL(ACT_RELU), CONV(8, 2, 0), NORMAL(ACT_RELU), DENSE(10, 0))},
    {"conv 14x14 8/2-16/2 relu, batch 64", 64,
     NET(1, 14, 14, CONV(8, 2, ACT_RELU), CONV(16, 2, ACT_RELU), DENSE(10, 0))},
    {"residual 8x8 8/2, batch 32", 32,
     NET(1, 8, 8, CONV(8, 2, ACT_RELU), CONV(8, 1, ACT_RELU), CONV(8, 1, 0), ADD(3, 1, ACT_RELU),
         {.kind = NET_POOL}, DENSE(10, 0))},
};

/* The three products of a dense layer's gradient through OpenBLAS, to compare with. */
static double time_blas(int batch, int inputs, int units)
{
    float *a = calloc((size_t)(batch * inputs), sizeof *a);
    float *w = calloc((size_t)(inputs * units), sizeof *w);
    float *z = calloc((size_t)(batch * units), sizeof *z);
    double best = 1e9;
    openblas_set_num_threads(1);
    for (int round = 0; a && w && z && round < 40; round++) {
        const double start = clock_seconds();
        for (int i = 0; i < 20; i++) {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, batch, units, inputs, 1, a, inputs,
                        w, inputs, 0, z, units);
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, units, inputs, batch, 1, z, units,
                        a, inputs, 0, w, inputs);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, batch, inputs, units, 1, z,
                        units, w, inputs, 0, a, inputs);
        }
        const double took = (clock_seconds() - start) / 20;
        if (took < best) best = took;
    }
    free(a), free(w), free(z);
    return best;
}

static int bench_nets(void)
{
    printf("%-38s %7s %10s %9s %9s %10s %8s\n", "network", "params", "mult-adds", "loss us",
           "grad us", "ns/mul-add", "hvp us");
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        opt_error error;
        classifier *p = classifier_create(&nets[i].spec, 1024, nets[i].batch, 1, &error);
        if (!p) {
            fprintf(stderr, "bench: %s\n", error.message);
            return 1;
        }
        random_stream stream = draw_stream(1, STREAM_OTHER, 0);
        const net_spec *s = &nets[i].spec;
        draw_normals(&stream, p->images, 1024 * (size_t)(s->channels * s->height * s->width), 1);
        p->start = START_NETWORK;
        p->start_scale = 1;
        const double work = net_multiply_adds(p->net) * nets[i].batch;
        const double gradient = time_problem(&p->base, GRADIENT);
        printf("%-38s %7zu %10.0f %9.1f %9.1f %10.3f %8.1f\n", nets[i].name, p->base.n, work,
               1e6 * time_problem(&p->base, LOSS), 1e6 * gradient, 1e9 * gradient / (3 * work),
               1e6 * time_problem(&p->base, HVP));
        problem_free(&p->base);
    }
    printf("ns/mul-add: of the three products of a gradient, everything else included\n");
    printf("OpenBLAS, the three products of 64-16 alone, batch 32: %.1f us; batch 128: %.1f us\n",
           1e6 * time_blas(32, 64, 16), 1e6 * time_blas(128, 64, 16));
    return 0;
}

/* For each row of a corpus the mean over seeds of what a step's gradient takes, and of making
 * it. */
static int bench_rows(unsigned corpus, const image_data *images)
{
    enum { SEEDS = 12 };
    double all = 0, weights = 0;
    printf("%-38s %7s %9s %9s %9s\n", "row (mean of 12 seeds)", "params", "grad us", "max us",
           "create ms");
    for (size_t i = 0; i < corpus_table_rows; i++) {
        const corpus_row *row = &corpus_table[i];
        double total = 0, most = 0, parameters = 0, create = 0;
        if (!(row->corpora & corpus)) continue;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            opt_error error;
            const double start = clock_seconds();
            problem *p = problem_create(&row->spec, seed, images, &error);
            create += clock_seconds() - start;
            if (!p) {
                fprintf(stderr, "bench: %s: %s\n", row->name, error.message);
                return 1;
            }
            const double took = time_problem(p, GRADIENT);
            total += took, parameters += (double)p->n;
            if (took > most) most = took;
            problem_free(p);
        }
        printf("%-38s %7.0f %9.1f %9.1f %9.2f\n", row->name, parameters / SEEDS,
               1e6 * total / SEEDS, 1e6 * most, 1e3 * create / SEEDS);
        all += row->weight * total / SEEDS, weights += row->weight;
    }
    printf("%-38s %7s %9.1f\n", "mean, by weight", "", 1e6 * all / weights);
    return 0;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist";
    char images[4096], labels[4096];
    image_data data = {0};
    opt_error error;
    int failed = bench_nets();
    snprintf(images, sizeof images, "%s/train-images-idx3-ubyte.gz", folder);
    snprintf(labels, sizeof labels, "%s/train-labels-idx1-ubyte.gz", folder);
    const double start = clock_seconds();
    if (images_load(&data, images, labels, &error) == OPT_OK) {
        printf("%zu images loaded in %.2f s\n", data.sets[0].n, clock_seconds() - start);
        failed = failed || bench_rows(CORPUS_WIDE, &data) || bench_rows(CORPUS_USERS, &data);
        images_free(&data);
    } else {
        printf("corpora wide and users not timed: %s\n", error.message);
    }
    float noise[1024];
    double best = 1e9;
    for (uint64_t t = 0; t < 200; t++) {
        const double from = clock_seconds();
        random_stream stream = draw_stream(1, STREAM_NETWORK, t);
        draw_normals(&stream, noise, 1024, 1);
        const double took = clock_seconds() - from;
        if (took < best) best = took;
    }
    printf("gradient noise: %.2f ns a parameter\n", 1e9 * best / 1024);
    return failed;
}
