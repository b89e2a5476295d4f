/* Mutated model files, traces and checkpoints: each is read or refused with a clean error. The
 * mutations are drawn from a seed, so a failure can be had again; FUZZ=n sets their number
 * (default 200; tests/run.sh has that of the long version), FUZZ_FIRST=n starts at the n-th. Meant
 * for a build with sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <cjson/cJSON.h>
#include <xxhash.h>
#include "hrnn/hrnn_model.h"
#include "base/random_stream.h"
#include "hrnn/rule_hrnn.h"
#include "scratch.h"

/* --- drawing --- */

static random_stream stream;

static size_t draw(size_t below) { return random_stream_u32(&stream) % (below ? below : 1); }

/* --- a file under mutation --- */

typedef struct {
    unsigned char *bytes;
    size_t size;
} blob;

static void resize(blob *b, size_t size)
{
    b->bytes = realloc(b->bytes, size + 1);
    assert_non_null(b->bytes);
    if (size > b->size) memset(b->bytes + b->size, 0, size - b->size);
    b->size = size;
}

/* Removes `out` bytes at `at` and makes room for `in`. */
static void splice(blob *b, size_t at, size_t out, size_t in)
{
    size_t rest = b->size - at - out;
    unsigned char *tail = malloc(rest + 1);
    memcpy(tail, b->bytes + at + out, rest);
    resize(b, at + in + rest);
    memcpy(b->bytes + at + in, tail, rest);
    free(tail);
}

static size_t header_size(const blob *b)
{
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--) size = size << 8 | b->bytes[i];
    return (size_t)size;
}

static void set_header_size(blob *b, uint64_t size)
{
    for (int i = 0; i < 8; i++) b->bytes[i] = (unsigned char)(size >> (8 * i));
}

/* --- mutations of bytes, mostly in the header --- */

static void mutate_bytes(blob *b)
{
    static const char *const tokens[] = {
        "{", "}", "[",       "]",  ",",  ":",       "\"",     "\\",   "null",  "1e999", "-1",
        "0", "9", "\\u0000", "\n", "{}", "\"F32\"", "[0,0],", "\xff", "[[[[[", "1e15"};
    size_t header = header_size(b) + 8;
    size_t reach = draw(4) && header > 8 && header < b->size ? header : b->size;
    size_t at = draw(reach), length = 1 + draw(draw(2) ? 4 : 200);
    if (length > b->size - at) length = b->size - at;
    const char *token = tokens[draw(sizeof(tokens) / sizeof(tokens[0]))];
    switch (draw(8)) {
    case 0: b->bytes[at] ^= (unsigned char)(1 << draw(8)); break;
    case 1: b->bytes[at] = (unsigned char)draw(256); break;
    case 2: splice(b, at, length, 0); break;
    case 3: /* doubled */
        splice(b, at, 0, length);
        memmove(b->bytes + at, b->bytes + at + length, length);
        break;
    case 4:
        splice(b, at, length < strlen(token) ? length : 0, strlen(token));
        memcpy(b->bytes + at, token, strlen(token));
        break;
    case 5: resize(b, draw(b->size + 1)); break;
    case 6: resize(b, b->size + 1 + draw(100)); break;
    default: {
        uint64_t sizes[] = {0,
                            1,
                            2,
                            b->size - 8,
                            b->size - 7,
                            header,
                            header - 7,
                            UINT64_MAX,
                            UINT64_MAX - 8,
                            (uint64_t)1 << 63,
                            draw(b->size)};
        set_header_size(b, sizes[draw(sizeof(sizes) / sizeof(sizes[0]))]);
    }
    }
    if (b->size < 8) return;
    /* Often keep the length right, so that the JSON behind it is what gets read. */
    if (draw(2) && b->size >= header) set_header_size(b, header - 8);
}

/* --- mutations of the header's structure --- */

static cJSON *any_child(cJSON *parent)
{
    return cJSON_GetArrayItem(parent, (int)draw((size_t)cJSON_GetArraySize(parent)));
}

/* value may be the string that is replaced. */
static void set_text(char **text, const char *value)
{
    char *copy = cJSON_malloc(strlen(value) + 1);
    assert_non_null(copy);
    strcpy(copy, value);
    cJSON_free(*text);
    *text = copy;
}

