/* The problems of `corpus users`, on a made collection of images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "problems/corpus.h"
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

/* Of some tensors, those of the first and the last layer among them: a deep network has 60. */
static void check_some(problem *p, uint64_t seed, int clean, const char *name, int *checked,
                       int *strong)
{
    enum { SOME = 6 };
    prober c = probe(p, seed);
    c.kinks = 8;
    const int stride = 1 + (p->n_tensors - 1) / SOME;
    for (int k = (p->n_tensors - 1) % stride; k < p->n_tensors; k += stride) {
        if (clean) check_segment(&c, k, 0, 0, name);
        if (problem_has_hvp(p)) check_segment(&c, k, 1, 0, name);
        c.full = 1;
        check_segment(&c, k, 0, 0, name);
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
    assert_true(checked > 60 && strong > 0.25 * checked);
}

/* A value is a function of spec, seed, t and x: not of what was evaluated before. */
static void test_reproducible(void **state)
{
    (void)state;
    FOR_EACH_USERS_ROW(row)
    {
        problem *p = create(&row->spec, 7, row->name), *q = create(&row->spec, 7, row->name);
        const size_t n = p->n, bytes = n * sizeof(float);
        assert_int_equal(q->n, n);
        float *x = malloc(bytes), *y = malloc(bytes), *g = malloc(bytes), *h = malloc(bytes);
        problem_start(p, x);
        problem_gradient(q, x, 5, h);
        problem_start(q, y);
        assert_memory_equal(x, y, bytes);
        const double loss = problem_full_loss(p, x), at3 = problem_gradient(p, x, 3, g);
        assert_true(isfinite(loss) && isfinite(at3));
        problem_gradient(q, x, 4, NULL);
        problem_full_loss(q, x);
        assert_true(problem_gradient(q, x, 3, NULL) == at3);
        assert_true(problem_gradient(q, x, 3, h) == at3);
        assert_memory_equal(g, h, bytes);
        assert_true(problem_full_gradient(q, x, h) == loss);
        problem_hvp(p, x, 3, x, g);
        problem_hvp(q, x, 4, x, h);
        problem_hvp(q, x, 3, x, h);
        assert_memory_equal(g, h, bytes);
        problem_free(p), problem_free(q);
        free(x), free(y), free(g), free(h);
    }
}

/* Adam lowers the loss of nearly every instance: there is something to learn, and its gradient says
 * where. */
static void test_learnable(void **state)
{
    (void)state;
    enum { SEEDS = 3, STEPS = 150 };
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
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_learnable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
