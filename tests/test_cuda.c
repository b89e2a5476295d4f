/* Device cuda against device cpu: all rules, both formats of a model, with attention and without.
 * On an emulated GPU (tests/emulation); ON_GPU: on a real one, without what only the emulation can
 * show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include "base/device.h"
#include "adjoint/hrnn_adjoint.h"
#include "hrnn/hrnn_model.h"
#include "hrnn/rule_hrnn.h"
#include "scratch.h"

#ifdef ON_GPU
static int emulation_backwards;
static void emulation_reset(void) { emulation_backwards = 0; }
#else
#include "cuda_runtime_api.h"
#endif

/* --- networks: sizes around those of a warp, a block of state and a chunk --- */

static const size_t sizes[] = {64, 1, 63, 65, 9, 4097, 70000};
enum { N = sizeof(sizes) / sizeof(sizes[0]), FROZEN = 4, LARGEST = 70000 };
static const char *const names[N] = {"0.weights", "0.biases", "1.weights", "1.biases",
                                     "2.frozen",  "2.biases", "3.weights"};

typedef struct {
    opt_tensor tensors[N]; /* arrays of the device */
    float *param[N], *grad[N];
    int cuda;
    optimizer *opt;
} network;

enum { HRNN = 3, ROWS = 11 };
static const struct {
    const char *name, *rule, *model, *prefix; /* of hrnn */
    float rate;
    unsigned add, without; /* features */
    int compact;
} rows[ROWS] = {
    {.name = "sgd", .rule = "sgd", .rate = 0.01f},
    {.name = "adam", .rule = "adam", .rate = 0.01f},
    {.name = "rmsprop", .rule = "rmsprop", .rate = 0.003f},
    {.name = "hrnn",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .without = 1 << HRNN_ATTENTION},
    {.name = "hrnn-1, attention",
     .rule = "hrnn",
     .model = "tests/golden/trace-many-tensors.safetensors",
     .prefix = "model.",
     .rate = 1e-3f},
    {.name = "hrnn-2, attention",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .add = 1 << HRNN_ATTENTION},
    {.name = "hrnn-1, parts left out",
     .rule = "hrnn",
     .model = "tests/golden/trace-one-tensor.safetensors",
     .prefix = "model.",
     .rate = 1e-3f,
     .without = 1 << HRNN_PRODUCTS | 1 << HRNN_TIMESCALES | 1 << HRNN_TENSOR_RNN},
    {.name = "hrnn, compact",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .compact = 1},
    {.name = "hrnn-2, attention, compact",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .add = 1 << HRNN_ATTENTION,
     .compact = 1},
    {.name = "hrnn-3, attention",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .add = 1 << HRNN_ATTENTION | HRNN_3_FEATURES},
    {.name = "hrnn-3, compact",
     .rule = "hrnn",
     .model = "weights/hrnn.safetensors",
     .prefix = "",
     .rate = 1e-3f,
     .add = HRNN_3_FEATURES,
     .compact = 1},
};

/* Weights of an outlook that matter. */
static void fill_outlook(hrnn_model *model)
{
    for (int r = HRNN_2_PARTS; r < HRNN_PARTS; r++)
        for (size_t i = 0; i < hrnn_part_count(&hrnn_parts[r]); i++)
            hrnn_part_data(model, &hrnn_parts[r])[i] = 0.1f * sinf((float)i + (float)r);
}