static double odd_number(double was)
{
    const double odd[] = {0,
                          -1,
                          1,
                          was + 1,
                          was - 1,
                          was * 2,
                          was + 4,
                          1.5,
                          1e15,
                          9007199254740992.0,
                          18446744073709551616.0,
                          1e300,
                          4611686018427387904.0,
                          (double)draw(100000)};
    return odd[draw(sizeof(odd) / sizeof(odd[0]))];
}

static void mutate_numbers(cJSON *array)
{
    if (!array) return;
    cJSON *item = any_child(array);
    if (item && cJSON_IsNumber(item)) cJSON_SetNumberValue(item, odd_number(item->valuedouble));
    if (!draw(4)) cJSON_AddItemToArray(array, cJSON_CreateNumber(odd_number(8)));
    if (!draw(6) && array->child) cJSON_DeleteItemFromArray(array, 0);
}

static void mutate_metadata(cJSON *metadata)
{
    static const char *const values[] = {"",
                                         "0",
                                         "1",
                                         "-1",
                                         "nan",
                                         "inf",
                                         "1e-400",
                                         "1e400",
                                         "attention",
                                         "opt-state-1",
                                         "hrnn-1",
                                         "hrnn-2",
                                         "hrnn-3",
                                         "a,,b",
                                         "x\ny",
                                         "0x10",
                                         " 1",
                                         "products",
                                         "products,",
                                         ",",
                                         "18446744073709551615",
                                         "hrnn-trace-1",
                                         "1e9",
                                         "33",
                                         "hrnn"};
    cJSON *item = any_child(metadata);
    if (!item) return;
    const char *value = values[draw(sizeof(values) / sizeof(values[0]))];
    switch (draw(5)) {
    case 0: cJSON_DeleteItemFromObjectCaseSensitive(metadata, item->string); break;
    case 1: set_text(&item->string, value); break;
    case 2: cJSON_AddItemToObject(metadata, item->string, cJSON_CreateNumber(1)); break;
    default: set_text(&item->valuestring, value); break;
    }
}

static void mutate_tensor(cJSON *root, cJSON *tensor)
{
    static const char *const dtypes[] = {"F32", "U8", "I64", "F16", "BF16", "", "f32"};
    cJSON *dtype = cJSON_GetObjectItem(tensor, "dtype"), *other = any_child(root);
    switch (draw(8)) {
    case 0:
        if (cJSON_IsString(dtype)) set_text(&dtype->valuestring, dtypes[draw(7)]);
        break;
    case 1:
    case 2: mutate_numbers(cJSON_GetObjectItem(tensor, "shape")); break;
    case 3: mutate_numbers(cJSON_GetObjectItem(tensor, "data_offsets")); break;
    case 4: /* another tensor's entry under this name */
        cJSON_ReplaceItemInObjectCaseSensitive(root, tensor->string, cJSON_Duplicate(other, 1));
        break;
    case 5: set_text(&tensor->string, other->string); break;
    case 6: cJSON_DetachItemViaPointer(root, tensor), cJSON_Delete(tensor); break;
    default: cJSON_AddStringToObject(tensor, draw(2) ? "dtype" : "extra", "F32"); break;
    }
}

/* Lays the data out anew for the shapes and types as they are now, so that more gets beyond the
 * first checks. Returns their size. */
static size_t retile(cJSON *root)
{
    size_t at = 0;
    cJSON *tensor, *size;
    cJSON_ArrayForEach(tensor, root)
    {
        cJSON *offsets = cJSON_GetObjectItem(tensor, "data_offsets");
        const char *dtype = cJSON_GetStringValue(cJSON_GetObjectItem(tensor, "dtype"));
        if (!offsets || !dtype) continue;
        double bytes = dtype[0] == 'U' ? 1 : dtype[0] == 'I' ? 8 : 4;
        cJSON_ArrayForEach(size, cJSON_GetObjectItem(tensor, "shape")) bytes *= size->valuedouble;
        if (!(bytes >= 0 && bytes < 1e6)) continue;
        double extent[2] = {(double)at, (double)at + bytes};
        at += (size_t)bytes;
        cJSON_ReplaceItemInObject(tensor, "data_offsets", cJSON_CreateDoubleArray(extent, 2));
    }
    return at;
}

