/* darknet's check of all images of a list, read back from its log, and the list without those that
 * it cannot decode. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "compare/child.h"
#include "compare/net_cfg.h"
#include "compare/run_folder.h"
#include "compare/sweep.h"

static const char mark[] = ": cannot be decoded";

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The file that a line of the log names; NULL: it is another line. Cuts the line. */
static char *named_in(char *line)
{
    char *at = strstr(line, mark);
    if (!at || at[strlen(mark)]) return NULL;
    *at = '\0';
    return line;
}

/* The names, sorted, pointing into the log, which is cut into lines. NULL: no memory. */
static char **list_broken(char *log, long *n)
{
    long lines = 1;
    for (const char *at = log; *at; at++) lines += *at == '\n';
    char **names = malloc((size_t)lines * sizeof(*names));
    *n = 0;
    for (char *line; names && (line = strsep(&log, "\n"));)
        if ((names[*n] = named_in(line))) ++*n;
    if (names) qsort(names, (size_t)*n, sizeof(*names), by_name);
    return names;
}

/* The list without those. */
static opt_status write_rest(const char *from, char *const *broken, long n, const char *to,
                             opt_error *error)
{
    char *text = text_read(from, error), *rest = text, *kept = NULL;
    size_t bytes;
    long left = 0;
    if (!text) return error ? error->status : OPT_NO_FILE;
    FILE *out = open_memstream(&kept, &bytes);
    for (char *line; out && (line = strsep(&rest, "\n"));) {
        line[strcspn(line, "\r")] = '\0';
        if (!*line || (n && bsearch(&line, broken, (size_t)n, sizeof(line), by_name))) continue;
        fprintf(out, "%s\n", line);
        left++;
    }
    if (out) fclose(out);
    opt_status status = write_text(to, kept, error);
    if (!status && !left)
        status = opt_fail(error, OPT_BAD_FILE, "%s: none of its images can be decoded", from);
    free(kept);
    free(text);
    return status;
}

/* Runs darknet's check; its output is in `log`. */
static opt_status check(const sweep *s, int valid, const char *log, opt_error *error)
{
    child process;
    char reason[500];
    char *argv[] = {(char *)s->darknet,      "classifier", "check", s->plan->data.path,
                    valid ? "-valid" : NULL, NULL};
    unlink(log);
    opt_status status = child_start(&process, argv, s->cores, log, error);
    if (status) return status;
    do {
        struct pollfd output = {process.output, POLLIN, 0};
        poll(&output, 1, 500);
        if (*s->stop) kill(process.pid, SIGKILL);
    } while (child_listen(&process));
    int ended = child_wait(&process);
    if (*s->stop || ended == 0) return OPT_OK;
    /* Exit status 1 says either that there are broken images or that it failed: then its last line
     * is about something else. */
    if (WIFEXITED(ended) && strstr(process.last_line, mark)) return OPT_OK;
    child_reason(&process, ended, reason, sizeof(reason));
    return opt_fail(error, OPT_IO, "%s: %s", s->plan->data.path, reason);
}

opt_status sweep_check_images(const sweep *s, int valid, const char *list, long *broken,
                              opt_error *error)
{
    char log[4096], line[4200];
    *broken = 0;
    snprintf(log, sizeof(log), "%s.check", list);
    opt_status status = check(s, valid, log, error);
    if (status || *s->stop) return status;
    char *said = text_read(log, error), **names = said ? list_broken(said, broken) : NULL;
    if (!names) {
        free(said);
        return opt_fail(error, OPT_IO, "%s: cannot be read", log);
    }
    for (long i = 0; i < *broken && s->note; i++) {
        snprintf(line, sizeof(line), "%.4000s%s and is left out", names[i], mark);
        s->note(line, s->to);
    }
    status =
        write_rest(valid ? s->plan->data.valid : s->plan->data.train, names, *broken, list, error);
    unlink(log);
    free(names);
    free(said);
    return status;
}
