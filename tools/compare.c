/* Trains one network with several optimizers, learning rates and seeds, each run a darknet of its
 * own, and says which is best: tables, pictures and a page in the folder -out. */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include "compare/net_cfg.h"
#include "compare/report.h"
#include "compare/run_folder.h"
#include "compare/statistics.h"
#include "compare/sweep.h"

enum { MOST = 64, TTY_SECONDS = 1, LOG_SECONDS = 60 };

typedef struct {
    const char *cfg, *data, *optimizers, *rates[MOST], *out, *darknet, *sizes, *baselines[MOST];
    int n_rates, n_baselines, resume, skip_broken, report_only;
    long seeds, scan_seeds, batches, every, valid_images, jobs;
} arguments;

static volatile sig_atomic_t stop_signal, hurry;

static void note_signal(int signal)
{
    if (stop_signal) hurry = 1;
    stop_signal = signal;
}

static int line_is_open; /* the progress on a terminal stands without a newline */

static void end_line(void)
{
    if (line_is_open) fputs("\r\033[K", stderr);
    line_is_open = 0;
}

__attribute__((format(printf, 1, 2))) _Noreturn static void die(const char *format, ...)
{
    va_list args;
    end_line();
    fputs("compare: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void check(opt_status status, const opt_error *error)
{
    if (status) die("%s", error->message);
}

/* --- the command line --- */

enum {
    OPTIMIZERS = 1000,
    RATES,
    SEEDS,
    SCAN_SEEDS,
    BATCHES,
    EVERY,
    VALID_IMAGES,
    OUT,
    JOBS,
    RESUME,
    BATCH_SIZES,
    BASELINE,
    SKIP_BROKEN,
    DARKNET,
    REPORT_ONLY
};

static const struct argp_option options[] = {
    {"optimizers", OPTIMIZERS, "LIST", 0,
     "hrnn, sgd, adam, rmsprop, or NAME=MODEL.safetensors for hrnn "
     "with another model; default hrnn,sgd,adam,rmsprop",
     0},
    {"rates", RATES, "LIST", 0,
     "learning rates of those that have one; NAME=LIST: of one (hrnn: "
     "starting rates, or own); default: half-decades from 1e-5 to 1",
     0},
    {"seeds", SEEDS, "N", 0, "seeds 1 to N; default 3; 0: only time the steps", 0},
    {"scan-seeds", SCAN_SEEDS, "K", 0,
     "all rates with seeds 1 to K only, the rest with the best rates, "
     "their neighbours and the defaults; default N",
     0},
    {"batches", BATCHES, "N", 0, "of a run; default: max_batches of the cfg, or 1000", 0},
    {"every", EVERY, "N", 0, "measure on held-out images every N batches; default a fifth of them",
     0},
    {"valid-images", VALID_IMAGES, "N", 0, "measure on at most N held-out images; default 5000", 0},
    {"out", OUT, "FOLDER", 0, "of the results; default compare-NAME of the cfg", 0},
    {"jobs", JOBS, "N", 0, "runs at a time; default: as many as there are cores", 0},
    {"resume", RESUME, NULL, 0, "go on with the runs in FOLDER", 0},
    {"batch-sizes", BATCH_SIZES, "LIST", 0,
     "time a step at these batch sizes, or none; default 1,4,16,... "
     "up to the cfg's batch",
     0},
    {"baseline", BASELINE, "FOLDER", 0,
     "take the runs of an earlier comparison of the same cfg, data and "
     "batches (runs.csv); may be given several times",
     0},
    {"skip-broken", SKIP_BROKEN, NULL, 0, "leave images out that cannot be decoded", 0},
    {"darknet", DARKNET, "FILE", 0, "the program that trains; default: darknet beside this one", 0},
    {"report-only", REPORT_ONLY, NULL, 0, "train nothing, report what FOLDER holds", 0},
    {"html-only", 0, NULL, OPTION_ALIAS, NULL, 0},
    {0}};

static long whole_number(const char *option, const char *text, long low)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < low || value > INT_MAX)
        die("-%s %s: expected a whole number from %ld", option, text, low);
    return value;
}

