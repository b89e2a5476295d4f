/* The hierarchical RNN's step against the plain reference: every feature on and off,
 * tensors of sizes around the blocks, frozen and scaled tensors; threads, attention's swap, bad
 * gradients. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "hrnn_reference.h"
#include "hrnn/hrnn_step.h"
#include "hrnn/rule_hrnn.h"

enum { TENSORS = 7, STEPS = 8 };
static const size_t sizes[TENSORS] = {1, 15, 64, 65, 200, 4200, 33};
static const float scales[TENSORS] = {1, 1, 0.5f, 1, 0, 1, 2}; /* the fifth is frozen */

typedef struct {
    opt_tensor tensors[TENSORS];
    float *start[TENSORS];
    optimizer *opt;
} network;

static unsigned seed;
static float uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

/* A model in which everything matters. */
static hrnn_model random_model(unsigned features)
{
    hrnn_model model = {
        .min_log_lr = -9, .max_log_lr = -2, .initial_lr = 1e-3f, .features = features};
    const int parts = hrnn_part_total(&model);
    for (int r = 0; r < parts; r++)
        for (size_t i = 0; i < hrnn_part_count(&hrnn_parts[r]); i++)
            hrnn_part_data(&model, &hrnn_parts[r])[i] = 0.4f * uniform();
    model.input_decay_bias[0] += 2;
    model.scale_decay_bias[0] += 3;
    return model;
}

static int compact, without_schedule; /* networks that are built */

static void build(network *net, const hrnn_model *model)
{
    static const char *const names[TENSORS] = {"0", "1", "2", "3", "4", "5", "6"};
    opt_error error;
    for (int k = 0; k < TENSORS; k++) {
        const size_t n = sizes[k];
        net->tensors[k] = (opt_tensor){names[k],
                                       malloc(n * sizeof(float)),
                                       calloc(n, sizeof(float)),
                                       n,
                                       -0.5f,
                                       k % 2 ? 1e-2f : 0,
                                       scales[k]};
        net->start[k] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) net->start[k][i] = net->tensors[k].param[i] = uniform();
    }
    opt_options options = opt_default_options("hrnn");
    options.compact = compact;
    options.without_schedule = without_schedule;
    net->opt = opt_create_with_model(&options, model, net->tensors, TENSORS, &error);
    assert_non_null(net->opt);
}

static void destroy(network *net)
{
    opt_free(net->opt);
    for (int k = 0; k < TENSORS; k++) {
        free(net->tensors[k].param);
        free(net->tensors[k].grad);
        free(net->start[k]);
    }
}

static reference build_reference(const network *net, const hrnn_model *model)
{
    reference r = reference_new(model, TENSORS);
    for (int k = 0; k < TENSORS; k++) {
        const opt_tensor *t = &net->tensors[k];
        if (t->lr_scale == 0) continue;
        reference_tensor *to = reference_add(&r, t->n, t->lr_scale);
        for (size_t i = 0; i < t->n; i++) {
            to->theta[i] = to->phi[i] = t->param[i];
            to->log_lr[i] = log((double)model->initial_lr);
        }
    }
    return r;
}

/* The gradients of a step, accumulated as the host would have them (grad_scale -0.5). */
static void draw_gradients(network *net, int step)
{
    for (int k = 0; k < TENSORS; k++)
        for (size_t i = 0; i < sizes[k]; i++)
            net->tensors[k].grad[i] = uniform() * powf(10, (float)(k - 3)) * (step == 5 ? 1e4f : 1);
}

static void step_reference(reference *r, const network *net, double loss, double ratio)
{
    double *grads[TENSORS];
    int active = 0;
    for (int k = 0; k < TENSORS; k++) {
        const opt_tensor *t = &net->tensors[k];
        if (t->lr_scale == 0) continue;
        grads[active] = malloc(t->n * sizeof(double));
        for (size_t i = 0; i < t->n; i++)
            grads[active][i] = (double)t->grad_scale * (double)t->grad[i] +
                               (double)t->l2 * r->tensors[active].phi[i];
        active++;
    }
    reference_step(r, grads, loss, ratio);
    for (int k = 0; k < active; k++) free(grads[k]);
}

/* Largest difference of θ or φ, relative to the largest move of the tensor. */
static double compare(const network *net, const reference *r, int attended)
{
    double worst = 0;
    int active = 0;
    for (int k = 0; k < TENSORS; k++) {
        double move = 1e-30, error = 0;
        if (net->tensors[k].lr_scale == 0) continue;
        const reference_tensor *want = &r->tensors[active++];
        for (size_t i = 0; i < sizes[k]; i++) {
            const double w = attended ? want->phi[i] : want->theta[i];
            move = fmax(move, fabs(w - (double)net->start[k][i]));
            error = fmax(error, fabs(w - (double)net->tensors[k].param[i]));
        }
        /* Two roundings of the parameter itself are not the step's. */
        error -= 2.4e-7;
        if (!(error / move <= worst)) worst = error / move;
    }
    return worst;
}