static optimizer *create(int row, int cuda, const opt_tensor *tensors, int n)
{
    opt_error error = {0};
    opt_options options = opt_default_options(rows[row].rule);
    hrnn_model *model = NULL;
    options.rate = rows[row].rate;
    options.compact = rows[row].compact;
    options.device = cuda ? "cuda" : "cpu";
    if (rows[row].model) {
        st_file *file = st_open(rows[row].model, &error);
        model = file ? hrnn_model_read(file, rows[row].prefix, &error) : NULL;
        st_close(file);
        if (!model) fail_msg("%s", error.message);
        model->features = (model->features | rows[row].add) & ~rows[row].without;
        if (rows[row].add) {
            for (int i = 0; i < HRNN_H0; i++)
                model->attention_weight[i] = 0.9f * model->step_weight[i];
            for (int s = 0; s < HRNN_SCALES; s++) model->attention_shortcut[s] = 0.2f;
            if (rows[row].add & HRNN_3_FEATURES) fill_outlook(model);
        }
    }
    optimizer *opt = model ? opt_create_with_model(&options, model, tensors, n, &error)
                           : opt_create(&options, tensors, n, &error);
    hrnn_model_free(model);
    if (!opt) fail_msg("%s: %s", rows[row].name, error.message);
    opt_set_horizon(opt, 30);
    return opt;
}

static float start_of(int k, size_t i) { return (float)(sin((double)i * 0.7 + k) * 0.5); }

/* Made on the device; the host's copies are what it holds. */
static void make_network(network *net, int row, int cuda)
{
    net->cuda = cuda;
    for (int k = 0; k < N; k++) {
        const size_t bytes = sizes[k] * sizeof(float);
        net->param[k] = malloc(bytes);
        net->grad[k] = malloc(bytes);
        for (size_t i = 0; i < sizes[k]; i++) {
            net->param[k][i] = start_of(k, i);
            net->grad[k][i] = 7;
        }
        float *param = device_alloc(cuda, bytes), *grad = device_alloc(cuda, bytes);
        device_put(cuda, param, net->param[k], bytes);
        device_put(cuda, grad, net->grad[k], bytes);
        net->tensors[k] = (opt_tensor){names[k],
                                       param,
                                       grad,
                                       sizes[k],
                                       -0.25f,
                                       k ? 0 : 5e-4f,
                                       k == FROZEN ? 0 : k == 3 ? 0.5f : 1};
    }
    net->opt = create(row, cuda, net->tensors, N);
}

static void free_network(network *net)
{
    opt_free(net->opt);
    for (int k = 0; k < N; k++) {
        free(net->param[k]);
        free(net->grad[k]);
        device_free(net->cuda, net->tensors[k].param);
        device_free(net->cuda, net->tensors[k].grad);
    }
}

static void get_params(network *net)
{
    for (int k = 0; k < N; k++)
        device_get(net->cuda, net->param[k], net->tensors[k].param, sizes[k] * sizeof(float));
}

static void put_params(network *net, const network *from)
{
    for (int k = 0; k < N; k++)
        device_put(net->cuda, net->tensors[k].param, from->param[k], sizes[k] * sizeof(float));
}

/* Gradients that do not depend on the parameters: what differs is the step, not the path. */
static void put_gradients(network *net, int step)
{
    for (int k = 0; k < N; k++) {
        if (k == FROZEN) continue;
        for (size_t i = 0; i < sizes[k]; i++)
            net->grad[k][i] = sinf((float)i * 12.9898f + (float)step * 7.233f + (float)k) *
                              expf(3 * sinf((float)i * 0.37f));
        device_put(net->cuda, net->tensors[k].grad, net->grad[k], sizes[k] * sizeof(float));
    }
}

static void run(network *net, int from, int to)
{
    for (int t = from; t <= to; t++) {
        put_gradients(net, t);
        opt_step(net->opt, 2 / (float)t, t < 3 ? 0.5f : 1, NULL);
    }
}

/* The rounding of sums and fused operations is what differs; it decides which way some of a compact
 * state's numbers are rounded. */
static void expect_close(network *a, network *b, int row)
{
    get_params(a);
    get_params(b);
    for (int k = 0; k < N; k++) {
        double error = 0, moved = 0;
        for (size_t i = 0; i < sizes[k]; i++) {
            const double here = fabs((double)a->param[k][i] - b->param[k][i]);
            error = here <= error ? error : here;
            moved = fmax(moved, fabs((double)a->param[k][i] - start_of(k, i)));
        }
        if (!(error <= (rows[row].compact ? 1e-2 : 1e-4) * moved + 1e-7) ||
            (moved == 0) != (k == FROZEN))
            fail_msg("%s: %s: differs by %g after moving %g", rows[row].name, names[k], error,
                     moved);
    }
}

