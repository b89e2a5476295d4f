/* Every layer of the host against central finite differences of the cost that it prints: the sums
 * in its *_updates, times the grad_scale that the optimizers are given, are the gradient of the
 * mean loss. Where the host delivers half the gradient of what it prints (squared errors), the
 * table says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "darknet.h"
#include "host_cases.h"
#include "optimizer/optimizer.h"

static double difference(network *net, const gradient_case *row, float *param, float h)
{
    float start = *param;
    *param = start + h;
    double up = mean_loss(net, row, 0);
    *param = start - h;
    double down = mean_loss(net, row, 0);
    *param = start;
    return (up - down) / (2 * (double)h);
}

enum { ENTRIES = 12 }; /* of each tensor, spread over it; the largest one too */

static int check_tensor(network *net, const gradient_case *row, const host_tensor *t, double loss)
{
    float scale = -1.0f / (float)(net->batch * net->subdivisions);
    int largest = 0;
    for (int i = 0; i < t->n; ++i)
        if (fabsf(t->updates[i]) > fabsf(t->updates[largest])) largest = i;
    double size = fabs(scale * t->updates[largest]);
    if (size == 0) {
        print_error("%s: %s has no gradient\n", row->name, t->name);
        return 1;
    }
    for (int e = 0; e <= ENTRIES; ++e) {
        int i = e == ENTRIES ? largest : (int)((long)e * t->n / ENTRIES);
        double found = scale * t->updates[i];
        double expected = 0;
        int agree = 0;
        /* A kink that the larger step crosses may lie outside of the smaller one. The cost is a
         * float, whose rounding is felt in the difference. */
        for (float h = 8e-3f; !agree && h > 1e-3f; h /= 4) {
            expected = row->delivered * difference(net, row, &t->param[i], h);
            agree = fabs(found - expected) <= row->bound * size + 3e-7 / (double)h * loss;
        }
        if (agree) continue;
        print_error("%s: %s[%d]: gradient %g, finite difference %g, largest entry %g\n", row->name,
                    t->name, i, found, expected, size);
        return 1;
    }
    return 0;
}

static int check_case(const gradient_case *row)
{
    network *net = network_from_text(row->cfg);
    stir_parameters(net, 4);
    use_threads(0); /* the gradient on all, the differences on one */
    double loss = mean_loss(net, row, 1);
    use_threads(1);
    host_tensors list = list_tensors(net);
    int failed = 0;
    for (int k = 0; k < list.n; ++k)
        if (!row->skip || !strstr(row->skip, list.row[k].name))
            failed += check_tensor(net, row, &list.row[k], fabs(loss));
    free_network(net);
    return failed;
}

static void test_layers(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) failed += check_case(&cases[i]);
    assert_int_equal(failed, 0);
}

/* Both as the layer's own activation and as an [activation] layer. Smooth ones and those with
 * kinks, which the few numbers drawn here do not meet. */
static void test_activations(void **state)
{
    (void)state;
    static const char *const names[] = {"logistic", "loggy", "relu",    "elu",   "selu",
                                        "relie",    "plse",  "hardtan", "lhtan", "linear",
                                        "ramp",     "leaky", "tanh"};
    int failed = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
        char cfg[512];
        snprintf(cfg, sizeof cfg,
                 FLAT(3, 6) "[connected]\noutput=7\nactivation=%s\n"
                            "[connected]\noutput=6\nactivation=linear\n[activation]\nactivation=%"
                            "s\n" CLASSES(3),
                 names[i], names[i]);
        gradient_case row = {names[i], cfg, 3, 1, 0.01f, 0};
        failed += check_case(&row);
    }
    assert_int_equal(failed, 0);
}

/* A small step of sgd, given the tensors as the hook gives them, lowers the loss by rate *
 * |g|^2. */
static void test_step_goes_down(void **state)
{
    (void)state;
    enum { BATCH = 6 };
    const gradient_case row = {
        "step", IMAGE(6, 6, 5, 2) CONV("filters=4\nsize=3\npad=1") CLASSES(3), 3, 1, 0, 0};
    network *net = network_from_text(row.cfg);
    double before = mean_loss(net, &row, 1);
    host_tensors list = list_tensors(net);
    opt_tensor tensors[MAX_TENSORS];
    double squares = 0;
    for (int k = 0; k < list.n; ++k) {
        host_tensor *t = &list.row[k];
        tensors[k] = (opt_tensor){.name = t->name,
                                  .param = t->param,
                                  .grad = t->updates,
                                  .n = (size_t)t->n,
                                  .grad_scale = -1.0f / BATCH,
                                  .lr_scale = 1};
        for (int i = 0; i < t->n; ++i)
            squares += (double)t->updates[i] * t->updates[i] / (BATCH * BATCH);
    }
    opt_options options = opt_default_options("sgd");
    options.rate = 1e-3f;
    opt_error error;
    optimizer *opt = opt_create(&options, tensors, list.n, &error);
    assert_non_null(opt);
    opt_step(opt, NAN, 1, NULL);
    opt_free(opt);
    double gain = before - mean_loss(net, &row, 0);
    free_network(net);
    assert_true(fabs(gain - options.rate * squares) < 0.05 * options.rate * squares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_step_goes_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
