/* Start or resume, and the loop of outer steps. Options, checkpoint and progress have files of
 * their own. */
#include "base/clock.h"
#include "meta/metatrain.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "meta/metatrain_private.h"

/* What ranks want of each other, or'ed: bits 0 to 31 are signals. */
#define WANT_SAVE ((uint64_t)1 << 32)
#define WANT_END ((uint64_t)1 << 33)

uint64_t metatrain_steps(const metatrain *m) { return m->step; }

void metatrain_take_start(metatrain_options *options, const hrnn_model *start)
{
    if (!metatrain_was_given(options, "format"))
        options->format = start                                  ? hrnn_format(start) - 1
                          : options->estimator == METATRAIN_BPTT ? METATRAIN_HRNN_1
                                                                 : METATRAIN_HRNN_3;
    if (!start) return;
    if (!metatrain_was_given(options, "without")) meta_print_without(start, options->without);
    if (!metatrain_was_given(options, "min-log-lr"))
        options->min_log_lr = (double)start->min_log_lr;
    if (!metatrain_was_given(options, "max-log-lr"))
        options->max_log_lr = (double)start->max_log_lr;
    if (!metatrain_was_given(options, "initial-lr") && start->initial_lr > 0)
        options->initial_lr = (double)start->initial_lr;
}

/* --- making one --- */

static opt_status make_model(metatrain *m, const hrnn_model *start, opt_error *error)
{
    const metatrain_options *o = &m->options;
    if (start) {
        m->model = *start;
        m->model.features |= HRNN_FULL;
    } else {
        meta_random_model(&m->model, (uint64_t)o->seed, o->readout_scale);
    }
    meta_set_format(&m->model, 1 + o->format);
    m->model.min_log_lr = (float)o->min_log_lr;
    m->model.max_log_lr = (float)o->max_log_lr;
    m->model.initial_lr = (float)o->initial_lr;
    if (o->lr_limit >= 0) m->model.lr_limit[0] = (float)o->lr_limit;
    for (int i = 0; i < HRNN_META_PARAMS; i++) m->theta[i] = (double)meta_params(&m->model)[i];
    return meta_switch_off(&m->model, o->without, error);
}

static opt_status init(metatrain *m, const hrnn_model *start, opt_error *error)
{
    const population_options population = metatrain_population_options(&m->options);
    const meta_optimizer_options optimizer = metatrain_optimizer_options(&m->options);
    opt_status status = metatrain_check(&m->options, error);
    if (!status && m->source->n < 1)
        status = opt_fail(error, OPT_BAD_OPTION, "corpus %s has no rows", m->source->name);
    if (!status && strlen(m->path) > 4000)
        status = opt_fail(error, OPT_BAD_OPTION, "%.60s...: its name is too long", m->path);
    if (!status) status = make_model(m, start, error);
    if (!status) status = meta_optimizer_init(&m->optimizer, &optimizer, HRNN_META_PARAMS, error);
    if (!status) status = progress_init(&m->progress, m->source, m->path, error);
    if (status) return status;
    m->progress.started = m->progress.reported = clock_seconds();
    m->population = population_create(&population, m->source, &m->model, m->comm, error);
    return m->population ? OPT_OK : OPT_NO_MEMORY;
}

static opt_status refuse_existing(const metatrain *m, opt_error *error)
{
    const char *const paths[] = {m->path, m->checkpoint, m->progress.csv_path};
    for (int i = 0; i < 3; i++)
        if (access(paths[i], F_OK) == 0)
            return opt_fail(
                error, OPT_BAD_OPTION,
                "%s: exists; -resume goes on with a run, a fresh one needs another name", paths[i]);
    return OPT_OK;
}