static void expect_equal(network *a, network *b, int row)
{
    get_params(a);
    get_params(b);
    for (int k = 0; k < N; k++)
        if (memcmp(a->param[k], b->param[k], sizes[k] * sizeof(float)) != 0)
            fail_msg("%s: %s differs", rows[row].name, names[k]);
}

static void expect_close_log_lr(network *a, network *b, int row)
{
    static float x[LARGEST], y[LARGEST];
    double mean_x, mean_y;
    for (int k = 0; k < N; k++) {
        const int has = opt_get_log_lr(a->opt, k, x);
        assert_int_equal(has, opt_get_log_lr(b->opt, k, y));
        for (size_t i = 0; has && i < sizes[k]; i++)
            if (!(fabsf(x[i] - y[i]) <= (rows[row].compact ? 1e-2f : 1e-4f)))
                fail_msg("%s: %s: log_lr %g and %g", rows[row].name, names[k], x[i], y[i]);
    }
    if (!opt_get_mean_log_lr(a->opt, &mean_x)) return;
    assert_int_equal(opt_get_mean_log_lr(b->opt, &mean_y), 1);
    assert_true(fabs(mean_x - mean_y) < 1e-4);
}

/* --- steps --- */

static void test_agrees_with_cpu(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network cpu, cuda;
        make_network(&cpu, row, 0);
        make_network(&cuda, row, 1);
        expect_equal(&cpu, &cuda, row);
        assert_int_equal(opt_state_bytes(cpu.opt), opt_state_bytes(cuda.opt));
        for (int t = 1; t <= 5; t++) {
            run(&cpu, t, t);
            run(&cuda, t, t);
            expect_close(&cpu, &cuda, row);
        }
        expect_close_log_lr(&cpu, &cuda, row);
        opt_show_true(cpu.opt);
        opt_show_true(cuda.opt);
        opt_show_true(cuda.opt);
        expect_close(&cpu, &cuda, row);
        opt_show_attended(cpu.opt);
        opt_show_attended(cuda.opt);
        expect_close(&cpu, &cuda, row);
        for (int k = 0; k < N; k++) { /* zeroed, but for a frozen tensor's */
            device_get(1, cuda.grad[k], cuda.tensors[k].grad, sizes[k] * sizeof(float));
            for (size_t i = 0; i < sizes[k]; i++)
                if (cuda.grad[k][i] != (k == FROZEN ? 7 : 0))
                    fail_msg("%s: gradient %s[%zu] is %g", rows[row].name, names[k], i,
                             cuda.grad[k][i]);
        }
        free_network(&cpu);
        free_network(&cuda);
#ifndef ON_GPU
        assert_int_equal(emulation_allocations(), 0);
#endif
    }
}

/* The same bits from another run, and when the threads take turns in another order. */
static void test_deterministic(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network one, two;
        make_network(&one, row, 1);
        run(&one, 1, 3);
        emulation_backwards = 1;
        make_network(&two, row, 1);
        run(&two, 1, 3);
        expect_equal(&one, &two, row);
        emulation_reset();
        free_network(&one);
        free_network(&two);
    }
}

#ifndef ON_GPU
/* Few launches, whatever the number of tensors, and no waiting nor allocation. */
static void test_launches(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network net;
        opt_step_report report;
        make_network(&net, row, 1);
        run(&net, 1, 2);
        const size_t allocations = emulation_allocations();
        put_gradients(&net, 3);
        emulation_reset();
        opt_step(net.opt, NAN, 1, &report);
        assert_int_equal(emulation_waits, 0);
        assert_int_equal(emulation_launches, row < HRNN ? 1 : 4);
        assert_int_equal(emulation_allocations(), allocations);
        free_network(&net);
    }
}

