/* The meta-gradient of unrolls against central differences of the plain reference in double: every
 * feature on and off, first and second order, truncated, clipped, tensors around the blocks and
 * chunks; threads, reuse, divergence, errors. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "hrnn_reference.h"
#include "adjoint/hrnn_unroll.h"
#include "hrnn/rule_hrnn.h"

enum { MOST_TENSORS = 6 };
static const unsigned all = (1u << HRNN_FEATURES_1) - 1;

/* --- the problem: f(x) = 0.1 + Σ s_i·(√(1 + r_i²) - 1), r_i = x_i - x_{i+1}/2 - b_i; a mini-batch
 * has its own b --- */

typedef struct {
    size_t n;
    int extreme;           /* gradients of mini-batches are scaled, from 0 over 1e-9 to 1e9 */
    int64_t diverges_from; /* f is infinite on full data after so many evaluations; < 0: never */
} landscape;

static double residual(const landscape *f, int64_t batch, size_t i, double here, double next)
{
    const double b = sin(3.7 * (double)i + 1);
    (void)f;
    return here - 0.5 * next - b - (batch < 0 ? 0 : 0.3 * cos((double)i + 2.3 * (double)batch));
}

static double stiffness(size_t i) { return 0.2 + 0.1 * (double)(i % 7); }

static double value(const landscape *f, int64_t batch, const double *x, double *gradient)
{
    double sum = 0.1;
    if (gradient) memset(gradient, 0, f->n * sizeof *gradient);
    for (size_t i = 0; i < f->n; i++) {
        const size_t j = (i + 1) % f->n;
        const double r = residual(f, batch, i, x[i], x[j]), root = sqrt(1 + r * r);
        sum += stiffness(i) * (root - 1);
        if (!gradient) continue;
        gradient[i] += stiffness(i) * r / root;
        gradient[j] -= 0.5 * stiffness(i) * r / root;
    }
    for (size_t i = 0; gradient && f->extreme && batch >= 0 && i < f->n; i++)
        gradient[i] *= i % 7 == 0 ? 0 : pow(10, 3 * (double)(i % 7) - 12 + (double)(batch % 2));
    return sum;
}

static double float_value(void *context, int64_t batch, const float *x, float *gradient)
{
    landscape *f = context;
    double *at = calloc(f->n, sizeof *at), *g = calloc(f->n, sizeof *g);
    for (size_t i = 0; i < f->n; i++) at[i] = x[i];
    double found = value(f, batch, at, g);
    for (size_t i = 0; gradient && i < f->n; i++) gradient[i] = (float)g[i];
    free(at);
    free(g);
    if (batch == HRNN_FULL_DATA && f->diverges_from >= 0 && f->diverges_from-- == 0)
        found = INFINITY;
    return found;
}

static void float_hessian(void *context, int64_t batch, const float *x, const float *v, float *out)
{
    const landscape *f = context;
    memset(out, 0, f->n * sizeof *out);
    for (size_t i = 0; i < f->n; i++) {
        const size_t j = (i + 1) % f->n;
        const double r = residual(f, batch, i, x[i], x[j]);
        const double curve = stiffness(i) * pow(1 + r * r, -1.5);
        const double product = curve * ((double)v[i] - 0.5 * (double)v[j]);
        out[i] += (float)product;
        out[j] -= (float)(0.5 * product);
    }
}

/* --- one case --- */

typedef struct {
    const char *name;
    unsigned features;
    int n;
    size_t sizes[MOST_TENSORS];
    int steps, steps_before; /* before: an unroll whose state carries over */
    int second, full_batches, clipped;
    int odd;   /* the first tensor: half the rate and another gradient scale; the second: frozen */
    int parts; /* 1: every tensor of the model by itself; 0: all at once */
    int extreme; /* see landscape: first order only */
} unroll_case;

typedef struct {
    const unroll_case *c;
    hrnn_model model;
    opt_tensor tensors[MOST_TENSORS];
    float *param[MOST_TENSORS], *grad[MOST_TENSORS], *log_lr[MOST_TENSORS], *start[MOST_TENSORS];
    landscape landscape;
    optimizer *opt;
} setup;