static metatrain *make(const metatrain_options *options, const problem_source *source,
                       const char *path, const hrnn_model *start, const char *note, comm *c,
                       int resume, opt_error *error)
{
    metatrain *m = calloc(1, sizeof *m);
    opt_status status = OPT_OK;
    if (m) {
        *m = (metatrain){.options = *options, .source = source, .path = path, .comm = c};
        m->note = strdup(note);
        m->checkpoint = malloc(strlen(path) + sizeof ".checkpoint");
    }
    if (!m || !m->note || !m->checkpoint)
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory for a meta-training", path);
    else
        sprintf(m->checkpoint, "%s.checkpoint", path);
    if (!status) status = init(m, start, error);
    if (!status) status = resume ? metatrain_load(m, error) : refuse_existing(m, error);
    if ((status = comm_agree(c, status, error))) goto fail;
    /* What cannot be written is seen now. */
    if (!resume && (status = metatrain_save(m, error))) goto fail;
    if (comm_rank(c) == 0) status = progress_open_csv(&m->progress, m->step, error);
    if ((status = comm_agree(c, status, error))) goto fail;
    m->progress.reported_step = m->step;
    return m;
fail:
    metatrain_free(m);
    return NULL;
}

metatrain *metatrain_create(const metatrain_options *options, const problem_source *source,
                            const char *path, const hrnn_model *start, const char *note, comm *c,
                            opt_error *error)
{
    return make(options, source, path, start, note, c, 0, error);
}

metatrain *metatrain_resume(const metatrain_options *options, const problem_source *source,
                            const char *path, comm *c, opt_error *error)
{
    return make(options, source, path, NULL, "", c, 1, error);
}

void metatrain_free(metatrain *m)
{
    if (!m) return;
    population_free(m->population);
    meta_optimizer_release(&m->optimizer);
    progress_release(&m->progress);
    free(m->checkpoint);
    free(m->note);
    free(m);
}

/* --- running --- */

/* Where the clock of rank 0 and the signals of all have a say. */
static uint64_t wishes(const metatrain *m, const metatrain_callbacks *callbacks, double saved)
{
    const metatrain_options *o = &m->options;
    uint64_t wish = 0;
    const int signal = callbacks && callbacks->stop ? callbacks->stop(callbacks->context) : 0;
    if (signal > 0 && signal < 32) wish |= (uint64_t)1 << signal;
    if (comm_rank(m->comm) != 0) return wish;
    if (o->hours > 0 && metatrain_seconds(m) >= o->hours * 3600) wish |= WANT_END;
    if (clock_seconds() - saved >= o->save_minutes * 60) wish |= WANT_SAVE;
    return wish;
}

static opt_status outer_step(metatrain *m, const metatrain_callbacks *callbacks, uint64_t *wish,
                             opt_error *error)
{
    const metatrain_options *o = &m->options;
    meta_step_report report;
    opt_status status = population_step(m->population, m->step, m->theta, m->gradient, wish, error);
    if (status) return status;
    meta_optimizer_step(&m->optimizer, m->theta, m->gradient, &report);
    m->step++;
    progress_add(&m->progress, population_results(m->population), (int)o->pairs, o->clip, &report);
    if (m->step % (uint64_t)o->log_every) return OPT_OK;
    status = progress_report(m, callbacks, error);
    return comm_size(m->comm) > 1 ? comm_agree(m->comm, status, error) : status;
}

static int is_over(const metatrain *m, uint64_t wish)
{
    const uint64_t steps = (uint64_t)m->options.outer_steps;
    return (steps && m->step >= steps) || (wish & (WANT_END | UINT32_MAX));
}

opt_status metatrain_run(metatrain *m, const metatrain_callbacks *callbacks, int *signal,
                         opt_error *error)
{
    opt_status status = OPT_OK;
    double saved = clock_seconds();
    *signal = 0;
    uint64_t wish = wishes(m, callbacks, saved);
    comm_or(m->comm, &wish, 1);
    while (!is_over(m, wish)) {
        wish = wishes(m, callbacks, saved);
        if ((status = outer_step(m, callbacks, &wish, error))) return status;
        if (is_over(m, wish) || !(wish & WANT_SAVE)) continue;
        if ((status = metatrain_save(m, error))) return status;
        saved = clock_seconds();
    }
    while (*signal < 32 && !(wish >> *signal & 1)) ++*signal;
    if (*signal == 32) *signal = 0;
    return metatrain_save(m, error);
}
