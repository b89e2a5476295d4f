/* A file appears whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include "files/atomic_file.h"
#include "scratch.h"

static void expect_content(const char *path, const char *content)
{
    size_t size;
    unsigned char *bytes = scratch_read(path, &size);
    assert_int_equal(size, strlen(content));
    assert_memory_equal(bytes, content, size);
    free(bytes);
}

static void test_order(void **state)
{
    (void)state;
    const char *path = scratch_path("file");
    char *pending = atomic_pending_path(path);
    assert_string_equal(pending, scratch_path("file.new"));
    for (int round = 0; round < 2; round++) {
        atomic_file file;
        opt_error error = {0};
        const char *old = round ? "0" : NULL, *content = round ? "1" : "0";
        assert_int_equal(atomic_open(&file, path, &error), OPT_OK);
        assert_string_equal(file.pending, pending);
        fputs(content, file.stream);
        assert_int_equal(scratch_exists(path), round);
        assert_int_equal(atomic_sync(&file, &error), OPT_OK);
        expect_content(pending, content);
        if (old) expect_content(path, old);
        assert_int_equal(atomic_commit(&file, &error), OPT_OK);
        assert_false(scratch_exists(pending));
        expect_content(path, content);
        atomic_abandon(&file); /* legal after a commit */
        expect_content(path, content);
    }
    free(pending);
}

static void test_abandon(void **state)
{
    (void)state;
    const char *path = scratch_path("file");
    scratch_write(path, "old", 3);
    for (int synced = 0; synced < 2; synced++) {
        atomic_file file;
        assert_int_equal(atomic_open(&file, path, NULL), OPT_OK);
        fputs("new", file.stream);
        if (synced) assert_int_equal(atomic_sync(&file, NULL), OPT_OK);
        atomic_abandon(&file);
        assert_false(scratch_exists(scratch_path("file.new")));
        expect_content(path, "old");
    }
    atomic_abandon(&(atomic_file){0});
}

static opt_status put_new(FILE *stream, void *status, opt_error *error)
{
    fputs("new", stream);
    return *(opt_status *)status ? opt_fail(error, *(opt_status *)status, "the reason") : OPT_OK;
}

static void test_write(void **state)
{
    (void)state;
    const char *path = scratch_path("file");
    opt_error error = {0};
    opt_status status = OPT_MISMATCH;
    scratch_write(path, "old", 3);
    assert_int_equal(atomic_write(path, put_new, &status, &error), OPT_MISMATCH);
    assert_string_equal(error.message, "the reason");
    expect_content(path, "old");
    assert_false(scratch_exists(scratch_path("file.new")));
    assert_int_equal(atomic_write(scratch_folder, put_new, &status, &error), OPT_IO);
    status = OPT_OK;
    assert_int_equal(atomic_write(path, put_new, &status, &error), OPT_OK);
    expect_content(path, "new");
    assert_false(scratch_exists(scratch_path("file.new")));
}

static void test_cannot_open(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nowhere/file", "/dev/null", "/tmp"};
    for (int i = 0; i < 3; i++) {
        atomic_file file;
        opt_error error = {0};
        assert_int_equal(atomic_open(&file, paths[i], &error), OPT_IO);
        assert_int_equal(error.status, OPT_IO);
        assert_non_null(strstr(error.message, paths[i]));
        atomic_abandon(&file);
    }
}

/* The folder goes away between the sync and the rename. */
static void test_cannot_rename(void **state)
{
    (void)state;
    opt_error error = {0};
    atomic_file file;
    const char *folder = scratch_path("folder"), *path = scratch_path("folder/file");
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(atomic_open(&file, path, &error), OPT_OK);
    assert_int_equal(atomic_sync(&file, &error), OPT_OK);
    unlink(scratch_path("folder/file.new"));
    rmdir(folder);
    assert_int_equal(atomic_commit(&file, &error), OPT_IO);
    assert_non_null(strstr(error.message, "cannot be renamed"));
    atomic_abandon(&file);
}

/* A limit on the size of files stands in for a full disk: writes beyond it fail. */
static void test_disk_full(void **state)
{
    (void)state;
    const char *path = scratch_path("file");
    scratch_write(path, "old", 3);
    struct rlimit was;
    getrlimit(RLIMIT_FSIZE, &was);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (size_t size = 100; size <= 100000; size *= 10) { /* in the buffer, and beyond it */
        atomic_file file;
        opt_error error = {0};
        assert_int_equal(atomic_open(&file, path, &error), OPT_OK);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){50, was.rlim_max});
        for (size_t i = 0; i < size; i++) fputc('x', file.stream);
        assert_int_equal(atomic_sync(&file, &error), OPT_IO);
        setrlimit(RLIMIT_FSIZE, &was);
        assert_non_null(strstr(error.message, "cannot be written"));
        atomic_abandon(&file);
        expect_content(path, "old");
        assert_false(scratch_exists(scratch_path("file.new")));
    }
    signal(SIGXFSZ, handler);
}

static void test_digest(void **state)
{
    (void)state;
    const char *path = scratch_path("digest");
    char digest[33], other[33];
    uint64_t size;
    opt_error error = {0};
    scratch_write(path, "", 0);
    assert_int_equal(file_digest(path, digest, &size, &error), OPT_OK);
    assert_string_equal(digest, "99aa06d3014798d86001c324468d497f"); /* published, of no bytes */
    assert_int_equal(size, 0);
    enum { N = 700001 };
    unsigned char *bytes = calloc(N, 1);
    scratch_write(path, bytes, N);
    assert_int_equal(file_digest(path, digest, &size, &error), OPT_OK);
    assert_int_equal(size, N);
    bytes[N - 1] = 1;
    scratch_write(path, bytes, N);
    assert_int_equal(file_digest(path, other, &size, &error), OPT_OK);
    assert_string_not_equal(digest, other);
    free(bytes);
    assert_int_equal(file_digest(scratch_path("absent"), digest, &size, &error), OPT_NO_FILE);
    assert_int_equal(file_digest(scratch_folder, digest, &size, &error), OPT_NO_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),       cmocka_unit_test(test_abandon),
        cmocka_unit_test(test_cannot_open), cmocka_unit_test(test_cannot_rename),
        cmocka_unit_test(test_disk_full),   cmocka_unit_test(test_digest),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
