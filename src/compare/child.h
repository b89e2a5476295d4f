/* A program that runs beside this one: its output goes to a file, its last line is kept. */
#ifndef CHILD_H
#define CHILD_H

#include <stdio.h>
#include <sys/types.h>
#include "base/error.h"

typedef struct {
    pid_t pid;           /* 0: not running */
    int output;          /* what it says on stdout and stderr, to be polled */
    FILE *log;           /* where that goes */
    char last_line[400]; /* not empty; "" before the first */
    char line[400];      /* that it is saying */
    size_t length;       /* of it */
} child;

/* Starts argv (argv[0]: the file) in a process group of its own with OMP_NUM_THREADS=threads,
 * reading nothing; it gets SIGTERM when this program dies. The log is appended to. */
opt_status child_start(child *c, char *const *argv, int threads, const char *log, opt_error *error);

/* Takes what it has said; 0: it has closed its output. Does not wait. */
int child_listen(child *c);

/* Waits for its end; the wait status. */
int child_wait(child *c);

/* Why it ended so, in a few words with its last line: "darknet: " is left out. */
void child_reason(const child *c, int status, char *text, size_t size);

#endif
