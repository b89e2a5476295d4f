/* Runs recorded traces and compares: of the optimizer's steps (hrnn-trace-1: parameters, learning
 * rates and states, from recorded gradients), of their adjoint (hrnn-adjoint-1: the meta-gradient
 * of a linear function of the parameters) and of unrolls on a quadratic (hrnn-unroll-1: losses and
 * the meta-gradient). One line a file; exit status 0 if all pass, 1 if any fails, 2 if a file is
 * none that this program can run. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/device.h"
#include "adjoint/hrnn_unroll.h"
#include "hrnn/rule_hrnn.h"

enum { PASS, FAIL, CANNOT_RUN };
enum { MAX_TENSORS = 100000, MAX_STEPS = 10000000 };
/* Of η, h, z and G; and of θ, to the largest |θ_t - θ_0| of the tensor, of φ likewise. */
static const double bound_absolute = 1e-4, bound_relative = 1e-4;
/* Of a whole meta-gradient, in its L2 norm; of each meta-parameter, to the largest entry of its
 * tensor. */
static const double bound_gradient = 1e-4, bound_meta_param = 1e-3;
/* Of a linear function of the parameters, to the sum of the sizes of its terms; of a meta-loss and
 * its terms, which are logarithms, absolute. */
static const double bound_loss = 1e-4;

/* One tensor of a trace. Arrays with T rows are [steps, n]; those of the trace belong to the
 * file. */
typedef struct {
    char name[24];
    size_t n;
    const float *start, *start_log_lr, *grads;
    const float *want_param, *want_attended, *want_log_lr; /* [T] */
    const float *want_hidden, *want_tensor_state;
    float *param, *log_lr;
    float *device_param, *device_grad; /* the optimizer's */
    double moved, attended_moved; /* largest |θ_t - θ_0|, |φ_t - θ_0| that the trace expects */
} trace_tensor;

typedef struct {
    const st_file *file;
    int cuda; /* where the optimizer runs, as device.h has it */
    int n, steps;
    trace_tensor *tensors; /* [n] */
    const float *want_global;
    const float *losses; /* [steps] of the batches, or NULL */
    double horizon;      /* steps in all; 0: not known */
    float *hidden;       /* room for the largest tensor's */
    optimizer *opt;
} trace;

/* The quantity whose error is largest relative to its bound. */
typedef struct {
    char name[64];
    double error, bound, ratio;
} verdict;

/* --- reading --- */

static const float *find(const st_file *file, const char *prefix, int k, int dims, size_t rows,
                         size_t columns, opt_error *error)
{
    char name[64];
    size_t shape[2] = {rows, columns};
    if (k < 0)
        snprintf(name, sizeof(name), "%s", prefix);
    else
        snprintf(name, sizeof(name), "%s.%d", prefix, k);
    return st_floats(file, name, dims, shape, error);
}

/* Parameters of tensor k, by its start; 0: there is none. */
static size_t start_size(const st_file *file, int k, opt_error *error)
{
    char name[64];
    snprintf(name, sizeof(name), "init.param.%d", k);
    const st_tensor *start = st_find(file, name);
    if (start && start->dims == 1 && start->count > 0) return start->count;
    opt_fail(error, OPT_BAD_FILE, "%s: tensor \"%s\" is missing, empty or not one row",
             st_path(file), name);
    return 0;
}

