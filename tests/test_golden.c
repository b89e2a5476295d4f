/* build/dev/replay on the golden traces, adjoints and unrolls: all pass, what lies beyond a bound
 * fails by name, what is none is refused. Needs the program; $BUILD says where it is (default:
 * build). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <sys/wait.h>
#include "files/safetensors.h"
#include "scratch.h"

static const char *const traces[] = {
    "tests/golden/trace-extreme-gradients.safetensors",
    "tests/golden/trace-many-tensors.safetensors",
    "tests/golden/trace-one-tensor.safetensors",
    "tests/golden/trace-horizon.safetensors",
    "tests/golden/trace-no-horizon.safetensors",
    "tests/golden/adjoint-attention.safetensors",
    "tests/golden/adjoint-open-loop.safetensors",
    "tests/golden/unroll-first-order.safetensors",
    "tests/golden/unroll-second-order.safetensors",
    "tests/golden/unroll-second-order-attention.safetensors",
};
enum { TRACES = 10 };
static const char many_tensors[] = "tests/golden/trace-many-tensors.safetensors";
static const char adjoint[] = "tests/golden/adjoint-attention.safetensors";
static const char second_order[] = "tests/golden/unroll-second-order-attention.safetensors";

/* Runs replay; its output (both streams) is left in output. Returns its exit status. */
static char output[8192];
static int replay(const char *arguments)
{
    char command[4096];
    const char *build = getenv("BUILD");
    snprintf(command, sizeof(command), "'%s/dev/replay' %s 2>&1", build && *build ? build : "build",
             arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(output, 1, sizeof(output) - 1, pipe);
    output[got] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *arguments, int status, const char *part)
{
    int found = replay(arguments);
    if (found != status || !strstr(output, part))
        fail_msg("replay %s: exit status %d, \"%s\"; expected %d, \"%s\"", arguments, found, output,
                 status, part);
}

/* What is done to one tensor or note of a copy. */
typedef struct {
    const char *name;
    size_t entry;       /* of the tensor */
    float add;          /* to that entry; NAN makes it NaN */
    int spread;         /* to all entries, instead */
    const char *rename; /* the tensor's new name */
    const char *value;  /* the note's new value, "" drops the note */
} change;

static const char *note_of(const st_file *file, const char *key, const change *c)
{
    return c && c->value && strcmp(c->name, key) == 0 ? c->value : st_metadata(file, key);
}

static void copy_tensor(st_writer *w, const st_tensor *t, const change *c)
{
    float *data = malloc(t->bytes + 1);
    memcpy(data, t->data, t->bytes);
    const int here = c && strcmp(t->name, c->name) == 0 && c->add != 0;
    if (here && !c->spread) data[c->entry] += c->add;
    for (size_t i = 0; here && c->spread && i < t->count; i++) data[i] += c->add;
    assert_int_equal(st_writer_data(w, data, t->bytes, NULL), OPT_OK);
    free(data);
}

/* Copies a trace with a change to the scratch file "copy". */
static const char *copy(const char *trace, const change *c)
{
    static const char *const keys[] = {
        "format",  "attention", "tensors",   "steps",       "max_log_lr",         "min_log_lr",
        "without", "loss",      "meta_loss", "init_log_lr", "second_derivatives", "model_format",
        "horizon"};
    opt_error error = {0};
    st_file *file = st_open(trace, &error);
    if (!file) fail_msg("%s", error.message);
    st_writer *w = st_writer_new();
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *value = note_of(file, keys[i], c);
        if (value && *value) st_writer_metadata(w, keys[i], value);
    }
    for (int i = 0; i < st_count(file); i++) {
        const st_tensor *t = st_get(file, i);
        int renamed = c && c->rename && strcmp(t->name, c->name) == 0;
        st_writer_tensor(w, renamed ? c->rename : t->name, t->type, t->dims, t->shape);
    }
    if (st_writer_begin(w, scratch_path("copy"), 0, &error)) fail_msg("%s", error.message);
    for (int i = 0; i < st_count(file); i++) copy_tensor(w, st_get(file, i), c);
    assert_int_equal(st_writer_end(w, &error), OPT_OK);
    st_writer_free(w);
    st_close(file);
    return scratch_path("copy");
}

static void test_all_pass(void **state)
{
    (void)state;
    char all[1000] = "--device cpu";
    for (int i = 0; i < TRACES; i++) {
        expect(traces[i], 0, " ok ");
        expect(copy(traces[i], NULL), 0, " ok ");
        strcat(strcat(all, " "), traces[i]);
    }
    expect(all, 0, " ok ");
    int lines = 0;
    for (const char *c = output; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, TRACES);
}