#endif

/* Non-finite gradients are taken as 0 and reported with the step after. */
static void test_non_finite(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network cpu, cuda;
        make_network(&cpu, row, 0);
        make_network(&cuda, row, 1);
        for (int t = 1; t <= 4; t++) {
            opt_step_report now, before;
            network *const nets[2] = {&cpu, &cuda};
            for (int d = 0; d < 2; d++) {
                put_gradients(nets[d], t);
                const float bad[3] = {NAN, INFINITY, -INFINITY};
                if (t == 2) device_put(d, nets[d]->tensors[6].grad + 69000, bad, sizeof(bad));
                if (t == 2) device_put(d, nets[d]->tensors[5].grad + 4096, bad, sizeof(bad[0]));
                opt_step(nets[d]->opt, NAN, 1, d ? &before : &now);
            }
            assert_int_equal(now.non_finite, t == 2 ? 4 : 0);
            assert_int_equal(now.first_bad_tensor, t == 2 ? 5 : -1);
            assert_int_equal(before.non_finite, t == 3 ? 4 : 0);
            assert_int_equal(before.first_bad_tensor, t == 3 ? 5 : -1);
        }
        expect_close(&cpu, &cuda, row);
        free_network(&cpu);
        free_network(&cuda);
    }
}

/* Learning rates from outside; the mean that steps compare with is taken anew. */
static void test_set_log_lr(void **state)
{
    (void)state;
    static float log_lr[LARGEST], found[LARGEST];
    for (int row = HRNN; row < ROWS; row++) {
        network cpu, cuda;
        make_network(&cpu, row, 0);
        make_network(&cuda, row, 1);
        for (int t = 0; t < 2; t++) { /* before the first step and between steps */
            run(&cpu, t + 1, t + 1);
            run(&cuda, t + 1, t + 1);
            for (int k = 0; k < N; k++) {
                for (size_t i = 0; i < sizes[k]; i++)
                    log_lr[i] = -6 - (float)k / 7 + 0.5f * sinf((float)i);
                assert_int_equal(opt_set_log_lr(cpu.opt, k, log_lr), k != FROZEN);
                assert_int_equal(opt_set_log_lr(cuda.opt, k, log_lr), k != FROZEN);
                if (k == FROZEN) continue;
                opt_get_log_lr(cuda.opt, k, found);
                assert_memory_equal(found, log_lr, sizes[k] * sizeof(float));
            }
        }
        run(&cpu, 3, 4);
        run(&cuda, 3, 4);
        expect_close(&cpu, &cuda, row);
        expect_close_log_lr(&cpu, &cuda, row);
        free_network(&cpu);
        free_network(&cuda);
    }
}

/* A network of frozen tensors alone, and of none. */
static void test_nothing_to_train(void **state)
{
    (void)state;
    const opt_tensor frozen = {"a", NULL, NULL, 5, 1, 0, 0};
    for (int row = 0; row < ROWS; row++)
        for (int n = 0; n < 2; n++) {
            optimizer *opt = create(row, 1, &frozen, n);
            opt_step(opt, NAN, 1, NULL);
            opt_step(opt, NAN, 1, NULL);
            opt_show_true(opt);
            assert_int_equal(opt_steps(opt), 2);
            opt_free(opt);
        }
}

/* --- checkpoints --- */

static void save(const network *net, const char *name)
{
    opt_error error = {0};
    if (opt_save(net->opt, scratch_path(name), NULL, 0, NULL, 0, &error))
        fail_msg("%s", error.message);
}

