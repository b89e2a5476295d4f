/* Collections of images: reading, averaging, errors; and the problems of `corpus wide`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <pthread.h>
#include <cmocka.h>
#include <zlib.h>

#include "problems/corpus.h"
#include "made_images.h"
#include "problem_checks.h"
#include "scratch.h"

static image_data collection;

static void write_gzipped(const char *path, const void *bytes, size_t size)
{
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, bytes, (unsigned)size), (int)size);
    assert_int_equal(gzclose(file), Z_OK);
}

static void test_load(void **state)
{
    (void)state;
    size_t size, label_size;
    uint8_t *images = make_images(&size), *labels = make_labels(&label_size);
    write_gzipped(scratch_path("images.gz"), images, size);
    scratch_write(scratch_path("images"), images, size);
    write_gzipped(scratch_path("labels.gz"), labels, label_size);
    opt_error error;
    image_data plain = {0};
    assert_int_equal(
        images_load(&collection, scratch_path("images.gz"), scratch_path("labels.gz"), &error),
        OPT_OK);
    assert_int_equal(images_load(&plain, scratch_path("images"), scratch_path("labels.gz"), &error),
                     OPT_OK);
    const image_set *set = &collection.sets[0];
    assert_int_equal(collection.n_sets, 1);
    assert_int_equal(set->n, IMAGES);
    for (int c = 0; c < IMAGE_CLASSES; c++) assert_int_equal(set->first[c + 1], 60 * (c + 1));
    assert_memory_equal(set->pixels[0], plain.sets[0].pixels[0], IMAGES * 64);
    assert_memory_equal(set->pixels[1], plain.sets[0].pixels[1], IMAGES * 196);
    /* Image 13 is the second of class 1 (3 is the first). Pixel (y, x) of 14 x 14 is the mean of
     * 4. */
    const uint8_t *image = set->pixels[1] + (60 + 1) * 196;
    for (int y = 0; y < 14; y++)
        for (int x = 0; x < 14; x++) {
            double sum = 0;
            for (int i = 0; i < 4; i++) sum += pixel_of(13, 2 * y + i / 2, 2 * x + i % 2);
            assert_float_equal(image[y * 14 + x], sum / 4, 0.51);
        }
    /* Of 8 x 8, the mean over 3.5 x 3.5, by a grid of half pixels. */
    image = set->pixels[0] + (60 + 1) * 64;
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            double sum = 0;
            for (int i = 0; i < 49; i++)
                sum += pixel_of(13, (7 * y + i / 7) / 2, (7 * x + i % 7) / 2);
            assert_float_equal(image[y * 8 + x], sum / 49, 0.51);
        }
    /* Of 16 x 16, the mean over 1.75 x 1.75, by a grid of quarter pixels. */
    image = set->pixels[2] + (60 + 1) * 256;
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++) {
            double sum = 0;
            for (int i = 0; i < 49; i++)
                sum += pixel_of(13, (7 * y + i / 7) / 4, (7 * x + i % 7) / 4);
            assert_float_equal(image[y * 16 + x], sum / 49, 0.51);
        }
    images_free(&plain);
    free(images), free(labels);
}

/* Changes one byte, or the length, and loads; nothing may have been added. */
typedef struct {
    const char *what;
    int of_labels;
    long at; /* the byte to change; -1: none */
    int to;
    long length; /* change of length */
    const char *message;
} damage;

