/* What is in the folder of one run: its logs while it trains, its results, whether it is done. */
#ifndef RUN_FILES_H
#define RUN_FILES_H

#include "compare/comparison.h"

typedef struct {
    long batch;   /* the last one in loss.csv; 0: none yet */
    double loss;  /* its */
    int hopeless; /* 20 losses in a row are not finite, or 50 exceed 100 times the first */
} run_progress;

/* How far a run is; all 0 while there is no log. */
run_progress run_files_progress(const char *folder);

/* Reads loss.csv, valid.csv (where measured is true) and train.log into *run: everything but
 * optimizer, rate and seed. batches: how many the run was to have. Rows behind the one that made it
 * hopeless are not read, so that the result does not depend on when it was stopped. The outcome is
 * CMP_DIVERGED by the losses, else CMP_FINISHED when the log is whole, else CMP_UNFINISHED. The
 * caller frees bins and held_out. */
opt_status run_files_read(const char *folder, long batches, int measured, cmp_run *run,
                          opt_error *error);

/* The file "done": CMP_UNFINISHED when there is none. digest: what was run, see plan_run_digest; ""
 * when the run was not begun; of a run that was begun, from run.cfg. */
cmp_outcome run_files_outcome(const char *folder, char digest[17]);
opt_status run_files_set_outcome(const char *folder, cmp_outcome outcome, const char *digest,
                                 opt_error *error);

/* How the cfg or the data cfg of an earlier start of the run differs from what it is to be now: "a
 * line instead of another", without what only names files. 0: in nothing. */
int run_files_difference(const char *old_text, const char *new_text, char *difference, size_t size);

#endif
