/* Saved, loaded into a fresh optimizer and continued, every rule goes on bit for bit; what does not
 * belong or is damaged is refused and changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include "hrnn/hrnn_model.h"
#include "hrnn/rule_hrnn.h"
#include "files/safetensors.h"
#include "scratch.h"

/* --- a small network --- */

enum { N = 4, FROZEN = 2 };
static const size_t sizes[N] = {70000, 5, 9, 64}; /* one is more than the copy buffer */
static const char *const names[N] = {"0.weights", "0.biases", "1.weights", "2.weights"};

typedef struct {
    opt_tensor tensors[N];
} network;

static void make_network(network *net)
{
    for (int k = 0; k < N; k++) {
        float *param = malloc(sizes[k] * sizeof(float)), *grad = calloc(sizes[k], sizeof(float));
        for (size_t i = 0; i < sizes[k]; i++) param[i] = sinf((float)i * 0.7f + (float)k) * 0.5f;
        net->tensors[k] = (opt_tensor){
            names[k], param, grad, sizes[k], -0.25f, k ? 0 : 5e-4f, k == FROZEN ? 0 : 1};
    }
}

static void free_network(network *net)
{
    for (int k = 0; k < N; k++) {
        free(net->tensors[k].param);
        free(net->tensors[k].grad);
    }
}

static void run(optimizer *opt, network *net, int from, int to)
{
    for (int t = from; t <= to; t++) {
        for (int k = 0; k < N; k++)
            for (size_t i = 0; i < sizes[k]; i++)
                net->tensors[k].grad[i] = sinf((float)i * 12.9898f + (float)t * 78.233f) +
                                          0.3f * net->tensors[k].param[i];
        opt_step(opt, 3 / (float)t, t < 5 ? 0.5f : 1, NULL);
    }
}

/* --- rows: the rules, and hrnn with a model that has attention --- */

static const struct {
    const char *rule,
        *golden; /* a file with a model, "model." before its names; NULL: the shipped one */
    float rate;
    int compact;
} rows[] = {{"sgd", NULL, 0.01f, 0},
            {"adam", NULL, 0.01f, 0},
            {"rmsprop", NULL, 0.003f, 0},
            {"hrnn", NULL, 1e-3f, 0},
            {"hrnn", "tests/golden/trace-one-tensor.safetensors", 1e-3f, 0},
            {"hrnn", "tests/golden/trace-many-tensors.safetensors", 1e-3f, 0},
            {"hrnn", NULL, 1e-3f, 1},
            {"hrnn", "tests/golden/trace-many-tensors.safetensors", 1e-3f, 1},
            {"hrnn", "tests/golden/trace-horizon.safetensors", 1e-3f, 0},
            {"hrnn", "tests/golden/trace-horizon.safetensors", 1e-3f, 1}};
enum {
    SGD,
    ADAM,
    HRNN = 3,
    ATTENTION = 5,
    COMPACT,
    COMPACT_ATTENTION,
    HORIZON,
    COMPACT_HORIZON,
    ROWS
};
static_assert(ROWS == sizeof(rows) / sizeof(rows[0]), "a name a row");

static optimizer *create_with(int row, const opt_tensor *tensors, int n)
{
    opt_error error = {0};
    opt_options options = opt_default_options(rows[row].rule);
    options.rate = rows[row].rate;
    options.compact = rows[row].compact;
    options.model = "weights/hrnn.safetensors";
    optimizer *opt;
    if (rows[row].golden) {
        st_file *file = st_open(rows[row].golden, &error);
        hrnn_model *model = file ? hrnn_model_read(file, "model.", &error) : NULL;
        opt = model ? opt_create_with_model(&options, model, tensors, n, &error) : NULL;
        hrnn_model_free(model);
        st_close(file);
    } else {
        opt = opt_create(&options, tensors, n, &error);
    }
    if (!opt) fail_msg("row %d: %s", row, error.message);
    opt_set_horizon(opt, 17 + ((uint64_t)3 << 20));
    return opt;
}

static optimizer *create(int row, const network *net) { return create_with(row, net->tensors, N); }