/* Half a bound away passes, two bounds away fails and names the quantity. */
static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *quantity, *relative_to; /* NULL: the bound is absolute */
        size_t entry;
    } rows[] = {
        {"want.param.5", "param.5", "init.param.5", 130 * 25 - 1},
        {"want.param.0", "param.0", "init.param.0", 3},
        {"want.attended.4", "attended.4", "init.param.4", 65 * 7},
        {"want.log_lr.3", "log_lr.3", NULL, 64 * 24 + 63},
        {"want.hidden.5", "hidden.5", NULL, 1299},
        {"want.tensor_state.1", "tensor_state.1", NULL, 19},
        {"want.global_state", "global_state", NULL, 0},
    };
    st_file *file = st_open(many_tensors, NULL);
    assert_non_null(file);
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        double bound = 1e-4;
        if (rows[r].relative_to) {
            const st_tensor *want = st_find(file, rows[r].tensor);
            const st_tensor *start = st_find(file, rows[r].relative_to);
            double moved = 0;
            for (size_t i = 0; i < want->count; i++)
                moved = fmax(moved, fabs((double)((const float *)want->data)[i] -
                                         ((const float *)start->data)[i % start->count]));
            bound *= moved;
        }
        for (int sign = -1; sign <= 1; sign += 2) {
            change c = {.name = rows[r].tensor, .entry = rows[r].entry};
            char fails[100];
            snprintf(fails, sizeof(fails), "copy FAIL %s ", rows[r].quantity);
            c.add = (float)(2 * bound * sign);
            expect(copy(many_tensors, &c), 1, fails);
            c.add = (float)(0.5 * bound * sign);
            expect(copy(many_tensors, &c), 0, " ok ");
            c.add = NAN;
            expect(copy(many_tensors, &c), 1, fails);
        }
    }
    st_close(file);
}

/* The largest size of an entry of a tensor of a file. */
static double largest_entry(const char *trace, const char *name)
{
    st_file *file = st_open(trace, NULL);
    assert_non_null(file);
    const st_tensor *t = st_find(file, name);
    assert_non_null(t);
    double largest = 0;
    for (size_t i = 0; i < t->count; i++)
        largest = fmax(largest, fabs((double)((const float *)t->data)[i]));
    st_close(file);
    return largest;
}

/* The same for each tensor of a meta-gradient, for all of it, and for losses. */
static void test_meta_gradient_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *trace, *tensor, *quantity;
        size_t entry;
        double bound; /* to the tensor's largest entry; < 0: absolute */
    } rows[] = {
        {adjoint, "want.model.tensor.init", "tensor.init", 19, 1e-3},
        {adjoint, "want.model.tensor.gates.bias", "tensor.gates.bias", 39, 1e-3},
        {adjoint, "want.model.readout.step.shortcut", "readout.step.shortcut", 2, 1e-3},
        {second_order, "want.model.global.candidate.weight", "global.candidate.weight", 799, 1e-3},
        {second_order, "want.model.log_lr.momentum_logit", "log_lr.momentum_logit", 0, 1e-3},
        {second_order, "want.losses", "losses", 0, -1e-4},
    };
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        const double bound = rows[r].bound < 0
                                 ? -rows[r].bound
                                 : rows[r].bound * largest_entry(rows[r].trace, rows[r].tensor);
        change c = {.name = rows[r].tensor, .entry = rows[r].entry};
        char fails[100];
        snprintf(fails, sizeof(fails), "copy FAIL %s ", rows[r].quantity);
        c.add = (float)(2.5 * bound);
        expect(copy(rows[r].trace, &c), 1, fails);
        c.add = NAN;
        expect(copy(rows[r].trace, &c), 1, fails);
        c.add = (float)(0.3 * bound);
        expect(copy(rows[r].trace, &c), 0, " ok ");
    }
    change loss = {.name = "loss", .value = "-27.3"};
    change meta = {.name = "meta_loss", .value = "-0.13615"};
    expect(copy(adjoint, &loss), 1, "copy FAIL loss ");
    expect(copy(second_order, &meta), 1, "copy FAIL meta_loss ");
}

/* Within the bound of each tensor, but not of the whole. */
static void test_whole_meta_gradient(void **state)
{
    (void)state;
    static const char name[] = "want.model.param.gates.weight";
    const double largest = largest_entry(adjoint, name);
    change c = {.name = name, .add = (float)(0.9e-3 * largest), .spread = 1};
    expect(copy(adjoint, &c), 1, "copy FAIL meta_gradient ");
    c.add = (float)(1e-6 * largest);
    expect(copy(adjoint, &c), 0, " ok ");
}

