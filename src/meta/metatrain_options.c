/* One row an option: name, kind, range, default, place in the structure. All readers and printers
 * go through it. */
#include "meta/metatrain_options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const losses[] = {"batch", "full", NULL};
static const char *const estimators[] = {"es", "pes", "nres", "bptt", NULL};
static const char *const optimizers[] = {"adam", "rmsprop", NULL};
static const char *const schedules[] = {"constant", "cosine", NULL};

#define AT(field) offsetof(metatrain_options, field)
#define TEXT(field) OPTION_TEXT, AT(field)
#define LIST(field) OPTION_LIST, AT(field)
#define WHOLE(field) OPTION_WHOLE, AT(field)
#define NUMBER(field) OPTION_NUMBER, AT(field)
#define RANGE(field) OPTION_RANGE, AT(field)
#define CHOICE(field) OPTION_CHOICE, AT(field)
#define SIZE(field) sizeof(((metatrain_options *)0)->field)

const metatrain_option metatrain_option_rows[METATRAIN_OPTIONS] = {
    {"corpus", "NAME", TEXT(corpus), "wide", 0, SIZE(corpus), NULL, 0,
     "Problems to train on: paper, paper-all, wide or users, some groups of one, "
     "wide:quadratic,..., or several, wide+users"},
    {"images", "DIR,...", TEXT(images), "/usr/share/datasets/fashion-mnist", 0, SIZE(images), NULL,
     0, "Folders of images in idx files (train-images-idx3-ubyte...)"},
    {"cfg", "FILE", LIST(cfg), "", 0, SIZE(cfg), NULL, 0,
     "A Darknet cfg to train on, with its -data; both may be given several times. Without -corpus: "
     "on these alone; with it, -cfg-share of the time"},
    {"data", "FILE", LIST(data), "", 0, SIZE(data), NULL, 0,
     "The data cfg of a -cfg: train= names a list of images, or a folder of cifar's batches"},
    {"cfg-share", "PART", NUMBER(cfg_share), "0.5", 0.001, 0.999, NULL, 0,
     "With -corpus: this part of the episodes is on a -cfg"},
    {"episode", "LO:HI", RANGE(episode), "50:400", 1, 1e9, NULL, 0,
     "Steps of an episode, log-uniform"},
    {"loss", "batch|full", CHOICE(loss), "batch", 0, 0, losses, 0,
     "Loss after a step: of the next batch, or on all data"},
    {"every", "N", WHOLE(every), "10", 1, 1e9, NULL, 0, "With -loss full: measured every N steps"},
    {"clip", "C", NUMBER(clip), "0.4", 1e-3, 100, NULL, 0,
     "log((loss + eps)/(first + eps)) counts as at most C"},
    {"eps", "E", NUMBER(eps), "0.01", 0, 1e6, NULL, 0, "eps in it"},
    {"relative-eps", "E", NUMBER(relative_eps), "0", 0, 1, NULL, 0,
     "Added to eps: E times the first loss"},
    {"tail", "PART", NUMBER(tail), "1", 1e-6, 1, NULL, 0,
     "Only this last part of an episode's steps counts"},
    {"blind", "PART", NUMBER(blind), "0.05", 0, 1, NULL, 0,
     "hrnn-3: this part of the episodes is run without a horizon"},
    {"learning-rates", "LO:HI", RANGE(rates), "1e-6:1e-2", 1e-12, 1e6, NULL, 0,
     "Starting learning rates, log-uniform"},
    {"estimator", "es|pes|nres|bptt", CHOICE(estimator), "es", 0, 0, estimators, 0,
     "Evolution strategies: whole episodes, persistent, one direction an episode; or "
     "back-propagation"},
    {"pairs", "N", WHOLE(pairs), "16", 1, 1e6, NULL, 0,
     "Antithetic pairs an outer step (bptt: runs)"},
    {"sigma", "S", NUMBER(sigma), "0.01", 1e-9, 1e3, NULL, 0, "Size of the perturbations"},
    {"clip-pair", "C", NUMBER(clip_pair), "0.2", 0, 1e6, NULL, 0,
     "es, pes, nres: the losses of a pair count as at most C apart (0: as they are)"},
    {"truncation", "N", WHOLE(truncation), "50", 1, 1e9, NULL, 0,
     "Steps of an episode in an outer step (pes, nres; bptt: at least)"},
    {"unroll-tail", "N", NUMBER(unroll_tail), "200", 0, 1e6, NULL, 0,
     "bptt: mean of the exponential that is added to -truncation"},
    {"unrolls", "N", NUMBER(unrolls), "40", 0, 1e6, NULL, 0,
     "bptt: an episode has 1 unroll and an exponential of this mean more"},
    {"second-derivatives", "0|1", WHOLE(second_derivatives), "1", 0, 1, NULL, 0,
     "bptt: through the gradients too"},
    {"seed", "N", WHOLE(seed), "1", 0, 9e15, NULL, 0, "Names all random numbers"},
    {"optimizer", "adam|rmsprop", CHOICE(optimizer), "adam", 0, 0, optimizers, 0, "Meta-optimizer"},
    {"rate", "R", NUMBER(rate), "0", 0, 1e3, NULL, 0,
     "Its learning rate (0: adam 1e-3, rmsprop 1e-6)"},
    {"beta1", "B", NUMBER(beta1), "-1", -1, 0.9999999, NULL, 0,
     "Decay of its first moment (-1: 0.9)"},
    {"beta2", "B", NUMBER(beta2), "-1", -1, 0.9999999, NULL, 0,
     "Decay of its second moment (-1: adam 0.999, rmsprop 0.9)"},
    {"weight-decay", "D", NUMBER(weight_decay), "0", 0, 1e3, NULL, 0, "Of AdamW"},
    {"warm-up", "N", WHOLE(warm_up), "100", 0, 1e9, NULL, 0,
     "Outer steps in which the rate rises to its full value"},
    {"schedule", "constant|cosine", CHOICE(schedule), "constant", 0, 0, schedules, 0,
     "Of the rate; cosine: over -outer-steps"},
    {"final-rate", "PART", NUMBER(final), "0.05", 0, 1, NULL, 0,
     "Of the rate, at the end of the cosine"},
    {"clip-entry", "C", NUMBER(clip_entry), "-1", -1, 1e30, NULL, 0,
     "Clip of each entry of the gradient (0: none; -1: adam none, rmsprop 1e4)"},
    {"clip-norm", "C", NUMBER(clip_norm), "0", 0, 1e30, NULL, 0, "Clip of its norm (0: none)"},
    {"format", "hrnn-1|hrnn-2|hrnn-3", CHOICE(format), "hrnn-3", 0, 0, hrnn_format_names, 0,
     "Of the model; hrnn-2 adds a context of each tensor and a limit of its learning rate, hrnn-3 "
     "the horizon, the losses and a schedule (unless given: that of -start; bptt: hrnn-1)"},
    {"without", "LIST", TEXT(without), "attention", 0, SIZE(without), NULL, 0,
     "Features of the model that are switched off; \"none\": all are on"},
    {"min-log-lr", "L", NUMBER(min_log_lr), "-33", -88, 88, NULL, 0,
     "Clip of the log learning rate"},
    {"max-log-lr", "L", NUMBER(max_log_lr), "4", -88, 88, NULL, 0, "Clip of the log learning rate"},
    {"lr-limit", "L", NUMBER(lr_limit), "-1", -1, 33, NULL, 0,
     "From hrnn-2 on: log_lr.limit is held at L (-1: it is trained like the others)"},
    {"initial-lr", "R", NUMBER(initial_lr), "1e-4", 1e-12, 1, NULL, 0,
     "The starting rate that the model names to users"},
    {"readout-scale", "S", NUMBER(readout_scale), "0.1", 0, 100, NULL, 0,
     "Size of the first readouts of a new model (the paper's: 0.5)"},
    {"outer-steps", "N", WHOLE(outer_steps), "0", 0, 1e15, NULL, 1,
     "Ends after N outer steps (0: never)"},
    {"hours", "H", NUMBER(hours), "0", 0, 1e6, NULL, 1,
     "Ends after H hours, those before a resume included (0: never)"},
    {"threads", "N", WHOLE(threads), "0", 0, 4096, NULL, 1, "Threads of a rank (0: all cores)"},
    {"save-minutes", "M", NUMBER(save_minutes), "5", 0, 1e6, NULL, 1,
     "A checkpoint every M minutes (0: after every outer step)"},
    {"log-every", "N", WHOLE(log_every), "10", 1, 1e9, NULL, 1,
     "A line of progress and a row of the CSV every N outer steps"},
};

