/* What a meta-training draws from: rows of a corpus beside rows from elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "problems/source.h"
#include "problems/corpus.h"

static double weight_of(const problem_source *s, const char *family)
{
    double sum = 0;
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->rows[i].family, family) == 0) sum += s->rows[i].weight;
    return sum;
}

static const problem_spec bowl = {.family = bowl_problem, .condition = 1};
static const source_row added[] = {{"mine", "one", 1, &bowl}, {"mine", "two", 3, &bowl}};

/* Added rows are drawn with the given probability as a whole, in their own proportions. */
static void test_share(void **state)
{
    (void)state;
    static const double shares[] = {0.5, 0.2, 0.9};
    for (int i = 0; i < 3; i++) {
        opt_error error = {0};
        corpus_source *s = corpus_source_open("paper:bowl,matmul", "", &error);
        assert_non_null(s);
        const problem_source *rows = corpus_source_rows(s);
        const double of_corpus = weight_of(rows, "bowl") + weight_of(rows, "matmul");
        assert_int_equal(rows->n, 4 + 10);
        assert_int_equal(corpus_source_add(s, added, 2, shares[i], &error), OPT_OK);
        rows = corpus_source_rows(s);
        const double mine = weight_of(rows, "mine");
        assert_float_equal(mine / (mine + of_corpus), shares[i], 1e-12);
        assert_float_equal(rows->rows[15].weight / rows->rows[14].weight, 3, 1e-12);
        assert_int_equal(corpus_source_add(s, added, 2, shares[i], &error), OPT_BAD_OPTION);
        assert_non_null(strstr(error.message, "given twice"));
        corpus_source_close(s);
    }
}

/* Alone, rows keep their weights whatever the share. */
static void test_alone(void **state)
{
    (void)state;
    opt_error error = {0};
    corpus_source *s = corpus_source_open("none", "", &error);
    assert_non_null(s);
    assert_int_equal(corpus_source_add(s, added, 2, 0.2, &error), OPT_OK);
    assert_float_equal(weight_of(corpus_source_rows(s), "mine"), 4, 0);
    corpus_source_close(s);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"user", "paper:bowls", "paper:users", "paper+none+wid"};
    for (int i = 0; i < 4; i++) {
        opt_error error = {0};
        assert_null(corpus_source_open(bad[i], "", &error));
        assert_int_equal(error.status, OPT_BAD_OPTION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
