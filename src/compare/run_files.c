/* The logs of a run, read into a curve of at most CMP_BINS bins, and the file that says how the
 * run ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "files/atomic_file.h"
#include "compare/net_cfg.h"
#include "compare/run_files.h"
#include "compare/statistics.h"

enum { NON_FINITE_IN_A_ROW = 20, HIGH_IN_A_ROW = 50, HIGH = 100 };
static const char loss_header[] = "batch,images,loss,average,rate,seconds,update\n";
static const char valid_header[] = "batch,images,loss,accuracy,seconds\n";

typedef struct {
    long batch;
    double loss, seconds, update;
} loss_row;

/* A file in the folder, open to read; NULL: it is not there. */
static FILE *open_in(const char *folder, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", folder, name);
    return fopen(path, "r");
}

/* The n numbers of a whole line; 0: it is not one. "nan" and "inf" are numbers. */
static int parse_row(const char *line, double *values, int n)
{
    for (int i = 0; i < n; i++) {
        char *end;
        values[i] = strtod(line, &end);
        if (end == line || *end != (i + 1 < n ? ',' : '\n')) return 0;
        line = end + 1;
    }
    return 1;
}

/* --- the losses --- */

typedef struct {
    double first;
    int non_finite, high; /* rows in a row */
} watch;

/* Whether the run cannot come to anything any more. */
static int note_loss(watch *w, long batch, double loss)
{
    if (batch == 1) w->first = loss;
    w->non_finite = isfinite(loss) ? 0 : w->non_finite + 1;
    w->high = isfinite(loss) && loss <= HIGH * fabs(w->first) ? 0 : w->high + 1;
    return w->non_finite >= NON_FINITE_IN_A_ROW || w->high >= HIGH_IN_A_ROW;
}

/* The next whole row; 0: none, with *line left as it is at the end and filled where it is wrong. */
static int next_loss(FILE *file, char *line, int size, loss_row *row)
{
    double values[7];
    *line = '\0';
    if (!fgets(line, size, file) || !parse_row(line, values, 7)) return 0;
    *row = (loss_row){(long)values[0], values[2], values[5], values[6]};
    return 1;
}

run_progress run_files_progress(const char *folder)
{
    run_progress progress = {0};
    char path[4096], line[512];
    loss_row row;
    watch w = {0};
    FILE *file = open_in(folder, "loss.csv", path, sizeof(path));
    if (!file) return progress;
    if (fgets(line, sizeof(line), file) && strcmp(line, loss_header) == 0)
        while (!progress.hopeless && next_loss(file, line, sizeof(line), &row)) {
            progress.batch = row.batch;
            progress.loss = row.loss;
            progress.hopeless = note_loss(&w, row.batch, row.loss);
        }
    fclose(file);
    return progress;
}

/* The rows up to the one that makes the run hopeless; *rows is the caller's. */
static opt_status read_losses(const char *folder, loss_row **rows, long *n, int *hopeless,
                              opt_error *error)
{
    char path[4096], line[512];
    watch w = {0};
    long room = 0;
    opt_status status = OPT_OK;
    *rows = NULL;
    *n = 0;
    *hopeless = 0;
    FILE *file = open_in(folder, "loss.csv", path, sizeof(path));
    if (!file) return opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (!fgets(line, sizeof(line), file) || strcmp(line, loss_header) != 0)
        status = opt_fail(error, OPT_BAD_FILE, "%s:1: expected %.*s", path,
                          (int)sizeof(loss_header) - 2, loss_header);
    for (loss_row row; !status && !*hopeless && next_loss(file, line, sizeof(line), &row);) {
        if (row.batch != *n + 1) {
            status = opt_fail(error, OPT_BAD_FILE, "%s:%ld: batch %ld, expected %ld", path, *n + 2,
                              row.batch, *n + 1);
            break;
        }
        if (*n == room) {
            loss_row *more = realloc(*rows, (size_t)(room = room * 2 + 256) * sizeof(*more));
            if (!more) {
                status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", path);
                break;
            }
            *rows = more;
        }
        (*rows)[(*n)++] = row;
        *hopeless = note_loss(&w, row.batch, row.loss);
    }
    if (!status && !*hopeless && strchr(line, '\n'))
        status = opt_fail(error, OPT_BAD_FILE, "%s:%ld: expected seven numbers, found %.60s", path,
                          *n + 2, line);
    fclose(file);
    return status;
}

static opt_status find_medians(const loss_row *rows, long n, cmp_run *run, opt_error *error)
{
    double *seconds = malloc((size_t)n * sizeof(*seconds));
    if (!seconds) return opt_fail(error, OPT_NO_MEMORY, "no memory for the times of a run");
    for (long i = 0; i < n; i++) seconds[i] = rows[i].seconds;
    run->batch_seconds = cmp_median(seconds, n);
    for (long i = 0; i < n; i++) seconds[i] = rows[i].update;
    run->update_seconds = cmp_median(seconds, n);
    free(seconds);
    return OPT_OK;
}

