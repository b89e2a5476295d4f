/* Sound files are read, every class of malformed file is refused, and what is written comes
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "files/safetensors.h"
#include "scratch.h"

/* A file of this JSON text and data_bytes bytes 0, 1, 2, ... */
static const char *make_file(const char *header, size_t data_bytes)
{
    size_t length = strlen(header), size = 8 + length + data_bytes;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++) bytes[8 + length + i] = (unsigned char)i;
    const char *path = scratch_path("file");
    scratch_write(path, bytes, size);
    free(bytes);
    return path;
}

static void expect_refused(const char *path, const char *message)
{
    opt_error error = {0};
    st_file *file = st_open(path, &error);
    if (file) print_error("accepted, expected: %s\n", message);
    assert_null(file);
    assert_int_equal(error.status, OPT_BAD_FILE);
    if (!strstr(error.message, message) || !strstr(error.message, path))
        fail_msg("\"%s\" lacks \"%s\" or the path", error.message, message);
    assert_null(strchr(error.message, '\n'));
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static const struct {
    const char *header;
    size_t data;
} good[] = {
    {"{}", 0},
    {"{}        ", 0},
    {"{\"__metadata__\":{}}", 0},
    {"{" A "}", 8},
    {"{" A "}   ", 8}, /* misaligned data */
    {"{" A ",\"b\":{\"shape\":[],\"dtype\":\"U8\",\"data_offsets\":[8,9]}}", 9},
    {"{\"b\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[8,16]}," A "}", 16},
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 8},
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}", 8},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]}}", 2},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        opt_error error = {0};
        st_file *file = st_open(make_file(good[i].header, good[i].data), &error);
        if (!file) fail_msg("%s: %s", good[i].header, error.message);
        const st_tensor *a = st_find(file, "a");
        if (a && a->type == ST_F32) {
            unsigned char bytes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
            assert_int_equal((uintptr_t)a->data % 4, 0);
            assert_memory_equal(a->data, bytes, 8);
            assert_ptr_equal(st_floats(file, "a", 1, (size_t[]){2}, NULL), a->data);
        }
        for (int k = 0; k < st_count(file); k++)
            assert_ptr_equal(st_find(file, st_get(file, k)->name), st_get(file, k));
        assert_null(st_find(file, "nothing"));
        assert_false(st_checksum_holds(file));
        st_close(file);
    }
    st_close(NULL);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
    const char *header;
    size_t data;
    const char *message;
} malformed[] = {
    /* JSON */
    {"", 0, "a safetensors file"},
    {" {}", 0, "not a safetensors header"},
    {"[]", 0, "not a safetensors header"},
    {"{" A, 8, "not valid JSON"},
    {"{" A "}x", 8, "text after"},
    {"{" A "}{}", 8, "text after"},
    {"{" A "}\n", 8, "text after"},
    {"{\"a\\u0000\":{}}", 0, "not a safetensors header"},
    {"{\"a\":{\"b\":}}", 0, "not valid JSON"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, "object of strings"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "object of strings"},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "object of strings"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"{\"__metadata__\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"1\"}}", 0, "in the metadata twice"},
    /* entries */
    {"{\"a\":1}", 0, "expected an object of"},
    {"{\"a\":{}}", 0, "expected an object of"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "expected an object of"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":0}}", 8,
     "expected an object of"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     "expected an object of"},
    {"{" A "," A "}", 8, "expected 8"},
    {"{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
     "\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
     0, "twice"},
    /* types and shapes */
    {T("\"F16\"", "[2]", "[0,4]"), 4, "expected F32, U8 or I64"},
    {T("\"f32\"", "[2]", "[0,8]"), 8, "expected F32, U8 or I64"},
    {T("4", "[2]", "[0,8]"), 8, "no string \"dtype\""},
    {T("\"F32\"", "2", "[0,8]"), 8, "no array \"shape\""},
    {T("\"F32\"", "[-2]", "[0,8]"), 8, "not a size"},
    {T("\"F32\"", "[1.5]", "[0,6]"), 6, "not a size"},
    {T("\"F32\"", "[\"2\"]", "[0,8]"), 8, "not a size"},
    {T("\"F32\"", "[1e400]", "[0,8]"), 8, "not a size"},
    {T("\"F32\"", "[9007199254740993]", "[0,8]"), 8, "not a size"},
    {T("\"F32\"", "[4611686018427387906]", "[0,8]"), 8, "not a size"},
    {T("\"F32\"", "[999999999999999,999999999999999]", "[0,8]"), 8, "too large"},
    {T("\"U8\"", "[4294967296,4294967297,4294967296]", "[0,0]"), 0, "too large"},
    {T("\"I64\"", "[274877906944,8388608]", "[0,8]"), 8, "too large"},
    {T("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "more than 8 dimensions"},
    /* places */
    {T("\"F32\"", "[2]", "[0]"), 8, "not two sizes"},
    {T("\"F32\"", "[2]", "[0,8,8]"), 8, "not two sizes"},
    {T("\"F32\"", "[2]", "{\"a\":0,\"b\":8}"), 8, "not two sizes"},
    {T("\"F32\"", "[2]", "[-8,0]"), 8, "not two sizes"},
    {T("\"F32\"", "[2]", "[0,1e20]"), 8, "not two sizes"},
    {T("\"F32\"", "[2]", "[8,0]"), 8, "expected 8 bytes"},
    {T("\"F32\"", "[2]", "[0,7]"), 7, "expected 8 bytes"},
    {T("\"F32\"", "[3]", "[0,8]"), 8, "expected 12 bytes"},
    {T("\"F32\"", "[2]", "[4,12]"), 12, "start at 4, expected 0"},
    {"{" A "}", 9, "9 bytes of data"},
    {"{" A "}", 7, "truncated"},
    {"{}", 1, "1 bytes of data"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "expected 8"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9,13]}}", 13, "expected 8"},
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}", 8, "expected 8"},
};