static opt_status read_tensor(const trace *t, int k, opt_error *error)
{
    trace_tensor *x = &t->tensors[k];
    size_t steps = (size_t)t->steps;
    snprintf(x->name, sizeof(x->name), "%d", k);
    size_t n = x->n = start_size(t->file, k, error);
    if (n == 0) return OPT_BAD_FILE;
    if (!(x->start = find(t->file, "init.param", k, 1, n, 0, error)) ||
        !(x->start_log_lr = find(t->file, "init.log_lr", k, 1, n, 0, error)) ||
        !(x->grads = find(t->file, "grad", k, 2, steps, n, error)) ||
        !(x->want_param = find(t->file, "want.param", k, 2, steps, n, error)) ||
        !(x->want_attended = find(t->file, "want.attended", k, 2, steps, n, error)) ||
        !(x->want_log_lr = find(t->file, "want.log_lr", k, 2, steps, n, error)) ||
        !(x->want_hidden = find(t->file, "want.hidden", k, 2, n, HRNN_H0, error)) ||
        !(x->want_tensor_state = find(t->file, "want.tensor_state", k, 1, HRNN_H1, 0, error)))
        return OPT_BAD_FILE;
    x->param = malloc(n * sizeof(float));
    x->log_lr = malloc(n * sizeof(float));
    x->device_param = device_alloc(t->cuda, n * sizeof(float));
    x->device_grad = device_alloc(t->cuda, n * sizeof(float));
    if (!x->param || !x->log_lr || !x->device_param || !x->device_grad)
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %zu parameters", st_path(t->file),
                        n);
    device_put(t->cuda, x->device_param, x->start, n * sizeof(float));
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
    t->want_global = find(t->file, "want.global_state", -1, 1, HRNN_H2, 0, error);
    if (!t->want_global) return OPT_BAD_FILE;
    if (st_find(t->file, "losses") &&
        !(t->losses = find(t->file, "losses", -1, 1, (size_t)t->steps, 0, error)))
        return OPT_BAD_FILE;
    if ((status = st_number(t->file, "horizon", 0, 0, 1e15, &t->horizon, error))) return status;
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
            tensors[k] = (opt_tensor){x->name, x->device_param, x->device_grad, x->n, 1, 0, 1};
        }
        t->opt = opt_create_with_model(&options, model, tensors, t->n, error);
        for (int k = 0; k < t->n && t->opt; k++)
            opt_set_log_lr(t->opt, k, t->tensors[k].start_log_lr);
        if (t->opt) opt_set_horizon(t->opt, (uint64_t)t->horizon);
    } else if (model) {
        opt_fail(error, OPT_NO_MEMORY, "%s: no memory", st_path(t->file));
    }
    free(tensors);
    hrnn_model_free(model);
    return t->opt ? OPT_OK : OPT_BAD_FILE;
}

/* --- comparing --- */

/* k: -1 for a quantity of the whole network. */
static void judge(verdict *worst, const char *quantity, int k, double error, double bound)
{
    if (isnan(error)) error = INFINITY;
    /* A tensor that must not move has the bound 0. */
    double ratio = error == 0 ? 0 : isinf(error) ? INFINITY : error / bound;
    if (!(ratio > worst->ratio) && worst->name[0]) return;
    snprintf(worst->name, sizeof(worst->name), k < 0 ? "%s" : "%s.%d", quantity, k);
    worst->error = error;
    worst->bound = bound;
    worst->ratio = ratio;
}

static void compare(verdict *worst, const char *quantity, int k, const float *found,
                    const float *want, size_t n, double bound)
{
    double error = 0;
    for (size_t i = 0; i < n; i++) {
        double here = fabs((double)found[i] - want[i]);
        if (!(here <= error)) error = isnan(here) ? INFINITY : here;
    }
    judge(worst, quantity, k, error, bound);
}

static void get_params(const trace *t)
{
    for (int k = 0; k < t->n; k++) {
        const trace_tensor *x = &t->tensors[k];
        device_get(t->cuda, x->param, x->device_param, x->n * sizeof(float));
    }
}

