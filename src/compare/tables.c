/* The tables as they are written. A curve is kept of the runs at the best and the default rate. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "compare/cells.h"
#include "compare/csv.h"
#include "compare/report.h"
#include "compare/statistics.h"
#include "compare/step_times.h"
#include "compare/tables.h"

static const char *const outcomes[] = {"unfinished", "finished", "diverged"};

static void put_fields(FILE *f, const double *values, int n)
{
    for (int i = 0; i < n; i++) {
        fputc(',', f);
        csv_put_number(f, values[i]);
    }
}

/* --- runs and curves --- */

static int keeps_curve(const cmp_statistics *all, const cmp_run *run)
{
    if (run->outcome == CMP_UNFINISHED) return 0;
    if (cmp_same_rate(run->rate, cmp_default_rate(run->optimizer))) return 1;
    for (int i = 0; i < all->n; i++) {
        const cmp_summary *s = &all->optimizers[i];
        if (strcmp(s->optimizer, run->optimizer) == 0)
            return cmp_same_rate(run->rate, s->rates[s->best].rate);
    }
    return 0;
}

static void put_run(FILE *f, const cmp_report *r, const cmp_run *run)
{
    const comparison *c = r->c;
    int kept = keeps_curve(r->all, run);
    csv_put_text(f, c->network);
    fputc(',', f);
    csv_put_text(f, c->data);
    fprintf(f, ",%s,%ld,%d,%d,", c->setting, c->batches, c->batch_size, c->has_softmax);
    csv_put_text(f, run->optimizer);
    fputc(',', f);
    csv_put_number(f, run->rate);
    fprintf(f, ",%llu,%s,%ld", (unsigned long long)run->seed, outcomes[run->outcome],
            run->last_batch);
    put_fields(f,
               (double[]){run->first_loss, run->loss, run->held_out_loss, run->accuracy,
                          run->batch_seconds, run->update_seconds},
               6);
    fprintf(f, ",%llu,%llu,%d,%d\n", (unsigned long long)run->parameters,
            (unsigned long long)run->state_bytes, kept ? run->n_bins : 0,
            kept ? run->n_held_out : 0);
}

static opt_status write_runs(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    (void)error;
    fputs(RUNS_HEADER "\n", f);
    for (int i = 0; i < r->c->n_runs; i++)
        if (r->c->runs[i].outcome != CMP_UNFINISHED) put_run(f, r, &r->c->runs[i]);
    return OPT_OK;
}

static void put_point(FILE *f, const cmp_run *run, const char *kind, long batch,
                      const double values[3])
{
    csv_put_text(f, run->optimizer);
    put_fields(f, &run->rate, 1);
    fprintf(f, ",%llu,%s,%ld", (unsigned long long)run->seed, kind, batch);
    put_fields(f, values, 3);
    fputc('\n', f);
}

static opt_status write_curves(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    (void)error;
    fputs(CURVES_HEADER "\n", f);
    for (int i = 0; i < r->c->n_runs; i++) {
        const cmp_run *run = &r->c->runs[i];
        if (!keeps_curve(r->all, run)) continue;
        for (int k = 0; k < run->n_bins; k++) {
            const cmp_bin *bin = &run->bins[k];
            put_point(f, run, "training", bin->batch, (double[]){bin->loss, NAN, bin->seconds});
        }
        for (int k = 0; k < run->n_held_out; k++) {
            const cmp_held_out *point = &run->held_out[k];
            put_point(f, run, "held-out", point->batch,
                      (double[]){point->loss, point->accuracy, NAN});
        }
    }
    return OPT_OK;
}

static opt_status write_times(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    (void)error;
    fputs(TIMES_HEADER "\n", f);
    for (int i = 0; i < r->c->n_times; i++) {
        const cmp_step_time *time = &r->c->times[i];
        csv_put_text(f, time->optimizer);
        fprintf(f, ",%d", time->batch_size);
        put_fields(f, (double[]){time->batch_seconds, time->update_seconds}, 2);
        fputc('\n', f);
    }
    return OPT_OK;
}

/* --- the summary --- */

static void put_spread(FILE *f, const cmp_spread *spread)
{
    put_fields(f, (double[]){spread->mean, spread->low, spread->high}, 3);
}

static void put_summary(FILE *f, const cmp_summary *s)
{
    const cmp_spread unknown = {NAN, NAN, NAN};
    const cmp_rate_result *best = &s->rates[s->best];
    const cmp_rate_result *usual = s->at_default < 0 ? NULL : &s->rates[s->at_default];
    csv_put_text(f, s->optimizer);
    fprintf(f, ",%d,%d", s->n_runs, s->n_diverged);
    put_fields(f, &best->rate, 1);
    fprintf(f, ",%d,%d", best->seeds, best->diverged);
    put_spread(f, &best->held_out_loss);
    put_spread(f, &best->accuracy);
    put_spread(f, &best->loss);
    put_fields(f, (double[]){usual ? usual->rate : NAN}, 1);
    fprintf(f, ",%d,%d", usual ? usual->seeds : 0, usual ? usual->diverged : 0);
    put_spread(f, usual ? &usual->held_out_loss : &unknown);
    put_spread(f, usual ? &usual->accuracy : &unknown);
    put_spread(f, usual ? &usual->loss : &unknown);
    put_fields(f,
               (double[]){s->steps, s->seconds, s->speedup, s->speedup_seconds, s->range_low,
                          s->range_high, s->range_decades, s->state_bytes, s->batch_seconds,
                          s->update_seconds},
               10);
    fputc('\n', f);
}

static opt_status write_summary(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    (void)error;
    fputs(SUMMARY_HEADER "\n", f);
    for (int i = 0; i < r->all->n; i++) put_summary(f, &r->all->optimizers[i]);
    return OPT_OK;
}

static opt_status write_summary_text(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    cmp_statistics timed;
    opt_status status = cmp_list_timed(r->c, r->all, &timed, error);
    if (status == OPT_OK) cmp_put_text(f, r->c, r->all, &timed);
    cmp_free_statistics(&timed);
    return status;
}

char *cmp_join(const char *folder, const char *name)
{
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(bytes);
    if (path) snprintf(path, bytes, "%s/%s", folder, name);
    return path;
}

opt_status cmp_write_file(const char *folder, const char *name, atomic_writer *write, void *context,
                          opt_error *error)
{
    char *path = cmp_join(folder, name);
    if (!path) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", name);
    opt_status status = atomic_write(path, write, context, error);
    free(path);
    return status;
}

opt_status cmp_write_tables(const comparison *c, const cmp_statistics *all, const char *folder,
                            opt_error *error)
{
    static const struct {
        const char *name;
        atomic_writer *write;
    } files[] = {{"runs.csv", write_runs},
                 {"curves.csv", write_curves},
                 {"times.csv", write_times},
                 {"summary.csv", write_summary},
                 {"summary.txt", write_summary_text}};
    cmp_report report = {c, all, folder};
    opt_status status = OPT_OK;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files) && status == OPT_OK; i++)
        status = cmp_write_file(folder, files[i].name, files[i].write, &report, error);
    return status;
}

/* --- memory --- */

void cmp_free_run(cmp_run *run)
{
    free(run->bins);
    free(run->held_out);
}

void cmp_free(comparison *c)
{
    for (int i = 0; i < c->n_runs; i++) cmp_free_run(&c->runs[i]);
    free(c->runs);
    free(c->times);
    *c = (comparison){0};
}
