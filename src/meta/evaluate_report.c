/* Each part of an evaluation as a table for people, then as a CSV file. */
#include "meta/evaluate_report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/median.h"
#include "files/atomic_file.h"

/* The loss of a row under the subject and under each baseline at its best rate. */
typedef struct {
    const source_row *row;
    evaluate_mean subject, baseline[EVALUATE_BASELINES];
    double rate[EVALUATE_BASELINES], ratio[EVALUATE_BASELINES];
    int outcome[EVALUATE_BASELINES];
} row_result;

static int read_row(const evaluation *e, int row, row_result *r)
{
    *r = (row_result){.row = evaluate_row(e, row)};
    if (!evaluate_row_mean(e, row, 0, 0, &r->subject)) return 0;
    for (int b = 0; b < evaluate_get_options(e)->n_baselines; b++) {
        const int best = evaluate_best_rate(e, row, b + 1, &r->baseline[b]);
        if (best < 0) return 0;
        r->rate[b] = evaluate_rate(best);
        r->ratio[b] = evaluate_ratio(r->subject.loss, r->baseline[b].loss);
        r->outcome[b] = evaluate_outcome(r->ratio[b]);
    }
    return 1;
}

static const char *subject_name(const evaluation *e)
{
    return evaluate_get_options(e)->subject.rule;
}

/* --- tables --- */

static void print_head(const evaluation *e, const char *model, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    uint64_t done;
    const uint64_t runs = evaluate_runs(e, &done);
    fprintf(f,
            "%s on corpus %s: rows %d, instances of each %d (seed %llu), steps %llu, starting rate "
            "%g\n",
            model, evaluate_source(e)->name, evaluate_n_rows(e), o->seeds,
            (unsigned long long)o->seed, (unsigned long long)o->steps,
            o->subject.rate > 0 || !o->model ? (double)o->subject.rate
                                             : (double)o->model->initial_lr);
    if (done < runs)
        fprintf(f, "Unfinished: %llu of %llu runs; rows without all theirs are left out\n",
                (unsigned long long)done, (unsigned long long)runs);
    fprintf(f,
            "A loss is the mean over the last tenth of a run of the loss on all data, at the true "
            "parameters,\nand over the instances. A run diverged when its loss is not finite, or "
            "ends at over 1.5 times its start.\n");
}

static void print_rows(const evaluation *e, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    fprintf(f,
            "\nAgainst baselines at the best for the row of %d rates, %g to %g, by half-decades\n"
            "ratio: loss + 1e-6 over theirs + 1e-6; + better, - worse, = within 0.1 %%\n\n",
            EVALUATE_RATES, evaluate_rate(0), evaluate_rate(EVALUATE_RATES - 1));
    fprintf(f, "%-47s %10s %10s %4s", "row", "start", subject_name(e), "div");
    for (int b = 0; b < o->n_baselines; b++)
        fprintf(f, " | %10s %-8s %9s  ", o->baseline[b].rule, "rate", "ratio");
    fputc('\n', f);
    for (int i = 0; i < evaluate_n_rows(e); i++) {
        row_result r;
        if (!read_row(e, i, &r)) continue;
        fprintf(f, "%-47s %10.4g %10.4g %4d", r.row->name, r.subject.start, r.subject.loss,
                r.subject.diverged);
        for (int b = 0; b < o->n_baselines; b++)
            fprintf(f, " | %10.4g %-8.3g %9.4g %c", r.baseline[b].loss, r.rate[b], r.ratio[b],
                    "-=+"[r.outcome[b] + 1]);
        fputc('\n', f);
    }
}