static void compare_params(const trace *t, size_t step, verdict *worst)
{
    get_params(t);
    for (int k = 0; k < t->n; k++) {
        const trace_tensor *x = &t->tensors[k];
        compare(worst, "attended", k, x->param, x->want_attended + step * x->n, x->n,
                bound_relative * x->attended_moved);
    }
    opt_show_true(t->opt);
    get_params(t);
    for (int k = 0; k < t->n; k++) {
        trace_tensor *x = &t->tensors[k];
        compare(worst, "param", k, x->param, x->want_param + step * x->n, x->n,
                bound_relative * x->moved);
        opt_get_log_lr(t->opt, k, x->log_lr);
        compare(worst, "log_lr", k, x->log_lr, x->want_log_lr + step * x->n, x->n, bound_absolute);
    }
    opt_show_attended(t->opt);
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
            const trace_tensor *x = &t->tensors[k];
            device_put(t->cuda, x->device_grad, x->grads + step * x->n, x->n * sizeof(float));
        }
        opt_step(t->opt, t->losses ? t->losses[step] : NAN, 1, NULL);
        compare_params(t, step, worst);
    }
    compare_states(t, worst);
}

static void free_trace(trace *t)
{
    opt_free(t->opt);
    for (int k = 0; t->tensors && k < t->n; k++) {
        free(t->tensors[k].param);
        free(t->tensors[k].log_lr);
        device_free(t->cuda, t->tensors[k].device_param);
        device_free(t->cuda, t->tensors[k].device_grad);
    }
    free(t->tensors);
    free(t->hidden);
}

static opt_status replay_trace(const st_file *file, const char *device, verdict *worst,
                               opt_error *error)
{
    trace t = {.file = file};
    opt_status status = device_find(device, &t.cuda, error);
    if (!status) status = read_trace(&t, error);
    if (!status) status = make_optimizer(&t, device, error);
    if (!status) run(&t, worst);
    const char *failure = device_failure(t.cuda);
    if (!status && failure)
        status =
            opt_fail(error, OPT_IO, "%s: device %s has failed: %s", st_path(file), device, failure);
    free_trace(&t);
    return status;
}

/* --- meta-gradients --- */

/* The tensors of an adjoint's file or an unroll's, with the optimizer. Arrays of P are theirs
 * concatenated. */
typedef struct {
    const st_file *file;
    int n, steps;
    size_t params;
    char (*names)[24];          /* [n] */
    opt_tensor *tensors;        /* [n], in the arrays below */
    float *param, *grad;        /* [P] */
    float *theta_cot, *phi_cot; /* [P], of one step */
    float meta_gradient[HRNN_META_PARAMS];
    optimizer *opt;
} network;

static void free_network(network *net)
{
    opt_free(net->opt);
    free(net->names);
    free(net->tensors);
    free(net->param);
    free(net->grad);
    free(net->theta_cot);
    free(net->phi_cot);
}

static opt_status no_memory(const st_file *file, opt_error *error)
{
    return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", st_path(file));
}

/* net->n and steps are set. */
static opt_status read_network(network *net, opt_error *error)
{
    net->names = calloc((size_t)net->n, sizeof(*net->names));
    net->tensors = calloc((size_t)net->n, sizeof(*net->tensors));
    if (!net->names || !net->tensors) return no_memory(net->file, error);
    for (int k = 0; k < net->n; k++) {
        const size_t n = start_size(net->file, k, error);
        if (n == 0) return OPT_BAD_FILE;
        snprintf(net->names[k], sizeof(net->names[k]), "%d", k);
        net->tensors[k] = (opt_tensor){net->names[k], NULL, NULL, n, 1, 0, 1};
        net->params += n;
    }
    net->param = malloc(net->params * sizeof(float));
    net->grad = calloc(net->params, sizeof(float));
    net->theta_cot = malloc(net->params * sizeof(float));
    net->phi_cot = malloc(net->params * sizeof(float));
    if (!net->param || !net->grad || !net->theta_cot || !net->phi_cot)
        return no_memory(net->file, error);
    size_t first = 0;
    for (int k = 0; k < net->n; k++) {
        opt_tensor *t = &net->tensors[k];
        const float *start = find(net->file, "init.param", k, 1, t->n, 0, error);
        if (!start) return OPT_BAD_FILE;
        t->param = net->param + first;
        t->grad = net->grad + first;
        memcpy(t->param, start, t->n * sizeof(float));
        first += t->n;
    }
    return OPT_OK;
}