static void add(const char **list, int *n, const char *option, const char *value)
{
    if (*n == MOST) die("-%s: more than %d times", option, MOST);
    list[(*n)++] = value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case OPTIMIZERS: a->optimizers = value; break;
    case RATES: add(a->rates, &a->n_rates, "rates", value); break;
    case SEEDS: a->seeds = whole_number("seeds", value, 0); break;
    case SCAN_SEEDS: a->scan_seeds = whole_number("scan-seeds", value, 1); break;
    case BATCHES: a->batches = whole_number("batches", value, 1); break;
    case EVERY: a->every = whole_number("every", value, 1); break;
    case VALID_IMAGES: a->valid_images = whole_number("valid-images", value, 1); break;
    case OUT: a->out = value; break;
    case JOBS: a->jobs = whole_number("jobs", value, 1); break;
    case RESUME: a->resume = 1; break;
    case BATCH_SIZES: a->sizes = value; break;
    case BASELINE: add(a->baselines, &a->n_baselines, "baseline", value); break;
    case SKIP_BROKEN: a->skip_broken = 1; break;
    case DARKNET: a->darknet = value; break;
    case REPORT_ONLY: a->report_only = 1; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) return ARGP_ERR_UNKNOWN;
        *(state->arg_num ? &a->data : &a->cfg) = value;
        break;
    case ARGP_KEY_END:
        if (state->arg_num < 2) argp_usage(state);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* --- the plan --- */

static char *beside_this_program(const char *name)
{
    char path[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length <= 0) return strdup(name);
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    return strdup(path);
}

static char *default_out(const char *cfg)
{
    const char *slash = strrchr(cfg, '/');
    char name[NAME_MAX];
    snprintf(name, sizeof(name), "compare-%.200s", slash ? slash + 1 : cfg);
    char *dot = strrchr(name, '.');
    if (dot) *dot = '\0';
    return strdup(name);
}

static void make_plan(plan *p, const arguments *a)
{
    opt_error error;
    p->cfg_path = strdup(a->cfg);
    p->cfg = net_cfg_read(a->cfg, &error);
    if (!p->cfg) die("%s", error.message);
    p->seeds = (int)a->seeds;
    p->scan_seeds = (int)(a->scan_seeds ? a->scan_seeds : a->seeds);
    p->batches = a->batches;
    p->every = a->every;
    p->valid_images = a->valid_images;
    p->out = a->out ? strdup(a->out) : default_out(a->cfg);
    check(plan_add_optimizers(p, a->optimizers, &error), &error);
    for (int i = 0; i < a->n_rates; i++) check(plan_set_rates(p, a->rates[i], &error), &error);
    check(data_cfg_read(&p->data, a->data, &error), &error);
    check(plan_finish(p, a->darknet, &error), &error);
    if (!p->data.valid)
        fprintf(stderr,
                "compare: %s has no valid=: nothing is held out, rates are judged by the training "
                "loss\n",
                a->data);
    if (data_cfg_smooths(&p->data))
        fprintf(
            stderr,
            "compare: %s has no label_smoothing=0: training losses are those of labels that are "
            "smoothed, above the cross-entropy; held-out ones are plain\n",
            a->data);
}

/* As given, none twice; *n = 0 for "none". The caller frees it. */
static int *parse_sizes(const char *text, int batch_size, int *n)
{
    int *sizes = malloc(256 * sizeof(*sizes));
    *n = 0;
    if (!sizes) die("no memory for -batch-sizes");
    if (text && strcmp(text, "none") == 0) return sizes;
    if (!text) {
        for (long size = 1; size < batch_size; size *= 4) sizes[(*n)++] = (int)size;
        sizes[(*n)++] = batch_size;
        return sizes;
    }
    char *copy = strdup(text), *rest = copy;
    for (char *item; (item = strsep(&rest, ","));) {
        int size = (int)whole_number("batch-sizes", item, 1);
        for (int i = 0; i < *n; i++)
            if (sizes[i] == size) die("-batch-sizes: %d stands there twice", size);
        if (*n == 255) die("-batch-sizes: expected at most 255");
        sizes[(*n)++] = size;
    }
    free(copy);
    return sizes;
}