/* Bin i of B ends at batch (i + 1)·batches/B, whatever the run came to. */
static opt_status fill_bins(const loss_row *rows, long n, long batches, cmp_run *run,
                            opt_error *error)
{
    int most = batches < CMP_BINS ? (int)batches : CMP_BINS;
    long done = 0;
    double seconds = 0;
    run->bins = malloc((size_t)most * sizeof(*run->bins));
    if (!run->bins) return opt_fail(error, OPT_NO_MEMORY, "no memory for the curve of a run");
    for (int i = 0; i < most && done < n; i++) {
        long end = (long)((long long)(i + 1) * batches / most), start = done;
        double sum = 0;
        for (; done < n && done < end; done++) {
            sum += rows[done].loss;
            seconds += rows[done].seconds;
        }
        run->bins[run->n_bins++] =
            (cmp_bin){rows[done - 1].batch, sum / (double)(done - start), seconds};
    }
    return OPT_OK;
}

static opt_status take_losses(const char *folder, long batches, cmp_run *run, int *hopeless,
                              opt_error *error)
{
    loss_row *rows;
    long n;
    opt_status status = read_losses(folder, &rows, &n, hopeless, error);
    if (!status && n == 0)
        status = opt_fail(error, OPT_BAD_FILE, "%s/loss.csv: has no batch", folder);
    if (!status && n > batches)
        status = opt_fail(error, OPT_BAD_FILE, "%s/loss.csv: has %ld batches, expected %ld", folder,
                          n, batches);
    if (!status) status = find_medians(rows, n, run, error);
    if (!status) status = fill_bins(rows, n, batches, run, error);
    if (!status) {
        long tenth = n >= 10 ? n / 10 : 1;
        double sum = 0;
        int finite = 1;
        for (long i = n - tenth; i < n; i++) sum += rows[i].loss;
        for (long i = 0; i < n; i++) finite &= isfinite(rows[i].loss) != 0;
        run->last_batch = rows[n - 1].batch;
        run->first_loss = rows[0].loss;
        run->loss = sum / (double)tenth;
        run->outcome = n == batches ? CMP_FINISHED : CMP_UNFINISHED;
        /* By half: one noisy batch is where it began, and not to learn is not to diverge. */
        int rose = run->outcome == CMP_FINISHED && run->loss > 1.5 * run->first_loss;
        if (!finite || *hopeless || rose) run->outcome = CMP_DIVERGED;
    }
    free(rows);
    return status;
}

/* --- held-out images --- */

static opt_status add_held_out(cmp_run *run, const double *values, opt_error *error)
{
    cmp_held_out *more =
        realloc(run->held_out, (size_t)(run->n_held_out + 1) * sizeof(*run->held_out));
    if (!more) return opt_fail(error, OPT_NO_MEMORY, "no memory for what was measured");
    run->held_out = more;
    more[run->n_held_out++] = (cmp_held_out){(long)values[0], values[2], values[3]};
    return OPT_OK;
}

/* Those up to batch `until`. */
static opt_status take_held_out(const char *folder, long until, cmp_run *run, opt_error *error)
{
    char path[4096], line[512];
    double values[5];
    FILE *file = open_in(folder, "valid.csv", path, sizeof(path));
    if (!file) return opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
    opt_status status = OPT_OK;
    if (!fgets(line, sizeof(line), file) || strcmp(line, valid_header) != 0)
        status = opt_fail(error, OPT_BAD_FILE, "%s:1: expected %.*s", path,
                          (int)sizeof(valid_header) - 2, valid_header);
    long last = -1;
    for (int n = 2; !status && fgets(line, sizeof(line), file); n++) {
        if (!strchr(line, '\n')) break;
        if (!parse_row(line, values, 5) || values[0] <= (double)last)
            status = opt_fail(error, OPT_BAD_FILE,
                              "%s:%d: expected five numbers and a batch behind %ld, "
                              "found %.60s",
                              path, n, last, line);
        else if (values[0] <= (double)until)
            status = add_held_out(run, values, error);
        last = (long)values[0];
    }
    fclose(file);
    if (status || run->n_held_out == 0) return status;
    const cmp_held_out *end = &run->held_out[run->n_held_out - 1];
    if (end->batch == run->last_batch) {
        run->held_out_loss = end->loss;
        run->accuracy = end->accuracy;
    }
    return OPT_OK;
}

/* --- the rest --- */