static opt_status make_network_optimizer(network *net, const char *device, opt_error *error)
{
    double log_lr;
    if (strcmp(device, "cpu") != 0)
        return opt_fail(error, OPT_BAD_OPTION,
                        "%s: adjoints and unrolls run on device cpu, found \"%.60s\"",
                        st_path(net->file), device);
    opt_status status = st_number(net->file, "init_log_lr", NAN, -88, 88, &log_lr, error);
    hrnn_model *model = status ? NULL : hrnn_model_read(net->file, "model.", error);
    if (!model) return OPT_BAD_FILE;
    opt_options options = opt_default_options("hrnn");
    options.device = device;
    options.rate = 1; /* replaced below, exactly */
    net->opt = opt_create_with_model(&options, model, net->tensors, net->n, error);
    hrnn_model_free(model);
    if (!net->opt) return OPT_BAD_FILE;
    for (size_t i = 0; i < net->params; i++) net->theta_cot[i] = (float)log_lr;
    for (int k = 0; k < net->n; k++) opt_set_log_lr(net->opt, k, net->theta_cot);
    return OPT_OK;
}

/* Against want.model.*: the whole, and each tensor by its largest entry. */
static opt_status compare_meta_gradient(const network *net, verdict *worst, opt_error *error)
{
    double error2 = 0, want2 = 0;
    const float *found = net->meta_gradient;
    for (int r = 0; r < HRNN_1_PARTS; r++) {
        const hrnn_part *part = &hrnn_parts[r];
        char name[64];
        snprintf(name, sizeof(name), "want.model.%s", part->name);
        const float *want = st_floats(net->file, name, part->dims, part->shape, error);
        if (!want) return OPT_BAD_FILE;
        const size_t n = hrnn_part_count(part);
        double largest = 0;
        for (size_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs((double)want[i]));
            want2 += (double)want[i] * want[i];
            error2 += pow((double)found[i] - want[i], 2);
        }
        compare(worst, part->name, -1, found, want, n, bound_meta_param * largest);
        found += n;
    }
    judge(worst, "meta_gradient", -1, sqrt(error2), bound_gradient * sqrt(want2));
    return OPT_OK;
}

/* --- hrnn-adjoint-1 --- */

/* Row `step` of "<prefix>.K" of all tensors, to to[P]. */
static opt_status gather(const network *net, const char *prefix, int step, float *to,
                         opt_error *error)
{
    for (int k = 0; k < net->n; k++) {
        const size_t n = net->tensors[k].n;
        const float *from = find(net->file, prefix, k, 2, (size_t)net->steps, n, error);
        if (!from) return OPT_BAD_FILE;
        memcpy(to, from + (size_t)step * n, n * sizeof(float));
        to += n;
    }
    return OPT_OK;
}

static opt_status gather_cotangents(network *net, int attention, int step, opt_error *error)
{
    opt_status status = gather(net, "cotangent.param", step, net->theta_cot, error);
    if (!status && attention) status = gather(net, "cotangent.attended", step, net->phi_cot, error);
    return status;
}

static void add_terms(const float *x, const float *y, size_t n, double *sum, double *size)
{
    for (size_t i = 0; i < n; i++) {
        *sum += (double)x[i] * y[i];
        *size += fabs((double)x[i] * y[i]);
    }
}

