/* An episode owns a problem's instance and an optimizer; its losses are logs of ratios to the
 * start. */
#include "meta/episode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "meta/meta_random.h"
#include "hrnn/rule_hrnn.h"

/* What steps change beside the optimizer; as it stands in a checkpoint. */
typedef struct {
    uint64_t done;
    double start_loss; /* f_0 */
    double end_sum;    /* over the last tenth */
    uint64_t end_count, dead;
} progress;

struct episode {
    episode_options options;
    problem *problem;
    optimizer *opt;
    float *x, *gradient; /* [problem->n]; the gradient at x of batch `done` */
    uint64_t steps, first_counted, counted;
    double loss; /* of the batch that the gradient is of */
    progress at;
};

/* --- start --- */

static opt_status make_optimizer(episode *e, const hrnn_model *model, uint64_t seed,
                                 opt_error *error)
{
    const problem *p = e->problem;
    opt_options options = opt_default_options("hrnn");
    options.rate = 1; /* replaced below */
    opt_tensor *tensors = problem_opt_tensors(p, e->x, e->gradient, error);
    if (!tensors) return OPT_NO_MEMORY;
    e->opt = opt_create_with_model(&options, model, tensors, p->n_tensors, error);
    free(tensors);
    if (!e->opt) return OPT_NO_MEMORY;
    random_stream stream = meta_stream(seed, META_BLIND, 0, 0);
    if (draw_uniform(&stream, 0, 1) >= e->options.blind) opt_set_horizon(e->opt, e->steps);
    return OPT_OK;
}

/* A product of two factors, each log-uniform between the roots of the bounds. */
static opt_status draw_learning_rates(episode *e, uint64_t seed, opt_error *error)
{
    const problem *p = e->problem;
    const double low = 0.5 * log(e->options.rates[0]), high = 0.5 * log(e->options.rates[1]);
    float *log_lr = malloc(p->n * sizeof *log_lr);
    if (!log_lr) return opt_fail(error, OPT_NO_MEMORY, "no memory for an episode");
    for (int k = 0; k < p->n_tensors; k++) {
        random_stream stream = meta_stream(seed, META_LEARNING_RATE, (uint64_t)k, 0);
        const double shared = draw_uniform(&stream, low, high);
        for (size_t i = 0; i < p->tensors[k].n; i++)
            log_lr[i] = (float)(shared + draw_uniform(&stream, low, high));
        opt_set_log_lr(e->opt, k, log_lr);
    }
    free(log_lr);
    return OPT_OK;
}

/* Steps whose loss counts, 1 to steps: those after first_counted, and with LOSS_FULL of these only
 * the measured ones. */
static int is_counted(const episode *e, uint64_t step)
{
    if (step <= e->first_counted) return 0;
    return e->options.loss == LOSS_BATCH || step == e->steps ||
           step % (uint64_t)e->options.every == 0;
}

static void plan_steps(episode *e)
{
    const double tail = e->options.tail * (double)e->steps;
    const uint64_t last = tail < 1 ? 1 : (uint64_t)(tail + 0.5);
    e->first_counted = e->steps - last;
    e->counted = last;
    if (e->options.loss == LOSS_BATCH) return;
    const uint64_t every = (uint64_t)e->options.every;
    e->counted = e->steps / every - e->first_counted / every + (e->steps % every != 0);
}

episode *episode_create(const problem_spec *spec, const image_data *images, uint64_t seed,
                        uint64_t steps, const hrnn_model *model, const episode_options *options,
                        opt_error *error)
{
    episode *e = calloc(1, sizeof *e);
    if (!e) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for an episode");
        return NULL;
    }
    e->options = *options;
    e->steps = steps;
    plan_steps(e);
    if (!(e->problem = problem_create(spec, seed, images, error))) goto fail;
    const size_t n = e->problem->n;
    if (!(e->x = problem_floats(n, error)) || !(e->gradient = problem_floats(n, error))) goto fail;
    problem_start(e->problem, e->x);
    if (make_optimizer(e, model, seed, error) || draw_learning_rates(e, seed, error)) goto fail;
    e->at.start_loss = problem_loss(e->problem, e->x);
    e->at.dead = !isfinite(e->at.start_loss);
    e->loss = problem_gradient(e->problem, e->x, 0, e->gradient);
    return e;
fail:
    episode_free(e);
    return NULL;
}