/* Every input counts: a changed model, gradient, start or setting is noticed. */
static void test_inputs_count(void **state)
{
    (void)state;
    static const change changes[] = {
        {.name = "model.param.gates.weight", .entry = 300, .add = 1},
        {.name = "model.tensor.candidate.bias", .entry = 3, .add = 1},
        {.name = "model.global.init", .entry = 3, .add = 1},
        {.name = "model.readout.attention.shortcut", .entry = 3, .add = 1},
        {.name = "model.log_lr.step_offset", .entry = 0, .add = 1},
        {.name = "grad.5", .entry = 130 * 24, .add = 100},
        {.name = "init.param.2", .entry = 5, .add = 1},
        {.name = "init.log_lr.2", .entry = 5, .add = 1},
        {.name = "attention", .value = "0"},
        {.name = "max_log_lr", .value = "-20"},
        {.name = "min_log_lr", .value = "5"},
        {.name = "without", .value = "products"},
        {.name = "without", .value = "timescales,tensor_rnn"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        expect(copy(many_tensors, &changes[i]), 1, "FAIL");
    static const change of_adjoint[] = {
        {.name = "model.param.gates.weight", .entry = 300, .add = 1},
        {.name = "model.readout.attention.shortcut", .entry = 3, .add = 1},
        {.name = "grad.1", .entry = 65 * 7, .add = 100},
        {.name = "cotangent.param.1", .entry = 65 * 8 - 1, .add = 1},
        {.name = "cotangent.attended.0", .entry = 0, .add = 1},
        {.name = "init_log_lr", .value = "-3.9"},
        {.name = "attention", .value = "0"},
        {.name = "without", .value = "relative_lr"},
    };
    for (size_t i = 0; i < sizeof(of_adjoint) / sizeof(of_adjoint[0]); i++)
        expect(copy(adjoint, &of_adjoint[i]), 1, "FAIL");
    static const change of_unroll[] = {
        {.name = "problem.A", .entry = 24, .add = 1},
        {.name = "problem.b", .entry = 4, .add = 1},
        {.name = "init.param.0", .entry = 4, .add = 1},
        {.name = "second_derivatives", .value = "0"},
        {.name = "init_log_lr", .value = "-3.9"},
    };
    for (size_t i = 0; i < sizeof(of_unroll) / sizeof(of_unroll[0]); i++)
        expect(copy(second_order, &of_unroll[i]), 1, "FAIL");
}

static void test_not_a_trace(void **state)
{
    (void)state;
    static const change changes[] = {
        {.name = "format", .value = "hrnn-trace-2"},
        {.name = "format", .value = ""},
        {.name = "steps", .value = "24"},
        {.name = "steps", .value = "0"},
        {.name = "steps", .value = "1e300"},
        {.name = "steps", .value = "2.5"},
        {.name = "tensors", .value = "7"},
        {.name = "tensors", .value = "-1"},
        {.name = "tensors", .value = "99999999999"},
        {.name = "without", .value = "gravity"},
        {.name = "grad.3", .rename = "gradient.3"},
        {.name = "init.param.0", .rename = "start.param.0"},
        {.name = "want.hidden.1", .rename = "hidden.1"},
        {.name = "want.global_state", .rename = "global_state"},
        {.name = "model.param.init", .rename = "param.init"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        expect(copy(many_tensors, &changes[i]), 2, "copy: ");
    static const change of_adjoint[] = {
        {.name = "format", .value = "hrnn-adjoint-2"},
        {.name = "steps", .value = "9"},
        {.name = "tensors", .value = "4"},
        {.name = "loss", .value = ""},
        {.name = "loss", .value = "much"},
        {.name = "init_log_lr", .value = ""},
        {.name = "init_log_lr", .value = "1e9"},
        {.name = "grad.2", .rename = "gradient"},
        {.name = "cotangent.param.1", .rename = "c"},
        {.name = "cotangent.attended.1", .rename = "c"},
        {.name = "want.model.param.init", .rename = "w"},
    };
    for (size_t i = 0; i < sizeof(of_adjoint) / sizeof(of_adjoint[0]); i++)
        expect(copy(adjoint, &of_adjoint[i]), 2, "copy: ");
    static const change of_unroll[] = {
        {.name = "steps", .value = "0"},
        {.name = "steps", .value = "13"},
        {.name = "meta_loss", .value = ""},
        {.name = "second_derivatives", .value = ""},
        {.name = "problem.A", .rename = "A"},
        {.name = "problem.b", .rename = "b"},
        {.name = "want.losses", .rename = "losses"},
        {.name = "init.param.0", .rename = "x"},
    };
    for (size_t i = 0; i < sizeof(of_unroll) / sizeof(of_unroll[0]); i++)
        expect(copy(second_order, &of_unroll[i]), 2, "copy: ");
    expect("tests/golden/absent.safetensors", 2, "cannot be opened");
    expect("README.md weights/hrnn.safetensors", 2, "weights/hrnn.safetensors: format");
    expect("", 2, "Usage");
    expect("--device abacus tests/golden/trace-one-tensor.safetensors", 2, "abacus");
}

/* The worst of several files decides; the others are reported all the same. */
static void test_worst_decides(void **state)
{
    (void)state;
    char files[2000];
    change c = {.name = "want.global_state", .add = 1};
    snprintf(files, sizeof(files), "%s %s %s", traces[0], copy(many_tensors, &c), traces[2]);
    expect(files, 1, "copy FAIL global_state");
    assert_non_null(strstr(output, "trace-one-tensor.safetensors ok"));
    strcat(files, " /nowhere");
    expect(files, 2, "copy FAIL global_state");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_pass),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_meta_gradient_bounds),
        cmocka_unit_test(test_whole_meta_gradient),
        cmocka_unit_test(test_inputs_count),
        cmocka_unit_test(test_not_a_trace),
        cmocka_unit_test(test_worst_decides),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
