/* The folder of a run: made, begun or continued, and cleared when the run is done. */
#ifndef RUN_FOLDER_H
#define RUN_FOLDER_H

#include "compare/plan.h"

typedef struct {
    char *path;          /* plan_run_folder */
    char digest[17];     /* of the run that is planned */
    cmp_outcome outcome; /* CMP_UNFINISHED: to be started, or continued from weights */
    char *weights;       /* NULL: from the start */
    int begun;           /* an earlier sweep was here and left a result or weights */
} run_folder;

/* Looks at what is there. OPT_MISMATCH, and how it differs, when that is another run.
 * run_folder_free after any end. */
opt_status run_folder_look(run_folder *f, const plan *p, const planned_run *run, opt_error *error);
/* Makes the folder and writes run.cfg and run.data; clears what an earlier start left that cannot
 * be continued. */
opt_status run_folder_begin(run_folder *f, const plan *p, const planned_run *run, opt_error *error);
/* Weights of finished epochs, which nobody needs. */
void run_folder_drop_epochs(const char *path);
/* Writes "done" and removes the weights. */
opt_status run_folder_finish(const run_folder *f, cmp_outcome outcome, opt_error *error);
void run_folder_free(run_folder *f);

/* A folder with those above it. */
opt_status make_folders(const char *path, opt_error *error);
/* A whole text, written atomically. NULL: OPT_NO_MEMORY. */
opt_status write_text(const char *path, const char *text, opt_error *error);

#endif
