/* All runs are one list, each independent of the others and found by part, row, optimizer, rate
 * and seed; threads take them in the order of their cost. */
#include "base/clock.h"
#include "meta/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "meta/meta_random.h"
#include "meta/metatrain_options.h"
#include "files/safetensors.h"

const uint64_t evaluate_lengths[TRIAL_MARKS] = {1, 5, 25};

static const double RATIO_FLOOR = 1e-6, TIE = 1e-3;

typedef struct {
    int part, row; /* index in rows, or in long_rows */
    int optimizer, rate, seed;
    double cost; /* estimated seconds */
    trial_result result;
} run;

struct evaluation {
    evaluate_options options;
    const problem_source *source;
    int n_rows, n_long_rows, *rows, *long_rows; /* indices in the source */
    run *runs;                                  /* by part, row, optimizer, rate, seed */
    size_t n_runs, part_start[3];
    uint64_t *order;    /* of running them */
    double *seconds;    /* [source->n] of a step, estimated */
    size_t *parameters; /* [source->n] of an instance */
    uint64_t done;
};

double evaluate_rate(int i) { return pow(10, -5 + 0.5 * i); }

double evaluate_start_rate(int i) { return pow(10, -6 + i); }

evaluate_options evaluate_defaults(void)
{
    return (evaluate_options){
        .n_baselines = 2,
        .baseline = {opt_default_options("adam"), opt_default_options("rmsprop")},
        .parts = EVALUATE_ALL,
        .seed = 1,
        .seeds = 5,
        .steps = 1000,
    };
}

opt_status evaluate_read_horizon(const char *path, uint64_t *steps, opt_error *error)
{
    metatrain_options o;
    st_file *file = st_open(path, error);
    if (!file) return OPT_NO_FILE;
    const char *recipe = st_metadata(file, "recipe");
    metatrain_defaults(&o);
    opt_status status = OPT_OK;
    if (!recipe || !strstr(recipe, "-episode ") || metatrain_read_options(&o, recipe, NULL))
        status = opt_fail(error, OPT_BAD_FILE,
                          "%s: its recipe does not say how long its episodes were", path);
    st_close(file);
    *steps = o.estimator == METATRAIN_BPTT
                 ? (uint64_t)((1 + o.unrolls) * (o.truncation + o.unroll_tail))
                 : (uint64_t)o.episode[1];
    return status;
}

/* --- the plan --- */

static uint64_t instance_seed(const evaluation *e, int source_row, int seed)
{
    const char *name = e->source->rows[source_row].name;
    random_stream stream = meta_stream(e->options.seed, META_EVALUATION,
                                       XXH3_64bits(name, strlen(name)), (uint64_t)seed);
    return draw_seed(&stream);
}

/* Parameters of a row's first instance, and about what a step of it takes. */
static opt_status measure_row(evaluation *e, int r, opt_error *error)
{
    enum { TIMES = 3 };
    problem *p =
        problem_create(e->source->rows[r].spec, instance_seed(e, r, 0), e->source->images, error);
    if (!p) return OPT_BAD_OPTION;
    float *x = problem_floats(2 * p->n, error);
    if (x) {
        problem_start(p, x);
        const double start = clock_seconds_of(CLOCK_THREAD_CPUTIME_ID);
        for (uint64_t t = 0; t < TIMES; t++) problem_gradient(p, x, t, x + p->n);
        e->seconds[r] = (clock_seconds_of(CLOCK_THREAD_CPUTIME_ID) - start) / TIMES + 3e-6 +
                        2e-8 * (double)p->n;
        e->parameters[r] = p->n;
    }
    problem_free(p);
    free(x);
    return x ? OPT_OK : OPT_NO_MEMORY;
}

/* How many rows of the same group come before row r. */
static int place_in_group(const problem_source *source, int r)
{
    int n = 0;
    for (int i = 0; i < r; i++) n += strcmp(source->rows[i].family, source->rows[r].family) == 0;
    return n;
}

