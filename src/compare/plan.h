/* Which runs a comparison consists of, and what the files of each say. */
#ifndef PLAN_H
#define PLAN_H

#include "compare/comparison.h"
#include "compare/data_cfg.h"

typedef struct {
    char label[64]; /* of folders and tables */
    char rule[16];
    char *model;           /* hrnn: its file; NULL: not resolved yet */
    char model_digest[33]; /* of its content; "" for the others */
    double *rates;         /* ascending; 0: hrnn's own */
    int n_rates;
} plan_optimizer;

typedef struct {
    char *cfg_path, *cfg; /* the network's cfg and its text */
    data_cfg data;
    char *out; /* the folder of the results */
    plan_optimizer *optimizers;
    int n_optimizers;
    int seeds, scan_seeds;             /* 1..seeds; the whole grid for 1..scan_seeds */
    long batches, every, valid_images; /* 0 before plan_finish: defaults */
    int batch_size;
    char setting[17];
} plan;

typedef struct {
    const plan_optimizer *optimizer;
    double rate;
    uint64_t seed;
    int batch_size; /* 0: the cfg's; else a run that only times steps */
    long batches;
} planned_run;

enum { TIMING_BATCHES = 100 }; /* at most: sweep_time_steps */

/* "hrnn,sgd,NAME=model.safetensors": rules by their names, and hrnn with other models. */
opt_status plan_add_optimizers(plan *p, const char *list, opt_error *error);
/* "1e-3,1e-2" for those with a learning rate, or "NAME=own,1e-4" for one; a later call replaces
 * what an earlier one set. After plan_add_optimizers. */
opt_status plan_set_rates(plan *p, const char *list, opt_error *error);
/* Checks and completes it: defaults, models (darknet: the executable beside which hrnn's is looked
 * for), setting. cfg_path, cfg, data and out are set before. May be called again when data has
 * changed. */
opt_status plan_finish(plan *p, const char *darknet, opt_error *error);
/* What plan_finish found, for the tables. */
void plan_describe(const plan *p, comparison *c);
void plan_free(plan *p);

/* The whole grid for the first seeds, seed by seed so that an interrupted sweep has all optimizers.
 * The caller frees it; NULL: no memory. */
planned_run *plan_first_runs(const plan *p, int *n);
/* Then, for the other seeds: each optimizer's best rate by what the first runs gave
 * (cmp_best_rate), its two neighbours and its default. */
planned_run *plan_more_runs(const plan *p, const comparison *c, int *n);
/* How many those will be at most. */
int plan_count_more(const plan *p);

/* Of a run, relative to the current folder or absolute as p->out is. The caller frees them. */
char *plan_run_folder(const plan *p, const planned_run *run);
char *plan_run_cfg(const plan *p, const planned_run *run);
char *plan_run_data(const plan *p, const planned_run *run);
/* Of everything that its result depends on but the program. */
void plan_run_digest(const plan *p, const planned_run *run, char digest[17]);

#endif
