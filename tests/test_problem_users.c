/* The problems of `corpus users`, on a made collection of images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "problems/classifier.h"
#include "problems/corpus.h"
#include "problems/image_samples.h"
#include "made_images.h"
#include "problem_checks.h"
#include "scratch.h"

static image_data collection;

static int set_up(void **state)
{
    size_t size, label_size;
    opt_error error;
    if (scratch_make(state)) return -1;
    uint8_t *images = make_images(&size), *labels = make_labels(&label_size);
    scratch_write(scratch_path("images"), images, size);
    scratch_write(scratch_path("labels"), labels, label_size);
    free(images), free(labels);
    return images_load(&collection, scratch_path("images"), scratch_path("labels"), &error) ? -1
                                                                                            : 0;
}

static int tear_down(void **state)
{
    images_free(&collection);
    return scratch_remove(state);
}

#define FOR_EACH_USERS_ROW(row)                                                                    \
    for (const corpus_row *row = corpus_table; row < corpus_table + corpus_table_rows; row++)      \
        if (row->corpora & CORPUS_USERS)

static problem *create(const problem_spec *spec, uint64_t seed, const char *name)
{
    opt_error error = {0};
    problem *p = problem_create(spec, seed, &collection, &error);
    if (!p) fail_msg("%s, seed %d: %s", name, (int)seed, error.message);
    return p;
}

/* Of some tensors, the last one among them: a deep network has 60, and takes long. Beside the
 * start, where biases of 0 behind units that are dead lie on kinks of every size. */
static void check_some(problem *p, uint64_t seed, int clean, const char *name, int *checked,
                       int *strong)
{
    const int large = p->n > 1000;
    prober c = probe(p, seed);
    c.kinks = 8;
    draw_normals(&c.stream, c.u, p->n, 0.02f);
    for (size_t i = 0; i < p->n; i++) c.a[i] += c.u[i];
    const int stride = 1 + (p->n_tensors - 1) / (large ? 2 : 4);
    for (int k = (p->n_tensors - 1) % stride; k < p->n_tensors; k += stride) {
        if (clean) check_segment(&c, k, 0, 0, name);
        const int last = k == p->n_tensors - 1;
        if (last || !large) check_segment(&c, k, 1, 0, name); /* kinks take many a halving */
        c.full = last && !large;
        if (c.full) check_segment(&c, k, 0, 0, name);
        c.full = 0;
    }
    *checked += c.checked;
    *strong += c.strong;
    end_probe(&c);
}

static void test_derivatives(void **state)
{
    (void)state;
    int checked = 0, strong = 0;
    FOR_EACH_USERS_ROW(row)
        for (uint64_t seed = 1; seed <= 2; seed++) {
            problem *p = create(&row->spec, seed, row->name);
            check_some(p, seed, is_clean(&row->spec), row->name, &checked, &strong);
            problem_free(p);
        }
    printf("%d segments, %d strong\n", checked, strong);
    /* Few: a short step of a deep network crosses kinks; test_problem_nets has its layers alone. */
    assert_true(checked > 100 && strong > 0.15 * checked);
}

static void test_reproducible(void **state)
{
    (void)state;
    FOR_EACH_USERS_ROW(row) {
        problem *p = create(&row->spec, 7, row->name), *q = create(&row->spec, 7, row->name);
        check_reproducible(p, q);
        problem_free(p), problem_free(q);
    }
}

/* Adam lowers the loss of nearly every instance: there is something to learn, and its gradient says
 * where. */
static void test_learnable(void **state)
{
    (void)state;
    enum { SEEDS = 2, STEPS = 120 };
    int learnt = 0, all = 0;
    FOR_EACH_USERS_ROW(row)
        for (uint64_t seed = 1; seed <= SEEDS; seed++, all++) {
            opt_error error;
            problem *p = create(&row->spec, seed, row->name);
            float *x = problem_floats(2 * p->n, &error), *g = x + p->n;
            opt_options options = opt_default_options("adam");
            options.rate = 3e-3f;
            problem_start(p, x);
            const double before = problem_full_loss(p, x);
            opt_tensor *tensors = problem_opt_tensors(p, x, g, &error);
            optimizer *opt = opt_create(&options, tensors, p->n_tensors, &error);
            assert_non_null(opt);
            for (uint64_t t = 0; t < STEPS; t++) {
                const double loss = problem_gradient(p, x, t, g);
                opt_step(opt, (float)loss, 1, NULL);
            }
            learnt += problem_full_loss(p, x) < 0.97 * before;
            opt_free(opt);
            free(tensors), free(x);
            problem_free(p);
        }
    printf("%d of %d learnt\n", learnt, all);
    assert_true(learnt > 0.75 * all);
}

