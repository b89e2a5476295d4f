/* Feeds the gradients of recorded traces (hrnn-trace-1) to the optimizer and compares parameters,
 * learning rates and states with those recorded. One line a file; exit status 0 if all pass, 1 if
 * any fails, 2 if a file is not a trace that this program can run. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rule_hrnn.h"

enum { PASS, FAIL, CANNOT_RUN };
enum { MAX_TENSORS = 100000, MAX_STEPS = 10000000 };
/* Of η, h, z and G; and of θ, to the largest |θ_t - θ_0| of the tensor, of φ likewise. */
static const double bound_absolute = 1e-4, bound_relative = 1e-4;

/* One tensor of a trace. Arrays with T rows are [steps, n]; those of the trace belong to the file.
 */
typedef struct {
    char name[24];
    size_t n;
    const float *start, *start_log_lr, *grads;
    const float *want_param, *want_attended, *want_log_lr; /* [T] */
    const float *want_hidden, *want_tensor_state;
    float *param, *grad, *log_lr;
    double moved, attended_moved; /* largest |θ_t - θ_0|, |φ_t - θ_0| that the trace expects */
} trace_tensor;

typedef struct {
    const st_file *file;
    int n, steps;
    trace_tensor *tensors; /* [n] */
    const float *want_global;
    float *hidden; /* room for the largest tensor's */
    optimizer *opt;
} trace;

/* The quantity whose error is largest relative to its bound. */
typedef struct {
    char name[64];
    double error, bound, ratio;
} verdict;

/* --- reading --- */

static const float *find(const trace *t, const char *prefix, int k, int dims, size_t rows,
                         size_t columns, opt_error *error)
{
    char name[64];
    size_t shape[2] = {rows, columns};
    if (k < 0)
        snprintf(name, sizeof(name), "%s", prefix);
    else
        snprintf(name, sizeof(name), "%s.%d", prefix, k);
    return st_floats(t->file, name, dims, shape, error);
}

static opt_status read_tensor(const trace *t, int k, opt_error *error)
{
    trace_tensor *x = &t->tensors[k];
    size_t steps = (size_t)t->steps;
    snprintf(x->name, sizeof(x->name), "%d", k);
    char first[64];
    snprintf(first, sizeof(first), "init.param.%d", k);
    const st_tensor *start = st_find(t->file, first);
    if (!start || start->dims != 1 || start->count == 0)
        return opt_fail(error, OPT_BAD_FILE, "%s: tensor \"%s\" is missing, empty or not one row",
                        st_path(t->file), first);
    size_t n = x->n = start->count;
    if (!(x->start = find(t, "init.param", k, 1, n, 0, error)) ||
        !(x->start_log_lr = find(t, "init.log_lr", k, 1, n, 0, error)) ||
        !(x->grads = find(t, "grad", k, 2, steps, n, error)) ||
        !(x->want_param = find(t, "want.param", k, 2, steps, n, error)) ||
        !(x->want_attended = find(t, "want.attended", k, 2, steps, n, error)) ||
        !(x->want_log_lr = find(t, "want.log_lr", k, 2, steps, n, error)) ||
        !(x->want_hidden = find(t, "want.hidden", k, 2, n, HRNN_H0, error)) ||
        !(x->want_tensor_state = find(t, "want.tensor_state", k, 1, HRNN_H1, 0, error)))
        return OPT_BAD_FILE;
    x->param = malloc(n * sizeof(float));
    x->grad = malloc(n * sizeof(float));
    x->log_lr = malloc(n * sizeof(float));
    if (!x->param || !x->grad || !x->log_lr)
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %zu parameters", st_path(t->file),
                        n);
    memcpy(x->param, x->start, n * sizeof(float));
    for (size_t i = 0; i < steps * n; i++) {
        x->moved = fmax(x->moved, fabs((double)x->want_param[i] - x->start[i % n]));
        x->attended_moved =
            fmax(x->attended_moved, fabs((double)x->want_attended[i] - x->start[i % n]));
    }
    return OPT_OK;
}

