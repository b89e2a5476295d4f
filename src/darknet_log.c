/* optimizer_log=: one row a batch, flushed, one clean curve across resumes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "atomic_file.h"
#include "darknet_private.h"

static const char header[] = "batch,images,loss,average,rate,seconds\n";

/* Copies the rows of batches up to `last`, whole lines only. */
static void copy_rows(FILE *from, FILE *to, size_t last, const char *path)
{
    char line[512];
    fputs(header, to);
    if (!fgets(line, sizeof(line), from) || strcmp(line, header) != 0)
        hook_die("%s: is not an optimizer_log= of this program; move it away", path);
    while (fgets(line, sizeof(line), from)) {
        char *end;
        unsigned long long batch = strtoull(line, &end, 10);
        if (!strchr(line, '\n') || end == line || batch > last) break;
        fputs(line, to);
    }
}

/* The log of a resumed training keeps what belongs to the batches before. */
static void keep_rows(const char *path, size_t last)
{
    atomic_file file = {0};
    opt_error error;
    FILE *old = fopen(path, "r");
    if (!old) return;
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
    if (hook->resumed) keep_rows(path, hook_batch_number(net));
    hook->log = fopen(path, hook->resumed ? "a" : "w");
    if (!hook->log)
        hook_die("%s:%d: optimizer_log=%s cannot be written (%s)", hook->cfg, hook->log_path.line,
                 path, strerror(errno));
    fseek(hook->log, 0, SEEK_END);
    if (ftell(hook->log) == 0) fputs(header, hook->log);
    fflush(hook->log);
}

void hook_log(network *net, float loss, float average, double seconds)
{
    struct darknet_hook *hook = net->hook;
    if (!hook->log) return;
    fprintf(hook->log, "%zu,%zu,%g,%g,%g,%g\n", hook_batch_number(net), *net->seen, loss, average,
            get_current_rate(net), seconds);
    if (fflush(hook->log))
        hook_die("%s: cannot write it (%s)", hook->log_path.value, strerror(errno));
}

void close_log(network *net)
{
    if (net->hook->log) fclose(net->hook->log);
    net->hook->log = NULL;
}
