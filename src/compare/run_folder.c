/* A folder holds one run, known by its digest: it is begun or continued, and refused to another.
 * What a finished run no longer needs goes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files/atomic_file.h"
#include "compare/net_cfg.h"
#include "compare/run_files.h"
#include "compare/run_folder.h"

enum { PATH = 4096 };

opt_status make_folders(const char *path, opt_error *error)
{
    char folder[PATH];
    if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
        return opt_fail(error, OPT_IO, "%.60s...: the name is too long", path);
    for (char *at = folder + 1;; at++) {
        if (*at && *at != '/') continue;
        char end = *at;
        *at = '\0';
        if (mkdir(folder, 0777) && errno != EEXIST)
            return opt_fail(error, OPT_IO, "%s: cannot be made: %s", folder, strerror(errno));
        *at = end;
        if (!end) break;
    }
    struct stat there;
    if (stat(path, &there) == 0 && S_ISDIR(there.st_mode)) return OPT_OK;
    return opt_fail(error, OPT_IO, "%s: is not a folder", path);
}

static opt_status put_text(FILE *stream, void *text, opt_error *error)
{
    (void)error;
    fputs(text, stream);
    return OPT_OK;
}

opt_status write_text(const char *path, const char *text, opt_error *error)
{
    if (!text) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", path);
    return atomic_write(path, put_text, (void *)text, error);
}

/* Removes those files of a folder whose names begin and end so; with all, the folder itself too. */
static void remove_files(const char *folder, const char *start, const char *end, int all)
{
    DIR *stream = opendir(folder);
    if (!stream) return;
    for (struct dirent *d; (d = readdir(stream));) {
        size_t length = strlen(d->d_name), tail = strlen(end);
        if (strncmp(d->d_name, start, strlen(start)) == 0 && length >= tail &&
            strcmp(d->d_name + length - tail, end) == 0)
            unlinkat(dirfd(stream), d->d_name, 0);
    }
    closedir(stream);
    if (all) rmdir(folder);
}

static opt_status refuse(const run_folder *f, const plan *p, const planned_run *run,
                         opt_error *error)
{
    static const char *const names[] = {"run.cfg", "run.data"};
    char *now[] = {plan_run_cfg(p, run), plan_run_data(p, run)};
    char path[PATH], difference[600] = "with other data or another model";
    for (int i = 1; i >= 0; i--) {
        snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
        char *before = text_read(path, NULL), found[520];
        if (before && now[i] && run_files_difference(before, now[i], found, sizeof(found)))
            snprintf(difference, sizeof(difference), "with %s", found);
        free(before);
        free(now[i]);
    }
    return opt_fail(error, OPT_MISMATCH, "%s: was run %s; choose another -out", f->path,
                    difference);
}

opt_status run_folder_look(run_folder *f, const plan *p, const planned_run *run, opt_error *error)
{
    char found[17], path[PATH];
    *f = (run_folder){.path = plan_run_folder(p, run)};
    if (!f->path) return opt_fail(error, OPT_NO_MEMORY, "no memory for the name of a run");
    plan_run_digest(p, run, f->digest);
    f->outcome = run_files_outcome(f->path, found);
    snprintf(path, sizeof(path), "%s/backup/run.backup", f->path);
    int saved = access(path, F_OK) == 0;
    f->begun = *found && (saved || f->outcome != CMP_UNFINISHED);
    if (f->begun && strcmp(found, f->digest) != 0) return refuse(f, p, run, error);
    if (f->outcome != CMP_UNFINISHED || !f->begun) return OPT_OK;
    f->weights = strdup(path);
    return f->weights ? OPT_OK : opt_fail(error, OPT_NO_MEMORY, "no memory for the name of a run");
}

opt_status run_folder_begin(run_folder *f, const plan *p, const planned_run *run, opt_error *error)
{
    static const char *const logs[] = {"loss.csv", "valid.csv", "train.log"};
    char path[PATH];
    opt_status status = make_folders(f->path, error);
    if (status) return status;
    if (!f->weights) {
        for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++)
            remove_files(f->path, logs[i], "", 0);
        snprintf(path, sizeof(path), "%s/backup", f->path);
        remove_files(path, "run", "", 0);
    }
    char *data = plan_run_data(p, run), *cfg = plan_run_cfg(p, run);
    snprintf(path, sizeof(path), "%s/run.data", f->path);
    status = write_text(path, data, error);
    snprintf(path, sizeof(path), "%s/run.cfg", f->path);
    if (!status) status = write_text(path, cfg, error);
    free(data);
    free(cfg);
    return status;
}

void run_folder_drop_epochs(const char *path)
{
    char backup[PATH];
    snprintf(backup, sizeof(backup), "%s/backup", path);
    remove_files(backup, "run_", ".weights", 0);
    remove_files(backup, "run_", ".weights.optimizer", 0);
}

opt_status run_folder_finish(const run_folder *f, cmp_outcome outcome, opt_error *error)
{
    char backup[PATH];
    opt_status status = run_files_set_outcome(f->path, outcome, f->digest, error);
    if (status) return status;
    snprintf(backup, sizeof(backup), "%s/backup", f->path);
    remove_files(backup, "run", "", 1);
    return OPT_OK;
}

void run_folder_free(run_folder *f)
{
    free(f->path);
    free(f->weights);
    *f = (run_folder){0};
}
