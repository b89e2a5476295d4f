/* A pair's two episodes are units of work, dealt to ranks and taken by threads, longest first.
 * What they gave reaches all ranks as 64-bit words and is added in the order of the pairs. */
#include "meta/population.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "meta/estimator_bptt.h"
#include "adjoint/hrnn_unroll.h"
#include "meta/meta_model.h"
#include "meta/meta_random.h"

/* One episode of a pair in an outer step. */
typedef struct {
    int pair, side; /* side 0: θ + σ·ε, 1: θ − σ·ε */
    int owner;      /* rank that runs it */
    uint64_t steps; /* of the episode */
} unit;

/* What a rank tells of a unit: a word each. */
enum { WORD_LOSS, WORD_END, WORD_FLAGS, WORDS };
enum { FLAG_DONE = 1, FLAG_DEAD = 2, FLAG_DIVERGED = 4 };

struct population {
    population_options options;
    const problem_source *source;
    comm *comm;
    hrnn_model model;
    es_estimator es;
    bptt *bptt; /* and, [pairs][HRNN_META_PARAMS] in words of two, their meta-gradients */
    uint64_t *gradients;
    unsigned char used[HRNN_META_PARAMS];
    population_pair *pairs;
    population_result *results;
    episode **episodes; /* [pairs][2]: those under way on this rank */
    unit *units;        /* [2·pairs], longest first */
    uint64_t *words;    /* [2·pairs][WORDS], then flags and whether a rank failed */
    unsigned char *starts;
    uint64_t *numbers;
    double *plus, *minus, total_weight;
};

/* Steps of an episode that ends after its unrolls. */
#define ENDLESS ((uint64_t)1 << 50)
/* Words of one meta-gradient, two floats each. */
enum { GRADIENT_WORDS = (HRNN_META_PARAMS + 1) / 2 };

static int max_threads(const population_options *options)
{
#ifdef _OPENMP
    return options->threads > 0 ? options->threads : omp_get_max_threads();
#else
    (void)options;
    return 1;
#endif
}