static int is_smallest_of_group(const evaluation *e, int r)
{
    for (int i = 0; i < e->source->n; i++)
        if (strcmp(e->source->rows[i].family, e->source->rows[r].family) == 0 &&
            (e->parameters[i] < e->parameters[r] ||
             (e->parameters[i] == e->parameters[r] && i < r)))
            return 0;
    return 1;
}

static void choose_rows(evaluation *e)
{
    for (int r = 0; r < e->source->n; r++) {
        if (!e->options.rows || place_in_group(e->source, r) < e->options.rows)
            e->rows[e->n_rows++] = r;
        if (is_smallest_of_group(e, r)) e->long_rows[e->n_long_rows++] = r;
    }
}

/* Runs of one row and seed in the first part: the subject, and every baseline at every rate. */
static int optimizers_of(const evaluation *e)
{
    return 1 + e->options.n_baselines * EVALUATE_RATES;
}

static void add_runs(evaluation *e, int part)
{
    const evaluate_options *o = &e->options;
    const int n = part == EVALUATE_LENGTHS ? e->n_long_rows : e->n_rows;
    const int variants = part == EVALUATE_ROWS     ? optimizers_of(e)
                         : part == EVALUATE_STARTS ? EVALUATE_START_RATES
                                                   : 1;
    const double steps = part == EVALUATE_LENGTHS
                             ? (double)(o->horizon * evaluate_lengths[TRIAL_MARKS - 1])
                             : (double)o->steps;
    e->part_start[part / 2] = e->n_runs;
    if (!(o->parts & (unsigned)part)) return;
    for (int row = 0; row < n; row++)
        for (int v = 0; v < variants; v++)
            for (int seed = 0; seed < o->seeds; seed++) {
                run *u = &e->runs[e->n_runs++];
                *u = (run){.part = part, .row = row, .rate = v, .seed = seed};
                u->cost =
                    steps * e->seconds[(part == EVALUATE_LENGTHS ? e->long_rows : e->rows)[row]];
                if (part != EVALUATE_ROWS || v == 0) continue;
                u->optimizer = 1 + (v - 1) / EVALUATE_RATES;
                u->rate = (v - 1) % EVALUATE_RATES;
            }
}

/* Part by part; within one the longest first, so that threads end together. */
static int compare_runs(const void *a, const void *b)
{
    const run *x = *(run *const *)a, *y = *(run *const *)b;
    if (x->part != y->part) return x->part - y->part;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x < y ? -1 : 1;
}

static opt_status order_runs(evaluation *e, opt_error *error)
{
    const run **sorted = malloc((e->n_runs + 1) * sizeof *sorted);
    if (!sorted) return opt_fail(error, OPT_NO_MEMORY, "no memory for %zu runs", e->n_runs);
    for (size_t i = 0; i < e->n_runs; i++) sorted[i] = &e->runs[i];
    qsort(sorted, e->n_runs, sizeof *sorted, compare_runs);
    for (size_t i = 0; i < e->n_runs; i++) e->order[i] = (uint64_t)(sorted[i] - e->runs);
    free(sorted);
    return OPT_OK;
}

static opt_status check_options(const evaluate_options *o, opt_error *error)
{
    const uint64_t most = UINT64_MAX / evaluate_lengths[TRIAL_MARKS - 1];
    if (o->seeds < 1 || o->steps < 1 || o->rows < 0)
        return opt_fail(error, OPT_BAD_OPTION, "%d seeds and %llu steps, expected 1 or more",
                        o->seeds, (unsigned long long)o->steps);
    if (o->parts & EVALUATE_LENGTHS && (o->horizon < 1 || o->horizon > most))
        return opt_fail(error, OPT_BAD_OPTION, "a horizon of %llu steps, expected 1 or more",
                        (unsigned long long)o->horizon);
    return OPT_OK;
}

