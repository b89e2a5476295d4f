/* Slots of cores, each with a training or free; one loop fills them, listens to all, and empties
 * those that have ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include "base/clock.h"
#include "compare/child.h"
#include "compare/run_files.h"
#include "compare/run_folder.h"
#include "compare/statistics.h"
#include "compare/sweep.h"

enum { DIVERGED = 3, POLL_MS = 500, LOOK_SECONDS = 2 };

/* One training that is running. */
typedef struct {
    const planned_run *run; /* NULL: the slot is free */
    run_folder folder;
    child process;
    run_progress progress;
    int stopped; /* it was told to */
} training;

static opt_status add_run(comparison *c, const cmp_run *run, opt_error *error)
{
    cmp_run *more = realloc(c->runs, (size_t)(c->n_runs + 1) * sizeof(*more));
    if (!more) return opt_fail(error, OPT_NO_MEMORY, "no memory for the runs");
    c->runs = more;
    more[c->n_runs++] = *run;
    return OPT_OK;
}

/* --- one training --- */

static opt_status start(const sweep *s, training *t, int threads, opt_error *error)
{
    char cfg[4096], data[4096], log[4096];
    opt_status status = run_folder_begin(&t->folder, s->plan, t->run, error);
    if (status) return status;
    snprintf(cfg, sizeof(cfg), "%s/run.cfg", t->folder.path);
    snprintf(data, sizeof(data), "%s/run.data", t->folder.path);
    snprintf(log, sizeof(log), "%s/train.log", t->folder.path);
    char *list[] = {(char *)s->darknet, "classifier", "train", data, cfg, t->folder.weights, NULL};
    char *batches[] = {(char *)s->darknet, "cifar", "train", "-data", data, cfg,
                       t->folder.weights,  NULL};
    t->progress = (run_progress){0};
    return child_start(&t->process, s->plan->data.folder ? batches : list, threads, log, error);
}

/* Reads what the run gave; *outcome as it ended, where that is known. */
static opt_status take(sweep *s, const planned_run *run, const char *folder, cmp_outcome *outcome,
                       comparison *c, opt_error *error)
{
    cmp_run result = {.rate = run->rate, .seed = run->seed};
    snprintf(result.optimizer, sizeof(result.optimizer), "%s", run->optimizer->label);
    opt_status status =
        run_files_read(folder, run->batches, s->plan->data.valid != NULL, &result, error);
    if (status) return status;
    if (*outcome == CMP_DIVERGED) result.outcome = CMP_DIVERGED;
    if (result.outcome == CMP_UNFINISHED) {
        status = opt_fail(error, OPT_BAD_FILE, "%s/loss.csv: ends with batch %ld of %ld", folder,
                          result.last_batch, run->batches);
        free(result.bins);
        free(result.held_out);
        return status;
    }
    *outcome = result.outcome;
    s->done++;
    s->diverged += result.outcome == CMP_DIVERGED;
    return add_run(c, &result, error);
}

/* The training has ended with this wait status. */
static opt_status finish(sweep *s, training *t, int ended, comparison *c, opt_error *error)
{
    char reason[500];
    int code = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    cmp_outcome outcome = code == DIVERGED || t->progress.hopeless ? CMP_DIVERGED : CMP_FINISHED;
    if (code == 0 || outcome == CMP_DIVERGED) {
        opt_status status = take(s, t->run, t->folder.path, &outcome, c, error);
        return status ? status : run_folder_finish(&t->folder, outcome, error);
    }
    if (t->stopped && code > 128)
        return OPT_OK; /* saved, or killed before it had anything to save */
    child_reason(&t->process, ended, reason, sizeof(reason));
    /* darknet's line may name a file of the run already. */
    int named = strncmp(reason, t->folder.path, strlen(t->folder.path)) == 0;
    return opt_fail(error, OPT_IO, "%s%s%s", named ? "" : t->folder.path, named ? "" : ": ",
                    reason);
}

static void tell_to_stop(training *t, int signal)
{
    if (!t->run) return;
    t->stopped = 1;
    kill(t->process.pid, signal);
}

/* --- several --- */

typedef struct {
    sweep *s;
    training *slots;
    int jobs, threads;
    const planned_run *runs;
    int n, next; /* the first that was not looked at */
    comparison *c;
    opt_error *error;
    opt_status status; /* of the first that failed */
    int stopping;      /* 1: told to save, 2: killed */
    double looked;     /* when the logs were read */
} crew;

static int is_busy(const crew *w)
{
    int n = 0;
    for (int i = 0; i < w->jobs; i++) n += w->slots[i].run != NULL;
    return n;
}

