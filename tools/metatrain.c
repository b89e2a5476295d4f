/* Meta-trains the hierarchical RNN, and evaluates it: command line, signals, lines of progress. The
 * work is src/meta/metatrain.c's and evaluate.c's. */
#include <argp.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "files/atomic_file.h"
#include "darknet_meta/darknet_tasks.h"
#include "meta/comm.h"
#include "meta/evaluate_report.h"
#include "problems/source.h"
#include "meta/metatrain.h"

/* argp's keys; the table's options come last */
enum { OUT = 1000, RESUME, START, EVALUATE, SEEDS, STEPS, ROWS, HORIZON, PARTS, FIRST_OPTION };

typedef struct {
    metatrain_options options;
    const char *out, *resume, *start, *evaluate;
    evaluate_options evaluation;
    const char *only_evaluation; /* given, but goes with -evaluate only; or NULL */
} arguments;

static void complain(const char *message) { fprintf(stderr, "metatrain: %s\n", message); }

static uint64_t parse_whole(const char *name, const char *value, double high)
{
    char *end;
    const double number = strtod(value, &end);
    if (end != value && !*end && number == floor(number) && number >= 1 && number <= high)
        return (uint64_t)number;
    fprintf(stderr, "metatrain: -%s is \"%.60s\", expected a whole number from 1 to %g\n", name,
            value, high);
    exit(2);
}

static unsigned parse_parts(const char *value)
{
    static const char *const names[] = {"rows", "lengths", "starts"};
    unsigned parts = 0;
    for (const char *at = value; at;) {
        const size_t length = strcspn(at, ",");
        unsigned part = 0;
        for (unsigned i = 0; i < 3; i++)
            if (strlen(names[i]) == length && strncmp(names[i], at, length) == 0) part = 1u << i;
        if (!part) {
            fprintf(stderr,
                    "metatrain: -parts is \"%.60s\", expected some of rows,lengths,starts\n",
                    value);
            exit(2);
        }
        parts |= part;
        at = at[length] ? at + length + 1 : NULL;
    }
    return parts;
}

/* The options of an evaluation alone: their names, and the highest of the whole numbers. */
static error_t parse_evaluation(int key, const char *value, arguments *a)
{
    static const struct {
        const char *name;
        double high;
    } rows[] = {{"seeds", 1e4}, {"steps", 1e12}, {"rows", 1e6}, {"horizon", 1e12}, {"parts", 0}};
    if (key < SEEDS || key > PARTS) return ARGP_ERR_UNKNOWN;
    const char *name = rows[key - SEEDS].name;
    const double high = rows[key - SEEDS].high;
    const uint64_t number = high > 0 ? parse_whole(name, value, high) : 0;
    evaluate_options *e = &a->evaluation;
    a->only_evaluation = name;
    if (key == SEEDS) e->seeds = (int)number;
    if (key == STEPS) e->steps = number;
    if (key == ROWS) e->rows = (int)number;
    if (key == HORIZON) e->horizon = number;
    if (key == PARTS) e->parts = parse_parts(value);
    return 0;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    opt_error error;
    switch (key) {
    case OUT: a->out = value; return 0;
    case RESUME: a->resume = value; return 0;
    case START: a->start = value; return 0;
    case EVALUATE: a->evaluate = value; return 0;
    case ARGP_KEY_ARG: complain("takes options only; see --help"); exit(2);
    default:
        if (key < FIRST_OPTION) return parse_evaluation(key, value, a);
        if (key >= FIRST_OPTION + METATRAIN_OPTIONS) return ARGP_ERR_UNKNOWN;
        if (metatrain_set(&a->options, metatrain_option_rows[key - FIRST_OPTION].name, value,
                          &error)) {
            complain(error.message);
            exit(2);
        }
        return 0;
    }
}