static char *field(metatrain_options *options, const metatrain_option *row)
{
    return (char *)options + row->offset;
}

static opt_status read_number(const metatrain_option *row, const char *text, const char *value,
                              char **end, double *number, opt_error *error)
{
    errno = 0;
    *number = strtod(text, end);
    const int whole = row->type != OPTION_WHOLE || *number == floor(*number);
    if (*end != text && !errno && whole && *number >= row->low && *number <= row->high)
        return OPT_OK;
    return opt_fail(error, OPT_BAD_OPTION, "-%s is \"%.60s\", expected %s from %g to %g", row->name,
                    value,
                    row->type == OPTION_WHOLE   ? "a whole number"
                    : row->type == OPTION_RANGE ? "LO:HI, numbers"
                                                : "a number",
                    row->low, row->high);
}

static opt_status read_choice(const metatrain_option *row, const char *value, int *choice,
                              opt_error *error)
{
    for (*choice = 0; row->choices[*choice]; ++*choice)
        if (strcmp(row->choices[*choice], value) == 0) return OPT_OK;
    *choice = 0;
    return opt_fail(error, OPT_BAD_OPTION, "-%s is \"%.60s\", expected %s", row->name, value,
                    row->argument);
}

static opt_status read_text(const metatrain_option *row, const char *value, char *text,
                            opt_error *error)
{
    if (!*value || strlen(value) >= (size_t)row->high || strpbrk(value, "\"\t\n"))
        return opt_fail(error, OPT_BAD_OPTION,
                        "-%s is \"%.60s\", expected 1 to %d characters without quotes", row->name,
                        value, (int)row->high - 1);
    strcpy(text, value);
    return OPT_OK;
}