/* net->grad is both the optimizer's and where a step's gradients are read. */
static opt_status run_adjoint(network *net, hrnn_adjoint *adjoint, float *params, verdict *worst,
                              opt_error *error)
{
    double loss = 0, size = 0, want, attention;
    opt_status status = st_number(net->file, "loss", NAN, -1e300, 1e300, &want, error);
    if (!status) status = st_number(net->file, "attention", NAN, 0, 1, &attention, error);
    if (!status) status = hrnn_adjoint_begin(adjoint, net->opt, net->steps, error);
    for (int t = 0; t < net->steps && !status; t++) {
        if ((status = gather(net, "grad", t, net->grad, error)) ||
            (status = gather_cotangents(net, attention != 0, t, error)))
            return status;
        hrnn_adjoint_step(adjoint, 1);
        hrnn_adjoint_true_params(adjoint, params);
        add_terms(params, net->theta_cot, net->params, &loss, &size);
        hrnn_adjoint_attended_params(adjoint, params);
        if (attention != 0) add_terms(params, net->phi_cot, net->params, &loss, &size);
    }
    if (status) return status;
    judge(worst, "loss", -1, fabs(loss - want), bound_loss * size);
    hrnn_adjoint_turn(adjoint, net->steps);
    for (int t = net->steps - 1; t >= 0; t--) {
        gather_cotangents(net, attention != 0, t, error);
        hrnn_adjoint_back(adjoint, 1, net->theta_cot, attention != 0 ? net->phi_cot : NULL, NULL);
    }
    hrnn_adjoint_finish(adjoint, net->meta_gradient);
    return compare_meta_gradient(net, worst, error);
}

static opt_status replay_adjoint(const st_file *file, const char *device, verdict *worst,
                                 opt_error *error)
{
    network net = {.file = file};
    hrnn_adjoint *adjoint = hrnn_adjoint_new(error);
    float *params = NULL;
    opt_status status = adjoint ? OPT_OK : OPT_NO_MEMORY;
    if (!status) status = read_count(file, "tensors", MAX_TENSORS, &net.n, error);
    if (!status) status = read_count(file, "steps", MAX_STEPS, &net.steps, error);
    if (!status) status = read_network(&net, error);
    if (!status && !(params = malloc(net.params * sizeof(float)))) status = no_memory(file, error);
    if (!status) status = make_network_optimizer(&net, device, error);
    if (!status) status = run_adjoint(&net, adjoint, params, worst, error);
    hrnn_adjoint_free(adjoint);
    free(params);
    free_network(&net);
    return status;
}

/* --- hrnn-unroll-1 --- */

/* f(x) = ½‖Ax - b‖², A [rows, n]. */
typedef struct {
    const float *a, *b;
    size_t rows, n;
} quadratic;

/* y[n] = Aᵀ(Ax - b); returns ½‖Ax - b‖². b or y may be NULL. */
static double apply(const quadratic *q, const float *x, const float *b, float *y)
{
    double loss = 0;
    if (y) memset(y, 0, q->n * sizeof(float));
    for (size_t i = 0; i < q->rows; i++) {
        const float *a = q->a + i * q->n;
        double residual = b ? -(double)b[i] : 0;
        for (size_t j = 0; j < q->n; j++) residual += (double)a[j] * x[j];
        for (size_t j = 0; y && j < q->n; j++) y[j] += (float)(a[j] * residual);
        loss += 0.5 * residual * residual;
    }
    return loss;
}

static double quadratic_loss(void *context, int64_t batch, const float *x, float *gradient)
{
    (void)batch;
    return apply(context, x, ((const quadratic *)context)->b, gradient);
}

static void quadratic_hessian(void *context, int64_t batch, const float *x, const float *v,
                              float *out)
{
    (void)batch;
    (void)x;
    apply(context, v, NULL, out);
}

static opt_status read_quadratic(const st_file *file, size_t n, quadratic *q, opt_error *error)
{
    const st_tensor *b = st_find(file, "problem.b");
    q->n = n;
    q->rows = b ? b->count : 0;
    q->b = find(file, "problem.b", -1, 1, q->rows, 0, error);
    q->a = q->b ? find(file, "problem.A", -1, 2, q->rows, n, error) : NULL;
    return q->a ? OPT_OK : OPT_BAD_FILE;
}

