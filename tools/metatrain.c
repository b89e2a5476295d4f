/* Meta-trains the hierarchical RNN: command line, signals, lines of progress. The work is
 * src/meta/metatrain.c's. */
#include <argp.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "meta/comm.h"
#include "meta/meta_source.h"
#include "meta/metatrain.h"

enum { OUT = 1000, RESUME, START, FIRST_OPTION }; /* argp's keys; the table's options come last */

typedef struct {
    metatrain_options options;
    const char *out, *resume, *start;
} arguments;

static void complain(const char *message)
{
    fprintf(stderr, "metatrain: %s\n", message);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    opt_error error;
    switch (key) {
    case OUT:
        a->out = value;
        return 0;
    case RESUME:
        a->resume = value;
        return 0;
    case START:
        a->start = value;
        return 0;
    case ARGP_KEY_ARG:
        complain("takes options only; see --help");
        exit(2);
    default:
        if (key < FIRST_OPTION || key >= FIRST_OPTION + METATRAIN_OPTIONS) return ARGP_ERR_UNKNOWN;
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
    enum { OWN = 3 };
    static char help[METATRAIN_OPTIONS][200];
    struct argp_option options[OWN + METATRAIN_OPTIONS + 1] = {
        {"out", OUT, "FILE", 0, "The model to make", 0},
        {"resume", RESUME, "FILE", 0, "Go on with the run that made FILE, from FILE.checkpoint", 0},
        {"start", START, "FILE", 0, "Start from this model instead of a random one", 0},
    };
    for (int i = 0; i < METATRAIN_OPTIONS; i++) {
        const metatrain_option *row = &metatrain_option_rows[i];
        snprintf(help[i], sizeof help[i], "%s (%s)", row->help, row->start);
        options[OWN + i] = (struct argp_option){row->name, FIRST_OPTION + i, row->argument,
                                                0,         help[i],          row->of_run ? 2 : 1};
    }
    const struct argp argp = {
        options,
        parse,
        NULL,
        "Meta-trains the hierarchical RNN and writes it as a model file.\v"
        "SIGINT, SIGTERM and SIGUSR1 save and stop (exit status 128 + the signal); -resume goes "
        "on, to "
        "the bit. Under mpirun send it SIGUSR1: after the others it kills the ranks without "
        "waiting. "
        "Beside FILE.safetensors: FILE.safetensors.checkpoint, and the progress as FILE.csv "
        "(tools/plot-metatrain.sh draws it).",
        NULL,
        NULL,
        NULL};
    metatrain_defaults(&a->options);
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, ARGP_LONG_ONLY, NULL, a);
}

/* --- signals and progress --- */

static volatile sig_atomic_t caught;

static void catch_signal(int signal)
{
    caught = signal;
}

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

static metatrain *open_run(arguments *a, corpus_source **source, comm *c, opt_error *error)
{
    static char note[2600];
    const char *path = a->resume ? a->resume : a->out;
    hrnn_model *start = NULL;
    metatrain *m = NULL;
    opt_status status = OPT_OK;
    if (!path)
        status = opt_fail(error, OPT_BAD_OPTION, "expected -out FILE or -resume FILE");
    else if (a->resume)
        status = take_options(a, error);
    else if (a->start && !(start = load_start(a->start, note, error)))
        status = OPT_NO_FILE;
    if (start) metatrain_take_start(&a->options, start);
    if (!status && !(*source = corpus_source_open(a->options.corpus, a->options.images, error)))
        status = OPT_BAD_OPTION;
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
    metatrain *m = open_run(&a, &source, c, &error);
    const int status = m ? run(m, a.resume ? a.resume : a.out, c, &error) : 1;
    if (status == 1 && comm_rank(c) == 0) complain(error.message);
    metatrain_free(m);
    corpus_source_close(source);
    comm_close(c);
    return status;
}