/* --- coloured images --- */

static const problem_spec coloured = {.family = images_problem,
                                      .network = NETWORK_PLAIN,
                                      .side = 16,
                                      .max_parameters = 12000,
                                      .max_work = 4e6,
                                      .start_low = 1,
                                      .start_high = 1,
                                      .colour = 1,
                                      .decay = 1e-3};

static void test_paint(void **state)
{
    (void)state;
    const uint8_t front[] = {0, 255, 51}, behind[] = {255, 0, 102};
    const colours c = {{1, 0, 0.5f}, {0, 0.25f, 0.5f}, {1, 0.75f, 0.5f}, 0.5f};
    float got[9];
    image_paint(front, behind, 3, &c, got);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 3; i++) {
            const double ground =
                c.ground[k] + 0.5 * behind[i] / 255 * (double)(c.behind[k] - c.ground[k]);
            const double a = front[i] / 255.0;
            assert_float_equal(got[3 * k + i], (1 - a) * ground + a * (double)c.front[k], 1e-6);
        }
}

/* Of every instance three channels, whose images differ between channels; a step's augmentation
 * depends on the step alone, and the loss on all data knows none. */
static void test_colour(void **state)
{
    (void)state;
    int augmented = 0, grey = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        classifier *p = (classifier *)create(&coloured, seed, "coloured");
        assert_int_equal(p->channels, 3);
        assert_int_equal(p->height * p->width, 256);
        assert_int_equal(net_tensors(p->net)[0].fan_in, 27);
        grey += memcmp(p->images, p->images + 256, 256 * sizeof(float)) == 0;
        if (!p->augmented) {
            problem_free(&p->base);
            continue;
        }
        augmented++;
        const size_t n = 768 * (size_t)p->batch;
        float *x = malloc(p->base.n * sizeof *x), *seen = malloc(n * sizeof *seen);
        problem_start(&p->base, x);
        const double full = problem_full_loss(&p->base, x);
        problem_gradient(&p->base, x, 3, NULL);
        memcpy(seen, p->augmented, n * sizeof *seen);
        problem_gradient(&p->base, x, 4, NULL);
        assert_true(memcmp(seen, p->augmented, n * sizeof *seen) != 0);
        problem_gradient(&p->base, x, 3, NULL);
        assert_memory_equal(seen, p->augmented, n * sizeof *seen);
        assert_true(problem_full_loss(&p->base, x) == full);
        free(x), free(seen);
        problem_free(&p->base);
    }
    assert_int_equal(grey, 0);
    assert_in_range(augmented, 8, 12);
}

/* Shifts move whole images, the border repeated; mirrors turn them; noise is of the size
 * that it says. */
static void test_augmentation(void **state)
{
    (void)state;
    classifier *p = (classifier *)create(&coloured, 1, "coloured");
    const augmentation moves = {.shift = 2, .mirror = 1}, noise = {.noise = 0.2f};
    for (size_t i = 0; i < 768 * (size_t)p->samples; i++)
        p->images[i] = (float)(i % 16 + 100 * (i / 16 % 16));
    float x[12000];
    int mirrored = 0, shifted = 0;
    problem_start(&p->base, x);
    assert_int_equal(classifier_augment(p, &moves, NULL), OPT_OK);
    for (int b = 0; b < 6 * p->batch; b++) {
        if (b % p->batch == 0) problem_gradient(&p->base, x, (uint64_t)(b / p->batch), NULL);
        const float *image = p->augmented + 768 * (b % p->batch), *middle = image + 8 * 16 + 8;
        const int mirror = middle[1] < middle[0], down = (int)floorf(*middle / 100) - 8;
        const int right = (int)*middle % 100 - (mirror ? 7 : 8);
        mirrored += mirror, shifted += down || right;
        assert_true(abs(down) <= 2 && abs(right) <= 2);
        for (int i = 0; i < 768; i++) {
            int row = i / 16 % 16 + down, column = (mirror ? 15 - i % 16 : i % 16) + right;
            row = row < 0 ? 0 : row > 15 ? 15 : row;
            column = column < 0 ? 0 : column > 15 ? 15 : column;
            assert_true(image[i] == (float)(column + 100 * row));
        }
    }
    assert_true(mirrored > 0 && mirrored < 6 * p->batch && shifted > 0);
    memset(p->images, 0, 768 * (size_t)p->samples * sizeof *p->images);
    assert_int_equal(classifier_augment(p, &noise, NULL), OPT_OK);
    problem_gradient(&p->base, x, 0, NULL);
    const size_t n = 768 * (size_t)p->batch;
    assert_float_equal(sqrt(probe_dot(p->augmented, p->augmented, n) / (double)n), 0.2, 0.01);
    problem_free(&p->base);
}