static unsigned seed;
static float uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

/* Everything matters; multiples of 2^-12, so that a change by 2^-16 is exact. */
static hrnn_model random_model(const unroll_case *c)
{
    hrnn_model model = {
        .min_log_lr = -33, .max_log_lr = 33, .initial_lr = 1e-1f, .features = c->features};
    for (int r = 0; r < HRNN_PARTS; r++)
        for (size_t i = 0; i < hrnn_part_count(&hrnn_parts[r]); i++)
            hrnn_part_data(&model, &hrnn_parts[r])[i] = roundf(0.4f * 4096 * uniform()) / 4096;
    model.input_decay_bias[0] += 1;
    model.scale_decay_bias[0] += 2;
    model.momentum_logit[0] += 1;
    model.step_offset[0] -= 1;
    if (c->clipped) {
        model.max_log_lr = -2.25f;
        model.min_log_lr = -2.5f;
    }
    return model;
}

static void build(setup *s, const unroll_case *c)
{
    static const char *const names[MOST_TENSORS] = {"0", "1", "2", "3", "4", "5"};
    opt_error error;
    seed = 5;
    *s = (setup){.c = c, .landscape = {.extreme = c->extreme, .diverges_from = -1}};
    s->model = random_model(c);
    for (int k = 0; k < c->n; k++) {
        const size_t n = c->sizes[k];
        s->param[k] = malloc(n * sizeof(float));
        s->grad[k] = calloc(n, sizeof(float));
        s->log_lr[k] = malloc(n * sizeof(float));
        s->start[k] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) {
            s->param[k][i] = s->start[k][i] = uniform();
            s->log_lr[k][i] = -2.3f + 0.5f * uniform();
        }
        s->tensors[k] = (opt_tensor){names[k], s->param[k], s->grad[k], n, 1, 0, 1};
        if (c->odd && k == 0) s->tensors[k].grad_scale = 0.7f, s->tensors[k].lr_scale = 0.5f;
        if (c->odd && k == 1) s->tensors[k].lr_scale = 0;
        if (s->tensors[k].lr_scale != 0) s->landscape.n += n;
    }
    const opt_options options = opt_default_options("hrnn");
    s->opt = opt_create_with_model(&options, &s->model, s->tensors, c->n, &error);
    assert_non_null(s->opt);
    for (int k = 0; k < c->n; k++)
        if (s->tensors[k].lr_scale != 0) opt_set_log_lr(s->opt, k, s->log_lr[k]);
}

static void destroy(setup *s)
{
    opt_free(s->opt);
    for (int k = 0; k < s->c->n; k++)
        free(s->param[k]), free(s->grad[k]), free(s->log_lr[k]), free(s->start[k]);
}

static hrnn_objective objective(setup *s)
{
    return (hrnn_objective){&s->landscape, float_value, float_hessian, s->c->full_batches};
}

static hrnn_unroll_result unroll(setup *s, hrnn_unroller *u, int steps, double start_loss,
                                 float *meta_gradient)
{
    const hrnn_objective f = objective(s);
    const hrnn_unroll_options options = {steps, s->c->second, start_loss};
    hrnn_unroll_result result;
    opt_error error;
    if (hrnn_unroll(u, s->opt, &f, &options, &result, meta_gradient, &error))
        fail_msg("%s", error.message);
    return result;
}

/* --- the reference --- */

static reference start_reference(const setup *s, const hrnn_model *model)
{
    reference r = reference_new(model, MOST_TENSORS);
    for (int k = 0; k < s->c->n; k++) {
        const opt_tensor *t = &s->tensors[k];
        if (t->lr_scale == 0) continue;
        reference_tensor *to = reference_add(&r, t->n, t->lr_scale);
        for (size_t i = 0; i < t->n; i++) {
            to->theta[i] = to->phi[i] = s->start[k][i];
            to->log_lr[i] = s->log_lr[k][i];
        }
    }
    return r;
}