/* "Optimizer: hrnn, ..., B bytes of state, P parameters" */
static opt_status take_sizes(const char *folder, cmp_run *run, opt_error *error)
{
    static const char mark[] = " bytes of state, ";
    char path[4096], *line = NULL;
    size_t room = 0;
    int found = 0;
    FILE *file = open_in(folder, "train.log", path, sizeof(path));
    if (!file) return opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
    while (getline(&line, &room, file) >= 0) {
        unsigned long long bytes, parameters;
        const char *state = NULL; /* the last: a model's name may hold anything */
        for (const char *at = line;
             strncmp(line, "Optimizer: ", 11) == 0 && (at = strstr(at, mark)); at++)
            state = at;
        if (!state) continue;
        while (state > line && state[-1] >= '0' && state[-1] <= '9') state--;
        if (sscanf(state, "%llu bytes of state, %llu parameters", &bytes, &parameters) != 2)
            continue;
        run->state_bytes = bytes;
        run->parameters = parameters;
        found = 1;
    }
    free(line);
    fclose(file);
    if (found) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE,
                    "%s: has no line \"Optimizer: ..., bytes of state, ... parameters\"", path);
}

static opt_status read_all(const char *folder, long batches, int measured, cmp_run *run,
                           opt_error *error)
{
    int hopeless;
    opt_status status = take_losses(folder, batches, run, &hopeless, error);
    if (status) return status;
    /* A hopeless run may have been stopped before or after the measurement behind its last
     * batch. */
    if (measured) status = take_held_out(folder, run->last_batch - hopeless, run, error);
    if (status) return status;
    if (measured && run->outcome == CMP_FINISHED) {
        if (!run->n_held_out || run->held_out[run->n_held_out - 1].batch != run->last_batch)
            return opt_fail(error, OPT_BAD_FILE, "%s/valid.csv: does not end with batch %ld",
                            folder, run->last_batch);
        if (!isfinite(run->held_out_loss)) run->outcome = CMP_DIVERGED;
    }
    return take_sizes(folder, run, error);
}

opt_status run_files_read(const char *folder, long batches, int measured, cmp_run *run,
                          opt_error *error)
{
    run->held_out_loss = run->accuracy = NAN;
    opt_status status = read_all(folder, batches, measured, run, error);
    if (!status) return OPT_OK;
    free(run->bins);
    free(run->held_out);
    run->bins = NULL;
    run->held_out = NULL;
    run->n_bins = run->n_held_out = 0;
    return status;
}

cmp_outcome run_files_outcome(const char *folder, char digest[17])
{
    char path[4096], word[16], *cfg;
    digest[0] = '\0';
    FILE *file = open_in(folder, "done", path, sizeof(path));
    if (file) {
        int n = fscanf(file, "%15s %16s", word, digest);
        fclose(file);
        if (n == 2 && strcmp(word, "finished") == 0) return CMP_FINISHED;
        if (n == 2 && strcmp(word, "diverged") == 0) return CMP_DIVERGED;
    }
    digest[0] = '\0';
    snprintf(path, sizeof(path), "%s/run.cfg", folder);
    if ((cfg = text_read(path, NULL))) {
        const char *mark = strstr(cfg, "\n# fingerprint ");
        if (mark) sscanf(mark, " # fingerprint %16s", digest);
        free(cfg);
    }
    return CMP_UNFINISHED;
}

typedef struct {
    cmp_outcome outcome;
    const char *digest;
} run_end;

static opt_status put_end(FILE *stream, void *context, opt_error *error)
{
    const run_end *end = context;
    (void)error;
    fprintf(stream, "%s %s\n", end->outcome == CMP_DIVERGED ? "diverged" : "finished", end->digest);
    return OPT_OK;
}

opt_status run_files_set_outcome(const char *folder, cmp_outcome outcome, const char *digest,
                                 opt_error *error)
{
    char path[4096];
    run_end end = {outcome, digest};
    snprintf(path, sizeof(path), "%s/done", folder);
    return atomic_write(path, put_end, &end, error);
}

static int names_files(const char *line)
{
    static const char *const keys[] = {"optimizer_weights=", "optimizer_log=", "backup=",
                                       "valid_log=",         "# fingerprint",  "#fingerprint"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (strncmp(line, keys[i], strlen(keys[i])) == 0) return 1;
    return 0;
}

static int next_line(const char **text, char *line, size_t size)
{
    int more;
    while ((more = text_line(text, line, size)) && names_files(line)) continue;
    if (!more) *line = '\0';
    return more;
}

int run_files_difference(const char *old_text, const char *new_text, char *difference, size_t size)
{
    char one[256], other[256];
    for (;;) {
        int more = next_line(&old_text, one, sizeof(one));
        more |= next_line(&new_text, other, sizeof(other));
        if (!more) return 0;
        if (strcmp(one, other) == 0) continue;
        snprintf(difference, size, "%s instead of %s", *one ? one : "nothing",
                 *other ? other : "nothing");
        return 1;
    }
}