static void save(optimizer *opt, const char *path)
{
    opt_error error = {0};
    opt_note note = {"images", "128000"};
    opt_blob blob = {"offsets", "0123456789", 10};
    if (opt_save(opt, path, &note, 1, &blob, 1, &error)) fail_msg("%s", error.message);
}

static opt_status load(optimizer *opt, const char *path, opt_error *error)
{
    opt_error own = {0};
    if (!error) error = &own;
    opt_checkpoint *c = opt_checkpoint_open(path, error);
    const opt_status status = c ? opt_load(opt, c, error) : error->status;
    opt_checkpoint_close(c);
    return status;
}

static void copy_params(network *to, const network *from)
{
    for (int k = 0; k < N; k++)
        memcpy(to->tensors[k].param, from->tensors[k].param, sizes[k] * sizeof(float));
}

static void expect_equal(const network *a, const network *b)
{
    for (int k = 0; k < N; k++)
        assert_memory_equal(a->tensors[k].param, b->tensors[k].param, sizes[k] * sizeof(float));
}

static void expect_same_file(const char *name, const char *other)
{
    size_t size, size_other;
    unsigned char *a = scratch_read(scratch_path(name), &size),
                  *b = scratch_read(scratch_path(other), &size_other);
    assert_int_equal(size, size_other);
    assert_memory_equal(a, b, size);
    free(a);
    free(b);
}

static void test_resume(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network straight, before, after;
        make_network(&straight);
        make_network(&before);
        make_network(&after);
        optimizer *opt = create(row, &straight);
        run(opt, &straight, 1, 12);
        opt_show_true(opt);

        optimizer *first = create(row, &before);
        run(first, &before, 1, 7);
        opt_show_true(first);
        save(first, scratch_path("state"));
        copy_params(&after, &before);
        opt_show_attended(first); /* and a save does not disturb the run that it was made from */
        run(first, &before, 8, 12);
        opt_show_true(first);
        expect_equal(&straight, &before);

        optimizer *second = create(row, &after);
        char offsets[10] = {0};
        opt_blob blobs[2] = {{"offsets", offsets, 10}, {"absent", offsets, 3}};
        opt_error error = {0};
        opt_checkpoint *c = opt_checkpoint_open(scratch_path("state"), &error);
        if (!c || opt_read_blobs(c, blobs, 2, &error) || opt_load(second, c, &error))
            fail_msg("%s", error.message);
        opt_checkpoint_close(c);
        assert_int_equal(opt_steps(second), 7);
        assert_memory_equal(offsets, "0123456789", 10);
        run(second, &after, 8, 12);
        opt_show_true(second);
        expect_equal(&straight, &after);
        assert_int_equal(opt_steps(second), 12);

        save(opt, scratch_path("state"));
        save(second, scratch_path("state2"));
        expect_same_file("state", "state2");
        opt_free(opt);
        opt_free(first);
        opt_free(second);
        free_network(&straight);
        free_network(&before);
        free_network(&after);
    }
}

/* Saving while param holds φ stores the same as while it holds θ. */
static void check_save_at_attended_params(int row)
{
    network net;
    make_network(&net);
    optimizer *opt = create(row, &net);
    run(opt, &net, 1, 3);
    save(opt, scratch_path("state"));
    float attended = net.tensors[0].param[0];
    opt_show_true(opt);
    assert_true(net.tensors[0].param[0] != attended);
    save(opt, scratch_path("state2"));
    expect_same_file("state", "state2");
    opt_free(opt);
    free_network(&net);
}

static void test_save_at_attended_params(void **state)
{
    (void)state;
    check_save_at_attended_params(ATTENTION);
    check_save_at_attended_params(COMPACT_ATTENTION);
}

/* Goes on with the checkpoint "state" of `from`, whose param holds θ. */
static optimizer *go_on(int row, network *net, const network *from)
{
    opt_error error = {0};
    make_network(net);
    copy_params(net, from);
    optimizer *opt = create(row, net);
    if (load(opt, scratch_path("state"), &error)) fail_msg("%s", error.message);
    return opt;
}