/* What a run records and another replays, to have the derivatives that are asked for: the gradients
 * held constant (first order) and the clips passed through. */
typedef struct {
    double *gradients; /* [steps, P] */
    double *clips[MOST_TENSORS];
    int replay;
} recording;

static void gather(const reference *r, int attended, double *x)
{
    for (int k = 0; k < r->n; k++) {
        const reference_tensor *t = &r->tensors[k];
        memcpy(x, attended ? t->phi : t->theta, t->n * sizeof *x);
        x += t->n;
    }
}

/* Steps from step `first` on; returns Σ log((f + 1e-6)/(f0 + 1e-6)) over them. */
static double run_reference(const setup *s, reference *r, recording *rec, int first, int steps,
                            double f0)
{
    const size_t p = s->landscape.n;
    double *x = malloc(p * sizeof *x), *g = malloc(p * sizeof *g), sum = 0;
    for (int t = first; t < first + steps; t++) {
        double *grads[MOST_TENSORS], *kept = rec->gradients + (size_t)t * p;
        gather(r, 1, x);
        value(&s->landscape, s->c->full_batches ? HRNN_FULL_DATA : t, x, g);
        if (rec->replay && !s->c->second) memcpy(g, kept, p * sizeof *g);
        if (!rec->replay) memcpy(kept, g, p * sizeof *g);
        size_t at = 0;
        for (int k = 0, active = 0; k < s->c->n; k++) {
            const opt_tensor *tensor = &s->tensors[k];
            if (tensor->lr_scale == 0) continue;
            grads[active++] = g + at;
            for (size_t i = 0; i < tensor->n; i++) g[at + i] *= (double)tensor->grad_scale;
            at += tensor->n;
        }
        reference_step(r, grads, NAN, 1);
        gather(r, 0, x);
        sum += log((value(&s->landscape, HRNN_FULL_DATA, x, NULL) + 1e-6) / (f0 + 1e-6));
    }
    free(x);
    free(g);
    return sum;
}

/* The meta-loss of the last unroll; the steps before it are always those of the model itself. */
static double reference_loss(const setup *s, const hrnn_model *model, recording *rec)
{
    const unroll_case *c = s->c;
    reference r = start_reference(s, c->steps_before ? &s->model : model);
    double *x = malloc(s->landscape.n * sizeof *x);
    gather(&r, 0, x);
    const double f0 = value(&s->landscape, HRNN_FULL_DATA, x, NULL);
    r.replay_clip = rec->replay && rec->clips[0] != NULL;
    for (int k = 0; k < r.n; k++) r.tensors[k].clip = rec->clips[k];
    run_reference(s, &r, rec, 0, c->steps_before, f0);
    r.model = model;
    const double sum = run_reference(s, &r, rec, c->steps_before, c->steps, f0);
    free(x);
    reference_free(&r);
    return sum / c->steps;
}

static recording record(const setup *s, double *loss)
{
    const size_t steps = (size_t)(s->c->steps + s->c->steps_before);
    recording rec = {.gradients = calloc(steps * s->landscape.n, sizeof(double))};
    for (int k = 0, active = 0; k < s->c->n; k++)
        if (s->c->clipped && s->tensors[k].lr_scale != 0)
            rec.clips[active++] = calloc(steps * s->tensors[k].n, sizeof(double));
    *loss = reference_loss(s, &s->model, &rec);
    rec.replay = 1;
    return rec;
}

static void recording_free(recording *rec)
{
    free(rec->gradients);
    for (int k = 0; k < MOST_TENSORS; k++) free(rec->clips[k]);
}

/* dL/dε at 0 of the model + ε·direction [8363]: differences of fourth order. */
static double derivative(const setup *s, recording *rec, const float *direction)
{
    const double h = 1.0 / 65536;
    static const double weights[] = {1, -8, 8, -1};
    static const double at[] = {-2, -1, 1, 2};
    double sum = 0;
    for (int e = 0; e < 4; e++) {
        hrnn_model model = s->model;
        for (int i = 0; i < HRNN_META_PARAMS; i++)
            ((float *)&model)[i] += (float)(at[e] * h) * direction[i];
        sum += weights[e] * reference_loss(s, &model, rec);
    }
    return sum / (12 * h);
}