static void parse_arguments(int argc, char **argv, arguments *a)
{
    enum { OWN = 9 };
    static char help[METATRAIN_OPTIONS][200];
    struct argp_option options[OWN + METATRAIN_OPTIONS + 1] = {
        {"out", OUT, "FILE", 0, "The model to make", 0},
        {"resume", RESUME, "FILE", 0, "Go on with the run that made FILE, from FILE.checkpoint", 0},
        {"start", START, "FILE", 0, "Start from this model instead of a random one", 0},
        {"evaluate", EVALUATE, "FILE", 0, "Evaluate this model, see below", 3},
        {"seeds", SEEDS, "N", 0, "-evaluate: instances of each row (5)", 3},
        {"steps", STEPS, "N", 0, "-evaluate: of the runs of rows and starts (1000)", 3},
        {"rows", ROWS, "N", 0, "-evaluate: only the first N of each group (all)", 3},
        {"horizon", HORIZON, "N", 0,
         "-evaluate: longest episode of the meta-training (from the model's recipe)", 3},
        {"parts", PARTS, "LIST", 0, "-evaluate: some of rows,lengths,starts (all)", 3},
    };
    for (int i = 0; i < METATRAIN_OPTIONS; i++) {
        const metatrain_option *row = &metatrain_option_rows[i];
        snprintf(help[i], sizeof help[i], "%s (%s)", row->help, *row->start ? row->start : "none");
        options[OWN + i] = (struct argp_option){row->name, FIRST_OPTION + i, row->argument,
                                                0,         help[i],          row->of_run ? 2 : 1};
    }
    const struct argp argp = {
        options,
        parse,
        NULL,
        "Meta-trains the hierarchical RNN and writes it as a model file; or evaluates one.\v"
        "SIGINT, SIGTERM and SIGUSR1 save and stop (exit status 128 + the signal); -resume goes "
        "on, to "
        "the bit. Under mpirun send it SIGUSR1: after the others it kills the ranks without "
        "waiting. "
        "Beside FILE.safetensors: FILE.safetensors.checkpoint, and the progress as FILE.csv "
        "(tools/plot-metatrain.sh draws it).\n\n"
        "-evaluate FILE, on instances that no training has seen: every row of -corpus (paper-all) "
        "against adam and rmsprop at the best of 11 rates for that row; runs of 1, 5 and 25 times "
        "the longest episode of its meta-training; starting rates from 1e-6 to 1e-2. It takes "
        "-corpus, -images, -seed, -threads and -initial-lr too, and writes text and CSV to -out "
        "DIR (FILE with .evaluation for .safetensors), which tools/plot-evaluation.sh draws. Two "
        "cores take about 4 minutes (-seeds 10: 8) when that longest episode has 1500 steps, and "
        "10 seconds for a quick look: -seeds 1 -rows 1.",
        NULL,
        NULL,
        NULL};
    metatrain_defaults(&a->options);
    a->evaluation = evaluate_defaults();
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, ARGP_LONG_ONLY, NULL, a);
}

/* --- signals and progress --- */

static volatile sig_atomic_t caught;

static void catch_signal(int signal) { caught = signal; }

static int stop(void *context)
{
    (void)context;
    return caught;
}