/* A compact state goes on as a full one, from the same numbers, and comes back from there
 * unchanged. */
static void check_compact_and_back(int full, int compact)
{
    network net, here, back;
    make_network(&net);
    optimizer *opt = create(compact, &net);
    run(opt, &net, 1, 7);
    opt_show_true(opt);
    save(opt, scratch_path("state"));
    optimizer *there = go_on(full, &here, &net);
    save(there, scratch_path("state2"));
    expect_same_file("state", "state2");
    optimizer *again = go_on(compact, &back, &net);
    save(again, scratch_path("state2"));
    expect_same_file("state", "state2");
    opt_show_attended(opt);
    run(opt, &net, 8, 9);
    run(there, &here, 8, 9);
    run(again, &back, 8, 9);
    expect_equal(&net, &back);
    for (int k = 0; k < N; k++)
        for (size_t i = 0; i < sizes[k]; i++)
            assert_true(fabsf(here.tensors[k].param[i] - net.tensors[k].param[i]) < 1e-4f);
    opt_free(opt);
    opt_free(there);
    opt_free(again);
    free_network(&net);
    free_network(&here);
    free_network(&back);
}

static void test_compact_and_back(void **state)
{
    (void)state;
    check_compact_and_back(HRNN, COMPACT);
    check_compact_and_back(ATTENTION, COMPACT_ATTENTION);
}

/* A note that is too long, and then none of the others is there. */
static void check_long_note(void)
{
    char value[400] = {0};
    memset(value, 'x', sizeof(value) - 1);
    st_writer *w = st_writer_new();
    opt_error error = {0};
    st_writer_metadata(w, "format", "opt-state-1");
    st_writer_metadata(w, "host.images", "5");
    st_writer_metadata(w, "host.weights", value);
    assert_int_equal(st_writer_begin(w, scratch_path("state"), 1, &error), OPT_OK);
    assert_int_equal(st_writer_end(w, &error), OPT_OK);
    st_writer_free(w);
    opt_note found[2] = {{"images", "x"}, {"weights", "x"}};
    opt_checkpoint *c = opt_checkpoint_open(scratch_path("state"), &error);
    assert_non_null(c);
    assert_int_equal(opt_read_notes(c, found, 2, &error), OPT_BAD_FILE);
    assert_string_equal(found[0].value, "");
    opt_checkpoint_close(c);
}

static void test_notes(void **state)
{
    (void)state;
    network net;
    make_network(&net);
    optimizer *opt = create(SGD, &net);
    opt_error error = {0};
    opt_note notes[3] = {{"weights", "a \"quoted\" name\n"}, {"images", "5"}, {"seed", ""}};
    assert_int_equal(opt_save(opt, scratch_path("state"), notes, 3, NULL, 0, &error), OPT_OK);
    opt_note found[4] = {{"images", "x"}, {"weights", "x"}, {"seed", "x"}, {"format", "x"}};
    opt_checkpoint *c = opt_checkpoint_open(scratch_path("state"), &error);
    assert_non_null(c);
    assert_int_equal(opt_read_notes(c, found, 4, &error), OPT_OK);
    assert_string_equal(found[0].value, "5");
    assert_string_equal(found[1].value, notes[0].value);
    assert_string_equal(found[2].value, "");
    assert_string_equal(found[3].value, ""); /* the file's own metadata are no notes */
    /* What was opened stays what it is when another takes its place. */
    strcpy(notes[1].value, "6");
    assert_int_equal(opt_save(opt, scratch_path("state"), notes, 3, NULL, 0, &error), OPT_OK);
    assert_int_equal(opt_read_notes(c, found, 4, &error), OPT_OK);
    assert_string_equal(found[0].value, "5");
    opt_checkpoint_close(c);
    check_long_note();
    assert_null(opt_checkpoint_open(scratch_path("absent"), &error));
    assert_int_equal(error.status, OPT_NO_FILE);
    assert_null(opt_checkpoint_open("weights/hrnn.safetensors", &error));
    assert_int_equal(error.status, OPT_BAD_FILE);
    opt_checkpoint_close(NULL);
    opt_free(opt);
    free_network(&net);
}

