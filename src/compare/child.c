/* fork and exec with the signals, threads and output as a training needs them; its output by lines
 * as it comes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "compare/child.h"

/* Between fork and exec, with all signals blocked. */
_Noreturn static void become(char *const *argv, int threads, int output, pid_t parent)
{
    char number[16];
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(143);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_IGN); /* it saves even when nobody listens any more */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(number, sizeof(number), "%d", threads);
    setenv("OMP_NUM_THREADS", number, 1);
    setenv("OMP_WAIT_POLICY", "passive", 1);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(argv[0], argv);
    fprintf(stderr, "%s: cannot be run: %s\n", argv[0], strerror(errno));
    _exit(127);
}

opt_status child_start(child *c, char *const *argv, int threads, const char *log, opt_error *error)
{
    int ends[2];
    *c = (child){0};
    c->log = fopen(log, "ae");
    if (!c->log) return opt_fail(error, OPT_IO, "%s: cannot be written: %s", log, strerror(errno));
    if (pipe2(ends, O_CLOEXEC)) {
        fclose(c->log);
        return opt_fail(error, OPT_IO, "%s: no pipe: %s", argv[0], strerror(errno));
    }
    fflush(NULL);
    /* A signal to the child must not meet this program's handler, which is there until exec. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    c->pid = fork();
    int cause = errno;
    if (c->pid == 0) become(argv, threads, ends[1], parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    c->output = ends[0];
    if (c->pid > 0) {
        setpgid(c->pid, c->pid);
        fcntl(c->output, F_SETFL, O_NONBLOCK);
        return OPT_OK;
    }
    c->pid = 0;
    close(c->output);
    fclose(c->log);
    return opt_fail(error, OPT_IO, "%s: cannot be started: %s", argv[0], strerror(cause));
}

static void end_line(child *c)
{
    c->line[c->length] = '\0';
    if (c->length) memcpy(c->last_line, c->line, sizeof(c->line));
    c->length = 0;
}

int child_listen(child *c)
{
    char text[4096];
    for (;;) {
        ssize_t got = read(c->output, text, sizeof(text));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            fflush(c->log);
            return got < 0 && errno == EAGAIN;
        }
        fwrite(text, 1, (size_t)got, c->log);
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] == '\n' || text[i] == '\r')
                end_line(c);
            else if (c->length + 1 < sizeof(c->line))
                c->line[c->length++] = text[i];
        }
    }
}

int child_wait(child *c)
{
    int status = 0;
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) continue;
    child_listen(c);
    end_line(c);
    close(c->output);
    fclose(c->log);
    c->pid = 0;
    return status;
}

void child_reason(const child *c, int status, char *text, size_t size)
{
    const char *line = strncmp(c->last_line, "darknet: ", 9) == 0 ? c->last_line + 9 : c->last_line;
    if (WIFSIGNALED(status))
        snprintf(text, size, "ended by signal %d (%s)%s%s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), *line ? " after: " : "", line);
    else if (*line)
        snprintf(text, size, "%s", line);
    else
        snprintf(text, size, "ended with exit status %d", WEXITSTATUS(status));
}