static void test_damaged_files(void **state)
{
    (void)state;
    static const damage cases[] = {
        {"magic", 0, 2, 9, 0, "magic"},
        {"dimensions", 0, 3, 1, 0, "magic"},
        {"labels' magic", 1, 3, 3, 0, "magic"},
        {"no images", 0, 6, 0, 0, "expected 1 to"},
        {"more images", 0, 6, 3, 0, "labels, expected"},
        {"rows too small", 0, 11, 8, 0, "expected 1 to"},
        {"rows too large", 0, 8, 1, 0, "expected 1 to"},
        {"one row more", 0, 11, 29, 0, "truncated"},
        {"one row less", 0, 11, 27, 0, "more than"},
        {"truncated", 0, -1, 0, -1, "truncated"},
        {"longer", 0, -1, 0, 1, "more than"},
        {"header cut", 0, -1, 0, -(16 + IMAGES * PIXELS) + 9, "header"},
        {"labels truncated", 1, -1, 0, -1, "truncated"},
        {"labels longer", 1, -1, 0, 1, "more than"},
        {"a label of 10", 1, 8 + 33, 10, 0, "label 33 is 10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const damage *d = &cases[i];
        size_t sizes[2];
        uint8_t *files[2] = {make_images(&sizes[0]), make_labels(&sizes[1])};
        uint8_t **file = &files[d->of_labels];
        size_t *size = &sizes[d->of_labels];
        *file = realloc(*file, *size + 1);
        if (d->length > 0) (*file)[*size] = 0;
        *size = (size_t)((long)*size + d->length);
        if (d->at >= 0) (*file)[d->at] = (uint8_t)d->to;
        if (strcmp(d->what, "no images") == 0) (*file)[7] = 0;
        scratch_write(scratch_path("bad-images"), files[0], sizes[0]);
        scratch_write(scratch_path("bad-labels"), files[1], sizes[1]);
        image_data data = {0};
        opt_error error = {0};
        const opt_status status =
            images_load(&data, scratch_path("bad-images"), scratch_path("bad-labels"), &error);
        if (status != OPT_BAD_FILE || !strstr(error.message, d->message) || data.n_sets != 0)
            fail_msg("%s: status %d, \"%s\"", d->what, status, error.message);
        free(files[0]), free(files[1]);
    }
}

static void test_missing_files(void **state)
{
    (void)state;
    opt_error error;
    image_data data = {0};
    assert_int_equal(images_load(&data, scratch_path("none"), scratch_path("labels.gz"), &error),
                     OPT_NO_FILE);
    assert_non_null(strstr(error.message, "tools/get-data.sh"));
    assert_non_null(strstr(error.message, "/none: "));
    assert_int_equal(images_load(&data, scratch_path("images.gz"), scratch_path("none"), &error),
                     OPT_NO_FILE);
    size_t size;
    uint8_t *labels = make_labels(&size);
    for (size_t i = 8; i < size; i++) labels[i] = (uint8_t)(labels[i] == 4 ? 5 : labels[i]);
    scratch_write(scratch_path("no-class-4"), labels, size);
    free(labels);
    assert_int_equal(
        images_load(&data, scratch_path("images.gz"), scratch_path("no-class-4"), &error),
        OPT_BAD_FILE);
    assert_non_null(strstr(error.message, "class 4"));
    /* Half a gzipped file. */
    unsigned char *bytes = scratch_read(scratch_path("images.gz"), &size);
    scratch_write(scratch_path("half.gz"), bytes, size / 2);
    free(bytes);
    assert_int_equal(images_load(&data, scratch_path("half.gz"), scratch_path("labels.gz"), &error),
                     OPT_BAD_FILE);
    assert_int_equal(data.n_sets, 0);
    data.n_sets = IMAGE_MAX_SETS;
    assert_int_equal(
        images_load(&data, scratch_path("images.gz"), scratch_path("labels.gz"), &error),
        OPT_BAD_OPTION);
}

/* --- corpus wide --- */

#define FOR_EACH_WIDE_ROW(row)                                                                     \
    for (const corpus_row *row = corpus_table; row < corpus_table + corpus_table_rows; row++)      \
        if (row->corpora & CORPUS_WIDE)

static problem *create(const corpus_row *row, uint64_t seed)
{
    opt_error error = {0};
    problem *p = problem_create(&row->spec, seed, &collection, &error);
    if (!p) fail_msg("%s, seed %d: %s", row->name, (int)seed, error.message);
    return p;
}

static void test_wide_derivatives(void **state)
{
    (void)state;
    int checked = 0, strong = 0;
    FOR_EACH_WIDE_ROW(row)
        for (uint64_t seed = 1; seed <= 4; seed++) {
            problem *p = create(row, seed);
            const int clean = strstr(row->name, "noisy") == NULL;
            check_derivatives(p, seed, clean, 8, row->name, &checked, &strong);
            if (seed == 1) check_full_gradient(p, seed, 8, row->name, &checked, &strong);
            problem_free(p);
        }
    printf("%d segments, %d strong\n", checked, strong);
    assert_true(strong > 0.25 * checked);
}

/* What must vary does, within the limits of the rows, and starts are finite and of all
 * qualities. */
static void test_wide_variety(void **state)
{
    (void)state;
    enum { SEEDS = 60 };
    FOR_EACH_WIDE_ROW(row) {
        const int images = strncmp(row->group, "images", 6) == 0;
        double least = INFINITY, most = 0, smallest = INFINITY, largest = 0;
        int normalised = 0, sizes[5000] = {0}, distinct = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            problem *p = create(row, seed);
            float *x = calloc(p->n, sizeof *x);
            assert_true(p->n <= 4000);
            distinct += sizes[p->n]++ == 0;
            problem_start(p, x);
            const double f = problem_full_loss(p, x);
            assert_true(isfinite(f) && f > 0);
            least = fmin(least, f), most = fmax(most, f);
            const double rms = sqrt(probe_dot(x, x, p->n) / (double)p->n);
            smallest = fmin(smallest, rms), largest = fmax(largest, rms);
            for (int k = 0; k < p->n_tensors; k++)
                normalised += strstr(p->tensors[k].name, "scales") != NULL;
            free(x);
            problem_free(p);
        }
        assert_true(distinct > (images ? 25 : 3));
        assert_true(largest > 1e3 * smallest);
        if (!images) continue;
        assert_true(least < 1 && most > 3);
        /* The deep sigmoid networks are not normalised. */
        assert_true((normalised > 0) == (strcmp(row->group, "images, sigmoid") != 0));
    }
}

