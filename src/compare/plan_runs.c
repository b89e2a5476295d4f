/* The runs of a plan, and the files of each. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "compare/net_cfg.h"
#include "compare/plan.h"
#include "compare/statistics.h"

/* --- which --- */

static planned_run make_run(const plan *p, const plan_optimizer *o, int rate, int seed)
{
    return (planned_run){
        .optimizer = o, .rate = o->rates[rate], .seed = (uint64_t)seed, .batches = p->batches};
}

planned_run *plan_first_runs(const plan *p, int *n)
{
    int rates = 0;
    for (int i = 0; i < p->n_optimizers; i++) rates += p->optimizers[i].n_rates;
    planned_run *runs = malloc(((size_t)rates * (size_t)p->scan_seeds + 1) * sizeof(*runs));
    *n = 0;
    for (int seed = 1; runs && seed <= p->scan_seeds; seed++)
        for (int i = 0; i < p->n_optimizers; i++)
            for (int k = 0; k < p->optimizers[i].n_rates; k++)
                runs[(*n)++] = make_run(p, &p->optimizers[i], k, seed);
    return runs;
}

int plan_count_more(const plan *p)
{
    int n = 0;
    for (int i = 0; i < p->n_optimizers; i++) {
        int rates = p->optimizers[i].n_rates;
        n += rates < 4 ? rates : 4;
    }
    return n * (p->seeds - p->scan_seeds);
}

static void mark_rates(const comparison *c, const plan_optimizer *o, char *marked)
{
    double best_rate;
    int best = -1, known = cmp_best_rate(c, o->label, &best_rate) >= 0;
    for (int k = 0; k < o->n_rates; k++) {
        if (known && cmp_same_rate(o->rates[k], best_rate)) best = k;
        marked[k] = (char)cmp_same_rate(o->rates[k], cmp_default_rate(o->label));
    }
    for (int k = best - 1; best >= 0 && k <= best + 1; k++) {
        int neighbour = k >= 0 && k < o->n_rates;
        if (neighbour && (k == best || (o->rates[k] > 0 && o->rates[best] > 0))) marked[k] = 1;
    }
}

planned_run *plan_more_runs(const plan *p, const comparison *c, int *n)
{
    planned_run *runs = malloc((size_t)(plan_count_more(p) + 1) * sizeof(*runs));
    *n = 0;
    for (int i = 0; runs && i < p->n_optimizers; i++) {
        const plan_optimizer *o = &p->optimizers[i];
        char *marked = calloc((size_t)o->n_rates, 1);
        if (!marked) {
            free(runs);
            return NULL;
        }
        mark_rates(c, o, marked);
        for (int seed = p->scan_seeds + 1; seed <= p->seeds; seed++)
            for (int k = 0; k < o->n_rates; k++)
                if (marked[k]) runs[(*n)++] = make_run(p, o, k, seed);
        free(marked);
    }
    return runs;
}

/* --- their files --- */

/* The caller frees it. */
__attribute__((format(printf, 1, 2))) static char *print(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

char *plan_run_folder(const plan *p, const planned_run *run)
{
    char rate[24];
    cmp_rate_name(run->rate, rate);
    if (run->batch_size)
        return print("%s/times/%s/%d", p->out, run->optimizer->label, run->batch_size);
    return print("%s/runs/%s/%s/%llu", p->out, run->optimizer->label, rate,
                 (unsigned long long)run->seed);
}

/* An option of the cfg that goes with hrnn alone: NULL where there is none. */
static const char *hrnn_option(const plan *p, const plan_optimizer *o, const char *key,
                               char value[32])
{
    const int hrnn = strcmp(o->rule, "hrnn") == 0;
    return hrnn && net_cfg_value(p->cfg, key, value, 32) ? value : NULL;
}

void plan_run_digest(const plan *p, const planned_run *run, char digest[17])
{
    char values[2][32];
    const char *state = hrnn_option(p, run->optimizer, "optimizer_state", values[0]);
    const char *schedule = hrnn_option(p, run->optimizer, "optimizer_schedule", values[1]);
    char *text = print("%s\n%s\n%s\nrate %.9g\nseed %llu\nevery %ld\nbatch %d for %ld\n%s%s%s",
                       p->setting, run->optimizer->rule, run->optimizer->model_digest, run->rate,
                       (unsigned long long)run->seed, run->batch_size ? 0 : p->every,
                       run->batch_size, run->batches, state ? state : "",
                       schedule ? "\nschedule " : "", schedule ? schedule : "");
    unsigned long long hash = text ? XXH3_64bits(text, strlen(text)) : 0;
    snprintf(digest, 17, "%016llx", hash);
    free(text);
}

char *plan_run_cfg(const plan *p, const planned_run *run)
{
    const plan_optimizer *o = run->optimizer;
    int hrnn = strcmp(o->rule, "hrnn") == 0;
    char rate[32], seed[32], batches[32], size[32], digest[17], kept[64], state[32], schedule[32];
    int has_rate = net_cfg_value(p->cfg, "learning_rate", kept, sizeof(kept));
    char *folder = plan_run_folder(p, run), *log = folder ? print("%s/loss.csv", folder) : NULL;
    free(folder);
    if (!log) return NULL;
    snprintf(rate, sizeof(rate), "%.9g", run->rate);
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)run->seed);
    snprintf(batches, sizeof(batches), "%ld", run->batches);
    snprintf(size, sizeof(size), "%d", run->batch_size);
    net_option options[] = {
        {"optimizer", o->rule},
        {"optimizer_weights", o->model},
        {"optimizer_rate", hrnn && run->rate > 0 ? rate : NULL},
        {"optimizer_state", hrnn_option(p, o, "optimizer_state", state)},
        {"optimizer_schedule", hrnn_option(p, o, "optimizer_schedule", schedule)},
        {"seed", seed},
        {"optimizer_log", log},
        {"max_batches", batches},
        {"learning_rate", !hrnn      ? rate
                          : has_rate ? kept
                                     : NULL},
        {"batch", size},
        {"subdivisions", "1"},
    };
    int n = sizeof(options) / sizeof(*options) - (run->batch_size ? 0 : 2);
    char *cfg = net_cfg_edit(p->cfg, options, n);
    plan_run_digest(p, run, digest);
    char *text = cfg ? print("%s# fingerprint %s\n", cfg, digest) : NULL;
    free(cfg);
    free(log);
    return text;
}

char *plan_run_data(const plan *p, const planned_run *run)
{
    char *folder = plan_run_folder(p, run);
    char *backup = folder ? print("%s/backup", folder) : NULL;
    char *log = folder ? print("%s/valid.csv", folder) : NULL;
    char *text = NULL;
    long tenth = run->batches / 10;
    if (backup && log) {
        data_run values = {
            .backup = backup,
            .valid_log = log,
            .save_every = run->batch_size ? run->batches
                          : tenth > 0     ? tenth
                                          : 1,
            .valid_every = p->data.valid && !run->batch_size ? p->every : 0,
            .valid_images = p->valid_images,
        };
        text = data_cfg_text(&p->data, &values);
    }
    free(folder);
    free(backup);
    free(log);
    return text;
}