/* --- comparing --- */

static double worst; /* of a case: error over bound */

static void check(const setup *s, recording *rec, const float *gradient, const float *direction,
                  double scale, const char *what)
{
    double found = 0;
    for (int i = 0; i < HRNN_META_PARAMS; i++) found += (double)gradient[i] * (double)direction[i];
    const double want = derivative(s, rec, direction), error = fabs(found - want);
    if (!(error <= scale))
        fail_msg("%s, %s: dL is %.9g, expected %.9g within %.2g", s->c->name, what, found, want,
                 scale);
    worst = fmax(worst, error > 0 ? error / scale : 0);
}

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* A random direction of ±1 within each tensor of the model, and two entries of it. */
static void check_parts(const setup *s, recording *rec, const float *gradient)
{
    static float direction[HRNN_META_PARAMS];
    const double whole = norm(gradient, HRNN_META_PARAMS);
    for (int r = 0; r < HRNN_PARTS; r++) {
        const size_t first = hrnn_parts[r].offset / sizeof(float),
                     n = hrnn_part_count(&hrnn_parts[r]);
        const double own = norm(gradient + first, n);
        memset(direction, 0, sizeof direction);
        for (size_t i = 0; i < n; i++) direction[first + i] = uniform() < 0 ? -1 : 1;
        check(s, rec, gradient, direction, 5e-5 * own + 2.5e-7 * whole, hrnn_parts[r].name);
        for (int e = 0; e < 2; e++) {
            const size_t i = (size_t)((double)n * (0.5 + 0.5 * (double)uniform()));
            memset(direction, 0, sizeof direction);
            direction[first + (i < n ? i : n - 1)] = 1;
            check(s, rec, gradient, direction, 5e-5 * own + 2.5e-7 * whole, hrnn_parts[r].name);
        }
    }
}

static void check_directions(const setup *s, recording *rec, const float *gradient)
{
    static float direction[HRNN_META_PARAMS];
    for (int d = 0; d < 4; d++) {
        for (int i = 0; i < HRNN_META_PARAMS; i++) direction[i] = uniform() < 0 ? -1 : 1;
        check(s, rec, gradient, direction, 2.5e-5 * norm(gradient, HRNN_META_PARAMS), "all");
    }
}

static void check_case(const unroll_case *c)
{
    static float gradient[HRNN_META_PARAMS];
    setup s;
    double want;
    worst = 0;
    build(&s, c);
    hrnn_unroller *u = hrnn_unroller_new(NULL);
    recording rec = record(&s, &want);
    double start = NAN;
    if (c->steps_before) start = unroll(&s, u, c->steps_before, NAN, gradient).start_loss;
    const hrnn_unroll_result result = unroll(&s, u, c->steps, start, gradient);
    assert_int_equal(result.steps, c->steps);
    if (!(fabs(result.meta_loss - want) < 1e-4))
        fail_msg("%s: meta-loss %.9g, expected %.9g", c->name, result.meta_loss, want);
    for (int i = 0; i < HRNN_META_PARAMS; i++) assert_true(isfinite(gradient[i]));
    assert_true(norm(gradient, HRNN_META_PARAMS) > 1e-3);
    if (c->parts)
        check_parts(&s, &rec, gradient);
    else
        check_directions(&s, &rec, gradient);
    print_message("%-34s meta-loss %8.4f, |gradient| %.2e, largest error %.3f of its bound\n",
                  c->name, want, norm(gradient, HRNN_META_PARAMS), worst);
    recording_free(&rec);
    hrnn_unroller_free(u);
    destroy(&s);
}

