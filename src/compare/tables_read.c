/* The tables as they are read back: nothing is taken over before all rows of both files are
 * checked. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/csv.h"
#include "compare/report.h"
#include "compare/statistics.h"
#include "compare/tables.h"

enum {
    NETWORK,
    DATA,
    SETTING,
    BATCHES,
    BATCH_SIZE,
    SOFTMAX,
    OPTIMIZER,
    RATE,
    SEED,
    OUTCOME,
    LAST_BATCH,
    FIRST_LOSS,
    LOSS,
    HELD_OUT_LOSS,
    ACCURACY,
    BATCH_SECONDS,
    UPDATE_SECONDS,
    PARAMETERS,
    STATE_BYTES,
    BINS,
    HELD_OUT_POINTS
};

/* A run as the file has it: the points that runs.csv announces, and how many curves.csv gave. */
typedef struct {
    cmp_run run;
    int bins, held_out;
} pending_run;

typedef struct {
    comparison setting; /* without runs */
    pending_run *runs;
    int n;
    const char *runs_path;
} pending_tables;

static pending_run *find_pending(pending_tables *t, const char *optimizer, double rate,
                                 uint64_t seed)
{
    for (int i = t->n - 1; i >= 0; i--) {
        const cmp_run *run = &t->runs[i].run;
        if (run->seed == seed && cmp_same_rate(run->rate, rate) &&
            strcmp(run->optimizer, optimizer) == 0)
            return &t->runs[i];
    }
    return NULL;
}

static int read_rate(csv_reader *csv, int column, double *rate)
{
    if (!csv_number(csv, column, rate)) return 0;
    if (!(*rate >= 0 && isfinite(*rate)))
        return csv_complain(csv, column, "a learning rate, or 0 for the optimizer's own");
    return 1;
}

/* --- runs.csv --- */

static int read_setting(csv_reader *csv, comparison *s)
{
    uint64_t batches, batch_size, softmax;
    if (!csv_text(csv, NETWORK, s->network, sizeof(s->network)) ||
        !csv_text(csv, DATA, s->data, sizeof(s->data)) ||
        !csv_text(csv, SETTING, s->setting, sizeof(s->setting)) ||
        !csv_whole(csv, BATCHES, 1, LONG_MAX, &batches) ||
        !csv_whole(csv, BATCH_SIZE, 1, INT_MAX, &batch_size) ||
        !csv_whole(csv, SOFTMAX, 0, 1, &softmax))
        return 0;
    s->batches = (long)batches;
    s->batch_size = (int)batch_size;
    s->has_softmax = (int)softmax;
    return 1;
}

static int agree(csv_reader *csv, const comparison *found, const comparison *expected)
{
    if (strcmp(found->setting, expected->setting) != 0)
        opt_fail(csv->error, OPT_MISMATCH,
                 "%s:%ld: the runs are of setting %s (%s on %s, %ld batches), expected %s "
                 "(%s on %s, %ld batches)",
                 csv->path, csv->line, found->setting, found->network, found->data, found->batches,
                 expected->setting, expected->network, expected->data, expected->batches);
    else if (found->batches != expected->batches || found->batch_size != expected->batch_size ||
             found->has_softmax != expected->has_softmax)
        opt_fail(csv->error, OPT_MISMATCH,
                 "%s:%ld: %ld batches of %d images, softmax %d, expected %ld of %d, softmax %d",
                 csv->path, csv->line, found->batches, found->batch_size, found->has_softmax,
                 expected->batches, expected->batch_size, expected->has_softmax);
    else
        return 1;
    return 0;
}

static int read_outcome(csv_reader *csv, cmp_outcome *outcome)
{
    *outcome = strcmp(csv->field[OUTCOME], "diverged") == 0 ? CMP_DIVERGED : CMP_FINISHED;
    if (*outcome == CMP_FINISHED && strcmp(csv->field[OUTCOME], "finished") != 0)
        return csv_complain(csv, OUTCOME, "finished or diverged");
    return 1;
}