/* Keeps the first failure. */
static void fail(crew *w, opt_status status, const opt_error *error)
{
    if (!status || w->status) return;
    w->status = status;
    if (w->error) *w->error = *error;
}

/* Puts the next run that is to be done into a free slot. */
static void fill_slot(crew *w, training *t)
{
    while (!t->run && w->next < w->n && !w->status && !w->stopping && !*w->s->stop) {
        const planned_run *run = &w->runs[w->next++];
        opt_error error;
        if (cmp_find_run(w->c, run->optimizer->label, run->rate, run->seed)) {
            w->s->done++;
            continue;
        }
        *t = (training){.run = run};
        opt_status status = run_folder_look(&t->folder, w->s->plan, run, &error);
        if (!status && t->folder.outcome == CMP_UNFINISHED && !w->s->report_only) {
            status = start(w->s, t, w->threads, &error);
            if (!status) return;
        } else if (!status && t->folder.outcome != CMP_UNFINISHED) {
            status = take(w->s, run, t->folder.path, &t->folder.outcome, w->c, &error);
        }
        fail(w, status, &error);
        run_folder_free(&t->folder);
        t->run = NULL;
    }
}

static void empty_slot(crew *w, training *t)
{
    opt_error error;
    int ended = child_wait(&t->process);
    t->progress = run_files_progress(t->folder.path);
    fail(w, finish(w->s, t, ended, w->c, &error), &error);
    run_folder_free(&t->folder);
    t->run = NULL;
}

static void wait_for_news(crew *w)
{
    struct pollfd *outputs = calloc((size_t)w->jobs, sizeof(*outputs));
    for (int i = 0; outputs && i < w->jobs; i++)
        outputs[i] = (struct pollfd){w->slots[i].run ? w->slots[i].process.output : -1, POLLIN, 0};
    poll(outputs, outputs ? (nfds_t)w->jobs : 0, POLL_MS);
    free(outputs);
    for (int i = 0; i < w->jobs; i++)
        if (w->slots[i].run && !child_listen(&w->slots[i].process)) empty_slot(w, &w->slots[i]);
}

/* Reads the logs of those that run. */
static void look(crew *w)
{
    if (clock_seconds() - w->looked < LOOK_SECONDS) return;
    for (int i = 0; i < w->jobs; i++) {
        training *t = &w->slots[i];
        if (!t->run) continue;
        t->progress = run_files_progress(t->folder.path);
        run_folder_drop_epochs(t->folder.path);
        if (t->progress.hopeless) kill(t->process.pid, SIGKILL);
    }
    w->looked = clock_seconds();
}

static void tell(crew *w)
{
    sweep *s = w->s;
    sweep_progress p = {
        .runs = s->expected, .done = s->done, .diverged = s->diverged, .seconds_left = -1};
    double work = s->done;
    for (int i = 0; i < w->jobs; i++) {
        const training *t = &w->slots[i];
        if (!t->run) continue;
        work += (double)t->progress.batch / (double)t->run->batches;
        p.running++;
        p.latest = t->run;
        p.latest_batch = t->progress.batch;
    }
    if (s->started == 0) {
        s->started = clock_seconds();
        s->done_at_start = work;
    }
    double gone = clock_seconds() - s->started, here = work - s->done_at_start;
    if (p.runs < p.done) p.runs = p.done;
    p.fraction = p.runs ? work / p.runs : 1;
    if (gone > 2 && here > 0) p.seconds_left = gone * (p.runs - work) / here;
    if (s->tell) s->tell(&p, s->to);
}

static void work(crew *w)
{
    do {
        for (int i = 0; i < w->jobs; i++) fill_slot(w, &w->slots[i]);
        int wanted = *w->s->hurry ? 2 : *w->s->stop || w->status ? 1 : 0;
        for (; w->stopping < wanted; w->stopping++)
            for (int i = 0; i < w->jobs; i++)
                tell_to_stop(&w->slots[i], w->stopping ? SIGKILL : SIGTERM);
        if (!is_busy(w)) break;
        tell(w);
        wait_for_news(w);
        look(w);
    } while (is_busy(w) || (w->next < w->n && !w->stopping && !w->status));
}