/* Losses that fall, rise, stand, jump and are missing. */
static float loss_of(int step)
{
    static const float losses[STEPS] = {2.3f, 2.1f, NAN, 1.4f, 1.4f, -0.2f, INFINITY, 8};
    return losses[step % STEPS];
}

/* bound: of the error of θ and φ, of the largest move of their tensor. horizon: steps in all. */
static void check_run(unsigned features, uint64_t horizon, const char *what, double bound)
{
    seed = 7;
    const hrnn_model model = random_model(features);
    network net;
    double worst = 0;
    build(&net, &model);
    reference r = build_reference(&net, &model);
    r.horizon = (double)horizon;
    opt_set_horizon(net.opt, horizon);
    assert_int_equal(opt_horizon(net.opt), hrnn_has_outlook(&model) ? horizon : 0);
    for (int s = 0; s < STEPS; s++) {
        const float ratio = s < 3 ? 0.25f : 1;
        draw_gradients(&net, s);
        step_reference(&r, &net, (double)loss_of(s), ratio);
        opt_step(net.opt, loss_of(s), ratio, NULL);
        worst = fmax(worst, compare(&net, &r, 1));
        opt_show_true(net.opt);
        worst = fmax(worst, compare(&net, &r, 0));
        opt_show_attended(net.opt);
        for (int k = 0; k < TENSORS; k++)
            for (size_t i = 0; i < sizes[k] && net.tensors[k].lr_scale != 0; i++)
                assert_true(net.tensors[k].grad[i] == 0);
    }
    print_message("%-28s largest error %.1e of the move\n", what, worst);
    assert_true(worst < bound);
    assert_memory_equal(net.tensors[4].param, net.start[4], sizes[4] * sizeof(float));
    reference_free(&r);
    destroy(&net);
}

static void check_features(unsigned features, const char *what, double bound)
{
    check_run(features, STEPS, what, bound);
}

static const unsigned all = (1u << HRNN_FEATURES) - 1;

static void test_features(void **state)
{
    (void)state;
    check_features(all, "everything", 1e-4);
    check_features(HRNN_FULL, "hrnn-1", 1e-4);
    check_features(HRNN_FULL | HRNN_2_FEATURES, "hrnn-2", 1e-4);
    check_run(all, 0, "no horizon", 1e-4);
    check_run(all, 20, "a longer horizon", 1e-4);
    check_run(all, 3000000, "a horizon of millions", 1e-4);
    check_run(all & ~(1u << HRNN_LOSSES), 0, "no horizon, no losses", 1e-4);
    check_features(0, "nothing", 1e-4);
    for (int f = 0; f < HRNN_FEATURES; f++)
        check_features(all & ~(1u << f), hrnn_feature_name((hrnn_feature)f), 1e-4);
}

/* Each step rounds; the errors of averages are those of 8 bits of mantissa. */
static void test_compact(void **state)
{
    (void)state;
    compact = 1;
    const unsigned second = HRNN_FULL | HRNN_2_FEATURES;
    check_features(second, "compact", 0.02);
    check_features(second & ~(1u << HRNN_ATTENTION), "compact, attention", 0.02);
    check_run(all, 20, "compact, hrnn-3", 0.03);
    check_features(HRNN_FULL, "compact, hrnn-1", 0.02);
    check_features(0, "compact, nothing", 0.02);
    compact = 0;
}

static void run(network *net, const hrnn_model *model, int threads, int steps)
{
    omp_set_num_threads(threads);
    seed = 11;
    build(net, model);
    for (int s = 0; s < steps; s++) {
        draw_gradients(net, s);
        opt_step(net->opt, NAN, 1, NULL);
    }
}

static void check_threads(void)
{
    const hrnn_model model = random_model(all);
    network one, three;
    run(&one, &model, 1, 30);
    run(&three, &model, 3, 30);
    for (int k = 0; k < TENSORS; k++)
        assert_memory_equal(one.tensors[k].param, three.tensors[k].param, sizes[k] * sizeof(float));
    destroy(&one);
    destroy(&three);
}

/* A model of hrnn-3 that was not trained further steps as the one of hrnn-2 that it was made from,
 * to the bit, but for 1 − t/T; and beyond the horizon it stands still. */
static void test_outlook_starts_at_nothing(void **state)
{
    (void)state;
    hrnn_model old = random_model(HRNN_FULL | HRNN_2_FEATURES), new = old;
    new.features = all;
    network nets[2];
    for (int v = 0; v < 2; v++) {
        seed = 5;
        build(&nets[v], v ? &new : &old);
        opt_set_horizon(nets[v].opt, 16);
        assert_int_equal(opt_has_schedule(nets[v].opt), v);
        for (int s = 0; s < 20; s++) {
            const float left = s < 16 ? (16 - (float)s) / 16 : 0;
            draw_gradients(&nets[v], s);
            opt_step(nets[v].opt, 1.0f / (float)(1 + s), v ? 1 : left, NULL);
        }
    }
    for (int k = 0; k < TENSORS; k++)
        assert_memory_equal(nets[0].tensors[k].param, nets[1].tensors[k].param,
                            sizes[k] * sizeof(float));
    for (int v = 0; v < 2; v++) destroy(&nets[v]);
}