evaluation *evaluate_create(const evaluate_options *options, const problem_source *source,
                            opt_error *error)
{
    if (check_options(options, error)) return NULL;
    evaluation *e = calloc(1, sizeof *e);
    const size_t n = (size_t)source->n, most = n * (size_t)options->seeds;
    if (!e) goto no_memory;
    e->options = *options;
    e->source = source;
    e->rows = calloc(n, sizeof *e->rows);
    e->long_rows = calloc(n, sizeof *e->long_rows);
    e->seconds = calloc(n, sizeof *e->seconds);
    e->parameters = calloc(n, sizeof *e->parameters);
    if (!e->rows || !e->long_rows || !e->seconds || !e->parameters) goto no_memory;
    const size_t runs = most * (size_t)(optimizers_of(e) + 1 + EVALUATE_START_RATES);
    e->runs = calloc(runs, sizeof *e->runs);
    e->order = calloc(runs, sizeof *e->order);
    if (!e->runs || !e->order) goto no_memory;
    for (int r = 0; r < source->n; r++)
        if (measure_row(e, r, error)) goto fail;
    choose_rows(e);
    for (int part = EVALUATE_ROWS; part <= EVALUATE_STARTS; part *= 2) add_runs(e, part);
    if (order_runs(e, error)) goto fail;
    return e;
no_memory:
    opt_fail(error, OPT_NO_MEMORY, "no memory for an evaluation of %zu rows and %d seeds", n,
             options->seeds);
fail:
    evaluate_free(e);
    return NULL;
}

void evaluate_free(evaluation *e)
{
    if (!e) return;
    free(e->rows);
    free(e->long_rows);
    free(e->runs);
    free(e->order);
    free(e->seconds);
    free(e->parameters);
    free(e);
}

/* --- the runs --- */

static trial make_trial(const evaluation *e, const run *u)
{
    const evaluate_options *o = &e->options;
    const int row = (u->part == EVALUATE_LENGTHS ? e->long_rows : e->rows)[u->row];
    trial t = {.spec = e->source->rows[row].spec,
               .images = e->source->images,
               .seed = instance_seed(e, row, u->seed),
               .optimizer = u->optimizer ? o->baseline[u->optimizer - 1] : o->subject,
               .model = u->optimizer ? NULL : o->model,
               .marks = 1,
               .steps = {o->steps}};
    if (u->optimizer) t.optimizer.rate = (float)evaluate_rate(u->rate);
    if (u->part == EVALUATE_STARTS) t.optimizer.rate = (float)evaluate_start_rate(u->rate);
    if (u->part != EVALUATE_LENGTHS) return t;
    t.marks = TRIAL_MARKS;
    for (int k = 0; k < TRIAL_MARKS; k++) t.steps[k] = o->horizon * evaluate_lengths[k];
    return t;
}

/* What evaluate_run's threads share. */
typedef struct {
    const evaluate_callbacks *callbacks;
    double start, cost, cost_done;
    opt_status status;
    opt_error *error;
} session;

static void finish_run(evaluation *e, const run *u, session *s)
{
    e->done++;
    s->cost_done += u->cost;
    const double elapsed = clock_seconds() - s->start;
    /* The first runs are too short to tell. */
    const double left =
        elapsed > 1 ? elapsed * (s->cost - s->cost_done) / s->cost_done : (double)NAN;
    if (s->callbacks && s->callbacks->progress)
        s->callbacks->progress(s->callbacks->context, e->done, e->n_runs, left);
}