/* --- weight decay --- */

/* Of weights alone, one of an instance; the objective has none; wrappers pass it on, that of a
 * rescaled x being of x/s. */
static void test_decay(void **state)
{
    (void)state;
    const problem_spec scaled = {.family = rescale_problem,
                                 .mode = SCALE_ALL,
                                 .low = 10,
                                 .high = 10,
                                 .parts = &coloured,
                                 .n_parts = 1};
    int decays = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        opt_error error;
        problem *p = create(&scaled, seed, "coloured");
        float *x = problem_floats(2 * p->n, &error);
        opt_tensor *tensors = problem_opt_tensors(p, x, x + p->n, &error);
        const float l2 = tensors[0].l2;
        assert_true(l2 == 0 || (l2 > 0.99e-7f && l2 < 1.01e-5f));
        for (int k = 0; k < p->n_tensors; k++)
            assert_true(tensors[k].l2 == (strstr(p->tensors[k].name, "weights") ? l2 : 0));
        decays += l2 > 0;
        free(tensors), free(x);
        problem_free(p);
    }
    assert_in_range(decays, 5, 11);
}

/* Some deep networks have units whose values are of a variance below what a normalisation adds:
 * 1e-5. */
static void test_faint_units(void **state)
{
    (void)state;
    problem_spec deep = coloured;
    int faint = 0;
    deep.network = NETWORK_DEEP;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        classifier *p = (classifier *)create(&deep, seed, "deep");
        float x[12000];
        problem_start(&p->base, x);
        const net_tensor *t = &net_tensors(p->net)[3];
        const problem_tensor *at = &p->base.tensors[3];
        assert_true(t->fan_in > 0 && t[1].is_scale);
        const double rms = sqrt(probe_dot(x + at->offset, x + at->offset, t->n) / (double)t->n);
        if (p->faint > 0) assert_true(rms * sqrt(t->fan_in) < 0.95);
        faint += p->faint > 0;
        problem_free(&p->base);
    }
    assert_in_range(faint, 1, 8);
}

/* --- pretrained starts --- */

/* The first of them whose start was drawn with constants, or without. */
static classifier *create_pretrained(problem_spec *spec, int constants)
{
    *spec = coloured;
    spec->network = NETWORK_CONV;
    spec->side = 8, spec->colour = 0, spec->max_work = 6e5;
    for (uint64_t seed = 1; seed < 60; seed++) {
        spec->pretraining = 200;
        classifier *p = (classifier *)create(spec, seed, "pretrained");
        if (p->n_given > 0 && (p->constant_tensors > 0) == constants) return p;
        problem_free(&p->base);
    }
    fail_msg("no instance %s constants", constants ? "with" : "without");
    return NULL;
}

/* An instance starts where the same one without pretraining does in its last layer only, and there
 * each time. */
static void test_pretrained(void **state)
{
    (void)state;
    problem_spec spec;
    classifier *p = create_pretrained(&spec, 0);
    problem *again = create(&spec, p->base.seed, "pretrained");
    spec.pretraining = 0;
    problem *fresh = create(&spec, p->base.seed, "fresh");
    const size_t n = p->base.n, last = p->n_given;
    assert_true(last > 0 && last == p->base.tensors[p->base.n_tensors - 2].offset);
    float *x = malloc(3 * n * sizeof *x), *y = x + n, *z = y + n;
    assert_true(again->n == n && fresh->n == n);
    problem_start(&p->base, x), problem_start(again, y), problem_start(fresh, z);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_memory_equal(x + last, z + last, (n - last) * sizeof *x);
    for (int k = 0; k < p->base.n_tensors - 2; k++) {
        const problem_tensor *t = &p->base.tensors[k];
        assert_true(memcmp(x + t->offset, z + t->offset, t->n * sizeof *x) != 0);
    }
    free(x);
    problem_free(&p->base), problem_free(again), problem_free(fresh);
}