static int this_thread(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static size_t word_count(const population *p) { return (size_t)p->options.pairs * 2 * WORDS + 2; }

static opt_status init_estimator(population *p, opt_error *error)
{
    const population_options *o = &p->options;
    meta_used_params(p->model.features, p->used);
    if (o->hold_lr_limit) p->used[offsetof(hrnn_model, lr_limit) / sizeof(float)] = 0;
    if (!o->bptt)
        return es_init(&p->es, o->kind, o->pairs, o->sigma, HRNN_META_PARAMS, o->seed, p->used,
                       error);
    p->bptt = bptt_new(max_threads(o), error);
    if (!p->bptt) return OPT_NO_MEMORY;
    p->gradients = calloc((size_t)o->pairs * GRADIENT_WORDS, sizeof *p->gradients);
    return p->gradients
               ? OPT_OK
               : opt_fail(error, OPT_NO_MEMORY, "no memory for %d meta-gradients", o->pairs);
}

population *population_create(const population_options *options, const problem_source *source,
                              const hrnn_model *model, comm *c, opt_error *error)
{
    const size_t n = (size_t)options->pairs;
    population *p = calloc(1, sizeof *p);
    if (!p) goto no_memory;
    p->options = *options;
    p->source = source;
    p->comm = c;
    p->model = *model;
    for (int r = 0; r < source->n; r++) p->total_weight += source->rows[r].weight;
    p->pairs = calloc(n, sizeof *p->pairs);
    p->results = calloc(n, sizeof *p->results);
    p->episodes = calloc(2 * n, sizeof *p->episodes);
    p->units = calloc(2 * n, sizeof *p->units);
    p->words = calloc(word_count(p), sizeof *p->words);
    p->starts = calloc(n, 1);
    p->numbers = calloc(n, sizeof *p->numbers);
    p->plus = calloc(n, sizeof *p->plus);
    p->minus = calloc(n, sizeof *p->minus);
    if (!p->pairs || !p->results || !p->episodes || !p->units || !p->words || !p->starts ||
        !p->numbers || !p->plus || !p->minus)
        goto no_memory;
    for (size_t i = 0; i < n; i++) p->pairs[i].starts = 1;
    if (init_estimator(p, error) == OPT_OK) return p;
    population_free(p);
    return NULL;
no_memory:
    opt_fail(error, OPT_NO_MEMORY, "no memory for %d pairs of episodes", options->pairs);
    population_free(p);
    return NULL;
}

void population_free(population *p)
{
    if (!p) return;
    for (int i = 0; p->episodes && i < 2 * p->options.pairs; i++) episode_free(p->episodes[i]);
    es_release(&p->es);
    bptt_free(p->bptt);
    free(p->gradients);
    free(p->pairs);
    free(p->results);
    free(p->episodes);
    free(p->units);
    free(p->words);
    free(p->starts);
    free(p->numbers);
    free(p->plus);
    free(p->minus);
    free(p);
}

/* --- what is run --- */

static int draw_row(const population *p, random_stream *stream)
{
    double at = draw_uniform(stream, 0, p->total_weight);
    int row = 0;
    while (row + 1 < p->source->n && at >= p->source->rows[row].weight)
        at -= p->source->rows[row++].weight;
    return row;
}

/* Exponential of this mean, cut at 5 times it. */
static double draw_exponential(random_stream *stream, double mean)
{
    return mean * fmin(-log(1 - draw_uniform(stream, 0, 1)), 5);
}

/* Steps of an unroll in outer step `step`. */
static int unroll_steps(const population *p, int index, uint64_t step)
{
    random_stream stream = meta_stream(p->options.seed, META_UNROLL, (uint64_t)index, step);
    return (int)((double)p->options.truncation + draw_exponential(&stream, p->options.unroll_tail));
}

/* The next episode of a pair. The first one in truncations is cut to a random part of its length,
 * so that the pairs do not all start again together. */
static void next_episode(const population *p, int index)
{
    population_pair *pair = &p->pairs[index];
    pair->episode++;
    random_stream stream =
        meta_stream(p->options.seed, META_EPISODE, (uint64_t)index, pair->episode);
    const double low = (double)p->options.steps[0], high = (double)p->options.steps[1];
    pair->row = draw_row(p, &stream);
    pair->seed = draw_seed(&stream);
    if (p->options.bptt) {
        pair->steps = 1 + (uint64_t)draw_exponential(&stream, p->options.unrolls);
        return;
    }
    double steps = draw_log_uniform(&stream, low, high + 1);
    if (p->options.kind != ES_WHOLE && pair->episode == 1) steps *= draw_uniform(&stream, 0, 1);
    pair->steps = steps < 1 ? 1 : steps > high ? (uint64_t)high : (uint64_t)steps;
}

/* Longest first, so that threads and ranks end together; equal ones in the order of the pairs. */
static int compare_units(const void *a, const void *b)
{
    const unit *x = a, *y = b;
    if (x->steps != y->steps) return x->steps < y->steps ? 1 : -1;
    return (x->pair * 2 + x->side) - (y->pair * 2 + y->side);
}

/* Whole episodes go round the ranks and back, in the order of their length; those in truncations
 * stay where they are. */
static void assign_units(population *p)
{
    const int n = 2 * p->options.pairs, ranks = comm_size(p->comm);
    for (int i = 0; i < n; i++)
        p->units[i] = (unit){i / 2, i % 2, i / 2 % ranks, p->pairs[i / 2].steps};
    if (p->options.kind != ES_WHOLE || p->options.bptt) return;
    qsort(p->units, (size_t)n, sizeof *p->units, compare_units);
    for (int i = 0; i < n; i++) {
        const int at = i % (2 * ranks);
        p->units[i].owner = at < ranks ? at : 2 * ranks - 1 - at;
    }
}

static uint64_t word_of(double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static double value_of(uint64_t word)
{
    double value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* The episode of a unit with this model: a new one, or the one that is under way. */
static episode *take_episode(population *p, const unit *u, const hrnn_model *model, uint64_t steps,
                             opt_error *error)
{
    const population_pair *pair = &p->pairs[u->pair];
    episode **e = &p->episodes[u->pair * 2 + u->side];
    if (!p->starts[u->pair]) {
        episode_set_model(*e, model);
        return *e;
    }
    episode_free(*e);
    *e = episode_create(p->source->rows[pair->row].spec, p->source->images, pair->seed, steps,
                        model, &p->options.episode, error);
    return *e;
}

static void drop_episode(population *p, const unit *u)
{
    episode_free(p->episodes[u->pair * 2 + u->side]);
    p->episodes[u->pair * 2 + u->side] = NULL;
}

static opt_status run_es_unit(population *p, const unit *u, const double *theta, opt_error *error)
{
    const population_pair *pair = &p->pairs[u->pair];
    hrnn_model model = p->model;
    es_perturb(&p->es, theta, u->pair, u->side ? -1 : 1, meta_params(&model));
    episode *e = take_episode(p, u, &model, pair->steps, error);
    if (!e) return OPT_BAD_OPTION;
    episode_result result;
    episode_run(e, p->options.kind == ES_WHOLE ? pair->steps : p->options.truncation, &result);
    if (result.done) drop_episode(p, u);
    uint64_t *word = p->words + (size_t)(u->pair * 2 + u->side) * WORDS;
    word[WORD_LOSS] = word_of(result.loss);
    word[WORD_END] = word_of(result.end);
    word[WORD_FLAGS] = (result.done ? FLAG_DONE : 0) | (result.dead ? FLAG_DEAD : 0) |
                       (result.diverged ? FLAG_DIVERGED : 0);
    return OPT_OK;
}

/* One unroll, whose result stands for both sides. */
static opt_status run_bptt_unit(population *p, const unit *u, uint64_t step, const double *theta,
                                opt_error *error)
{
    hrnn_model model = p->model;
    meta_set_params(&model, theta);
    episode *e = u->side ? NULL : take_episode(p, u, &model, ENDLESS, error);
    if (!e) return u->side ? OPT_OK : OPT_BAD_OPTION;
    bptt_result result = {NAN, !isfinite(episode_start_loss(e))};
    opt_status status = OPT_OK;
    if (!result.diverged)
        status =
            bptt_unroll(p->bptt, this_thread(), e, unroll_steps(p, u->pair, step),
                        p->options.second_derivatives,
                        (float *)(p->gradients + (size_t)u->pair * GRADIENT_WORDS), &result, error);
    const double loss = isfinite(result.loss) ? result.loss : p->options.episode.clip;
    const int done = result.diverged || p->pairs[u->pair].steps == 1;
    for (int side = 0; side < 2; side++) {
        uint64_t *word = p->words + (size_t)(u->pair * 2 + side) * WORDS;
        word[WORD_LOSS] = word[WORD_END] = word_of(loss);
        word[WORD_FLAGS] = (done ? FLAG_DONE : 0) | (result.diverged ? FLAG_DIVERGED : 0);
    }
    if (done) drop_episode(p, u);
    return status;
}

static opt_status run_units(population *p, uint64_t step, const double *theta, opt_error *error)
{
    const int n = 2 * p->options.pairs, rank = comm_rank(p->comm);
    opt_status failed = OPT_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        opt_error own = {0};
        const unit *u = &p->units[i];
        if (u->owner != rank) continue;
        if (!(p->bptt ? run_bptt_unit(p, u, step, theta, &own) : run_es_unit(p, u, theta, &own)))
            continue;
#pragma omp critical
        {
            if (!failed && error) *error = own;
            failed = own.status;
        }
    }
    return failed;
}

/* What the estimator sees of a pair's losses: their difference, clipped, so that a pair of which
 * one side diverged counts as much as another one. */
static void take_pair(population *p, int pair, const double loss[2])
{
    const double half = (loss[0] - loss[1]) / 2, limit = p->options.clip_pair / 2;
    p->plus[pair] = loss[0];
    p->minus[pair] = loss[1];
    if (limit <= 0 || !(fabs(half) > limit)) return;
    p->plus[pair] = half > 0 ? limit : -limit;
    p->minus[pair] = -p->plus[pair];
}

/* From the words of all ranks to results, and to whether a pair starts anew: when its episode is
 * done, and when both sides are dead (what is left of it is known and equal). */
static void take_results(population *p)
{
    for (int i = 0; i < p->options.pairs; i++) {
        population_pair *pair = &p->pairs[i];
        population_result *r = &p->results[i];
        int dead = 1;
        *r = (population_result){.row = pair->row, .steps = pair->steps};
        for (int side = 0; side < 2; side++) {
            const uint64_t *word = p->words + ((size_t)i * 2 + (size_t)side) * WORDS;
            r->loss[side] = value_of(word[WORD_LOSS]);
            r->end[side] = value_of(word[WORD_END]);
            r->done[side] = (word[WORD_FLAGS] & FLAG_DONE) != 0;
            r->diverged[side] = (word[WORD_FLAGS] & FLAG_DIVERGED) != 0;
            dead &= (word[WORD_FLAGS] & FLAG_DEAD) != 0;
        }
        if (dead)
            for (int side = 0; side < 2; side++) {
                r->done[side] = r->diverged[side] = 1;
                r->end[side] = p->options.episode.clip;
            }
        pair->starts = dead || r->done[0];
        if (p->bptt) pair->steps--;
        take_pair(p, i, r->loss);
    }
}

static void average_gradients(const population *p, double *gradient)
{
    bptt_average((const float *)p->gradients, p->options.pairs, 2 * GRADIENT_WORDS, p->used,
                 gradient);
}

opt_status population_step(population *p, uint64_t step, const double *theta, double *gradient,
                           uint64_t *flags, opt_error *error)
{
    const int n = p->options.pairs;
#ifdef _OPENMP
    if (p->options.threads > 0) omp_set_num_threads(p->options.threads);
#endif
    for (int i = 0; i < n; i++) {
        p->starts[i] = p->pairs[i].starts != 0;
        if (p->starts[i]) next_episode(p, i);
        p->numbers[i] = p->pairs[i].episode;
    }
    assign_units(p);
    if (p->bptt)
        memset(p->gradients, 0, (size_t)n * GRADIENT_WORDS * sizeof *p->gradients);
    else
        es_draw(&p->es, step, p->numbers, p->starts);
    memset(p->words, 0, word_count(p) * sizeof *p->words);
    const opt_status status = run_units(p, step, theta, error);
    uint64_t *control = p->words + (size_t)n * 2 * WORDS;
    control[0] = *flags;
    control[1] = status != OPT_OK;
    comm_or(p->comm, p->words, word_count(p));
    *flags = control[0];
    if (control[1]) return comm_agree(p->comm, status, error);
    take_results(p);
    if (!p->bptt) {
        es_gradient(&p->es, p->plus, p->minus, gradient);
        return OPT_OK;
    }
    comm_or(p->comm, p->gradients, (size_t)n * GRADIENT_WORDS);
    average_gradients(p, gradient);
    return OPT_OK;
}

const population_result *population_results(const population *p) { return p->results; }

/* --- checkpoints --- */

population_pair *population_pairs(population *p) { return p->pairs; }

double *population_sums(population *p) { return p->es.sum; }

opt_status population_packed(population *p, int pair, int side, void **bytes, size_t *size,
                             opt_error *error)
{
    *bytes = NULL;
    *size = 0;
    if (p->pairs[pair].starts || (p->bptt && side)) return OPT_OK;
    const int owner = pair % comm_size(p->comm);
    const episode *e = p->episodes[pair * 2 + side];
    void *mine = NULL;
    size_t mine_size = 0;
    opt_status status = OPT_OK;
    if (owner == comm_rank(p->comm)) {
        mine_size = episode_packed_size(e);
        mine = malloc(mine_size);
        if (mine)
            episode_pack(e, mine);
        else
            status = opt_fail(error, OPT_NO_MEMORY, "no memory to save an episode");
    }
    status = comm_agree(p->comm, status, error);
    if (!status) status = comm_to_root(p->comm, owner, mine, mine_size, bytes, size, error);
    free(mine);
    return status;
}

opt_status population_restore(population *p, int pair, int side, const void *bytes, size_t size,
                              opt_error *error)
{
    const population_pair *at = &p->pairs[pair];
    episode **e = &p->episodes[pair * 2 + side];
    if (at->starts || pair % comm_size(p->comm) != comm_rank(p->comm) || (p->bptt && side))
        return OPT_OK;
    if (!bytes) return opt_fail(error, OPT_MISMATCH, "the episode of pair %d is missing", pair);
    *e = episode_create(p->source->rows[at->row].spec, p->source->images, at->seed,
                        p->bptt ? ENDLESS : at->steps, &p->model, &p->options.episode, error);
    return *e ? episode_unpack(*e, bytes, size, error) : OPT_BAD_OPTION;
}
