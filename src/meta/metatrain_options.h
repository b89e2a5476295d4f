/* The options of a meta-training as one table: names, ranges, defaults and what they mean. Command
 * line, recipe in the model's metadata and checkpoint are all read and written through it. */
#ifndef METATRAIN_OPTIONS_H
#define METATRAIN_OPTIONS_H

#include "meta/meta_optimizer.h"
#include "meta/population.h"

enum { METATRAIN_BPTT = 3 };
enum { METATRAIN_HRNN_1, METATRAIN_HRNN_2, METATRAIN_HRNN_3 };

typedef struct {
    /* --- problems and episodes --- */
    char corpus[200], images[500];
    char cfg[400], data[400]; /* lists of as many, separated by commas; or empty */
    double cfg_share;         /* of the episodes, where there is a corpus too */
    double episode[2];        /* steps, log-uniform */
    int loss;                 /* LOSS_BATCH, LOSS_FULL */
    double every, clip, eps, relative_eps, tail, blind, rates[2];
    /* --- estimator --- */
    int estimator; /* es_kind, or METATRAIN_BPTT */
    double second_derivatives, unrolls, unroll_tail;
    double pairs, sigma, clip_pair, truncation, seed;
    /* --- meta-optimizer --- */
    int optimizer; /* META_ADAM, META_RMSPROP */
    double rate, beta1, beta2, weight_decay, warm_up;
    int schedule; /* 0 constant, 1 cosine */
    double final, clip_entry, clip_norm;
    /* --- model --- */
    int format; /* METATRAIN_HRNN_1, ... */
    char without[200];
    double min_log_lr, max_log_lr, lr_limit, initial_lr, readout_scale;
    /* --- the run: may differ on a resume --- */
    double outer_steps, hours, threads, save_minutes, log_every;
    uint64_t given; /* bit i: option i was set by name */
} metatrain_options;

typedef struct {
    const char *name, *argument;
    enum {
        OPTION_TEXT,
        OPTION_LIST,
        OPTION_WHOLE,
        OPTION_NUMBER,
        OPTION_RANGE,
        OPTION_CHOICE
    } type;
    size_t offset;
    const char *start; /* the default, as text */
    double low, high;  /* inclusive; of texts high is the size of the field */
    const char *const *choices;
    int of_run; /* not part of the recipe */
    const char *help;
} metatrain_option;
enum { METATRAIN_OPTIONS = 45 };
extern const metatrain_option metatrain_option_rows[METATRAIN_OPTIONS];

void metatrain_defaults(metatrain_options *options);

/* An OPTION_LIST that is set again grows. OPT_BAD_OPTION: no option of that name, or a value that
 * is not of its type or range. */
opt_status metatrain_set(metatrain_options *options, const char *name, const char *value,
                         opt_error *error);
int metatrain_was_given(const metatrain_options *options, const char *name);

/* Items of an OPTION_LIST. */
int metatrain_count(const char *list);

/* What no option can see alone. */
opt_status metatrain_check(const metatrain_options *options, opt_error *error);

/* "-corpus wide -episode 50:400 …": what a model is made with (of_run 0), or how a run is run (1).
 * Reading sets only what the text names. */
enum { METATRAIN_TEXT = 4000 };
void metatrain_print_options(const metatrain_options *options, int of_run,
                             char text[METATRAIN_TEXT]);
opt_status metatrain_read_options(metatrain_options *options, const char *text, opt_error *error);

/* The parts that use them. */
population_options metatrain_population_options(const metatrain_options *options);
meta_optimizer_options metatrain_optimizer_options(const metatrain_options *options);

#endif
