/* What writing and reading the tables of a comparison share. */
#ifndef TABLES_H
#define TABLES_H

#include <stdio.h>
#include "files/atomic_file.h"
#include "compare/statistics.h"

#define RUNS_HEADER                                                                                \
    "network,data,setting,batches,batch_size,softmax,optimizer,rate,seed,outcome,last_batch,"      \
    "first_loss,loss,held_out_loss,accuracy,batch_seconds,update_seconds,parameters,state_bytes,"  \
    "bins,held_out_points"
/* kind: training (a bin: its last batch, mean loss, seconds since the start) or held-out */
#define CURVES_HEADER "optimizer,rate,seed,kind,batch,loss,accuracy,seconds"
#define TIMES_HEADER "optimizer,batch_size,batch_seconds,update_seconds"
#define SUMMARY_HEADER                                                                             \
    "optimizer,runs,diverged,best_rate,best_seeds,best_diverged,"                                  \
    "held_out_loss,held_out_loss_low,held_out_loss_high,accuracy,accuracy_low,accuracy_high,"      \
    "loss,loss_low,loss_high,default_rate,default_seeds,default_diverged,"                         \
    "default_held_out_loss,default_held_out_loss_low,default_held_out_loss_high,"                  \
    "default_accuracy,default_accuracy_low,default_accuracy_high,"                                 \
    "default_loss,default_loss_low,default_loss_high,"                                             \
    "steps,seconds,speedup,speedup_seconds,range_low,range_high,range_decades,"                    \
    "state_bytes_per_parameter,batch_seconds,update_seconds"

/* "folder/name", to be freed; NULL without memory. */
char *cmp_join(const char *folder, const char *name);

/* What the files of a report are written from. */
typedef struct {
    const comparison *c;
    const cmp_statistics *all; /* of c */
    const char *folder;        /* where the files will be */
} cmp_report;

/* Writes folder/name whole or not at all. context: of write, see atomic_write. */
opt_status cmp_write_file(const char *folder, const char *name, atomic_writer *write, void *context,
                          opt_error *error);

/* Frees what a run points to. */
void cmp_free_run(cmp_run *run);

#endif