/* --- refusals --- */

/* What opt_save writes now, to see whether a failed load changed anything. */
static unsigned char *snapshot(optimizer *opt, size_t *size)
{
    save(opt, scratch_path("snapshot"));
    return scratch_read(scratch_path("snapshot"), size);
}

static void expect_refused(optimizer *opt, network *net, const char *path, opt_status status,
                           const char *message)
{
    size_t size, size_after;
    unsigned char *before = snapshot(opt, &size);
    float first = net->tensors[0].param[0];
    opt_error error = {0};
    assert_int_equal(load(opt, path, &error), status);
    assert_int_equal(error.status, status);
    if (!strstr(error.message, message) || !strstr(error.message, path))
        fail_msg("\"%s\" lacks \"%s\" or the path", error.message, message);
    assert_true(first == net->tensors[0].param[0]);
    unsigned char *after = snapshot(opt, &size_after);
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
}

static void test_mismatch(void **state)
{
    (void)state;
    network net, other;
    make_network(&net);
    make_network(&other);
    const char *path = scratch_path("state");
    optimizer *adam = create(ADAM, &net), *attention = create(ATTENTION, &net);

    optimizer *opt = create(SGD, &net);
    save(opt, path);
    opt_free(opt);
    expect_refused(adam, &net, path, OPT_MISMATCH, "optimizer sgd, expected adam");
    opt = create(ATTENTION - 1, &net);
    save(opt, path);
    opt_free(opt);
    expect_refused(attention, &net, path, OPT_MISMATCH, "belongs to model");

    static const struct {
        const char *name;
        size_t n;
        float lr_scale;
        const char *message;
    } changed[] = {{"9.weights", 64, 1, "holds no \"2.weights/"},
                   {"2.weights", 63, 1, "found F32 [63, "},
                   {"2.weights", 64, 0, "holds no \"2.weights/"}};
    optimizer *expecting[2] = {adam, attention};
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++) {
            other.tensors[3].name = changed[c].name;
            other.tensors[3].n = changed[c].n;
            other.tensors[3].lr_scale = changed[c].lr_scale;
            opt = create(i ? ATTENTION : ADAM, &other);
            save(opt, path);
            opt_free(opt);
            expect_refused(expecting[i], &net, path, OPT_MISMATCH, changed[c].message);
        }
    other.tensors[3] =
        (opt_tensor){"2.weights", other.tensors[3].param, other.tensors[3].grad, 64, 1, 0, 1};
    other.tensors[FROZEN].lr_scale = 1;
    opt = create(ADAM, &other);
    save(opt, path);
    expect_refused(adam, &net, path, OPT_MISMATCH, "of a tensor that this network does not train");
    opt_free(opt);
    expect_refused(adam, &net, scratch_path("absent"), OPT_NO_FILE, "cannot be opened");
    expect_refused(adam, &net, "weights/hrnn.safetensors", OPT_BAD_FILE,
                   "expected \"opt-state-1\"");
    opt_free(adam);
    opt_free(attention);
    free_network(&net);
    free_network(&other);
}

static void test_blob_of_another_size(void **state)
{
    (void)state;
    network net;
    make_network(&net);
    optimizer *opt = create(ADAM, &net);
    save(opt, scratch_path("state"));
    char offsets[11] = "unchanged";
    const opt_blob blob = {"offsets", offsets, 11};
    opt_error error = {0};
    opt_checkpoint *c = opt_checkpoint_open(scratch_path("state"), &error);
    assert_non_null(c);
    assert_int_equal(opt_read_blobs(c, &blob, 1, &error), OPT_MISMATCH);
    opt_checkpoint_close(c);
    assert_non_null(strstr(error.message, "found 10 bytes, expected 11"));
    assert_string_equal(offsets, "unchanged");
    opt_free(opt);
    free_network(&net);
}