/* Adds the value, or a list of them, at the end. */
static opt_status add_text(const metatrain_option *row, const char *value, char *text,
                           opt_error *error)
{
    const size_t before = strlen(text);
    metatrain_option rest = *row;
    rest.high -= (double)before + 1;
    if (!before) return read_text(row, value, text, error);
    opt_status status = read_text(&rest, value, text + before + 1, error);
    if (!status) text[before] = ',';
    return status;
}

static opt_status set_row(metatrain_options *options, const metatrain_option *row,
                          const char *value, opt_error *error)
{
    char *at = field(options, row), *end;
    double number[2];
    opt_status status;
    if (row->type == OPTION_TEXT) return read_text(row, value, at, error);
    if (row->type == OPTION_LIST) return add_text(row, value, at, error);
    if (row->type == OPTION_CHOICE) return read_choice(row, value, (int *)at, error);
    if ((status = read_number(row, value, value, &end, &number[0], error))) return status;
    number[1] = number[0];
    if (row->type == OPTION_RANGE && *end == ':' &&
        (status = read_number(row, end + 1, value, &end, &number[1], error)))
        return status;
    if (*end || number[1] < number[0])
        return opt_fail(error, OPT_BAD_OPTION, "-%s is \"%.60s\", expected %s", row->name, value,
                        row->type == OPTION_RANGE ? "LO:HI with LO at most HI" : "a number");
    memcpy(at, number, (row->type == OPTION_RANGE ? 2 : 1) * sizeof *number);
    return OPT_OK;
}

static int find_row(const char *name)
{
    for (int i = 0; i < METATRAIN_OPTIONS; i++)
        if (strcmp(metatrain_option_rows[i].name, name) == 0) return i;
    return -1;
}

void metatrain_defaults(metatrain_options *options)
{
    *options = (metatrain_options){0};
    for (int i = 0; i < METATRAIN_OPTIONS; i++)
        set_row(options, &metatrain_option_rows[i], metatrain_option_rows[i].start, NULL);
}

opt_status metatrain_set(metatrain_options *options, const char *name, const char *value,
                         opt_error *error)
{
    const int row = find_row(name);
    if (row < 0) return opt_fail(error, OPT_BAD_OPTION, "there is no option -%.60s", name);
    options->given |= (uint64_t)1 << row;
    return set_row(options, &metatrain_option_rows[row], value, error);
}

int metatrain_was_given(const metatrain_options *options, const char *name)
{
    const int row = find_row(name);
    return row >= 0 && (options->given >> row & 1);
}

int metatrain_count(const char *list)
{
    int n = *list != 0;
    for (; *list; list++) n += *list == ',';
    return n;
}

opt_status metatrain_check(const metatrain_options *options, opt_error *error)
{
    if (metatrain_count(options->cfg) != metatrain_count(options->data))
        return opt_fail(error, OPT_BAD_OPTION, "%d -cfg and %d -data, expected as many",
                        metatrain_count(options->cfg), metatrain_count(options->data));
    if (options->eps == 0 && options->relative_eps == 0)
        return opt_fail(error, OPT_BAD_OPTION,
                        "-eps and -relative-eps are both 0, expected one above");
    if (options->schedule == 1 && options->outer_steps == 0)
        return opt_fail(error, OPT_BAD_OPTION, "-schedule cosine needs -outer-steps, its length");
    if (options->estimator == METATRAIN_BPTT && options->format != METATRAIN_HRNN_1)
        return opt_fail(error, OPT_BAD_OPTION,
                        "-estimator bptt needs -format hrnn-1: later formats have no adjoint");
    if (options->lr_limit >= 0 && options->format == METATRAIN_HRNN_1)
        return opt_fail(error, OPT_BAD_OPTION,
                        "-lr-limit needs -format hrnn-2 or hrnn-3: hrnn-1 has no limit");
    if (options->min_log_lr >= options->max_log_lr)
        return opt_fail(error, OPT_BAD_OPTION,
                        "-min-log-lr is %g, expected less than -max-log-lr, %g",
                        options->min_log_lr, options->max_log_lr);
    return OPT_OK;
}