static void test_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        expect_refused(make_file(malformed[i].header, malformed[i].data), malformed[i].message);
}

static void test_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 200000 };
    char *header = malloc(DEPTH + 10);
    strcpy(header, "{\"a\":");
    memset(header + 5, '[', DEPTH);
    header[DEPTH + 5] = '\0';
    expect_refused(make_file(header, 0), "not valid JSON");
    free(header);
}

static void test_header_length(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3,          1000,      16 << 20,   (16 << 20) + 1,
                                       UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        unsigned char bytes[10] = {0};
        for (int b = 0; b < 8; b++) bytes[b] = (unsigned char)(lengths[i] >> (8 * b));
        memcpy(bytes + 8, "{}", 2);
        const char *path = scratch_path("file");
        scratch_write(path, bytes, sizeof(bytes));
        expect_refused(path, "a header of");
    }
}

static void test_no_file(void **state)
{
    (void)state;
    opt_error error = {0};
    assert_null(st_open(scratch_path("absent"), &error));
    assert_int_equal(error.status, OPT_NO_FILE);
    assert_null(st_open(scratch_folder, &error));
    assert_int_equal(error.status, OPT_NO_FILE);
    assert_null(st_open("/dev/zero", &error));
    assert_int_equal(error.status, OPT_NO_FILE);
}

/* Names from a file reach a message; it must stay one line. */
static void test_message_is_one_line(void **state)
{
    (void)state;
    expect_refused(make_file("{\"a\\n\\u001b[31m\":{}}", 0), "a??[31m");
}

static void write_sample(const char *path, int with_checksum, size_t floats)
{
    opt_error error = {0};
    st_writer *w = st_writer_new();
    float *data = malloc((floats + 1) * sizeof(float));
    for (size_t i = 0; i < floats; i++) data[i] = (float)i - 2.5f;
    int64_t numbers[3] = {INT64_MIN, -1, INT64_MAX};
    st_writer_metadata(w, "note", "quotes \" and \\ and \n and \"checksum\":\"0123");
    st_writer_metadata(w, "number", "1e-4");
    st_writer_tensor(w, "bytes", ST_U8, 1, (size_t[]){3});
    st_writer_tensor(w, "floats", ST_F32, 2, (size_t[]){floats / 4, 4});
    st_writer_tensor(w, "scalar", ST_F32, 0, NULL);
    st_writer_tensor(w, "none", ST_F32, 2, (size_t[]){0, 5});
    st_writer_tensor(w, "numbers", ST_I64, 1, (size_t[]){3});
    assert_int_equal(st_writer_begin(w, path, with_checksum, &error), OPT_OK);
    assert_int_equal(st_writer_data(w, "abc", 3, &error), OPT_OK);
    assert_int_equal(st_writer_data(w, data, floats / 2 * sizeof(float), &error), OPT_OK);
    assert_int_equal(
        st_writer_data(w, data + floats / 2, (floats - floats / 2) * sizeof(float), &error),
        OPT_OK);
    assert_int_equal(st_writer_data(w, &(float){7}, sizeof(float), &error), OPT_OK);
    assert_int_equal(st_writer_data(w, numbers, sizeof(numbers), &error), OPT_OK);
    assert_int_equal(st_writer_end(w, &error), OPT_OK);
    st_writer_free(w);
    free(data);
}