static int read_run(csv_reader *csv, const comparison *setting, pending_run *p)
{
    cmp_run *run = &p->run;
    uint64_t last, bins, held_out;
    *p = (pending_run){0};
    if (!csv_text(csv, OPTIMIZER, run->optimizer, sizeof(run->optimizer)) ||
        !read_rate(csv, RATE, &run->rate) || !csv_whole(csv, SEED, 0, UINT64_MAX, &run->seed) ||
        !read_outcome(csv, &run->outcome) ||
        !csv_whole(csv, LAST_BATCH, 0, (uint64_t)setting->batches, &last) ||
        !csv_number(csv, FIRST_LOSS, &run->first_loss) || !csv_number(csv, LOSS, &run->loss) ||
        !csv_number(csv, HELD_OUT_LOSS, &run->held_out_loss) ||
        !csv_number(csv, ACCURACY, &run->accuracy) ||
        !csv_number(csv, BATCH_SECONDS, &run->batch_seconds) ||
        !csv_number(csv, UPDATE_SECONDS, &run->update_seconds) ||
        !csv_whole(csv, PARAMETERS, 0, UINT64_MAX, &run->parameters) ||
        !csv_whole(csv, STATE_BYTES, 0, UINT64_MAX, &run->state_bytes) ||
        !csv_whole(csv, BINS, 0, CMP_BINS, &bins) ||
        !csv_whole(csv, HELD_OUT_POINTS, 0, (uint64_t)setting->batches + 1, &held_out))
        return 0;
    if (held_out > INT_MAX / sizeof(cmp_held_out))
        return csv_complain(csv, HELD_OUT_POINTS, "fewer points");
    run->last_batch = (long)last;
    p->bins = (int)bins;
    p->held_out = (int)held_out;
    return 1;
}

static int add_pending(csv_reader *csv, pending_tables *t, const pending_run *p)
{
    pending_run *runs = t->runs;
    if ((t->n & (t->n - 1)) == 0) /* room doubles at powers of two */
        runs = realloc(t->runs, sizeof(*runs) * 2 * (size_t)(t->n ? t->n : 1));
    if (!runs) {
        opt_fail(csv->error, OPT_NO_MEMORY, "%s: no memory for %d runs", csv->path, t->n + 1);
        return 0;
    }
    t->runs = runs;
    t->runs[t->n++] = *p;
    return 1;
}

static int read_runs_row(csv_reader *csv, pending_tables *t)
{
    comparison setting = {0};
    pending_run p;
    if (!read_setting(csv, &setting)) return 0;
    if (!t->setting.setting[0]) t->setting = setting;
    if (!agree(csv, &setting, &t->setting) || !read_run(csv, &setting, &p)) return 0;
    if (find_pending(t, p.run.optimizer, p.run.rate, p.run.seed))
        return csv_complain(csv, SEED, "one row for each optimizer, rate and seed");
    return add_pending(csv, t, &p);
}

/* --- curves.csv --- */

enum { CURVE_OPTIMIZER, CURVE_RATE, CURVE_SEED, KIND, BATCH, CURVE_LOSS, CURVE_ACCURACY, SECONDS };

static int add_bin(csv_reader *csv, pending_run *p, const cmp_bin *bin)
{
    cmp_run *run = &p->run;
    if (run->n_bins == p->bins) return csv_complain(csv, BATCH, "no more bins of this run");
    if (run->n_bins && bin->batch <= run->bins[run->n_bins - 1].batch)
        return csv_complain(csv, BATCH, "a later batch than the line before");
    if (!run->bins) run->bins = malloc(sizeof(*run->bins) * (size_t)p->bins);
    if (run->bins) run->bins[run->n_bins++] = *bin;
    return run->bins != NULL;
}

static int add_held_out(csv_reader *csv, pending_run *p, const cmp_held_out *point)
{
    cmp_run *run = &p->run;
    if (run->n_held_out == p->held_out)
        return csv_complain(csv, BATCH, "no more held-out points of this run");
    if (run->n_held_out && point->batch <= run->held_out[run->n_held_out - 1].batch)
        return csv_complain(csv, BATCH, "a later batch than the line before");
    if ((run->n_held_out & (run->n_held_out - 1)) == 0) {
        size_t room = 2 * (size_t)(run->n_held_out ? run->n_held_out : 1);
        cmp_held_out *more = realloc(run->held_out, sizeof(*more) * room);
        if (!more) return 0;
        run->held_out = more;
    }
    run->held_out[run->n_held_out++] = *point;
    return 1;
}

