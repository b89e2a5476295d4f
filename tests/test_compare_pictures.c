/* The pictures and the page of a comparison: drawn, whole, harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include "compare/gnuplot.h"
#include "compare/report.h"
#include "made_comparison.h"
#include "scratch.h"

static const char *const hostile = "<b>'\"`touch x`$(touch x) \\\xff\xc3\xa9&";

/* hrnn under `label` at its own rate, adam at four rates of which one diverges. */
static comparison make_drawable(const char *label)
{
    comparison c = make_comparison(40);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        for (int r = 0; r < 5; r++) {
            const double last = 0.5 + 0.1 * abs(r - 2) + 0.02 * (double)seed;
            cmp_run *run = add_run(&c, r ? "adam" : label, r ? pow(10, r - 5) : 0, seed,
                                   r == 4 ? INFINITY : last);
            set_curve(run, 10, 4, (double[]){2.3, 1.5, 0.9, last});
            run->n_held_out = 3;
            run->held_out = malloc(3 * sizeof(*run->held_out));
            for (int k = 0; k < 3; k++)
                run->held_out[k] =
                    (cmp_held_out){20 * k, 2.3 - (2.3 - last) / 2 * k, 0.1 + 0.4 * k};
        }
    }
    c.times = malloc(4 * sizeof(*c.times));
    c.n_times = 4;
    for (int i = 0; i < 4; i++) {
        c.times[i] = (cmp_step_time){"adam", i % 2 ? 64 : 1, 0.01, 0.001};
        if (i < 2) strcpy(c.times[i].optimizer, label);
    }
    return c;
}

static opt_status write_pictures(const comparison *c, const char *folder, opt_error *error)
{
    cmp_statistics all;
    opt_status status = cmp_make_statistics(c, &all, error);
    if (!status) status = cmp_write_pictures(c, &all, folder, error);
    cmp_free_statistics(&all);
    return status;
}

static opt_status write_page(const comparison *c, const char *folder, opt_error *error)
{
    cmp_statistics all;
    opt_status status = cmp_make_statistics(c, &all, error);
    if (!status) status = cmp_write_page(c, &all, folder, error);
    cmp_free_statistics(&all);
    return status;
}

static void write_all(const comparison *c)
{
    opt_error error = {0};
    if (write_pictures(c, scratch_folder, &error) != OPT_OK ||
        write_page(c, scratch_folder, &error) != OPT_OK)
        fail_msg("%s", error.message);
}

static char *read_text(const char *name)
{
    size_t size;
    char *text = (char *)scratch_read(scratch_path(name), &size);
    text[size] = 0;
    return text;
}

static void expect_png(const char *name)
{
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path(name), &size);
    assert_true(size > 5000);
    assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
    assert_memory_equal(bytes + size - 8, "IEND\xae\x42\x60\x82", 8);
    free(bytes);
}

static void test_pictures(void **state)
{
    (void)state;
    static const char *const names[] = {"curves.png", "rates.png", "speed.png", "times.png"};
    comparison c = make_drawable("hrnn");
    write_all(&c);
    for (int i = 0; i < 4; i++) expect_png(names[i]);
    /* What can no longer be drawn goes, in the folder and in the page. */
    c.n_times = 0;
    for (int i = 0; i < c.n_runs; i++)
        if (strcmp(c.runs[i].optimizer, "adam") == 0) c.runs[i].outcome = CMP_UNFINISHED;
    write_all(&c);
    assert_true(scratch_exists(scratch_path("curves.png")));
    for (int i = 1; i < 4; i++) assert_false(scratch_exists(scratch_path(names[i])));
    char *page = read_text("report.html");
    char *first = strstr(page, "data:image/png");
    assert_non_null(first);
    assert_null(strstr(first + 1, "data:image/png"));
    free(page);
    cmp_free(&c);
}

/* Losses of all kinds, and too little of everything. */
static void test_odd_comparisons(void **state)
{
    (void)state;
    comparison c = make_comparison(40);
    write_all(&c);
    assert_false(scratch_exists(scratch_path("curves.png")));
    const double losses[][4] = {
        {0, 0, 0, 0},         {-1, -2, -3, -4}, {2, INFINITY, NAN, 1e30}, {1e-9, 1e-9, 1e-9, 1e-9},
        {NAN, NAN, NAN, NAN}, {3, 2, 1, 1e-8}};
    for (size_t i = 0; i < sizeof(losses) / sizeof(*losses); i++) {
        c = make_comparison(40);
        for (int r = 0; r < 3; r++) {
            cmp_run *run = add_run(&c, r == 2 ? "sgd" : "adam", r ? 1e-3 : 1e-4, 1, losses[i][3]);
            set_curve(run, 10, 4, losses[i]);
        }
        write_all(&c);
        cmp_free(&c);
    }
}