static void mutate_structure(blob *b)
{
    size_t header = header_size(b), length, data = b->size - 8 - header;
    cJSON *root = cJSON_ParseWithLength((char *)b->bytes + 8, header);
    assert_non_null(root);
    for (size_t i = 0, n = 1 + draw(3); i < n; i++) {
        cJSON *item = any_child(root);
        if (!item) break;
        if (strcmp(item->string, "__metadata__") == 0 || !draw(3))
            mutate_metadata(cJSON_GetObjectItem(root, "__metadata__"));
        else
            mutate_tensor(root, item);
    }
    if (draw(2)) data = retile(root);
    char *json = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    assert_non_null(json);
    length = strlen(json);
    splice(b, 8, header, length);
    memcpy(b->bytes + 8, json, length);
    set_header_size(b, length);
    cJSON_free(json);
    resize(b, 8 + length + data + (draw(8) ? 0 : draw(64)));
}

/* So that a mutated checkpoint is read beyond its checksum. */
static void mend_checksum(blob *b)
{
    static const char key[] = "\"checksum\":\"";
    if (b->size < 8 + sizeof(key) + 32) return;
    for (size_t at = 8; at + sizeof(key) - 1 + 32 <= b->size; at++) {
        if (memcmp(b->bytes + at, key, sizeof(key) - 1) != 0) continue;
        char digits[33];
        at += sizeof(key) - 1;
        memset(b->bytes + at, '0', 32);
        XXH128_hash_t hash = XXH3_128bits(b->bytes, b->size);
        snprintf(digits, sizeof(digits), "%016llx%016llx", (unsigned long long)hash.high64,
                 (unsigned long long)hash.low64);
        memcpy(b->bytes + at, digits, 32);
        return;
    }
}

/* --- reading --- */

static void check_error(const opt_error *error, const char *path)
{
    assert_int_not_equal(error->status, OPT_OK);
    assert_int_not_equal(error->status, OPT_NO_FILE);
    if (!strstr(error->message, path) || strchr(error->message, '\n'))
        fail_msg("status %d, message \"%s\"", (int)error->status, error->message);
}

/* Touches all that a reader may: a sanitizer sees what lies outside. */
static unsigned touch(const st_file *file)
{
    unsigned sum = (unsigned)st_checksum_holds(file);
    double number;
    for (int i = 0; i < st_count(file); i++) {
        const st_tensor *t = st_get(file, i);
        for (size_t at = 0; at < t->bytes; at++) sum += ((const unsigned char *)t->data)[at];
        assert_ptr_equal(st_find(file, t->name), t);
        if (t->type == ST_F32)
            assert_ptr_equal(st_floats(file, t->name, t->dims, t->shape, NULL), t->data);
    }
    static const char *const keys[] = {"format", "min_log_lr", "initial_lr", "without", "steps"};
    for (int i = 0; i < 5; i++) st_number(file, keys[i], 0, -1e9, 1e9, &number, NULL);
    return sum;
}

static unsigned
    counts[3]; /* files that could be opened, models that were read, states that were loaded */

static void read_model(const char *path, const char *prefix)
{
    opt_error error = {0};
    st_file *file = st_open(path, &error);
    if (!file) {
        check_error(&error, path);
        return;
    }
    counts[0]++;
    touch(file);
    hrnn_model *model = hrnn_model_read(file, prefix, &error);
    if (model) {
        float param[5] = {1, 2, 3, 4, 5}, grad[5] = {1, -1, 0, 1, 1};
        opt_tensor tensor = {"w", param, grad, 5, 1, 0, 1};
        opt_options options = opt_default_options("hrnn");
        options.rate = 1e-3f;
        counts[1]++;
        optimizer *opt = opt_create_with_model(&options, model, &tensor, 1, &error);
        assert_non_null(opt);
        opt_step(opt, NAN, 1, NULL);
        opt_free(opt);
    } else {
        check_error(&error, path);
    }
    hrnn_model_free(model);
    st_close(file);
}

static void read_model_file(const char *path)
{
    opt_error error = {0};
    hrnn_model *model = hrnn_model_load(path, &error);
    if (!model) check_error(&error, path);
    hrnn_model_free(model);
}

/* --- checkpoints to mutate --- */

static float params[2][70], grads[2][70];
static const opt_tensor tensors[2] = {{"0.weights", params[0], grads[0], 70, 1, 0, 1},
                                      {"0.biases", params[1], grads[1], 3, 1, 0, 1}};