static void test_features(void **state)
{
    (void)state;
    for (int attention = 0; attention < 2; attention++)
        for (int f = HRNN_ATTENTION; f <= HRNN_FEATURES_1; f++) {
            char name[64];
            unsigned features = attention ? all : all & ~(1u << HRNN_ATTENTION);
            if (f > HRNN_ATTENTION && f < HRNN_FEATURES_1) features &= ~(1u << f);
            if (f == HRNN_FEATURES_1) features = (unsigned)attention << HRNN_ATTENTION;
            snprintf(name, sizeof name, "%sattention, without %s", attention ? "" : "no ",
                     f == HRNN_FEATURES_1  ? "the others"
                     : f == HRNN_ATTENTION ? "nothing"
                                           : hrnn_feature_name((hrnn_feature)f));
            const unroll_case c = {.name = name,
                                   .features = features,
                                   .n = 3,
                                   .sizes = {5, 1, 18},
                                   .steps = 6,
                                   .second = 1,
                                   .parts = 1};
            check_case(&c);
        }
}

static void test_settings(void **state)
{
    (void)state;
    const unsigned none = all & ~(1u << HRNN_ATTENTION);
    const unroll_case cases[] = {
        {"first order, attention", all, 3, {5, 1, 18}, 6, 0, 0, 0, 0, 0, 1, 0},
        {"first order", none, 3, {5, 1, 18}, 6, 0, 0, 0, 0, 0, 1, 0},
        {"full batches, attention", all, 3, {5, 1, 18}, 6, 0, 1, 1, 0, 0, 1, 0},
        {"full batches", none, 3, {5, 1, 18}, 6, 0, 1, 1, 0, 0, 1, 0},
        {"second unroll, attention", all, 3, {5, 1, 18}, 4, 3, 1, 0, 0, 0, 1, 0},
        {"second unroll, first order", none, 3, {5, 1, 18}, 4, 3, 0, 1, 0, 0, 1, 0},
        {"clipped, attention", all, 3, {5, 1, 18}, 6, 0, 1, 0, 1, 0, 1, 0},
        {"clipped", none, 3, {5, 1, 18}, 6, 0, 1, 0, 1, 0, 1, 0},
        {"extreme gradients, attention", all, 3, {5, 9, 18}, 6, 0, 0, 0, 0, 0, 1, 1},
        {"extreme gradients", none, 3, {5, 9, 18}, 6, 2, 0, 0, 0, 0, 1, 1},
        {"long, attention", all, 2, {5, 9}, 30, 0, 1, 0, 0, 0, 0, 0},
        {"frozen and scaled, attention", all, 3, {5, 3, 18}, 6, 0, 1, 0, 0, 1, 1, 0},
        {"frozen and scaled", none, 3, {5, 3, 18}, 6, 0, 1, 0, 0, 1, 1, 0},
        {"blocks, attention", all, 6, {64, 65, 1, 15, 200, 33}, 5, 0, 1, 0, 0, 0, 1, 0},
        {"blocks", none, 6, {64, 63, 16, 17, 130, 128}, 5, 2, 1, 0, 0, 0, 0, 0},
        {"chunks, attention", all, 4, {4200, 40, 9001, 3}, 2, 0, 1, 0, 0, 0, 0, 0},
        {"chunks", none, 3, {3000, 2000, 4160}, 2, 0, 1, 1, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&cases[i]);
}

/* --- what must be equal to the bit --- */

static const unroll_case large = {
    "large", (1u << HRNN_FEATURES_1) - 1, 4, {4200, 40, 9001, 3}, 7, 0, 1, 0, 0, 0, 0, 0};
static const unroll_case small = {
    "small", (1u << HRNN_FEATURES_1) - 1, 3, {5, 1, 18}, 9, 0, 1, 0, 0, 0, 0, 0};

static void test_threads(void **state)
{
    (void)state;
    static float one[HRNN_META_PARAMS], more[HRNN_META_PARAMS];
    const int usual = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        setup s;
        hrnn_unroller *u = hrnn_unroller_new(NULL);
        omp_set_num_threads(threads);
        build(&s, &large);
        unroll(&s, u, large.steps, NAN, threads == 1 ? one : more);
        if (threads > 1) assert_memory_equal(one, more, sizeof one);
        hrnn_unroller_free(u);
        destroy(&s);
    }
    omp_set_num_threads(usual);
}