static int read_curves_row(csv_reader *csv, pending_tables *t)
{
    char optimizer[64];
    double rate, loss, accuracy, seconds;
    uint64_t seed, batch;
    if (!csv_text(csv, CURVE_OPTIMIZER, optimizer, sizeof(optimizer)) ||
        !read_rate(csv, CURVE_RATE, &rate) || !csv_whole(csv, CURVE_SEED, 0, UINT64_MAX, &seed) ||
        !csv_whole(csv, BATCH, 0, (uint64_t)t->setting.batches, &batch) ||
        !csv_number(csv, CURVE_LOSS, &loss) || !csv_number(csv, CURVE_ACCURACY, &accuracy) ||
        !csv_number(csv, SECONDS, &seconds))
        return 0;
    pending_run *p = find_pending(t, optimizer, rate, seed);
    if (!p) return csv_complain(csv, CURVE_OPTIMIZER, "a run that is in runs.csv");
    int training = strcmp(csv->field[KIND], "training") == 0;
    if (!training && strcmp(csv->field[KIND], "held-out") != 0)
        return csv_complain(csv, KIND, "training or held-out");
    opt_error *error = csv->error;
    if (error) error->status = OPT_OK;
    int added = training ? add_bin(csv, p, &(cmp_bin){(long)batch, loss, seconds})
                         : add_held_out(csv, p, &(cmp_held_out){(long)batch, loss, accuracy});
    if (!added && error && error->status == OPT_OK)
        opt_fail(error, OPT_NO_MEMORY, "%s:%ld: no memory for the curves", csv->path, csv->line);
    return added;
}

static int is_complete(csv_reader *csv, const pending_tables *t)
{
    for (int i = 0; i < t->n; i++) {
        const pending_run *p = &t->runs[i];
        if (p->run.n_bins == p->bins && p->run.n_held_out == p->held_out) continue;
        char rate[24];
        cmp_rate_name(p->run.rate, rate);
        opt_fail(
            csv->error, OPT_BAD_FILE,
            "%s: %s at %s, seed %llu has %d bins and %d held-out points, expected %d and %d as "
            "in %s",
            csv->path, p->run.optimizer, rate, (unsigned long long)p->run.seed, p->run.n_bins,
            p->run.n_held_out, p->bins, p->held_out, t->runs_path);
        return 0;
    }
    return 1;
}

/* --- both --- */

typedef int row_reader(csv_reader *csv, pending_tables *t);

/* check may be NULL. */
static opt_status read_table(const char *path, const char *header, row_reader *read,
                             int (*check)(csv_reader *, const pending_tables *), pending_tables *t,
                             opt_error *error)
{
    csv_reader csv;
    opt_status status = csv_open(&csv, path, header, error);
    while (status == OPT_OK) {
        int row = csv_next(&csv);
        if (row > 0 && read(&csv, t)) continue;
        if (row != 0 || (check && !check(&csv, t))) status = error->status;
        break;
    }
    csv_close(&csv);
    return status;
}

/* Moves what c lacks; the curves of the rest are freed. */
static opt_status merge(comparison *c, pending_tables *t, opt_error *error)
{
    cmp_run *runs = realloc(c->runs, sizeof(*runs) * (size_t)(c->n_runs + t->n + 1));
    if (!runs) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to add it", t->runs_path);
    c->runs = runs;
    for (int i = 0; i < t->n; i++) {
        const cmp_run *run = &t->runs[i].run;
        cmp_run *there = cmp_find_run(c, run->optimizer, run->rate, run->seed);
        if (there && there->outcome != CMP_UNFINISHED) continue;
        if (there)
            cmp_free_run(there);
        else
            there = &c->runs[c->n_runs++];
        *there = t->runs[i].run;
        t->runs[i].run.bins = NULL;
        t->runs[i].run.held_out = NULL;
    }
    if (!c->setting[0] && t->n) {
        t->setting.runs = c->runs;
        t->setting.n_runs = c->n_runs;
        t->setting.times = c->times;
        t->setting.n_times = c->n_times;
        *c = t->setting;
    }
    return OPT_OK;
}

opt_status cmp_read_tables(comparison *c, const char *folder, opt_error *error)
{
    opt_error ignored;
    if (!error) error = &ignored;
    char *runs = cmp_join(folder, "runs.csv"), *curves = cmp_join(folder, "curves.csv");
    pending_tables t = {.runs_path = runs};
    if (c->setting[0]) t.setting = *c;
    opt_status status = OPT_OK;
    if (!runs || !curves)
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", folder);
    if (status == OPT_OK) status = read_table(runs, RUNS_HEADER, read_runs_row, NULL, &t, error);
    if (status == OPT_OK)
        status = read_table(curves, CURVES_HEADER, read_curves_row, is_complete, &t, error);
    if (status == OPT_OK) status = merge(c, &t, error);
    for (int i = 0; i < t.n; i++) cmp_free_run(&t.runs[i].run);
    free(t.runs);
    free(runs);
    free(curves);
    return status;
}