static optimizer *make_state(const char *rule)
{
    opt_options options = opt_default_options(rule);
    opt_error error = {0};
    options.rate = 1e-3f;
    st_file *file = st_open("tests/golden/trace-many-tensors.safetensors", &error); /* attention */
    hrnn_model *model = file ? hrnn_model_read(file, "model.", &error) : NULL;
    if (!model) fail_msg("%s", error.message);
    optimizer *opt = opt_create_from(&options, model, tensors, 2, &error);
    if (!opt) fail_msg("%s", error.message);
    hrnn_model_free(model);
    st_close(file);
    return opt;
}

static void read_state(const char *path, const char *rule)
{
    opt_error error = {0};
    optimizer *opt = make_state(rule);
    char kept[10] = "unchanged";
    opt_blob host = {"kept", kept, 10};
    opt_note note = {"images", ""};
    opt_checkpoint *c = opt_checkpoint_open(path, &error);
    if (!c) {
        check_error(&error, path);
        opt_free(opt);
        return;
    }
    if (opt_read_notes(c, &note, 1, &error)) check_error(&error, path);
    error = (opt_error){0};
    if (opt_read_blobs(c, &host, 1, &error)) {
        check_error(&error, path);
        assert_string_equal(kept, "unchanged");
    }
    error = (opt_error){0};
    if (opt_load(opt, c, &error)) {
        check_error(&error, path);
        assert_int_equal(opt_steps(opt), 0);
    } else {
        counts[2]++;
        opt_step(opt, NAN, 1, NULL);
        opt_show_true(opt);
    }
    opt_checkpoint_close(c);
    opt_free(opt);
}

static void write_state(const char *path, const char *rule)
{
    optimizer *opt = make_state(rule);
    char kept[10] = "from file";
    opt_note note = {"images", "640"};
    opt_blob host = {"kept", kept, 10};
    for (int t = 0; t < 3; t++) {
        for (int i = 0; i < 70; i++) grads[0][i] = (float)(i - 30), grads[1][i] = (float)t;
        opt_step(opt, NAN, 1, NULL);
    }
    opt_show_true(opt);
    assert_int_equal(opt_save(opt, path, &note, 1, &host, 1, NULL), OPT_OK);
    opt_free(opt);
}

/* --- the test --- */

static const struct {
    const char *path, *prefix, *rule; /* path NULL: a checkpoint of rule */
} kinds[] = {{"weights/hrnn.safetensors", "", NULL},
             {"tests/golden/trace-one-tensor.safetensors", "model.", NULL},
             {NULL, NULL, "adam"},
             {NULL, NULL, "hrnn"}};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void fuzz_one(const blob *seed, int kind, size_t index)
{
    blob b = {malloc(seed->size + 1), seed->size};
    memcpy(b.bytes, seed->bytes, seed->size);
    random_stream_start(&stream, 1, STREAM_OTHER, index);
    if (draw(3)) mutate_structure(&b);
    for (size_t i = draw(3); i > 0 && b.size >= 8; i--) mutate_bytes(&b);
    if (draw(8)) mend_checksum(&b);
    const char *path = scratch_path("mutated");
    scratch_write(path, b.bytes, b.size);
    free(b.bytes);
    if (kinds[kind].path) {
        read_model(path, kinds[kind].prefix);
        read_model_file(path);
    } else {
        read_state(path, kinds[kind].rule);
    }
}

static size_t number_from(const char *variable, size_t otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? strtoul(text, NULL, 10) : otherwise;
}

static void test_mutations(void **state)
{
    (void)state;
    blob seeds[KINDS];
    for (int kind = 0; kind < KINDS; kind++) {
        const char *path = kinds[kind].path;
        if (!path) write_state(path = scratch_path("state"), kinds[kind].rule);
        seeds[kind].bytes = scratch_read(path, &seeds[kind].size);
    }
    size_t first = number_from("FUZZ_FIRST", 0), n = number_from("FUZZ", 200);
    for (size_t i = first; i < first + n; i++) {
        if (getenv("FUZZ_FIRST")) print_message("mutation %zu\n", i);
        fuzz_one(&seeds[i % KINDS], (int)(i % KINDS), i);
    }
    print_message("%zu mutated files: %u models opened, %u models read, %u states loaded\n", n,
                  counts[0], counts[1], counts[2]);
    /* Or else the mutations are too coarse to get past the first check. */
    if (n >= 200) assert_true(counts[0] > n / 20 && counts[1] > n / 50 && counts[2] > n / 50);
    for (int kind = 0; kind < KINDS; kind++) free(seeds[kind].bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