/* An unroller that has held another problem, larger or smaller, gives what a new one does. */
static void test_reuse(void **state)
{
    (void)state;
    static float fresh[HRNN_META_PARAMS], again[HRNN_META_PARAMS];
    const unroll_case *const order[] = {&small, &large, &small};
    hrnn_unroller *kept = hrnn_unroller_new(NULL);
    for (int i = 0; i < 3; i++) {
        setup s;
        hrnn_unroller *u = hrnn_unroller_new(NULL);
        build(&s, order[i]);
        unroll(&s, u, order[i]->steps, NAN, fresh);
        destroy(&s);
        build(&s, order[i]);
        unroll(&s, kept, order[i]->steps, NAN, again);
        assert_memory_equal(fresh, again, sizeof fresh);
        destroy(&s);
        hrnn_unroller_free(u);
    }
    hrnn_unroller_free(kept);
}

/* The state that is carried on is that of plain steps. */
static void test_steps_are_plain(void **state)
{
    (void)state;
    static float gradient[HRNN_META_PARAMS];
    setup plain, unrolled;
    hrnn_unroller *u = hrnn_unroller_new(NULL);
    build(&plain, &small);
    build(&unrolled, &small);
    unroll(&unrolled, u, 4, NAN, gradient);
    unroll(&unrolled, u, 5, 1, gradient);
    for (int t = 0; t < 9; t++) {
        float x[24], g[24];
        for (int k = 0, at = 0; k < small.n; at += (int)small.sizes[k++])
            memcpy(x + at, plain.param[k], small.sizes[k] * sizeof(float));
        float_value(&plain.landscape, t, x, g);
        for (int k = 0, at = 0; k < small.n; at += (int)small.sizes[k++])
            memcpy(plain.grad[k], g + at, small.sizes[k] * sizeof(float));
        opt_step(plain.opt, NAN, 1, NULL);
    }
    for (int k = 0; k < small.n; k++)
        assert_memory_equal(plain.param[k], unrolled.param[k], small.sizes[k] * sizeof(float));
    hrnn_unroller_free(u);
    destroy(&plain);
    destroy(&unrolled);
}

/* A state goes on under another model as the reference's does. */
static void test_set_model(void **state)
{
    (void)state;
    static float gradient[HRNN_META_PARAMS];
    const unroll_case c = {"another model", all, 3, {5, 1, 18}, 4, 3, 1, 0, 0, 0, 1, 0};
    setup s;
    double same;
    hrnn_unroller *u = hrnn_unroller_new(NULL);
    build(&s, &c);
    recording rec = record(&s, &same);
    hrnn_model other = s.model;
    for (int i = 0; i < HRNN_META_PARAMS; i++) ((float *)&other)[i] += 0.1f * uniform();
    const double want = reference_loss(&s, &other, &rec);
    const double start = unroll(&s, u, c.steps_before, NAN, gradient).start_loss;
    opt_set_model(s.opt, &other);
    const double found = unroll(&s, u, c.steps, start, gradient).meta_loss;
    assert_true(fabs(want - same) > 1e-2);
    assert_true(fabs(found - want) < 1e-4);
    recording_free(&rec);
    hrnn_unroller_free(u);
    destroy(&s);
}

/* --- what goes wrong --- */

/* A run that diverges counts up to there. */
static void test_divergence(void **state)
{
    (void)state;
    static float gradient[HRNN_META_PARAMS], want[HRNN_META_PARAMS];
    static const int lasts[] = {0, 4};
    for (int i = 0; i < 2; i++) {
        const int last = lasts[i];
        setup s;
        hrnn_unroller *u = hrnn_unroller_new(NULL);
        build(&s, &small);
        s.landscape.diverges_from = last + 1; /* the first is f(θ_0) */
        const hrnn_unroll_result found = unroll(&s, u, 9, NAN, gradient);
        assert_int_equal(found.steps, last);
        destroy(&s);
        memset(want, 0, sizeof want);
        if (last > 0) {
            build(&s, &small);
            const double meta_loss = unroll(&s, u, last, NAN, want).meta_loss;
            assert_true(found.meta_loss == meta_loss);
            destroy(&s);
        } else {
            assert_true(isnan(found.meta_loss));
        }
        assert_memory_equal(gradient, want, sizeof want);
        hrnn_unroller_free(u);
    }
}

