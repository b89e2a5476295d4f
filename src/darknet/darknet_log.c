/* The tables of a training: one row a batch or a measurement, flushed, clean across resumes. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "files/atomic_file.h"
#include "darknet/darknet_private.h"

static const struct table_kind {
    const char *option, *header;
} kinds[] = {
    [TABLE_BATCHES] = {"an optimizer_log=", "batch,images,loss,average,rate,seconds,update\n"},
    [TABLE_HELD_OUT] = {"a valid_log=", "batch,images,loss,accuracy,seconds\n"},
};

/* The rows of a table that stay. */
typedef struct {
    FILE *from;
    size_t last; /* batch; 0: none stays */
    const struct table_kind *kind;
    const char *path;
    long copied; /* batch of the last one, or -1 */
} kept_rows;

/* Copies those of batches up to `last`, whole lines only, none when it is 0 (a measurement of other
 * starting weights). */
static opt_status copy_rows(FILE *to, void *context, opt_error *error)
{
    kept_rows *rows = context;
    char line[512];
    fputs(rows->kind->header, to);
    if (!fgets(line, sizeof(line), rows->from)) return OPT_OK;
    if (strcmp(line, rows->kind->header) != 0)
        return opt_fail(error, OPT_BAD_FILE, "%s: is not %s of this program; move it away",
                        rows->path, rows->kind->option);
    while (rows->last && fgets(line, sizeof(line), rows->from)) {
        char *end;
        unsigned long long batch = strtoull(line, &end, 10);
        if (!strchr(line, '\n') || end == line || batch > rows->last) break;
        fputs(line, to);
        rows->copied = (long)batch;
    }
    return OPT_OK;
}

/* A table keeps what belongs to the batches that the weights have seen: nothing for a fresh
 * start. */
static long keep_rows(const char *path, const struct table_kind *kind, size_t last)
{
    opt_error error;
    struct stat there;
    if (stat(path, &there) || !S_ISREG(there.st_mode)) return -1; /* none yet, or a device */
    kept_rows rows = {fopen(path, "r"), last, kind, path, -1};
    if (!rows.from) hook_die("%s: cannot read it (%s)", path, strerror(errno));
    if (atomic_write(path, copy_rows, &rows, &error)) hook_die("%s", error.message);
    fclose(rows.from);
    return rows.copied;
}

static void write_row(const run_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void write_row(const run_table *table, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(table->stream, format, args);
    va_end(args);
    if (fflush(table->stream)) hook_die("%s: cannot write it (%s)", table->path, strerror(errno));
}

/* 0, with errno, when the file cannot be written. *last: the batch of the last row it keeps, or
 * -1. */
static int open_table(run_table *table, table_id id, const char *path, size_t batches, long *last)
{
    *last = keep_rows(path, &kinds[id], batches);
    table->stream = fopen(path, "a");
    if (!table->stream) return 0;
    table->path = hook_copy(path);
    fseek(table->stream, 0, SEEK_END);
    if (ftell(table->stream) <= 0) write_row(table, "%s", kinds[id].header);
    return 1;
}

void hook_open_log(network *net)
{
    struct darknet_hook *hook = net->hook;
    const char *path = hook->log_path.value;
    long last;
    if (!path || hook->log.stream) return;
    if (!open_table(&hook->log, TABLE_BATCHES, path, hook_batch_number(net), &last))
        hook_die("%s:%d: optimizer_log=%s cannot be written (%s)", hook->cfg, hook->log_path.line,
                 path, strerror(errno));
}

long hook_open_valid_log(network *net, const char *path)
{
    long last;
    if (!open_table(&net->hook->valid_log, TABLE_HELD_OUT, path, hook_batch_number(net), &last))
        hook_die("valid_log=%s cannot be written (%s)", path, strerror(errno));
    return last;
}

/* The schedule's rate; under hrnn the geometric mean of the learned rates times the schedule's
 * shape, since learning_rate= does not count there. */
static double current_rate(network *net)
{
    double mean_log_lr;
    hook_use_device(net);
    if (!net->hook->opt || !opt_get_mean_log_lr(net->hook->opt, &mean_log_lr))
        return get_current_rate(net);
    return exp(mean_log_lr) * (double)(hook_step_ratio(net) * opt_schedule(net->hook->opt));
}

void hook_log(network *net, float loss, float average, double seconds)
{
    struct darknet_hook *hook = net->hook;
    double update = hook->update_seconds;
    hook->update_seconds = 0;
    if (!hook->log.stream) return;
    write_row(&hook->log, "%zu,%zu,%g,%g,%g,%g,%g\n", hook_batch_number(net), *net->seen, loss,
              average, current_rate(net), seconds, update);
}

void hook_log_valid(network *net, int images, double loss, double accuracy, double seconds)
{
    const run_table *table = &net->hook->valid_log;
    if (!table->stream) return;
    write_row(table, "%zu,%d,%.9g,%.9g,%g\n", hook_batch_number(net), images, loss, accuracy,
              seconds);
}

static void close_table(run_table *table)
{
    if (table->stream) fclose(table->stream);
    free(table->path);
    *table = (run_table){0};
}

void hook_close_logs(network *net)
{
    close_table(&net->hook->log);
    close_table(&net->hook->valid_log);
}