/* Held until this program and all that it started have ended. */
static void lock_folder(const plan *p)
{
    enum { TRIES = 50 };
    opt_error error;
    char path[PATH_MAX];
    check(make_folders(p->out, &error), &error);
    snprintf(path, sizeof(path), "%s/lock", p->out);
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    if (fd < 0) die("%s: cannot be written: %s", path, strerror(errno));
    /* The runs of a comparison that was killed may still be saving. */
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
        if (i == TRIES || errno != EWOULDBLOCK) die("%s: another compare is at work there", p->out);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

/* --- what it says meanwhile --- */

static void format_time(double seconds, char text[32])
{
    long s = (long)(seconds + .5);
    if (seconds < 0)
        strcpy(text, "?");
    else
        snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

static void tell(const sweep_progress *p, void *to)
{
    static time_t last;
    int terminal = isatty(STDERR_FILENO);
    char left[32], rate[24], latest[160] = "";
    (void)to;
    if (time(NULL) - last < (terminal ? TTY_SECONDS : LOG_SECONDS)) return;
    if (!terminal && !last && p->seconds_left < 0) return;
    last = time(NULL);
    format_time(p->seconds_left, left);
    if (p->latest) {
        cmp_rate_name(p->latest->rate, rate);
        snprintf(latest, sizeof(latest), "; %s at %s, seed %llu: batch %ld",
                 p->latest->optimizer->label, rate, (unsigned long long)p->latest->seed,
                 p->latest_batch);
    }
    int filled = (int)(20 * p->fraction);
    char bar[] = "....................";
    memset(bar, '#', (size_t)(filled < 20 ? filled : 20));
    fprintf(stderr, "%s[%s] %d of %d runs, %d diverged, %s left%s%s", terminal ? "\r" : "", bar,
            p->done, p->runs, p->diverged, left, latest, terminal ? "\033[K" : "\n");
    line_is_open = terminal;
}

static void note(const char *line, void *to)
{
    (void)to;
    end_line();
    fprintf(stderr, "compare: %s\n", line);
}

/* --- the work --- */

static void skip_broken_images(plan *p, const sweep *s, const char *darknet)
{
    opt_error error;
    char lists[2][PATH_MAX];
    long broken, all = 0;
    if (p->data.folder)
        die("-skip-broken: %s names binary batches, which hold no image files", p->data.path);
    for (int valid = 0; valid < (p->data.valid ? 2 : 1) && !stop_signal; valid++) {
        snprintf(lists[valid], sizeof(lists[valid]), "%s/%s.list", p->out,
                 valid ? "valid" : "train");
        check(sweep_check_images(s, valid, lists[valid], &broken, &error), &error);
        all += broken;
    }
    if (!all || stop_signal) return;
    check(data_cfg_use_lists(&p->data, lists[0], p->data.valid ? lists[1] : NULL, &error), &error);
    check(plan_finish(p, darknet, &error), &error);
}

static const plan_optimizer *planned(const plan *p, const char *label)
{
    for (int i = 0; i < p->n_optimizers; i++)
        if (strcmp(p->optimizers[i].label, label) == 0) return &p->optimizers[i];
    return NULL;
}

/* Takes the runs of earlier comparisons; not those of a model that is compared now, which may have
 * been another then. */
static void read_baselines(comparison *c, const plan *p, const arguments *a)
{
    opt_error error;
    for (int i = 0; i < a->n_baselines; i++)
        check(cmp_read_tables(c, a->baselines[i], &error), &error);
    int n = 0;
    for (int i = 0; i < c->n_runs; i++) {
        const plan_optimizer *now = planned(p, c->runs[i].optimizer);
        if (now && strcmp(now->rule, "hrnn") == 0) {
            free(c->runs[i].bins);
            free(c->runs[i].held_out);
        } else {
            c->runs[n++] = c->runs[i];
        }
    }
    c->n_runs = n;
}

static opt_status run_all(sweep *s, comparison *c, const int *sizes, int n_sizes, opt_error *error)
{
    int n;
    planned_run *runs = plan_first_runs(s->plan, &n);
    if (!runs) return opt_fail(error, OPT_NO_MEMORY, "no memory for the runs");
    s->expected = n + plan_count_more(s->plan);
    opt_status status = sweep_run(s, runs, n, c, error);
    free(runs);
    if (status || stop_signal) return status;
    runs = plan_more_runs(s->plan, c, &n);
    if (!runs) return opt_fail(error, OPT_NO_MEMORY, "no memory for the runs");
    s->expected = s->done + n;
    status = sweep_run(s, runs, n, c, error);
    free(runs);
    if (!status && !stop_signal) status = sweep_time_steps(s, sizes, n_sizes, c, error);
    return status;
}

/* Runs that are there already, or none unless they may be. */
static void check_folder(sweep *s, const arguments *a)
{
    opt_error error;
    int n, found;
    planned_run *runs = plan_first_runs(s->plan, &n);
    if (!runs) die("no memory for the runs");
    opt_status status = sweep_check(s, runs, n, &found, &error);
    free(runs);
    if (found && !a->resume && !a->report_only)
        die("%s: holds runs; -resume goes on with them", s->plan->out);
    check(status, &error);
}

static opt_status write_report(const comparison *c, const cmp_statistics *all, const char *out,
                               opt_error *error)
{
    char path[PATH_MAX];
    opt_status status = cmp_write_tables(c, all, out, error);
    snprintf(path, sizeof(path), "%s/summary.txt", out);
    char *summary = status ? NULL : text_read(path, error);
    if (!summary) return status ? status : OPT_NO_FILE;
    printf("%s\n", summary); /* also when nothing can be drawn */
    free(summary);
    status = cmp_write_pictures(c, all, out, error);
    if (!status) status = cmp_write_page(c, all, out, error);
    if (status) return status;
    printf("%s/report.html has the pictures\n", out);
    if (fflush(stdout)) return opt_fail(error, OPT_IO, "standard output: %s", strerror(errno));
    return OPT_OK;
}

static opt_status report(const comparison *c, const char *out, opt_error *error)
{
    cmp_statistics all;
    opt_status status = cmp_make_statistics(c, &all, error);
    if (!status) status = write_report(c, &all, out, error);
    cmp_free_statistics(&all);
    return status;
}

static int count_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file too large is an error of its write */
    signal(SIGPIPE, SIG_IGN);
}

static int compare(const arguments *a, plan *p)
{
    opt_error failure, error;
    comparison c = {0};
    int cores = count_cores(), n_sizes;
    sweep s = {.plan = p,
               .darknet = a->darknet,
               .cores = cores,
               .jobs = a->jobs ? (int)a->jobs : cores,
               .report_only = a->report_only,
               .stop = &stop_signal,
               .hurry = &hurry,
               .tell = tell,
               .note = note};
    if (access(a->darknet, X_OK)) die("%s: cannot be run: %s", a->darknet, strerror(errno));
    make_plan(p, a);
    int *sizes = parse_sizes(a->sizes, p->batch_size, &n_sizes);
    lock_folder(p);
    catch_signals();
    if (a->skip_broken) skip_broken_images(p, &s, a->darknet);
    plan_describe(p, &c);
    read_baselines(&c, p, a);
    check_folder(&s, a);
    opt_status status = run_all(&s, &c, sizes, n_sizes, &failure);
    end_line();
    free(sizes);
    int has_results = c.n_runs > 0 || c.n_times > 0;
    opt_status reported = has_results ? report(&c, p->out, &error) : OPT_OK;
    cmp_free(&c);
    check(status, &failure);
    check(reported, &error);
    if (a->report_only && !has_results) die("%s: holds no finished runs", p->out);
    if (!stop_signal) return 0;
    fprintf(stderr, "compare: stopped; the same command with -resume goes on\n");
    return 128 + stop_signal;
}

int main(int argc, char **argv)
{
    arguments a = {.optimizers = "hrnn,sgd,adam,rmsprop", .seeds = 3, .valid_images = 5000};
    static const struct argp argp = {
        options,
        parse,
        "CFG DATA",
        "Compares optimizers on a network: trains it with each at several "
        "learning rates and seeds, and says which is best.",
        0,
        0,
        0};
    argp_err_exit_status = 1;
    argp_parse(&argp, argc, argv, ARGP_LONG_ONLY, NULL, &a);
    char *darknet = a.darknet ? strdup(a.darknet) : beside_this_program("darknet");
    a.darknet = darknet;
    plan p = {0};
    int status = compare(&a, &p);
    plan_free(&p);
    free(darknet);
    return status;
}