/* An entry that the step takes for 0 passes nothing back; the others do. */
static void test_bad_gradient(void **state)
{
    (void)state;
    static float gradient[HRNN_META_PARAMS];
    setup s;
    float cot[24], grad[24];
    hrnn_adjoint *a = hrnn_adjoint_new(NULL);
    build(&s, &small);
    assert_int_equal(hrnn_adjoint_begin(a, s.opt, 2, NULL), OPT_OK);
    for (int i = 0; i < 24; i++) grad[i] = (float)sin(i);
    hrnn_adjoint_add_gradient(a, grad);
    hrnn_adjoint_step(a, 1);
    grad[2] = NAN;
    grad[7] = INFINITY;
    hrnn_adjoint_add_gradient(a, grad);
    hrnn_adjoint_step(a, 1);
    hrnn_adjoint_turn(a, 2);
    for (int i = 0; i < 24; i++) grad[i] = (float)cos(i);
    hrnn_adjoint_back(a, 1, grad, grad, cot);
    hrnn_adjoint_back(a, 1, grad, grad, NULL);
    hrnn_adjoint_finish(a, gradient);
    for (int i = 0; i < 24; i++) {
        assert_true(isfinite(cot[i]));
        if (i == 2 || i == 7) assert_true(cot[i] == 0);
        if (i > 7) assert_true(cot[i] != 0);
    }
    for (int i = 0; i < HRNN_META_PARAMS; i++) assert_true(isfinite(gradient[i]));
    hrnn_adjoint_free(a);
    destroy(&s);
}

static void test_errors(void **state)
{
    (void)state;
    static float gradient[HRNN_META_PARAMS];
    setup s;
    opt_error error;
    hrnn_unroll_result result;
    build(&s, &small);
    hrnn_unroller *u = hrnn_unroller_new(NULL);
    hrnn_objective f = objective(&s);
    hrnn_unroll_options options = {0, 1, NAN};
    assert_true(hrnn_unroll(u, s.opt, &f, &options, &result, gradient, &error) == OPT_BAD_OPTION);
    assert_non_null(strstr(error.message, "0 steps"));
    options.steps = 2;
    f.hessian_product = NULL;
    assert_true(hrnn_unroll(u, s.opt, &f, &options, &result, gradient, &error) == OPT_BAD_OPTION);
    assert_non_null(strstr(error.message, "Hessian"));
    options.second_derivatives = 0;
    assert_int_equal(hrnn_unroll(u, s.opt, &f, &options, &result, gradient, &error), OPT_OK);
    opt_free(s.opt);

    s.tensors[1].l2 = 1e-3f;
    const opt_options usual = opt_default_options("hrnn");
    s.opt = opt_create_with_model(&usual, &s.model, s.tensors, small.n, NULL);
    assert_true(hrnn_unroll(u, s.opt, &f, &options, &result, gradient, &error) == OPT_BAD_OPTION);
    assert_non_null(strstr(error.message, "tensor 1 has L2 decay 0.001"));
    opt_free(s.opt);

    opt_options sgd = opt_default_options("sgd");
    sgd.rate = 0.1f;
    s.opt = opt_create(&sgd, s.tensors, small.n, NULL);
    assert_true(hrnn_unroll(u, s.opt, &f, &options, &result, gradient, &error) == OPT_BAD_OPTION);
    assert_non_null(strstr(error.message, "\"sgd\""));
    hrnn_unroller_free(u);
    hrnn_unroller_free(NULL);
    hrnn_adjoint_free(NULL);
    destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_threads),         cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_steps_are_plain), cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_set_model),       cmocka_unit_test(test_bad_gradient),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