/* Gradient descent with a plain rate learns the blobs: the labels belong to the images. */
static void test_wide_is_learnable(void **state)
{
    (void)state;
    const problem_spec spec = {.family = images_problem,
                               .network = NETWORK_MLP,
                               .side = 8,
                               .max_parameters = 4000,
                               .max_work = 4e5,
                               .start_low = 1,
                               .start_high = 1};
    int learnt = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        opt_error error;
        problem *p = problem_create(&spec, seed, &collection, &error);
        float *x = calloc(2 * p->n, sizeof *x), *g = x + p->n;
        problem_start(p, x);
        const double before = problem_full_loss(p, x);
        for (uint64_t t = 0; t < 600; t++) {
            problem_gradient(p, x, t, g);
            for (size_t i = 0; i < p->n; i++) x[i] -= 0.1f * g[i];
        }
        learnt += problem_full_loss(p, x) < 0.7 * before;
        free(x);
        problem_free(p);
    }
    assert_true(learnt >= 8);
}

static void test_bad_specs(void **state)
{
    (void)state;
    const problem_spec good = {.family = images_problem,
                               .network = NETWORK_CONV,
                               .side = 8,
                               .max_parameters = 4000,
                               .max_work = 4e5,
                               .start_low = 1,
                               .start_high = 1};
    problem_spec side = good, parameters = good, work = good, starts = good;
    side.side = 9, parameters.max_parameters = 10, work.max_work = 100, starts.start_low = 2;
    const problem_spec *const bad[] = {&side, &parameters, &work, &starts};
    opt_error error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(problem_create(bad[i], 1, &collection, &error));
    assert_null(problem_create(&good, 1, NULL, &error));
    assert_non_null(strstr(error.message, "tools/get-data.sh"));
    problem *p = problem_create(&good, 1, &collection, &error);
    assert_non_null(p);
    problem_free(p);
}

/* --- the same bits in any thread --- */

typedef struct {
    uint64_t seed;
    float g[4000];
    double f;
} run;

static void *work(void *argument)
{
    run *r = argument;
    float *x = calloc(4000, sizeof *x);
    for (const corpus_row *row = corpus_table; row < corpus_table + corpus_table_rows; row++) {
        if (!(row->corpora & CORPUS_WIDE)) continue;
        problem *p = problem_create(&row->spec, r->seed, &collection, NULL);
        if (!p) continue;
        problem_start(p, x);
        for (uint64_t t = 0; t < 4; t++) {
            r->f += problem_gradient(p, x, t, r->g);
            for (size_t i = 0; i < p->n; i++) x[i] -= 1e-3f * r->g[i];
        }
        problem_free(p);
    }
    free(x);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static run runs[THREADS], alone[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) runs[i].seed = alone[i].seed = (uint64_t)i / 2;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &runs[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = THREADS - 1; i >= 0; i--) work(&alone[i]);
    for (int i = 0; i < THREADS; i++) assert_memory_equal(&runs[i], &alone[i], sizeof runs[i]);
    assert_true(runs[0].f > 0 && runs[0].f != runs[2].f);
}

static int tear_down(void **state)
{
    images_free(&collection);
    return scratch_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),          cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_missing_files), cmocka_unit_test(test_wide_derivatives),
        cmocka_unit_test(test_wide_variety),  cmocka_unit_test(test_wide_is_learnable),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_bad_specs),
    };
    return cmocka_run_group_tests(tests, scratch_make, tear_down);
}