/* The rows of one group (NULL: all). */
static void print_group(const evaluation *e, const char *group, double *values, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    int rows = 0, all = 0, diverged = 0, wins[EVALUATE_BASELINES] = {0};
    int ties[EVALUATE_BASELINES] = {0};
    const int most = evaluate_n_rows(e);
    for (int i = 0; i < most; i++) {
        row_result r;
        if ((group && strcmp(evaluate_row(e, i)->family, group) != 0) || !read_row(e, i, &r))
            continue;
        int better = 0;
        for (int b = 0; b < o->n_baselines; b++) {
            values[b * most + rows] = r.ratio[b];
            wins[b] += r.outcome[b] > 0;
            ties[b] += r.outcome[b] == 0;
            better += r.outcome[b] > 0;
        }
        rows++;
        all += better == o->n_baselines;
        diverged += r.subject.diverged;
    }
    if (!rows) return;
    fprintf(f, "%-20s %5d %4d", group ? group : "all", rows, diverged);
    for (int b = 0; b < o->n_baselines; b++)
        fprintf(f, " | %9.4g %5d %5d", median(values + b * most, (size_t)rows), wins[b], ties[b]);
    fprintf(f, " | %5d\n", all);
}

/* Whether no row before it is of its group. */
static int is_first_of_group(const evaluation *e, int row)
{
    for (int i = 0; i < row; i++)
        if (strcmp(evaluate_row(e, i)->family, evaluate_row(e, row)->family) == 0) return 0;
    return 1;
}

static void print_groups(const evaluation *e, double *values, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    fprintf(f, "\n%-20s %5s %4s", "group", "rows", "div");
    for (int b = 0; b < o->n_baselines; b++)
        fprintf(f, " | %9s %5s %5s", o->baseline[b].rule, "wins", "ties");
    fprintf(f, " | wins against every baseline\n");
    for (int i = 0; i < evaluate_n_rows(e); i++)
        if (is_first_of_group(e, i)) print_group(e, evaluate_row(e, i)->family, values, f);
    print_group(e, NULL, values, f);
    fprintf(f, "(of a baseline: the median ratio, rows that the subject wins, ties)\n");
}

/* One length: divergences, the median of what is left of the loss, and how many runs have gone on
 * falling since the length before. */
static void print_length(const evaluation *e, int k, double *values, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    int runs = 0, compared = 0, diverged = 0, falls = 0, rises = 0;
    const int most = evaluate_n_long_rows(e) * o->seeds;
    for (int i = 0; i < most; i++) {
        trial_result r;
        if (!evaluate_long_run(e, i / o->seeds, i % o->seeds, &r)) continue;
        diverged += trial_diverged(r.start, r.loss[k]);
        values[runs++] = evaluate_ratio(r.loss[k], r.start);
        if (k == 0) continue;
        values[most + compared] = evaluate_ratio(r.loss[k], r.loss[k - 1]);
        const int outcome = evaluate_outcome(values[most + compared++]);
        falls += outcome > 0;
        rises += outcome < 0;
    }
    fprintf(f, "%9llu %7d %9d %14.4g", (unsigned long long)(o->horizon * evaluate_lengths[k]), runs,
            diverged, median(values, (size_t)runs));
    if (k)
        fprintf(f, " %11.4g %7d %7d %7d", median(values + most, (size_t)compared), falls,
                compared - falls - rises, rises);
    fputc('\n', f);
}

static void print_lengths(const evaluation *e, double *values, FILE *f)
{
    fprintf(f,
            "\nLong runs, on the smallest row of each group: 1, 5 and 25 times the longest "
            "episode of the meta-training\n\n"
            "%9s %7s %9s %14s %11s %7s %7s %7s\n",
            "steps", "runs", "diverged", "loss/start", "/before", "falls", "level", "rises");
    for (int k = 0; k < TRIAL_MARKS; k++) print_length(e, k, values, f);
    fprintf(f,
            "(medians; a run falls or rises when its loss differs from that at the length before "
            "by over 0.1 %%)\n");
}

/* The least mean loss of a row over the starting rates. 0: the row is unfinished. */
static int best_start(const evaluation *e, int row, double *loss)
{
    evaluate_mean mean;
    *loss = INFINITY;
    for (int k = 0; k < EVALUATE_START_RATES; k++) {
        if (!evaluate_start_mean(e, row, k, &mean)) return 0;
        *loss = fmin(*loss, mean.loss);
    }
    return 1;
}

