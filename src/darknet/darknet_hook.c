/* The optimizer in Darknet's training: made when training starts, called at every update. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "darknet/darknet_private.h"
#include "base/random_stream.h"

/* After so many updates in a row with gradients that are no numbers, the network is lost. */
enum { MOST_BAD_UPDATES = 100, STATUS_DIVERGED = 3 };

/* Unless there is one. */
static void make_optimizer(network *net)
{
    struct darknet_hook *hook = net->hook;
    opt_error error;
    if (hook->opt) return;
    /* Only here: a network that is merely used needs no model. */
    if (opt_takes_model(hook->settings.rule) && !hook->settings.model)
        hook->settings.model = hook_find_model();
    hook->settings.device = net->gpu_index >= 0 ? "cuda" : "cpu";
    hook->table = hook_list_tensors(net);
    hook->opt = opt_create(&hook->settings, hook->table.tensors, hook->table.n, &error);
    if (hook->opt && hook->schedule.value && !hook->settings.without_schedule &&
        !opt_has_schedule(hook->opt))
        hook_die("%s:%d: optimizer_schedule=model, but %s has no schedule of its own", hook->cfg,
                 hook->schedule.line, hook->settings.model);
    if (hook->opt) return;
    if (hook->model.value) hook_die("%s:%d: %s", hook->cfg, hook->model.line, error.message);
    hook_die("%s:%d: optimizer=%s: %s", hook->cfg, hook->optimizer.line, hook->settings.rule,
             error.message);
}

/* The state of an optimizer that this cfg no longer names. */
static void warn_of_sidecar(const network *net, const char *weights)
{
    char *sidecar = hook_sidecar_path(weights);
    if (hook_has_optimizer_state(sidecar))
        fprintf(stderr, "warning: %s is not used: %s has no optimizer=\n", sidecar, net->hook->cfg);
    free(sidecar);
}

/* Those that are trained. */
static size_t count_parameters(const tensor_table *table)
{
    size_t count = 0;
    for (int k = 0; k < table->n; k++)
        if (table->tensors[k].lr_scale != 0) count += table->tensors[k].n;
    return count;
}

static void describe(network *net, const char *weights, int clear)
{
    struct darknet_hook *hook = net->hook;
    const opt_options *settings = &hook->settings;
    if (settings->rule) {
        printf("Optimizer: %s", settings->rule);
        if (settings->model) printf(", model %s", settings->model);
        if (settings->rate > 0) printf(", rate %g", settings->rate);
        printf(", %zu bytes of state, %zu parameters\n", opt_state_bytes(hook->opt),
               count_parameters(&hook->table));
    }
    hook_describe_schedule(net);
    printf("Seed: %llu\n", (unsigned long long)net->seed);
    if (!weights || !*weights) return;
    if (!settings->rule)
        warn_of_sidecar(net, weights);
    else if (hook->resumed)
        printf("Resuming at batch %zu from %s: optimizer %s, step %llu\n", hook_batch_number(net),
               weights, settings->rule, (unsigned long long)opt_steps(hook->opt));
    else
        printf("Starting from %s with a fresh optimizer%s\n", weights,
               clear ? " (-clear)" : ": it has no sidecar");
    if (!hook->resumed) hook_note_biases(net);
}

void hook_note_biases(const network *net)
{
    if (hook_has_layer(net, BATCHNORM) && !net->hook->biases_known)
        printf(
            "The biases of [batchnorm] layers are not in a weights file: without its sidecar they "
            "start at 0\n");
}

void hook_begin_optimizer(network *net, const char *weights, int clear)
{
    struct darknet_hook *hook = net->hook;
    const int resumes = weights && *weights && !clear;
    hook->training = 1;
    if (hook->settings.rule) {
        make_optimizer(net);
        hook->resumed = resumes && hook_resume_from(net, weights);
    } else if (resumes) {
        hook_resume_statistics(net, weights);
    }
}

void hook_start_training(network *net, const char *weights, int clear)
{
    struct darknet_hook *hook = net->hook;
    const int loaded = weights && *weights;
    hook_use_device(net);
    if (loaded && hook->surplus_bytes)
        hook_die("%s: holds %zu bytes more than this network has parameters for; `darknet partial` "
                 "cuts the layers that fit",
                 weights, hook->surplus_bytes);
    hook_begin_optimizer(net, weights, clear);
    hook_open_log(net);
    describe(net, weights, clear);
    fflush(stdout);
}

int hook_resumed(const network *net) { return net->hook->resumed; }

void hook_keep(network *net, const char *name, void *data, size_t bytes)
{
    hook_add_blob(&net->hook->kept, name, (twin){data, NULL}, bytes);
}

/* Says which gradients were no numbers, at the first and then at every tenth update in a row. */
static void watch(network *net, const opt_step_report *report)
{
    struct darknet_hook *hook = net->hook;
    if (!report->non_finite) {
        hook->bad_updates = 0;
        return;
    }
    if (hook->bad_updates++ % 10 == 0)
        fprintf(stderr,
                "warning: batch %zu: %zu gradients are not finite, the first in %s; they count "
                "as 0\n",
                hook_batch_number(net), report->non_finite,
                hook->table.tensors[report->first_bad_tensor].name);
    if (hook->bad_updates >= MOST_BAD_UPDATES)
        hook_end(
            STATUS_DIVERGED,
            "batch %zu: the gradients of %d updates in a row were not finite, the first in %s: "
            "the network has diverged; the last saved weights are intact",
            hook_batch_number(net), hook->bad_updates,
            hook->table.tensors[report->first_bad_tensor].name);
}

void hook_add_loss(network *net, float loss)
{
    if (!net->hook) return;
    net->hook->losses[0] += loss;
    net->hook->losses[1]++;
}

/* The mean since the last update; NAN: nobody has said. */
static float take_loss(struct darknet_hook *hook)
{
    const float sum = hook->losses[0], n = hook->losses[1];
    hook->losses[0] = hook->losses[1] = 0;
    return n > 0 ? sum / n : NAN;
}

int hook_update(network *net)
{
    struct darknet_hook *hook = net->hook;
    opt_step_report report;
    if (!hook) return 0;
    hook->has_statistics = 0;
    const float loss = take_loss(hook);
    if (!hook->settings.rule) return 0;
    hook_use_device(net);
    make_optimizer(net);
    hook_tell_horizon(net);
    ++*net->t;
    for (int k = 0; k < hook->table.n; k++)
        if (hook->table.clear[k])
            hook_zero_array(net, hook->table.tensors[k].grad, hook->table.tensors[k].n);
    const float ratio = hook_step_ratio(net);
    /* A GPU computes on while the host goes on; times that are logged are those of what was
     * done. */
    if (hook->log.stream) hook_wait_device(net);
    const double start = clock_seconds();
    opt_step(hook->opt, loss, ratio, &report);
    if (hook->log.stream) hook_wait_device(net);
    hook->update_seconds += clock_seconds() - start;
    watch(net, &report);
    return 1;
}

void hook_free(network *net)
{
    struct darknet_hook *hook = net->hook;
    if (!hook) return;
    hook_use_device(net);
    hook_close_logs(net);
    opt_free(hook->opt);
    hook_free_tensors(&hook->table);
    hook_free_blobs(&hook->kept);
    hook_free_snapshot(&hook->statistics);
    free((char *)hook->settings.model);
    free(hook->optimizer.value);
    free(hook->model.value);
    free(hook->rate.value);
    free(hook->state.value);
    free(hook->schedule.value);
    free(hook->seed.value);
    free(hook->log_path.value);
    free(hook->cfg);
    free(hook);
    net->hook = NULL;
}
