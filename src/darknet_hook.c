/* The optimizer in Darknet's training: made when training starts, called at every update. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "darknet_private.h"
#include "random_stream.h"

/* After so many updates in a row with gradients that are no numbers, the network is lost. */
enum { MOST_BAD_UPDATES = 100, STATUS_DIVERGED = 3 };

static _Noreturn void end_with(int status, const char *format, va_list args)
{
    fflush(stdout);
    fflush(stderr);
    dprintf(STDERR_FILENO, "darknet: "); /* the stream may be another program's own */
    vdprintf(STDERR_FILENO, format, args);
    dprintf(STDERR_FILENO, "\n");
    _exit(status); /* loading threads may be running: nothing is torn down under them */
}

void hook_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_with(1, format, args);
}

void hook_end(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_with(status, format, args);
}

void *hook_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory) hook_die("no memory for %zu times %zu bytes", count, bytes);
    return memory;
}

char *hook_copy(const char *text)
{
    char *copy = hook_alloc(strlen(text) + 1, 1);
    return strcpy(copy, text);
}

size_t hook_batch_number(const network *net)
{
    return *net->seen / ((size_t)net->batch * (size_t)net->subdivisions);
}

float hook_rate_ratio(network *net)
{
    const float rate = net->learning_rate;
    random_use(net->seed, STREAM_OTHER, hook_batch_number(net)); /* policy=random draws */
    net->learning_rate = 1;
    const float ratio = get_current_rate(net);
    net->learning_rate = rate;
    if (!isfinite(ratio))
        hook_die("%s: batch %zu: policy and burn_in make the rate %g times the first, expected a finite "
                 "number", net->hook->cfg, hook_batch_number(net), ratio);
    return ratio;
}

void hook_make_optimizer(network *net)
{
    struct darknet_hook *hook = net->hook;
    opt_error error;
    if (hook->opt) return;
    /* Only here: a network that is merely used needs no model. */
    if (strcmp(hook->settings.rule, "hrnn") == 0 && !hook->settings.model)
        hook->settings.model = find_model();
    hook->settings.device = net->gpu_index >= 0 ? "cuda" : "cpu";
    hook->table = list_tensors(net);
    hook->opt = opt_create(&hook->settings, hook->table.tensors, hook->table.n, &error);
    if (hook->opt) return;
    if (hook->model.value) hook_die("%s:%d: %s", hook->cfg, hook->model.line, error.message);
    hook_die("%s:%d: optimizer=%s: %s", hook->cfg, hook->optimizer.line, hook->settings.rule,
             error.message);
}

/* The state of an optimizer that this cfg no longer names. */
static void warn_of_sidecar(const network *net, const char *weights)
{
    char *sidecar = sidecar_path(weights);
    if (has_optimizer_state(sidecar))
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
    if (has_layer(net, BATCHNORM) && !net->hook->biases_known)
        printf("The biases of [batchnorm] layers are not in a weights file: without its sidecar they "
               "start at 0\n");
}

void begin_optimizer(network *net, const char *weights, int clear)
{
    struct darknet_hook *hook = net->hook;
    const int resumes = weights && *weights && !clear;
    hook->training = 1;
    if (hook->settings.rule) {
        hook_make_optimizer(net);
        hook->resumed = resumes && resume_from(net, weights);
    } else if (resumes) {
        resume_statistics(net, weights);
    }
}

void hook_start_training(network *net, const char *weights, int clear)
{
    struct darknet_hook *hook = net->hook;
    const int loaded = weights && *weights;
    device_use(net);
    if (loaded && hook->surplus_bytes)
        hook_die("%s: holds %zu bytes more than this network has parameters for; `darknet partial` "
                 "cuts the layers that fit", weights, hook->surplus_bytes);
    begin_optimizer(net, weights, clear);
    open_log(net);
    describe(net, weights, clear);
    fflush(stdout);
}

int hook_resumed(const network *net) { return net->hook->resumed; }

void hook_keep(network *net, const char *name, void *data, size_t bytes)
{
    add_blob(&net->hook->kept, name, (twin){data, NULL}, bytes);
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
        fprintf(stderr, "warning: batch %zu: %zu gradients are not finite, the first in %s; they count "
                "as 0\n", hook_batch_number(net), report->non_finite,
                hook->table.tensors[report->first_bad_tensor].name);
    if (hook->bad_updates >= MOST_BAD_UPDATES)
        hook_end(STATUS_DIVERGED,
                 "batch %zu: the gradients of %d updates in a row were not finite, the first in %s: "
                 "the network has diverged; the last saved weights are intact",
                 hook_batch_number(net), hook->bad_updates,
                 hook->table.tensors[report->first_bad_tensor].name);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int hook_update(network *net)
{
    struct darknet_hook *hook = net->hook;
    opt_step_report report;
    if (hook) hook->has_statistics = 0;
    if (!hook || !hook->settings.rule) return 0;
    device_use(net);
    hook_make_optimizer(net);
    ++*net->t;
    for (int k = 0; k < hook->table.n; k++)
        if (hook->table.clear[k])
            zero_array(net, hook->table.tensors[k].grad, hook->table.tensors[k].n);
    const float ratio = hook_rate_ratio(net);
    /* A GPU computes on while the host goes on; times that are logged are those of what was done. */
    if (hook->log.stream) device_wait(net);
    const double start = seconds_now();
    opt_step(hook->opt, ratio, &report);
    if (hook->log.stream) device_wait(net);
    hook->update_seconds += seconds_now() - start;
    watch(net, &report);
    return 1;
}

void hook_free(network *net)
{
    struct darknet_hook *hook = net->hook;
    if (!hook) return;
    device_use(net);
    close_logs(net);
    opt_free(hook->opt);
    free_tensors(&hook->table);
    free_blobs(&hook->kept);
    free_snapshot(&hook->statistics);
    free((char *)hook->settings.model);
    free(hook->optimizer.value);
    free(hook->model.value);
    free(hook->rate.value);
    free(hook->state.value);
    free(hook->seed.value);
    free(hook->log_path.value);
    free(hook->cfg);
    free(hook);
    net->hook = NULL;
}