static void print_start(const evaluation *e, int k, double *values, FILE *f)
{
    int rows = 0, diverged = 0, close = 0;
    for (int i = 0; i < evaluate_n_rows(e); i++) {
        evaluate_mean mean;
        double best;
        if (!best_start(e, i, &best) || !evaluate_start_mean(e, i, k, &mean)) continue;
        values[rows] = evaluate_ratio(mean.loss, best);
        close += values[rows++] <= 1.05;
        diverged += mean.diverged;
    }
    const double middle = median(values, (size_t)rows);
    fprintf(f, "%9g %7d %9d %14.4g %11.4g %9d\n", evaluate_start_rate(k),
            rows * evaluate_get_options(e)->seeds, diverged, middle,
            rows ? values[rows - 1] : (double)NAN, close);
}

static void print_starts(const evaluation *e, double *values, FILE *f)
{
    fprintf(f,
            "\nStarting learning rates: loss over that from the best start of the row\n\n"
            "%9s %7s %9s %14s %11s %9s\n",
            "rate", "runs", "diverged", "median ratio", "worst", "in 5 %");
    for (int k = 0; k < EVALUATE_START_RATES; k++) print_start(e, k, values, f);
    fprintf(f, "(in 5 %%: rows whose loss is within 5 %% of that from their best start)\n");
}

void evaluate_print(const evaluation *e, const char *model, FILE *stream)
{
    const evaluate_options *o = evaluate_get_options(e);
    const size_t rows = (size_t)evaluate_source(e)->n;
    double *values = calloc(rows * (size_t)(2 * o->seeds + EVALUATE_BASELINES), sizeof *values);
    print_head(e, model, stream);
    if (!values) {
        fprintf(stream, "no memory for the tables\n");
        return;
    }
    if (o->parts & EVALUATE_ROWS) {
        print_rows(e, stream);
        print_groups(e, values, stream);
    }
    if (o->parts & EVALUATE_LENGTHS) print_lengths(e, values, stream);
    if (o->parts & EVALUATE_STARTS) print_starts(e, values, stream);
    free(values);
}

/* --- files --- */

static void put_names(const source_row *row, FILE *f)
{
    fprintf(f, "\"%s\",\"%s\"", row->name, row->family);
}

static void write_rows(const evaluation *e, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    fprintf(f, "row,group,start,loss,diverged");
    for (int b = 0; b < o->n_baselines; b++) {
        const char *name = o->baseline[b].rule;
        fprintf(f, ",%s_rate,%s_loss,%s_diverged,%s_ratio,%s_outcome", name, name, name, name,
                name);
    }
    fputc('\n', f);
    for (int i = 0; i < evaluate_n_rows(e); i++) {
        row_result r;
        if (!read_row(e, i, &r)) continue;
        put_names(r.row, f);
        fprintf(f, ",%.6g,%.6g,%d", r.subject.start, r.subject.loss, r.subject.diverged);
        for (int b = 0; b < o->n_baselines; b++)
            fprintf(f, ",%.3g,%.6g,%d,%.6g,%d", r.rate[b], r.baseline[b].loss,
                    r.baseline[b].diverged, r.ratio[b], r.outcome[b]);
        fputc('\n', f);
    }
}

static void write_sweep(const evaluation *e, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    fprintf(f, "row,group,optimizer,rate,start,loss,diverged\n");
    for (int i = 0; i < evaluate_n_rows(e); i++)
        for (int b = 0; b < o->n_baselines; b++)
            for (int k = 0; k < EVALUATE_RATES; k++) {
                evaluate_mean mean;
                if (!evaluate_row_mean(e, i, b + 1, k, &mean)) continue;
                put_names(evaluate_row(e, i), f);
                fprintf(f, ",%s,%.3g,%.6g,%.6g,%d\n", o->baseline[b].rule, evaluate_rate(k),
                        mean.start, mean.loss, mean.diverged);
            }
}

