/* Meta-training: outer steps of an evolution strategy on a corpus, checkpointed. The
 * meta-parameters after N outer steps are the same bits whatever the threads, ranks, stops and
 * resumes.
 *
 * Beside the model FILE there are FILE.checkpoint, from which a run goes on, and the progress as
 * CSV (FILE with .csv for .safetensors). */
#ifndef METATRAIN_H
#define METATRAIN_H

#include "meta/metatrain_options.h"

typedef struct metatrain metatrain;

/* Where the run is, every log_every outer steps. Losses are of the perturbed models, both sides of
 * the pairs; NAN: nothing to tell. */
typedef struct {
    uint64_t step;               /* outer steps done */
    double hours, left;          /* spent, also before a resume; until the end, NAN: it has none */
    double per_second;           /* outer steps, since the last report */
    double loss;                 /* mean meta-loss since the last report */
    double smoothed;             /* averaged over about 100 outer steps */
    double end;                  /* mean log ratio over the last tenth of the episodes that ended */
    uint64_t episodes, diverged; /* that ended since the last report */
    double norm, rate; /* of the last gradient, before its clip by norm; of the meta-optimizer */
    int families;
    const char *const *family; /* [families] */
    const double *family_loss; /* smoothed over about 100 episodes */
} metatrain_report;

typedef struct {
    void (*report)(void *context, const metatrain_report *report); /* on rank 0; or NULL */
    int (*stop)(
        void *context); /* a signal that asks to save and stop, or 0; on every rank; or NULL */
    void *context;
} metatrain_callbacks;

/* A fresh run that will write path. start: the model to go on from, or NULL: a random one. note:
 * where it comes from, for the metadata ("" for none). options are checked here; source, c and path
 * are borrowed. OPT_BAD_OPTION also when path, its checkpoint or its CSV exist. Collective. */
metatrain *metatrain_create(const metatrain_options *options, const problem_source *source,
                            const char *path, const hrnn_model *start, const char *note, comm *c,
                            opt_error *error);

/* The options of the run that path.checkpoint holds. OPT_NO_FILE, OPT_BAD_FILE (truncated,
 * corrupt). */
opt_status metatrain_checkpoint_options(const char *path, metatrain_options *options,
                                        opt_error *error);
/* That run; of its options those of the run (metatrain_option.of_run) may differ. OPT_MISMATCH: the
 * corpus has changed. Collective. */
metatrain *metatrain_resume(const metatrain_options *options, const problem_source *source,
                            const char *path, comm *c, opt_error *error);

/* Runs to the end, or until a signal asks to stop (*signal is then that signal, else 0), and saves.
 * Collective; an error is the same on every rank. */
opt_status metatrain_run(metatrain *m, const metatrain_callbacks *callbacks, int *signal,
                         opt_error *error);
uint64_t metatrain_steps(const metatrain *m);
void metatrain_free(metatrain *m);

/* Options from the model to start from: those that were not given take its format, features, clips
 * and initial_lr. NULL, a random one: only the format, by what the estimator can do. */
void metatrain_take_start(metatrain_options *options, const hrnn_model *start);

#endif