static opt_status run_unroll(network *net, hrnn_unroller *unroller, quadratic *q, verdict *worst,
                             opt_error *error)
{
    double second, meta_loss;
    const hrnn_objective objective = {q, quadratic_loss, quadratic_hessian, 1};
    const float *want = find(net->file, "want.losses", -1, 1, (size_t)net->steps, 0, error);
    opt_status status = want ? OPT_OK : OPT_BAD_FILE;
    if (!status) status = st_number(net->file, "second_derivatives", NAN, 0, 1, &second, error);
    if (!status) status = st_number(net->file, "meta_loss", NAN, -1e300, 1e300, &meta_loss, error);
    if (status) return status;
    const hrnn_unroll_options options = {net->steps, second != 0, NAN};
    hrnn_unroll_result result;
    status =
        hrnn_unroll(unroller, net->opt, &objective, &options, &result, net->meta_gradient, error);
    if (status) return status;
    for (int t = 0; t < net->steps; t++) {
        const double found = t < result.steps ? hrnn_unroll_term(&result, t) : NAN;
        judge(worst, "losses", -1, fabs(found - (double)want[t]), bound_loss);
    }
    judge(worst, "meta_loss", -1, fabs(result.meta_loss - meta_loss), bound_loss);
    return compare_meta_gradient(net, worst, error);
}

static opt_status replay_unroll(const st_file *file, const char *device, verdict *worst,
                                opt_error *error)
{
    network net = {.file = file, .n = 1};
    quadratic q;
    hrnn_unroller *unroller = hrnn_unroller_new(error);
    opt_status status = unroller ? OPT_OK : OPT_NO_MEMORY;
    if (!status) status = read_count(file, "steps", MAX_STEPS, &net.steps, error);
    if (!status) status = read_network(&net, error);
    if (!status) status = read_quadratic(file, net.params, &q, error);
    if (!status) status = make_network_optimizer(&net, device, error);
    if (!status) status = run_unroll(&net, unroller, &q, worst, error);
    hrnn_unroller_free(unroller);
    free_network(&net);
    return status;
}

/* --- all formats --- */

static opt_status replay_format(const st_file *file, const char *device, verdict *worst,
                                opt_error *error)
{
    static const struct {
        const char *format;
        opt_status (*replay)(const st_file *, const char *, verdict *, opt_error *);
    } rows[] = {{"hrnn-trace-1", replay_trace},
                {"hrnn-adjoint-1", replay_adjoint},
                {"hrnn-unroll-1", replay_unroll}};
    const char *format = st_metadata(file, "format");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (format && strcmp(format, rows[i].format) == 0)
            return rows[i].replay(file, device, worst, error);
    return opt_fail(error, OPT_BAD_FILE,
                    "%s: format \"%.60s\", expected \"hrnn-trace-1\", "
                    "\"hrnn-adjoint-1\" or \"hrnn-unroll-1\"",
                    st_path(file), format ? format : "");
}

static int replay(const char *path, const char *device)
{
    opt_error error = {0};
    int result = CANNOT_RUN;
    verdict worst = {0};
    st_file *file = st_open(path, &error);
    if (file && !replay_format(file, device, &worst, &error)) {
        result = worst.ratio <= 1 ? PASS : FAIL;
        printf("%s %s %s error %.3g bound %.3g\n", path, result == PASS ? "ok" : "FAIL", worst.name,
               worst.error, worst.bound);
    } else {
        fprintf(stderr, "replay: %s\n", error.message);
    }
    st_close(file);
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
    case 'd': a->device = value; return 0;
    case ARGP_KEY_ARGS:
        a->files = state->argv + state->next;
        a->n_files = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_usage(state); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"device", 'd', "DEVICE", 0, "where the optimizer runs: cpu (default) or, for traces, cuda",
         0},
        {0}};
    static const struct argp argp = {
        options,
        parse_argument,
        "FILE...",
        "Checks the optimizer against recorded traces, adjoints and unrolls (hrnn-trace-1, "
        "hrnn-adjoint-1, hrnn-unroll-1).\v"
        "Prints for each file: the file, ok or FAIL, and the quantity with the largest error "
        "relative to its bound. Exit status 1 if any fails, 2 if a file is none that it can run.",
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