void episode_free(episode *e)
{
    if (!e) return;
    opt_free(e->opt);
    problem_free(e->problem);
    free(e->x);
    free(e->gradient);
    free(e);
}

void episode_set_model(episode *e, const hrnn_model *model) { opt_set_model(e->opt, model); }

/* --- steps --- */

/* log((f + e) / (f_0 + e)) within the clip; the episode is dead when f is not finite. */
static double log_ratio(episode *e, double loss)
{
    if (!isfinite(loss)) e->at.dead = 1;
    if (e->at.dead) return e->options.clip;
    const double floor = e->options.eps + e->options.relative_eps * fmax(e->at.start_loss, 0);
    return fmin(log((fmax(loss, 0) + floor) / (fmax(e->at.start_loss, 0) + floor)),
                e->options.clip);
}

static double loss_on_all_data(episode *e)
{
    opt_show_true(e->opt);
    const double loss = problem_loss(e->problem, e->x);
    opt_show_attended(e->opt);
    return loss;
}

/* One step and the gradient for the next; the loss after it, if it counts. */
static double take_step(episode *e, int counted)
{
    double loss = 0;
    opt_step(e->opt, (float)e->loss, 1, NULL);
    e->at.done++;
    if (counted && e->options.loss == LOSS_FULL) loss = loss_on_all_data(e);
    const int last = e->at.done == e->steps;
    if (last && e->options.loss == LOSS_FULL) return loss;
    e->loss = problem_gradient(e->problem, e->x, e->at.done, last ? NULL : e->gradient);
    if (!isfinite(e->loss)) e->at.dead = 1;
    return e->options.loss == LOSS_FULL ? loss : e->loss;
}

void episode_run(episode *e, uint64_t n, episode_result *result)
{
    double sum = 0;
    const uint64_t of = n < e->steps ? n : e->steps;
    for (uint64_t i = 0; i < n && e->at.done < e->steps; i++) {
        const int counted = is_counted(e, e->at.done + 1);
        double ratio = e->options.clip;
        if (e->at.dead)
            e->at.done++; /* nothing is run, its loss is known */
        else
            ratio = log_ratio(e, take_step(e, counted));
        if (!counted) continue;
        sum += ratio;
        if (e->at.done > e->steps - (e->steps + 9) / 10) {
            e->at.end_sum += ratio;
            e->at.end_count++;
        }
    }
    *result = (episode_result){
        .loss = sum * ((double)e->steps / (double)e->counted) / (double)of,
        .done = e->at.done == e->steps,
        .dead = (int)e->at.dead,
    };
    if (!result->done) return;
    /* The last step always counts. */
    result->end = e->at.end_sum / (double)e->at.end_count;
    result->diverged = result->dead || result->end > e->options.clip * (1 - 1e-9);
}

problem *episode_problem(const episode *e) { return e->problem; }

optimizer *episode_optimizer(const episode *e) { return e->opt; }

double episode_start_loss(const episode *e) { return e->at.start_loss; }

void episode_begin_unroll(episode *e)
{
    memset(e->gradient, 0, e->problem->n * sizeof *e->gradient);
}

void episode_end_unroll(episode *e) { e->at.done = opt_steps(e->opt); }

/* --- bytes: progress, the optimizer --- */

size_t episode_packed_size(const episode *e) { return sizeof(progress) + opt_packed_size(e->opt); }

void episode_pack(const episode *e, void *bytes)
{
    memcpy(bytes, &e->at, sizeof e->at);
    opt_pack(e->opt, (char *)bytes + sizeof e->at);
}

opt_status episode_unpack(episode *e, const void *bytes, size_t size, opt_error *error)
{
    if (size != episode_packed_size(e))
        return opt_fail(error, OPT_MISMATCH, "the state of an episode has %zu bytes, expected %zu",
                        size, episode_packed_size(e));
    memcpy(&e->at, bytes, sizeof e->at);
    if (e->at.done > e->steps)
        return opt_fail(error, OPT_MISMATCH, "an episode of %llu steps is at step %llu",
                        (unsigned long long)e->steps, (unsigned long long)e->at.done);
    opt_unpack(e->opt, (const char *)bytes + sizeof e->at, e->at.done);
    e->loss = problem_gradient(e->problem, e->x, e->at.done, e->gradient);
    return OPT_OK;
}