static void load(network *net, const char *name)
{
    opt_error error = {0};
    opt_checkpoint *c = opt_checkpoint_open(scratch_path(name), &error);
    if (!c || opt_load(net->opt, c, &error)) fail_msg("%s", error.message);
    opt_checkpoint_close(c);
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

/* Written on one device and loaded on the other, a checkpoint is the same file again; the run goes
 * on there as it would have here, bit for bit on the device that it came from. */
static void test_checkpoint(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++)
        for (int from = 0; from < 2; from++) {
            network first, there, back;
            make_network(&first, row, from);
            make_network(&there, row, !from);
            make_network(&back, row, from);
            run(&first, 1, 2);
            save(&first, "attended");
            opt_show_true(first.opt);
            save(&first, "first");
            expect_same_file("attended", "first");
            get_params(&first);
            put_params(&there, &first);
            put_params(&back, &first);
            opt_show_attended(first.opt);

            load(&there, "first");
            save(&there, "there");
            expect_same_file("first", "there");
            load(&back, "there");
            save(&back, "back");
            expect_same_file("first", "back");
            expect_equal(&first, &there, row);
            assert_int_equal(opt_steps(there.opt), 2);
            run(&first, 3, 4);
            run(&there, 3, 4);
            run(&back, 3, 4);
            expect_equal(&first, &back, row);
            expect_close(&first, &there, row);
            free_network(&first);
            free_network(&there);
            free_network(&back);
        }
}

static void test_no_adjoint(void **state)
{
    (void)state;
    opt_error error = {0};
    network net;
    make_network(&net, HRNN + 1, 1);
    hrnn_adjoint *adjoint = hrnn_adjoint_new(&error);
    assert_int_equal(hrnn_adjoint_begin(adjoint, net.opt, 3, &error), OPT_BAD_OPTION);
    assert_string_equal(error.message, "the adjoint is of an optimizer on device cpu, found cuda");
    hrnn_adjoint_free(adjoint);
    free_network(&net);
}

#ifndef ON_GPU
/* A GPU that fails is no reason to lose the last good checkpoint. */
static void test_failure(void **state)
{
    (void)state;
    for (int row = 0; row < ROWS; row++) {
        network net;
        make_network(&net, row, 1);
        run(&net, 1, 1);
        save(&net, "good");
        save(&net, "state");
        emulation_fails = 1;
        opt_step(net.opt, NAN, 1, NULL);
        opt_step(net.opt, NAN, 1, NULL);
        opt_error error = {0};
        assert_int_equal(opt_save(net.opt, scratch_path("state"), NULL, 0, NULL, 0, &error),
                         OPT_IO);
        if (!strstr(error.message, "device cuda has failed: "))
            fail_msg("\"%s\" does not say that the device failed", error.message);
        opt_checkpoint *c = opt_checkpoint_open(scratch_path("good"), &error);
        assert_int_equal(opt_load(net.opt, c, &error), OPT_IO);
        opt_checkpoint_close(c);
        expect_same_file("good", "state");
        emulation_reset();
        free_network(&net);
    }
}

static void test_no_device(void **state)
{
    (void)state;
    float param = 0, grad = 0;
    const opt_tensor tensor = {"a", &param, &grad, 1, 1, 0, 1};
    opt_options options = opt_default_options("sgd");
    opt_error error = {0};
    options.device = "cuda";
    emulation_devices = 0;
    assert_null(opt_create(&options, &tensor, 1, &error));
    assert_int_equal(error.status, OPT_BAD_OPTION);
    assert_string_equal(error.message, "device \"cuda\": no GPU can be used (no CUDA-capable "
                                       "device is detected)");
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
    emulation_reset();
    options.device = "abacus";
    assert_null(opt_create(&options, &tensor, 1, &error));
    assert_string_equal(error.message, "device \"abacus\", expected cpu or cuda");
}
#endif

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_cpu),  cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_non_finite),       cmocka_unit_test(test_set_log_lr),
        cmocka_unit_test(test_nothing_to_train), cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_no_adjoint),
#ifndef ON_GPU
        cmocka_unit_test(test_launches),         cmocka_unit_test(test_failure),
        cmocka_unit_test(test_no_device),
#endif
    };
#ifndef ON_GPU
    emulation_hides_heap = 1;
#endif
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
