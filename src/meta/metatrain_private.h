/* Private to metatrain*.c. */
#ifndef METATRAIN_PRIVATE_H
#define METATRAIN_PRIVATE_H

#include <stdio.h>

#include "meta/meta_model.h"
#include "meta/metatrain.h"

/* Sums for the reports. As it stands in a checkpoint: doubles only. */
typedef struct {
    double loss, losses, end, ends, diverged; /* since the last report */
    double smoothed, smoothed_weight;
    double norm, rate;
} progress_sums;

typedef struct {
    int families;
    const char **family; /* [families], names of the source's */
    int *of_row;         /* family of each row of the source */
    progress_sums sums;
    double *family_sums;      /* [families][2]: smoothed and its weight */
    double *family_loss;      /* [families], for a report */
    double started, reported; /* seconds of the clock */
    uint64_t reported_step;
    FILE *csv; /* rank 0 */
    char *csv_path;
} progress;

struct metatrain {
    metatrain_options options;
    const problem_source *source;
    const char *path;
    char *checkpoint, *note; /* path.checkpoint; where the first model came from */
    comm *comm;
    hrnn_model model; /* features and clips; its parameters are theta rounded when it is written */
    double theta[HRNN_META_PARAMS], gradient[HRNN_META_PARAMS];
    meta_optimizer optimizer;
    population *population;
    uint64_t step;
    double seconds_before; /* a resume */
    progress progress;
};

double metatrain_seconds(const metatrain *m); /* of the whole run */

/* --- metatrain_progress.c --- */
opt_status progress_init(progress *p, const problem_source *source, const char *path,
                         opt_error *error);
void progress_release(progress *p);
/* On rank 0, before the first step: the CSV with its header and the rows up to `step`. */
opt_status progress_open_csv(progress *p, uint64_t step, opt_error *error);
void progress_add(progress *p, const population_result *results, int pairs, double clip,
                  const meta_step_report *step);
/* A row and a call, and the sums since the last report start again. OPT_IO. */
opt_status progress_report(metatrain *m, const metatrain_callbacks *callbacks, opt_error *error);

/* --- metatrain_checkpoint.c --- */
/* The checkpoint, then the model. Collective. */
opt_status metatrain_save(metatrain *m, opt_error *error);
opt_status metatrain_load(metatrain *m, opt_error *error);

#endif