/* Sound checksums over metadata that opt_save would not write. */
static void test_bad_metadata(void **state)
{
    (void)state;
    network net;
    make_network(&net);
    optimizer *opt = create(SGD, &net);
    static const char *const bad_steps[] = {"", "-1", "x", "1.5", "99999999999999999999", "7 "};
    for (size_t i = 0; i <= sizeof(bad_steps) / sizeof(bad_steps[0]); i++) {
        st_writer *w = st_writer_new();
        opt_error error = {0};
        st_writer_metadata(w, "format", "opt-state-1");
        st_writer_metadata(w, "rule", "sgd");
        if (i) st_writer_metadata(w, "steps", bad_steps[i - 1]);
        assert_int_equal(st_writer_begin(w, scratch_path("state"), 1, &error), OPT_OK);
        assert_int_equal(st_writer_end(w, &error), OPT_OK);
        st_writer_free(w);
        expect_refused(opt, &net, scratch_path("state"), OPT_BAD_FILE, "expected a whole number");
    }
    opt_free(opt);
    free_network(&net);
}

static void test_damage(void **state)
{
    (void)state;
    float param[3] = {1, 2, 3}, grad[3] = {4, 5, 6};
    opt_tensor tensor = {"w", param, grad, 3, 1, 0, 1};
    static const int damaged_rows[] = {ADAM, ATTENTION};
    for (int r = 0; r < 2; r++) {
        optimizer *opt = create_with(damaged_rows[r], &tensor, 1);
        opt_step(opt, NAN, 1, NULL);
        save(opt, scratch_path("state"));
        size_t size, size_after;
        unsigned char *bytes = scratch_read(scratch_path("state"), &size);
        unsigned char *before = snapshot(opt, &size_after);
        const char *path = scratch_path("damaged");
        for (size_t cut = 0; cut < size; cut += 1 + cut / 100) {
            scratch_write(path, bytes, cut);
            assert_int_equal(load(opt, path, NULL), OPT_BAD_FILE);
        }
        for (size_t byte = 0; byte < size; byte++) {
            bytes[byte] ^= (unsigned char)(1 << byte % 8);
            scratch_write(path, bytes, size);
            bytes[byte] ^= (unsigned char)(1 << byte % 8);
            assert_int_equal(load(opt, path, NULL), OPT_BAD_FILE);
        }
        unsigned char *after = snapshot(opt, &size);
        assert_int_equal(size, size_after);
        assert_memory_equal(before, after, size);
        assert_int_equal(opt_steps(opt), 1);
        free(before);
        free(after);
        free(bytes);
        opt_free(opt);
    }
}

/* --- saving that fails --- */

static void test_disk_full(void **state)
{
    (void)state;
    network net;
    make_network(&net);
    const char *path = scratch_path("state");
    optimizer *opt = create(ADAM, &net);
    struct rlimit was;
    getrlimit(RLIMIT_FSIZE, &was);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    save(opt, path);
    size_t size, size_after;
    unsigned char *before = scratch_read(path, &size);
    run(opt, &net, 1, 1);
    for (rlim_t limit = 0; limit < size; limit += size / 7) {
        opt_error error = {0};
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, was.rlim_max});
        opt_status status = opt_save(opt, path, NULL, 0, NULL, 0, &error);
        setrlimit(RLIMIT_FSIZE, &was);
        if (limit + 200 < size) assert_int_equal(status, OPT_IO);
        assert_non_null(strstr(error.message, "state.new: cannot be written"));
        unsigned char *after = scratch_read(path, &size_after);
        assert_int_equal(size, size_after);
        assert_memory_equal(before, after, size);
        assert_false(scratch_exists(scratch_path("state.new")));
        free(after);
    }
    signal(SIGXFSZ, handler);
    assert_int_equal(opt_save(opt, "/nowhere/state", NULL, 0, NULL, 0, NULL), OPT_IO);
    save(opt, path);
    assert_int_equal(load(opt, path, NULL), OPT_OK);
    free(before);
    opt_free(opt);
    free_network(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_save_at_attended_params),
        cmocka_unit_test(test_compact_and_back),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bad_metadata),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_blob_of_another_size),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