static opt_status read_count(const st_file *file, const char *key, int most, int *count,
                             opt_error *error)
{
    double value;
    opt_status status = st_number(file, key, NAN, 1, most, &value, error);
    if (!status && value != floor(value))
        status = opt_fail(error, OPT_BAD_FILE, "%s: metadata \"%s\" is %g, expected a whole number",
                          st_path(file), key, value);
    if (!status) *count = (int)value;
    return status;
}

static opt_status read_trace(trace *t, opt_error *error)
{
    const char *format = st_metadata(t->file, "format");
    if (!format || strcmp(format, "hrnn-trace-1") != 0)
        return opt_fail(error, OPT_BAD_FILE, "%s: format \"%.60s\", expected \"hrnn-trace-1\"",
                        st_path(t->file), format ? format : "");
    opt_status status = read_count(t->file, "tensors", MAX_TENSORS, &t->n, error);
    if (!status) status = read_count(t->file, "steps", MAX_STEPS, &t->steps, error);
    if (status) return status;
    t->tensors = calloc((size_t)t->n, sizeof(*t->tensors));
    if (!t->tensors)
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %d tensors", st_path(t->file),
                        t->n);
    size_t largest = 0;
    for (int k = 0; k < t->n; k++) {
        if ((status = read_tensor(t, k, error))) return status;
        if (t->tensors[k].n > largest) largest = t->tensors[k].n;
    }
    t->want_global = find(t, "want.global_state", -1, 1, HRNN_H2, 0, error);
    if (!t->want_global) return OPT_BAD_FILE;
    t->hidden = malloc(largest * HRNN_H0 * sizeof(float));
    if (!t->hidden) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", st_path(t->file));
    return OPT_OK;
}

/* The optimizer with the trace's model, parameters and learning rates. */
static opt_status make_optimizer(trace *t, const char *device, opt_error *error)
{
    hrnn_model *model = hrnn_model_read(t->file, "model.", error);
    opt_tensor *tensors = calloc((size_t)t->n, sizeof(*tensors));
    if (model && tensors) {
        opt_options options = opt_default_options("hrnn");
        options.device = device;
        options.rate = 1; /* replaced by the trace's own learning rates */
        for (int k = 0; k < t->n; k++) {
            trace_tensor *x = &t->tensors[k];
            tensors[k] = (opt_tensor){x->name, x->param, x->grad, x->n, 1, 0, 1};
        }
        t->opt = opt_create_with_model(&options, model, tensors, t->n, error);
        for (int k = 0; k < t->n && t->opt; k++)
            opt_set_log_lr(t->opt, k, t->tensors[k].start_log_lr);
    } else if (model) {
        opt_fail(error, OPT_NO_MEMORY, "%s: no memory", st_path(t->file));
    }
    free(tensors);
    hrnn_model_free(model);
    return t->opt ? OPT_OK : OPT_BAD_FILE;
}

/* --- comparing --- */

/* k: -1 for a quantity of the whole network. */
static void compare(verdict *worst, const char *quantity, int k, const float *found,
                    const float *want, size_t n, double bound)
{
    double error = 0;
    for (size_t i = 0; i < n; i++) {
        double here = fabs((double)found[i] - want[i]);
        if (!(here <= error)) error = isnan(here) ? INFINITY : here;
    }
    /* A tensor that must not move has the bound 0. */
    double ratio = error > 0 ? error / bound : 0;
    if (!(ratio > worst->ratio) && worst->name[0]) return;
    snprintf(worst->name, sizeof(worst->name), k < 0 ? "%s" : "%s.%d", quantity, k);
    worst->error = error;
    worst->bound = bound;
    worst->ratio = ratio;
}