/* The shortest of the forms that reads back as the same number. */
static int print_number(char *text, size_t size, double number)
{
    for (int digits = 6; digits < 17; digits += 3) {
        const int length = snprintf(text, size, "%.*g", digits, number);
        if (strtod(text, NULL) == number) return length;
    }
    return snprintf(text, size, "%.17g", number);
}

void metatrain_print_options(const metatrain_options *options, int of_run,
                             char text[METATRAIN_TEXT])
{
    size_t at = 0;
    for (int i = 0; i < METATRAIN_OPTIONS; i++) {
        const metatrain_option *row = &metatrain_option_rows[i];
        const char *value = field((metatrain_options *)options, row);
        char number[2][40] = {"", ""};
        const int numbers = row->type == OPTION_RANGE ? 2 : 1;
        if (!row->of_run != !of_run || (row->type == OPTION_LIST && !*value)) continue;
        if (row->type == OPTION_CHOICE) {
            int choice;
            memcpy(&choice, value, sizeof choice);
            value = row->choices[choice];
        } else if (row->type != OPTION_TEXT && row->type != OPTION_LIST) {
            double parts[2];
            memcpy(parts, value, (size_t)numbers * sizeof *parts);
            for (int k = 0; k < numbers; k++) print_number(number[k], sizeof *number, parts[k]);
            value = number[0];
        }
        const char *quote = strchr(value, ' ') ? "\"" : "";
        at += (size_t)snprintf(text + at, METATRAIN_TEXT - at, "%s-%s %s%s%s%s%s", at ? " " : "",
                               row->name, quote, value, *number[1] ? ":" : "", number[1], quote);
        if (at >= METATRAIN_TEXT) at = METATRAIN_TEXT - 1;
    }
}

/* The next word of *rest, ended by a space, or within quotes; NULL: there is none. */
static char *next_word(char **rest)
{
    char *word = *rest;
    if (!*word) return NULL;
    const char end = *word == '"' ? '"' : ' ';
    if (end == '"') word++;
    *rest = word + strcspn(word, (char[]){end, 0});
    if (**rest) *(*rest)++ = 0;
    if (end == '"' && **rest == ' ') ++*rest;
    return word;
}

opt_status metatrain_read_options(metatrain_options *options, const char *text, opt_error *error)
{
    char *copy = strdup(text), *rest = copy, *name;
    opt_status status = copy ? OPT_OK : opt_fail(error, OPT_NO_MEMORY, "no memory for options");
    const uint64_t given = options->given;
    while (!status && (name = next_word(&rest))) {
        const char *value = next_word(&rest);
        if (*name != '-' || !value)
            status = opt_fail(error, OPT_BAD_FILE, "\"%.60s\" is not an option with a value", name);
        else
            status = metatrain_set(options, name + 1, value, error);
    }
    options->given = given;
    free(copy);
    return status;
}

population_options metatrain_population_options(const metatrain_options *o)
{
    return (population_options){
        .kind = o->estimator == METATRAIN_BPTT ? ES_WHOLE : (es_kind)o->estimator,
        .bptt = o->estimator == METATRAIN_BPTT,
        .second_derivatives = o->second_derivatives != 0,
        .unrolls = o->unrolls,
        .unroll_tail = o->unroll_tail,
        .pairs = (int)o->pairs,
        .sigma = o->sigma,
        .clip_pair = o->clip_pair,
        .hold_lr_limit = o->lr_limit >= 0,
        .seed = (uint64_t)o->seed,
        .steps = {(uint64_t)o->episode[0], (uint64_t)o->episode[1]},
        .truncation = (uint64_t)o->truncation,
        .threads = (int)o->threads,
        .episode = {.loss = o->loss,
                    .every = (int)o->every,
                    .clip = o->clip,
                    .eps = o->eps,
                    .relative_eps = o->relative_eps,
                    .tail = o->tail,
                    .blind = o->blind,
                    .rates = {o->rates[0], o->rates[1]}},
    };
}

meta_optimizer_options metatrain_optimizer_options(const metatrain_options *o)
{
    meta_optimizer_options m = meta_optimizer_defaults(o->optimizer);
    if (o->rate > 0) m.rate = o->rate;
    if (o->beta1 >= 0) m.beta1 = o->beta1;
    if (o->beta2 >= 0) m.beta2 = o->beta2;
    if (o->clip_entry >= 0) m.clip_entry = o->clip_entry;
    m.weight_decay = o->weight_decay;
    m.warm_up = (uint64_t)o->warm_up;
    m.cosine = o->schedule == 1 ? (uint64_t)o->outer_steps : 0;
    m.final = o->final;
    m.clip_norm = o->clip_norm;
    return m;
}