opt_status evaluate_run(evaluation *e, const evaluate_callbacks *callbacks, opt_error *error)
{
    session s = {.callbacks = callbacks, .start = clock_seconds(), .error = error};
    int (*const stop)(void *) = callbacks ? callbacks->stop : NULL;
    void *context = callbacks ? callbacks->context : NULL;
    int ended = 0;
    for (size_t i = 0; i < e->n_runs; i++) s.cost += e->runs[i].cost;
#ifdef _OPENMP
    if (e->options.threads > 0) omp_set_num_threads(e->options.threads);
#endif
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < e->n_runs; i++) {
        run *u = &e->runs[e->order[i]];
        opt_error own = {0};
        int over;
#pragma omp atomic read
        over = ended;
        if (over || u->result.complete || (stop && stop(context))) continue;
        const trial t = make_trial(e, u);
        trial_result result;
        const opt_status status = trial_run(&t, stop, context, &result, &own);
#pragma omp critical
        if (status) {
            if (!s.status && error) *error = own;
            s.status = status;
#pragma omp atomic write
            ended = 1;
        } else if (result.complete) {
            u->result = result;
            finish_run(e, u, &s);
        }
    }
    return s.status;
}

/* --- what they say --- */

const evaluate_options *evaluate_get_options(const evaluation *e) { return &e->options; }

const problem_source *evaluate_source(const evaluation *e) { return e->source; }

int evaluate_n_rows(const evaluation *e) { return e->n_rows; }

const source_row *evaluate_row(const evaluation *e, int row)
{
    return &e->source->rows[e->rows[row]];
}

int evaluate_n_long_rows(const evaluation *e) { return e->n_long_rows; }

const source_row *evaluate_long_row(const evaluation *e, int row)
{
    return &e->source->rows[e->long_rows[row]];
}

uint64_t evaluate_runs(const evaluation *e, uint64_t *done)
{
    *done = e->done;
    return e->n_runs;
}

/* Of a variant's runs, one a seed, from index `first` on. */
static int average(const evaluation *e, size_t first, evaluate_mean *mean)
{
    const int n = e->options.seeds;
    *mean = (evaluate_mean){0};
    for (int i = 0; i < n; i++) {
        const trial_result *r = &e->runs[first + (size_t)i].result;
        if (!r->complete) return 0;
        mean->start += r->start / n;
        mean->loss += r->loss[0] / n;
        mean->diverged += trial_diverged(r->start, r->loss[0]);
    }
    return 1;
}

int evaluate_row_mean(const evaluation *e, int row, int optimizer, int rate, evaluate_mean *mean)
{
    const int variant = optimizer ? 1 + (optimizer - 1) * EVALUATE_RATES + rate : 0;
    if (!(e->options.parts & EVALUATE_ROWS)) return 0;
    return average(
        e, e->part_start[0] + (size_t)(row * optimizers_of(e) + variant) * (size_t)e->options.seeds,
        mean);
}

int evaluate_best_rate(const evaluation *e, int row, int baseline, evaluate_mean *mean)
{
    int best = -1;
    for (int rate = 0; rate < EVALUATE_RATES; rate++) {
        evaluate_mean one;
        if (!evaluate_row_mean(e, row, baseline, rate, &one)) return -1;
        if (best >= 0 && !(one.loss < mean->loss)) continue;
        best = rate;
        *mean = one;
    }
    return best;
}

int evaluate_long_run(const evaluation *e, int row, int seed, trial_result *result)
{
    if (!(e->options.parts & EVALUATE_LENGTHS)) return 0;
    *result = e->runs[e->part_start[1] + (size_t)(row * e->options.seeds + seed)].result;
    return result->complete;
}

int evaluate_start_mean(const evaluation *e, int row, int rate, evaluate_mean *mean)
{
    if (!(e->options.parts & EVALUATE_STARTS)) return 0;
    return average(e,
                   e->part_start[2] +
                       (size_t)(row * EVALUATE_START_RATES + rate) * (size_t)e->options.seeds,
                   mean);
}

double evaluate_ratio(double a, double b)
{
    if (isinf(a) && isinf(b)) return 1;
    return (fmax(a, 0) + RATIO_FLOOR) / (fmax(b, 0) + RATIO_FLOOR);
}

int evaluate_outcome(double ratio) { return ratio < 1 - TIE ? 1 : ratio > 1 + TIE ? -1 : 0; }