static void compare_params(const trace *t, size_t step, verdict *worst)
{
    for (int k = 0; k < t->n; k++) {
        const trace_tensor *x = &t->tensors[k];
        compare(worst, "attended", k, x->param, x->want_attended + step * x->n, x->n,
                bound_relative * x->attended_moved);
    }
    opt_true_params(t->opt);
    for (int k = 0; k < t->n; k++) {
        trace_tensor *x = &t->tensors[k];
        compare(worst, "param", k, x->param, x->want_param + step * x->n, x->n,
                bound_relative * x->moved);
        opt_get_log_lr(t->opt, k, x->log_lr);
        compare(worst, "log_lr", k, x->log_lr, x->want_log_lr + step * x->n, x->n, bound_absolute);
    }
    opt_attended_params(t->opt);
}

static void compare_states(const trace *t, verdict *worst)
{
    const rule *rule = t->opt->rule;
    const rule_field *hidden = opt_find_field(t->opt, "hidden");
    const rule_field *tensor_state = opt_find_field(t->opt, "tensor_state");
    const rule_field *global_state = opt_find_field(t->opt, "global_state");
    float z[HRNN_H1], g[HRNN_H2];
    for (int k = 0; k < t->n; k++) {
        const trace_tensor *x = &t->tensors[k];
        rule->read_field(t->opt, hidden, k, 0, x->n, t->hidden);
        compare(worst, "hidden", k, t->hidden, x->want_hidden, x->n * HRNN_H0, bound_absolute);
        rule->read_field(t->opt, tensor_state, k, 0, 1, z);
        compare(worst, "tensor_state", k, z, x->want_tensor_state, HRNN_H1, bound_absolute);
    }
    rule->read_field(t->opt, global_state, -1, 0, 1, g);
    compare(worst, "global_state", -1, g, t->want_global, HRNN_H2, bound_absolute);
}

static void run(const trace *t, verdict *worst)
{
    for (size_t step = 0; step < (size_t)t->steps; step++) {
        for (int k = 0; k < t->n; k++) {
            trace_tensor *x = &t->tensors[k];
            memcpy(x->grad, x->grads + step * x->n, x->n * sizeof(float));
        }
        opt_step(t->opt, 1, NULL);
        compare_params(t, step, worst);
    }
    compare_states(t, worst);
}

static void free_trace(trace *t)
{
    for (int k = 0; t->tensors && k < t->n; k++) {
        free(t->tensors[k].param);
        free(t->tensors[k].grad);
        free(t->tensors[k].log_lr);
    }
    free(t->tensors);
    free(t->hidden);
    opt_free(t->opt);
}

static int replay(const char *path, const char *device)
{
    opt_error error = {0};
    trace t = {.file = st_open(path, &error)};
    int result = CANNOT_RUN;
    if (t.file && !read_trace(&t, &error) && !make_optimizer(&t, device, &error)) {
        verdict worst = {0};
        run(&t, &worst);
        result = worst.ratio <= 1 ? PASS : FAIL;
        printf("%s %s %s error %.3g bound %.3g\n", path, result == PASS ? "ok" : "FAIL", worst.name,
               worst.error, worst.bound);
    } else {
        fprintf(stderr, "replay: %s\n", error.message);
    }
    free_trace(&t);
    st_close((st_file *)t.file);
    return result;
}

/* --- the command line --- */

typedef struct {
    const char *device;
    char **files;
    int n_files;
} arguments;

static error_t parse_argument(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'd':
        a->device = value;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = state->argv + state->next;
        a->n_files = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"device", 'd', "DEVICE", 0, "where the optimizer runs: cpu (default)", 0}, {0}};
    static const struct argp argp = {
        options,
        parse_argument,
        "FILE...",
        "Checks the optimizer against recorded traces (hrnn-trace-1).\v"
        "Prints for each file: the file, ok or FAIL, and the quantity with the largest error "
        "relative "
        "to its bound. Exit status 1 if any fails, 2 if a file is not a trace it can run.",
        NULL,
        NULL,
        NULL};
    arguments a = {.device = "cpu"};
    argp_err_exit_status = CANNOT_RUN;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    int worst = PASS;
    for (int i = 0; i < a.n_files; i++) {
        int result = replay(a.files[i], a.device);
        if (result > worst) worst = result;
    }
    return worst;
}