/* Small files are read and large ones mapped: both sizes. */
static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = {8, 3 << 20};
    for (int checksum = 0; checksum < 2; checksum++)
        for (int s = 0; s < 2; s++) {
            const char *path = scratch_path("sample");
            opt_error error = {0};
            write_sample(path, checksum, sizes[s]);
            assert_false(scratch_exists(scratch_path("sample.new")));
            st_file *file = st_open(path, &error);
            if (!file) fail_msg("%s", error.message);
            assert_int_equal(st_count(file), 5);
            assert_string_equal(st_path(file), path);
            assert_string_equal(st_metadata(file, "note"),
                                "quotes \" and \\ and \n and \"checksum\":\"0123");
            assert_int_equal(st_checksum_holds(file), checksum);
            assert_memory_equal(st_find(file, "bytes")->data, "abc", 3);
            const float *data = st_floats(file, "floats", 2, (size_t[]){sizes[s] / 4, 4}, &error);
            assert_non_null(data);
            for (size_t i = 0; i < sizes[s]; i++)
                if (data[i] != (float)i - 2.5f) fail_msg("floats[%zu] is %g", i, data[i]);
            assert_true(*st_floats(file, "scalar", 0, NULL, &error) == 7);
            assert_non_null(st_floats(file, "none", 2, (size_t[]){0, 5}, &error));
            const st_tensor *numbers = st_find(file, "numbers");
            assert_int_equal((uintptr_t)numbers->data % 8, 0);
            assert_true(((const int64_t *)numbers->data)[2] == INT64_MAX);
            st_close(file);
        }
}

static void test_access_errors(void **state)
{
    (void)state;
    const char *path = scratch_path("sample");
    opt_error error = {0};
    double value;
    write_sample(path, 0, 8);
    st_file *file = st_open(path, &error);
    assert_null(st_floats(file, "floats", 1, (size_t[]){8}, &error));
    assert_int_equal(error.status, OPT_BAD_FILE);
    assert_non_null(strstr(error.message, "\"floats\": found F32 [2, 4], expected F32 [8]"));
    assert_null(st_floats(file, "absent", 1, (size_t[]){8}, &error));
    assert_non_null(strstr(error.message, "found nothing, expected F32 [8]"));
    assert_null(st_floats(file, "bytes", 1, (size_t[]){3}, &error));
    assert_non_null(strstr(error.message, "found U8 [3], expected F32 [3]"));
    assert_int_equal(st_number(file, "number", NAN, 0, 1, &value, &error), OPT_OK);
    assert_true(value == 1e-4);
    assert_int_equal(st_number(file, "absent", 5, 0, 1, &value, &error), OPT_OK);
    assert_true(value == 5);
    assert_int_equal(st_number(file, "absent", NAN, 0, 1, &value, &error), OPT_BAD_FILE);
    assert_int_equal(st_number(file, "note", 5, 0, 1, &value, &error), OPT_BAD_FILE);
    assert_int_equal(st_number(file, "number", 5, 1, 2, &value, &error), OPT_BAD_FILE);
    st_close(file);
}

/* Cut anywhere, the file is refused; with any bit flipped, it is refused or its checksum fails. */
static void test_truncation_and_flips(void **state)
{
    (void)state;
    size_t size;
    write_sample(scratch_path("sample"), 1, 8);
    unsigned char *bytes = scratch_read(scratch_path("sample"), &size);
    const char *path = scratch_path("damaged");
    for (size_t cut = 0; cut < size; cut++) {
        opt_error error = {0};
        scratch_write(path, bytes, cut);
        assert_null(st_open(path, &error));
        assert_int_equal(error.status, OPT_BAD_FILE);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        opt_error error = {0};
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        scratch_write(path, bytes, size);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        st_file *file = st_open(path, &error);
        if (file && st_checksum_holds(file)) fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
        if (!file) assert_int_equal(error.status, OPT_BAD_FILE);
        st_close(file);
    }
    free(bytes);
}

/* A writer that is used wrongly, or fails, leaves the old file alone and nothing behind. */
static void test_writer_misuse(void **state)
{
    (void)state;
    const char *path = scratch_path("kept");
    scratch_write(path, "old", 3);
    for (int what = 0; what < 5; what++) {
        opt_error error = {0};
        st_writer *w = st_writer_new();
        st_writer_tensor(w, "a", ST_F32, 1, (size_t[]){2});
        if (what == 2) st_writer_tensor(w, "a", ST_F32, 1, (size_t[]){2});
        if (what == 3) st_writer_tensor(w, "b", ST_F32, 2, (size_t[]){SIZE_MAX / 2, 3});
        if (what == 4) st_writer_metadata(w, "checksum", "mine");
        opt_status begun = st_writer_begin(w, path, 1, &error);
        assert_int_equal(begun, what < 2 ? OPT_OK : OPT_BAD_OPTION);
        float data[3] = {1, 2, 3};
        if (what == 0) { /* too little */
            assert_int_equal(st_writer_data(w, data, 4, &error), OPT_OK);
            assert_int_equal(st_writer_end(w, &error), OPT_BAD_OPTION);
        }
        if (what == 1) /* too much */
            assert_int_equal(st_writer_data(w, data, 12, &error), OPT_BAD_OPTION);
        st_writer_free(w);
        size_t size;
        unsigned char *bytes = scratch_read(path, &size);
        assert_int_equal(size, 3);
        free(bytes);
        assert_false(scratch_exists(scratch_path("kept.new")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_message_is_one_line),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_access_errors),
        cmocka_unit_test(test_truncation_and_flips),
        cmocka_unit_test(test_writer_misuse),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