static void print_time(double hours)
{
    if (!isfinite(hours)) return;
    const long s = (long)(hours * 3600 + 0.5);
    printf(", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
}

static void report(void *context, const metatrain_report *r)
{
    (void)context;
    printf("%llu: %.4f, %.4f avg", (unsigned long long)r->step, r->loss, r->smoothed);
    if (isfinite(r->end)) printf(", %.4f end", r->end);
    printf(", %llu of %llu diverged, %.3g norm, %.3g rate, %.2f steps/s",
           (unsigned long long)r->diverged, (unsigned long long)r->episodes, r->norm, r->rate,
           r->per_second);
    print_time(r->left);
    for (int f = 0; f < r->families; f++)
        if (isfinite(r->family_loss[f]))
            printf("%s %s %.3f", f ? "," : " |", r->family[f], r->family_loss[f]);
    putchar('\n');
    fflush(stdout);
}

/* --- the evaluation --- */

static int take_evaluation(arguments *a, char **folder, opt_error *error)
{
    static const char *const shared[] = {"corpus", "images", "seed", "threads", "initial-lr"};
    const char *path = a->evaluate;
    metatrain_options *o = &a->options;
    if (a->resume || a->start)
        return opt_fail(error, OPT_BAD_OPTION, "-%s does not go with -evaluate",
                        a->resume ? "resume" : "start");
    for (int i = 0; i < METATRAIN_OPTIONS; i++) {
        const char *name = metatrain_option_rows[i].name;
        int known = !metatrain_was_given(o, name);
        for (int k = 0; k < 5; k++) known |= strcmp(name, shared[k]) == 0;
        if (!known) return opt_fail(error, OPT_BAD_OPTION, "-%s does not go with -evaluate", name);
    }
    if (!metatrain_was_given(o, "corpus")) strcpy(o->corpus, "paper-all");
    a->evaluation.subject = opt_default_options("hrnn");
    if (metatrain_was_given(o, "initial-lr")) a->evaluation.subject.rate = (float)o->initial_lr;
    a->evaluation.seed = (uint64_t)o->seed;
    a->evaluation.threads = (int)o->threads;
    const char *extension = strstr(path, ".safetensors");
    const int stem =
        (int)(extension && strlen(extension) == 12 ? extension - path : (ptrdiff_t)strlen(path));
    const size_t size = strlen(path) + 20;
    if (!(*folder = a->out ? strdup(a->out) : malloc(size)))
        return opt_fail(error, OPT_NO_MEMORY, "no memory for a name");
    if (!a->out) snprintf(*folder, size, "%.*s.evaluation", stem, path);
    return OPT_OK;
}

/* A line of progress every ten seconds, or, on a terminal, one that is written over each second. */
static void show_progress(void *context, uint64_t done, uint64_t runs, double left)
{
    time_t *last = context;
    const time_t now = time(NULL);
    const int terminal = isatty(STDERR_FILENO);
    if (now - *last < (terminal ? 1 : 10) && done < runs) return;
    *last = now;
    fprintf(stderr, "%s%llu of %llu runs", terminal ? "\r\033[K" : "", (unsigned long long)done,
            (unsigned long long)runs);
    if (isfinite(left)) fprintf(stderr, ", %ld:%02ld left", (long)left / 60, (long)left % 60);
    if (!terminal || done == runs) fputc('\n', stderr);
}

static opt_status run_evaluation(arguments *a, const hrnn_model *model,
                                 const problem_source *source, const char *folder, opt_error *error)
{
    char name[400], digest[33];
    uint64_t size;
    const char *base = strrchr(a->evaluate, '/');
    if (file_digest(a->evaluate, digest, &size, error)) return error->status;
    snprintf(name, sizeof name, "%.300s (%s)", base ? base + 1 : a->evaluate, digest);
    a->evaluation.model = model;
    if (evaluate_make_folder(folder, error)) return error->status;
    evaluation *e = evaluate_create(&a->evaluation, source, error);
    if (!e) {
        rmdir(folder);
        return OPT_BAD_OPTION;
    }
    time_t last = 0;
    const evaluate_callbacks callbacks = {show_progress, stop, &last};
    opt_status status = evaluate_run(e, &callbacks, error);
    if (!status) {
        evaluate_print(e, name, stdout);
        if (!caught) status = evaluate_write(e, name, folder, error);
        if (!status)
            printf("\n%s%s\n", caught ? "Stopped: nothing is written to " : "Written to ", folder);
    }
    rmdir(folder); /* if nothing is in it */
    evaluate_free(e);
    return status;
}

static int evaluate(arguments *a, comm *c, opt_error *error)
{
    char *folder = NULL;
    hrnn_model *model = NULL;
    corpus_source *source = NULL;
    opt_status status = take_evaluation(a, &folder, error);
    if (!status && comm_size(c) > 1)
        status = opt_fail(error, OPT_BAD_OPTION, "-evaluate runs on one machine, without mpirun");
    if (!status && !(model = hrnn_model_load(a->evaluate, error))) status = OPT_BAD_FILE;
    if (!status && a->evaluation.parts & EVALUATE_LENGTHS && !a->evaluation.horizon &&
        (status = evaluate_read_horizon(a->evaluate, &a->evaluation.horizon, error)))
        strncat(error->message, "; expected -horizon N, or -parts rows,starts",
                sizeof error->message - strlen(error->message) - 1);
    if (!status && !(source = corpus_source_open(a->options.corpus, a->options.images, error)))
        status = OPT_BAD_OPTION;
    if (!status) status = run_evaluation(a, model, corpus_source_rows(source), folder, error);
    corpus_source_close(source);
    hrnn_model_free(model);
    free(folder);
    return status ? 1 : caught ? 128 + caught : 0;
}

/* --- the run --- */

/* Which model a run starts from, for the metadata. NULL and *error: it cannot be read. */
static hrnn_model *load_start(const char *path, char note[2600], opt_error *error)
{
    char digest[33];
    uint64_t size;
    hrnn_model *model = hrnn_model_load(path, error);
    if (!model) return NULL;
    st_file *file = st_open(path, error);
    const char *recipe = file ? st_metadata(file, "recipe") : NULL;
    const char *name = strrchr(path, '/');
    if (!file || file_digest(path, digest, &size, error)) {
        hrnn_model_free(model);
        model = NULL;
    } else {
        snprintf(note, 2600, "%.200s (%s): %.2200s", name ? name + 1 : path, digest,
                 recipe ? recipe : "no recipe");
    }
    st_close(file);
    return model;
}

/* The options of the run to go on with, but those of the run as they were given. */
static opt_status take_options(arguments *a, opt_error *error)
{
    const metatrain_options given = a->options;
    if (a->out || a->start)
        return opt_fail(error, OPT_BAD_OPTION, "-%s does not go with -resume",
                        a->out ? "out" : "start");
    for (int i = 0; i < METATRAIN_OPTIONS; i++)
        if (metatrain_was_given(&given, metatrain_option_rows[i].name) &&
            !metatrain_option_rows[i].of_run)
            return opt_fail(error, OPT_BAD_OPTION, "-%s cannot change on a resume",
                            metatrain_option_rows[i].name);
    opt_status status = metatrain_checkpoint_options(a->resume, &a->options, error);
    if (status) return status;
    for (int i = 0; i < METATRAIN_OPTIONS; i++) {
        const metatrain_option *row = &metatrain_option_rows[i];
        if (row->of_run && metatrain_was_given(&given, row->name))
            memcpy((char *)&a->options + row->offset, (const char *)&given + row->offset,
                   sizeof(double));
    }
    return OPT_OK;
}

/* What problems are drawn from. */
static opt_status open_source(arguments *a, corpus_source **source, darknet_tasks **tasks,
                              opt_error *error)
{
    metatrain_options *o = &a->options;
    opt_status status = metatrain_check(o, error);
    if (status) return status;
    if (*o->cfg && !a->resume && !metatrain_was_given(o, "corpus")) strcpy(o->corpus, "none");
    if (!(*source = corpus_source_open(o->corpus, o->images, error))) return OPT_BAD_OPTION;
    return darknet_tasks_add(tasks, o->cfg, o->data, (int)o->threads, o->cfg_share, *source, error);
}

static metatrain *open_run(arguments *a, corpus_source **source, darknet_tasks **tasks, comm *c,
                           opt_error *error)
{
    static char note[2600];
    const char *path = a->resume ? a->resume : a->out;
    hrnn_model *start = NULL;
    metatrain *m = NULL;
    opt_status status = OPT_OK;
    if (!path)
        status = opt_fail(error, OPT_BAD_OPTION, "expected -out FILE or -resume FILE");
    else if (a->only_evaluation)
        status =
            opt_fail(error, OPT_BAD_OPTION, "-%s goes with -evaluate only", a->only_evaluation);
    else if (a->resume)
        status = take_options(a, error);
    else if (a->start && !(start = load_start(a->start, note, error)))
        status = OPT_NO_FILE;
    if (!status && !a->resume) metatrain_take_start(&a->options, start);
    if (!status) status = open_source(a, source, tasks, error);
    status = comm_agree(c, status, error);
    if (!status && a->resume)
        m = metatrain_resume(&a->options, corpus_source_rows(*source), path, c, error);
    else if (!status)
        m = metatrain_create(&a->options, corpus_source_rows(*source), path, start, note, c, error);
    hrnn_model_free(start);
    return m;
}

static int run(metatrain *m, const char *path, comm *c, opt_error *error)
{
    const metatrain_callbacks callbacks = {report, stop, NULL};
    int signal = 0;
    if (comm_rank(c) == 0 && metatrain_steps(m))
        printf("Goes on after outer step %llu\n", (unsigned long long)metatrain_steps(m));
    if (metatrain_run(m, &callbacks, &signal, error)) return 1;
    if (comm_rank(c) == 0)
        printf("%s after outer step %llu: %s\n", signal ? "Stopped" : "Done",
               (unsigned long long)metatrain_steps(m), path);
    return signal ? 128 + signal : 0;
}

int main(int argc, char **argv)
{
    arguments a = {0};
    opt_error error = {0};
    corpus_source *source = NULL;
    darknet_tasks *tasks = NULL;
    comm *c = comm_open(&argc, &argv, &error);
    if (!c) {
        complain(error.message);
        return 1;
    }
    parse_arguments(argc, argv, &a);
    const struct sigaction action = {.sa_handler = catch_signal, .sa_flags = SA_RESTART};
    const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    for (int i = 0; i < 3; i++) sigaction(signals[i], &action, NULL);
    signal(SIGPIPE,
           SIG_IGN); /* who reads the progress may go; what was trained is saved all the same */
    metatrain *m = a.evaluate ? NULL : open_run(&a, &source, &tasks, c, &error);
    const int status = a.evaluate ? evaluate(&a, c, &error)
                       : m        ? run(m, a.resume ? a.resume : a.out, c, &error)
                                  : 1;
    if (status == 1 && comm_rank(c) == 0) complain(error.message);
    metatrain_free(m);
    corpus_source_close(source);
    darknet_tasks_free(tasks);
    comm_close(c);
    return status;
}