/* options.without_schedule: rate_ratio alone multiplies the step. */
static void test_plain(void **state)
{
    (void)state;
    hrnn_model model = random_model(all);
    for (int j = 0; j < HRNN_PROGRESS; j++) model.schedule_weight[j] *= 4;
    network nets[2];
    for (int v = 0; v < 2; v++) {
        without_schedule = v;
        seed = 5;
        build(&nets[v], &model);
        assert_int_equal(opt_has_schedule(nets[v].opt), !v);
        opt_set_horizon(nets[v].opt, 8);
        const hrnn_state *s = nets[v].opt->state;
        for (int t = 0; t < 8; t++) {
            draw_gradients(&nets[v], t);
            opt_step(nets[v].opt, 1, v ? s->outlook.schedule : 1, NULL);
        }
    }
    without_schedule = 0;
    for (int k = 0; k < TENSORS; k++)
        assert_memory_equal(nets[0].tensors[k].param, nets[1].tensors[k].param,
                            sizes[k] * sizeof(float));
    for (int v = 0; v < 2; v++) destroy(&nets[v]);
}

static void test_threads(void **state)
{
    (void)state;
    for (compact = 0; compact < 2; compact++) check_threads();
    compact = 0;
}

/* Of all parameters, which lie at all distances from 0 and from those that are attended to. */
static void check_swap(void)
{
    enum { LARGEST = 4200 };
    static float attended[TENSORS][LARGEST], theta[TENSORS][LARGEST];
    const hrnn_model model = random_model(all);
    network net;
    run(&net, &model, 2, 3);
    for (int k = 0; k < TENSORS; k++)
        memcpy(attended[k], net.tensors[k].param, sizes[k] * sizeof(float));
    for (int times = 0; times < 3; times++) {
        opt_show_attended(net.opt);
        for (int k = 0; k < TENSORS; k++)
            assert_memory_equal(net.tensors[k].param, attended[k], sizes[k] * sizeof(float));
        opt_show_true(net.opt);
        opt_show_true(net.opt);
        for (int k = 0; k < TENSORS; k++) {
            const float *param = net.tensors[k].param;
            if (times == 0) memcpy(theta[k], param, sizes[k] * sizeof(float));
            assert_memory_equal(param, theta[k], sizes[k] * sizeof(float));
            assert_true(param[0] != attended[k][0] || scales[k] == 0);
        }
        opt_show_attended(net.opt);
    }
    destroy(&net);
}

static void test_swap_is_idempotent(void **state)
{
    (void)state;
    for (compact = 0; compact < 2; compact++) check_swap();
    compact = 0;
}

/* Whatever the gradients are, the parameters stay numbers and the report counts. */
static void test_bad_gradients(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0};
    const hrnn_model model = random_model(all & ~(1u << HRNN_INPUT_SCALING));
    const hrnn_model usual = random_model(all);
    for (int m = 0; m < 4; m++) {
        network net;
        opt_step_report report;
        compact = m / 2;
        run(&net, m % 2 ? &model : &usual, 2, 2);
        for (int s = 0; s < 40; s++) {
            for (int k = 0; k < TENSORS; k++)
                for (size_t i = 0; i < sizes[k]; i++)
                    net.tensors[k].grad[i] = k == 0 ? 1 : bad[(i + (size_t)s) % 7];
            opt_step(net.opt, NAN, 1, &report);
        }
        assert_int_equal(report.first_bad_tensor, 1);
        size_t want = 0;
        for (int k = 1; k < TENSORS; k++)
            for (size_t i = 0; i < sizes[k] && k != 4; i++) want += (i + 39) % 7 < 3;
        assert_int_equal(report.non_finite, want);
        for (int k = 0; k < TENSORS; k++)
            for (size_t i = 0; i < sizes[k]; i++) assert_true(isfinite(net.tensors[k].param[i]));
        destroy(&net);
    }
    compact = 0;
}

static void test_state_size(void **state)
{
    (void)state;
    float *param = calloc(64000, sizeof *param), *grad = calloc(64000, sizeof *grad);
    const opt_tensor tensor = {"w", param, grad, 64000, -1, 0, 1};
    for (int i = 0; i < 4; i++) {
        static const size_t bytes[4] = {76, 80, 40, 42};
        const int attention = i % 2;
        const hrnn_model model = random_model(attention ? all : all & ~(1u << HRNN_ATTENTION));
        opt_options options = opt_default_options("hrnn");
        options.compact = i / 2;
        optimizer *opt = opt_create_with_model(&options, &model, &tensor, 1, NULL);
        assert_non_null(opt);
        assert_int_equal(opt_state_bytes(opt), 64000 * bytes[i]);
        opt_free(opt);
    }
    free(param);
    free(grad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_outlook_starts_at_nothing),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_swap_is_idempotent),
        cmocka_unit_test(test_bad_gradients),
        cmocka_unit_test(test_state_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