opt_status sweep_run(sweep *s, const planned_run *runs, int n, comparison *c, opt_error *error)
{
    crew w = {
        .s = s, .runs = runs, .n = n, .c = c, .error = error, .jobs = s->jobs < n ? s->jobs : n};
    if (n == 0) return OPT_OK;
    w.threads = s->cores / w.jobs > 1 ? s->cores / w.jobs : 1;
    w.slots = calloc((size_t)w.jobs, sizeof(*w.slots));
    if (!w.slots) return opt_fail(error, OPT_NO_MEMORY, "no memory for the runs");
    work(&w);
    free(w.slots);
    return w.status;
}

opt_status sweep_check(const sweep *s, const planned_run *runs, int n, int *found, opt_error *error)
{
    opt_status status = OPT_OK;
    *found = 0;
    for (int i = 0; i < n && !status; i++) {
        run_folder folder;
        status = run_folder_look(&folder, s->plan, &runs[i], error);
        *found += folder.begun;
        run_folder_free(&folder);
    }
    return status;
}

/* --- step times --- */

static opt_status add_time(comparison *c, const planned_run *run, const cmp_run *result,
                           opt_error *error)
{
    cmp_step_time *more = realloc(c->times, (size_t)(c->n_times + 1) * sizeof(*more));
    if (!more) return opt_fail(error, OPT_NO_MEMORY, "no memory for the times");
    c->times = more;
    cmp_step_time *time = &more[c->n_times++];
    *time = (cmp_step_time){.batch_size = run->batch_size,
                            .batch_seconds = result->batch_seconds,
                            .update_seconds = result->update_seconds};
    memcpy(time->optimizer, run->optimizer->label, sizeof(time->optimizer));
    return OPT_OK;
}

/* Trains until it ends, or for half a minute when a few steps are done by then. */
static opt_status time_training(sweep *s, training *t, opt_error *error)
{
    enum { ENOUGH_BATCHES = 4, ENOUGH_SECONDS = 30 };
    char reason[500];
    double began = clock_seconds();
    int enough = 0;
    opt_status status = start(s, t, s->cores, error);
    if (status) return status;
    do {
        struct pollfd output = {t->process.output, POLLIN, 0};
        poll(&output, 1, POLL_MS);
        if (*s->stop || *s->hurry) tell_to_stop(t, SIGKILL);
        if (clock_seconds() - began < ENOUGH_SECONDS || enough) continue;
        enough = run_files_progress(t->folder.path).batch >= ENOUGH_BATCHES;
        if (enough) kill(t->process.pid, SIGKILL);
    } while (child_listen(&t->process));
    int ended = child_wait(&t->process);
    if (t->stopped || enough || ended == 0) return OPT_OK;
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == DIVERGED) return OPT_OK;
    child_reason(&t->process, ended, reason, sizeof(reason));
    return opt_fail(error, OPT_IO, "%s", reason);
}

static opt_status time_run(sweep *s, const planned_run *run, comparison *c, opt_error *error)
{
    training t = {.run = run};
    cmp_run result = {0};
    opt_status status = run_folder_look(&t.folder, s->plan, run, error);
    free(t.folder.weights);
    t.folder.weights = NULL; /* too short to be continued */
    if (s->report_only && t.folder.outcome == CMP_UNFINISHED) t.stopped = 1;
    if (!status && !t.stopped && t.folder.outcome == CMP_UNFINISHED)
        status = time_training(s, &t, error);
    if (!status && !t.stopped)
        status = run_files_read(t.folder.path, run->batches, 0, &result, error);
    if (!status && !t.stopped) {
        status = run_folder_finish(&t.folder, CMP_FINISHED, error);
        if (!status) status = add_time(c, run, &result, error);
        free(result.bins);
    }
    run_folder_free(&t.folder);
    return status;
}

/* Each optimizer at the rate that a user would try first, where it is in the grid. */
static double rate_to_time(const plan_optimizer *o)
{
    for (int k = 0; k < o->n_rates; k++)
        if (cmp_same_rate(o->rates[k], cmp_default_rate(o->label))) return o->rates[k];
    return o->rates[0];
}

opt_status sweep_time_steps(sweep *s, const int *sizes, int n, comparison *c, opt_error *error)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < s->plan->n_optimizers && !*s->stop; k++) {
            const plan_optimizer *o = &s->plan->optimizers[k];
            planned_run run = {o, rate_to_time(o), 1, sizes[i], TIMING_BATCHES};
            opt_status status = time_run(s, &run, c, error);
            if (status == OPT_NO_MEMORY || status == OPT_MISMATCH) return status;
            if (!status || !s->note) continue;
            char line[1200];
            snprintf(line, sizeof(line), "batch size %d with %s is left out: %s", sizes[i],
                     o->label, error->message);
            s->note(line, s->to);
        }
    }
    return OPT_OK;
}
