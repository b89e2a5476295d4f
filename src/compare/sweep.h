/* Runs trainings as processes, several at a time, and collects what they gave. */
#ifndef SWEEP_H
#define SWEEP_H

#include <signal.h>
#include "compare/plan.h"

typedef struct {
    int runs, done, diverged; /* of the whole sweep, those kept from before included */
    double fraction;          /* of the work, running trainings included */
    double seconds_left;      /* negative: not known yet */
    int running;
    const planned_run *latest; /* a running one, or NULL */
    long latest_batch;
} sweep_progress;

typedef struct {
    const plan *plan;
    const char *darknet;
    int cores, jobs;
    int report_only;              /* nothing is started: what is not finished is left out */
    volatile sig_atomic_t *stop;  /* a signal's number: stop, saved */
    volatile sig_atomic_t *hurry; /* at once */
    void (*tell)(const sweep_progress *progress, void *to); /* about twice a second */
    void (*note)(const char *line, void *to);               /* something is skipped */
    void *to;
    /* --- the sweep's own --- */
    int expected;                  /* runs of all calls of sweep_run; set before the first */
    int done, diverged;            /* of these */
    double started, done_at_start; /* its clock, and the work that was there before */
} sweep;

/* Does those runs that c does not have, and adds them: those that are finished in their folders are
 * read, those that were interrupted go on. Stops at the first that fails, with OPT_IO or
 * OPT_BAD_FILE and its last line; or, with OPT_OK, when *stop is set. What is finished by then is
 * in c. */
opt_status sweep_run(sweep *s, const planned_run *runs, int n, comparison *c, opt_error *error);

/* Checks, before anything is started, that the folders of these runs hold nothing of other runs
 * (OPT_MISMATCH). *found: how many were begun. */
opt_status sweep_check(const sweep *s, const planned_run *runs, int n, int *found,
                       opt_error *error);

/* Times steps of each optimizer at each batch size, one run after the other on all cores, each for
 * TIMING_BATCHES or half a minute, and adds the medians to c. What fails is noted and left out. */
opt_status sweep_time_steps(sweep *s, const int *sizes, int n, comparison *c, opt_error *error);

/* Decodes each image of the train or valid list and writes the list without the broken ones to
 * `list`. *broken: how many those were; each is noted. */
opt_status sweep_check_images(const sweep *s, int valid, const char *list, long *broken,
                              opt_error *error);

#endif
