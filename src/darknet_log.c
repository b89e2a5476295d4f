/* optimizer_log=: one row a batch, flushed, one clean curve across resumes. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "atomic_file.h"
#include "darknet_private.h"

static const char header[] = "batch,images,loss,average,rate,seconds\n";

/* Copies the rows of batches up to `last`, whole lines only. */
static void copy_rows(FILE *from, FILE *to, size_t last, const char *path)
{
    char line[512];
    fputs(header, to);
    if (!fgets(line, sizeof(line), from)) return;
    if (strcmp(line, header) != 0)
        hook_die("%s: is not an optimizer_log= of this program; move it away", path);
    while (fgets(line, sizeof(line), from)) {
        char *end;
        unsigned long long batch = strtoull(line, &end, 10);
        if (!strchr(line, '\n') || end == line || batch > last) break;
        fputs(line, to);
    }
}

/* The log keeps what belongs to the batches that the weights have seen: nothing for a fresh start. */
static void keep_rows(const char *path, size_t last)
{
    atomic_file file = {0};
    opt_error error;
    struct stat there;
    if (stat(path, &there) || !S_ISREG(there.st_mode)) return; /* none yet, or a device */
    FILE *old = fopen(path, "r");
    if (!old) hook_die("%s: cannot read it (%s)", path, strerror(errno));
    if (atomic_open(&file, path, &error)) hook_die("%s", error.message);
    copy_rows(old, file.stream, last, path);
    fclose(old);
    if (atomic_sync(&file, &error) || atomic_commit(&file, &error)) {
        atomic_abandon(&file);
        hook_die("%s", error.message);
    }
}

void open_log(network *net)
{
    struct darknet_hook *hook = net->hook;
    const char *path = hook->log_path.value;
    if (!path || hook->log) return;
    keep_rows(path, hook_batch_number(net));
    hook->log = fopen(path, "a");
    if (!hook->log)
        hook_die("%s:%d: optimizer_log=%s cannot be written (%s)", hook->cfg, hook->log_path.line,
                 path, strerror(errno));
    fseek(hook->log, 0, SEEK_END);
    if (ftell(hook->log) <= 0) fputs(header, hook->log);
    fflush(hook->log);
}

/* The schedule's rate; under hrnn the geometric mean of the learned rates times the schedule's shape,
 * since learning_rate= does not count there. */
static double current_rate(network *net)
{
    double mean_log_lr;
    if (!net->hook->opt || !opt_get_mean_log_lr(net->hook->opt, &mean_log_lr))
        return get_current_rate(net);
    return exp(mean_log_lr) * hook_rate_ratio(net);
}

void hook_log(network *net, float loss, float average, double seconds)
{
    struct darknet_hook *hook = net->hook;
    if (!hook->log) return;
    fprintf(hook->log, "%zu,%zu,%g,%g,%g,%g\n", hook_batch_number(net), *net->seen, loss, average,
            current_rate(net), seconds);
    if (fflush(hook->log))
        hook_die("%s: cannot write it (%s)", hook->log_path.value, strerror(errno));
}

void close_log(network *net)
{
    if (net->hook->log) fclose(net->hook->log);
    net->hook->log = NULL;
}