/* Constants are no parameters: what is left has the gradient and the product that it has in the
 * whole network. */
static void test_constants(void **state)
{
    (void)state;
    problem_spec spec;
    classifier *p = create_pretrained(&spec, 1);
    const size_t all = p->all, n = p->base.n, constants = all - n;
    assert_true(constants > 0 && p->n_given >= constants);
    assert_int_equal(p->base.tensors[0].offset, 0);
    assert_true(net_tensors(p->net)[p->constant_tensors].fan_in > 0);
    assert_string_equal(p->base.tensors[0].name, net_tensors(p->net)[p->constant_tensors].name);
    float *x = calloc(5 * all, sizeof *x), *g = x + all, *whole = g + all, *of_all = whole + all;
    float *direction = of_all + all;
    problem_start(&p->base, x);
    memcpy(whole, p->given, constants * sizeof *x);
    memcpy(whole + constants, x, n * sizeof *x);
    memcpy(direction + constants, x, n * sizeof *x);
    const double f = problem_gradient(&p->base, x, 3, g);
    net_freeze(p->net, 0);
    assert_true(net_gradient(p->net, whole, of_all) == f);
    assert_memory_equal(g, of_all + constants, n * sizeof *x);
    assert_true(probe_dot(of_all, of_all, constants) > 0);
    net_hvp(p->net, whole, direction, of_all);
    net_freeze(p->net, constants);
    problem_hvp(&p->base, x, 3, x, g);
    assert_memory_equal(g, of_all + constants, n * sizeof *x);
    free(x);
    problem_free(&p->base);
}

/* --- detectors --- */

/* Few cells are positive, and these alone have a box and classes; a positive one's box is within
 * the cell, and it is of one class; a loss is a sum over cells. */
static void test_detector(void **state)
{
    (void)state;
    const problem_spec spec = {.family = detector_problem,
                               .max_parameters = 12000,
                               .max_work = 4e6,
                               .start_low = 0.5,
                               .start_high = 2};
    double least = INFINITY, most = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        classifier *p = (classifier *)create(&spec, seed, "detector");
        const int outputs = net_outputs(p->net), cells = p->height * p->width / 16;
        int positive = 0;
        for (int i = 0; i < p->samples * cells; i++) {
            const float *truth = p->truths + 2 * outputs * (i / cells) + i % cells;
            const int here = truth[0] > 0;
            double of_classes = 0;
            positive += here;
            assert_true(truth[outputs] > 0);
            for (int k = 1; k < outputs / cells; k++) {
                assert_true((truth[outputs + k * cells] > 0) == here);
                if (k >= 5) of_classes += (double)truth[k * cells];
            }
            assert_float_equal(of_classes, here, 0);
            assert_true(fabsf(truth[cells]) <= 0.5f && fabsf(truth[2 * cells]) <= 0.5f);
            assert_true(fabsf(truth[3 * cells]) < 0.5f && fabsf(truth[4 * cells]) < 0.5f);
        }
        assert_true(positive >= p->samples && positive <= 4 * p->samples);
        float *x = malloc(p->base.n * sizeof *x);
        problem_start(&p->base, x);
        const double loss = problem_full_loss(&p->base, x);
        least = fmin(least, loss), most = fmax(most, loss);
        free(x);
        problem_free(&p->base);
    }
    printf("losses from %g to %g\n", least, most);
    assert_true(least > 5 && most > 50 && most < 1e5);
}

static void test_corpus(void **state)
{
    (void)state;
    opt_error error;
    assert_int_equal(corpus_find("users", &error), CORPUS_USERS);
    assert_true(corpus_needs_images(CORPUS_USERS));
    /* A row of its own: what is measured on wide stays as it was. */
    FOR_EACH_USERS_ROW(row) assert_int_equal(row->corpora, CORPUS_USERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),       cmocka_unit_test(test_paint),
        cmocka_unit_test(test_colour),       cmocka_unit_test(test_augmentation),
        cmocka_unit_test(test_pretrained),   cmocka_unit_test(test_constants),
        cmocka_unit_test(test_detector),     cmocka_unit_test(test_decay),
        cmocka_unit_test(test_faint_units),  cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_reproducible), cmocka_unit_test(test_learnable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