static void test_hostile_labels(void **state)
{
    (void)state;
    comparison c = make_drawable(hostile);
    strcpy(c.network, hostile);
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir(scratch_folder), 0);
    write_all(&c);
    assert_false(scratch_exists(scratch_path("x")));
    assert_int_equal(fchdir(here), 0);
    close(here);
    expect_png("rates.png");
    char *page = read_text("report.html");
    assert_null(strstr(page, "<b>"));
    assert_non_null(strstr(page, "&lt;b&gt;&#39;&quot;`touch x`$(touch x) \\"));
    free(page);
    cmp_free(&c);

    char *quoted = NULL;
    size_t size;
    FILE *f = open_memstream(&quoted, &size);
    gnuplot_put_text(f, "it's\n\x7f \xff \xc3\xa9 \xed\xa0\x80 \xe2\x82");
    fclose(f);
    assert_string_equal(quoted, "'it''s   ? \xc3\xa9 ?\?? ?\?'");
    free(quoted);
    char label[GNUPLOT_LABEL];
    assert_string_equal(gnuplot_shorten("123456789012345678901234", label),
                        "123456789012345678901234");
    assert_string_equal(gnuplot_shorten("1234567890123456789012345", label),
                        "123456789012345678901234...");
    assert_string_equal(gnuplot_shorten("\xc3\xa9\xc3\xa9", label), "\xc3\xa9\xc3\xa9");
}

/* Decodes the base64 at text up to the quote; the length, and the bytes in place. */
static size_t decode(char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    unsigned word = 0, bits = 0;
    for (const char *s = text; *s != '"' && *s != '='; s++) {
        const char *digit = strchr(digits, *s);
        assert_non_null(digit);
        word = word << 6 | (unsigned)(digit - digits);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        text[n++] = (char)(word >> bits);
    }
    return n;
}

static void test_page(void **state)
{
    (void)state;
    comparison c = make_drawable("hrnn");
    write_all(&c);
    char *page = read_text("report.html");
    static const char *const absent[] = {"http:", "https:", "<script", "<link", "url(", "@import"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
        if (strstr(page, absent[i])) fail_msg("the page has %s", absent[i]);
    for (char *s = page; (s = strstr(s, "src=\"")); s++)
        assert_int_equal(strncmp(s, "src=\"data:image/png;base64,", 27), 0);
    assert_non_null(strstr(page, "<td>0.001</td>")); /* adam's best rate */
    assert_non_null(strstr(page, "What the columns mean"));
    static const char *const names[] = {"curves.png", "rates.png", "speed.png", "times.png"};
    char *at = page;
    for (int i = 0; i < 4; i++) {
        size_t size;
        unsigned char *bytes = scratch_read(scratch_path(names[i]), &size);
        at = strstr(at, ";base64,");
        assert_non_null(at);
        char *next = strchr(at, '"') + 1;
        assert_int_equal(decode(at + 8), size);
        assert_memory_equal(at + 8, bytes, size);
        at = next;
        free(bytes);
    }
    free(page);
    cmp_free(&c);
}

/* gnuplot is what this shell script is, or missing (NULL). */
static opt_status draw_with(const comparison *c, const char *script, opt_error *error)
{
    char *path = strdup(getenv("PATH"));
    const char *fake = scratch_path("gnuplot");
    unlink(fake);
    if (script) {
        scratch_write(fake, script, strlen(script));
        assert_int_equal(chmod(fake, 0755), 0);
    }
    setenv("PATH", scratch_folder, 1);
    *error = (opt_error){0};
    opt_status status = write_pictures(c, scratch_folder, error);
    setenv("PATH", path, 1);
    free(path);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    comparison c = make_drawable("hrnn");
    opt_error error;
    write_all(&c);
    assert_int_equal(draw_with(&c, NULL, &error), OPT_NO_FILE);
    assert_non_null(strstr(error.message, "gnuplot is not installed"));
    assert_int_equal(draw_with(&c, "#!/bin/sh\necho >&2\necho no font >&2\nexit 3\n", &error),
                     OPT_IO);
    assert_string_equal(error.message, "curves.png: gnuplot failed: no font");
    assert_int_equal(draw_with(&c, "#!/bin/sh\nexit 0\n", &error), OPT_IO);
    assert_non_null(strstr(error.message, "curves.png: gnuplot failed"));
    expect_png("curves.png"); /* the one before */
    assert_false(scratch_exists(scratch_path("curves.png.new")));

    const char *missing = scratch_path("missing");
    assert_int_equal(write_pictures(&c, missing, &error), OPT_IO);
    assert_non_null(strstr(error.message, "missing/curves.png"));
    assert_int_equal(write_page(&c, missing, &error), OPT_IO);
    assert_non_null(strstr(error.message, "missing/report.html"));
    scratch_write(scratch_path("curves.png"), "", 0);
    assert_int_equal(write_page(&c, scratch_folder, &error), OPT_BAD_FILE);
    assert_non_null(strstr(error.message, "curves.png: 0 bytes, expected a picture"));
    cmp_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures),       cmocka_unit_test(test_odd_comparisons),
        cmocka_unit_test(test_hostile_labels), cmocka_unit_test(test_page),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