static void write_lengths(const evaluation *e, FILE *f)
{
    const evaluate_options *o = evaluate_get_options(e);
    fprintf(f, "row,group,seed,steps,start,loss,diverged\n");
    for (int i = 0; i < evaluate_n_long_rows(e); i++)
        for (int seed = 0; seed < o->seeds; seed++) {
            trial_result r;
            if (!evaluate_long_run(e, i, seed, &r)) continue;
            for (int k = 0; k < TRIAL_MARKS; k++) {
                put_names(evaluate_long_row(e, i), f);
                fprintf(f, ",%d,%llu,%.6g,%.6g,%d\n", seed + 1,
                        (unsigned long long)(o->horizon * evaluate_lengths[k]), r.start, r.loss[k],
                        trial_diverged(r.start, r.loss[k]));
            }
        }
}

static void write_starts(const evaluation *e, FILE *f)
{
    fprintf(f, "row,group,rate,start,loss,ratio,diverged\n");
    for (int i = 0; i < evaluate_n_rows(e); i++) {
        double best;
        if (!best_start(e, i, &best)) continue;
        for (int k = 0; k < EVALUATE_START_RATES; k++) {
            evaluate_mean mean;
            evaluate_start_mean(e, i, k, &mean);
            put_names(evaluate_row(e, i), f);
            fprintf(f, ",%.3g,%.6g,%.6g,%.6g,%d\n", evaluate_start_rate(k), mean.start, mean.loss,
                    evaluate_ratio(mean.loss, best), mean.diverged);
        }
    }
}

typedef struct {
    const char *name;
    unsigned part;                             /* EVALUATE_ROWS ... */
    void (*write)(const evaluation *, FILE *); /* NULL: the report for people */
} report_file;

typedef struct {
    const evaluation *e;
    const char *model;
    const report_file *kind;
} writing;

static opt_status put_file(FILE *stream, void *context, opt_error *error)
{
    const writing *w = context;
    (void)error;
    if (w->kind->write)
        w->kind->write(w->e, stream);
    else
        evaluate_print(w->e, w->model, stream);
    return OPT_OK;
}

/* Of a part that was not evaluated now, what an earlier evaluation has left is removed: a folder is
 * of one evaluation. */
static opt_status write_file(writing *w, const char *folder, opt_error *error)
{
    opt_status status = OPT_OK;
    const char *name = w->kind->name;
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (!path) return opt_fail(error, OPT_NO_MEMORY, "no memory to write %s", name);
    snprintf(path, size, "%s/%s", folder, name);
    if (evaluate_get_options(w->e)->parts & w->kind->part)
        status = atomic_write(path, put_file, w, error);
    else if (remove(path) && errno != ENOENT)
        status = opt_fail(error, OPT_IO, "%s: cannot be removed: %s", path, strerror(errno));
    free(path);
    return status;
}

opt_status evaluate_make_folder(const char *folder, opt_error *error)
{
    struct stat is;
    if (mkdir(folder, 0777) && errno != EEXIST)
        return opt_fail(error, OPT_IO, "%s: cannot be made: %s", folder, strerror(errno));
    if (stat(folder, &is) || !S_ISDIR(is.st_mode) || access(folder, W_OK | X_OK))
        return opt_fail(error, OPT_IO, "%s: is not a folder that can be written to", folder);
    return OPT_OK;
}

opt_status evaluate_write(const evaluation *e, const char *model, const char *folder,
                          opt_error *error)
{
    static const report_file files[] = {{"report.txt", EVALUATE_ALL, NULL},
                                        {"rows.csv", EVALUATE_ROWS, write_rows},
                                        {"sweep.csv", EVALUATE_ROWS, write_sweep},
                                        {"lengths.csv", EVALUATE_LENGTHS, write_lengths},
                                        {"starts.csv", EVALUATE_STARTS, write_starts}};
    opt_status status = evaluate_make_folder(folder, error);
    for (size_t i = 0; i < sizeof files / sizeof *files && !status; i++)
        status = write_file(&(writing){e, model, &files[i]}, folder, error);
    return status;
}
