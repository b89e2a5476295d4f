/* From runs to results of a rate, from rates to the best one and its curve, from optimizers to how
 * they stand to adam. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/median.h"
#include "compare/statistics.h"

double cmp_default_rate(const char *optimizer)
{
    static const struct {
        const char *optimizer;
        double rate;
    } table[] = {{"sgd", 1e-2}, {"adam", 1e-3}, {"rmsprop", 1e-3}};
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (strcmp(optimizer, table[i].optimizer) == 0) return table[i].rate;
    return 0;
}

int cmp_same_rate(double a, double b)
{
    if (a == 0 || b == 0) return a == b;
    return fabs(a - b) < 1e-3 * fmax(fabs(a), fabs(b));
}

void cmp_rate_name(double rate, char name[24])
{
    if (rate == 0)
        strcpy(name, "own");
    else
        snprintf(name, 24, "%.3g", rate);
}

static int counts(const cmp_run *run) { return run->outcome != CMP_UNFINISHED; }

/* As the tables keep it. */
static double six_digits(double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.6g", value);
    return strtod(text, NULL);
}

static double loss_or_infinite(const cmp_run *run, double loss)
{
    return run->outcome == CMP_DIVERGED || isnan(loss) ? INFINITY : six_digits(loss);
}

static double score_of(const cmp_run *run, int has_held_out)
{
    return loss_or_infinite(run, has_held_out ? run->held_out_loss : run->loss);
}

static int measured_held_out(const comparison *c)
{
    for (int i = 0; i < c->n_runs; i++)
        if (counts(&c->runs[i]) && !isnan(c->runs[i].held_out_loss)) return 1;
    return 0;
}

/* --- one rate --- */

static int is_run_of(const cmp_run *run, const char *optimizer, double rate)
{
    return counts(run) && strcmp(run->optimizer, optimizer) == 0 && cmp_same_rate(run->rate, rate);
}

static void add_to_spread(cmp_spread *spread, double value)
{
    spread->mean += value;
    if (!(value >= spread->low)) spread->low = value;
    if (!(value <= spread->high)) spread->high = value;
}

static void finish_spread(cmp_spread *spread, int n)
{
    spread->mean /= n;
    if (isnan(spread->mean)) *spread = (cmp_spread){NAN, NAN, NAN};
}

static cmp_rate_result make_rate_result(const comparison *c, const char *optimizer, double rate,
                                        int has_held_out)
{
    const cmp_spread none = {0, INFINITY, -INFINITY};
    cmp_rate_result result = {rate, 0, 0, none, none, none, none};
    for (int i = 0; i < c->n_runs; i++) {
        const cmp_run *run = &c->runs[i];
        if (!is_run_of(run, optimizer, rate)) continue;
        result.seeds++;
        result.diverged += run->outcome == CMP_DIVERGED;
        add_to_spread(&result.score, score_of(run, has_held_out));
        add_to_spread(&result.held_out_loss,
                      has_held_out ? loss_or_infinite(run, run->held_out_loss) : NAN);
        add_to_spread(&result.loss, loss_or_infinite(run, run->loss));
        add_to_spread(&result.accuracy, run->accuracy);
    }
    finish_spread(&result.score, result.seeds);
    finish_spread(&result.held_out_loss, result.seeds);
    finish_spread(&result.loss, result.seeds);
    finish_spread(&result.accuracy, result.seeds);
    return result;
}

static int by_rate(const void *a, const void *b)
{
    double x = ((const cmp_rate_result *)a)->rate, y = ((const cmp_rate_result *)b)->rate;
    return (x > y) - (x < y);
}

/* At most c->n_runs of them. */
static int make_rate_results(const comparison *c, const char *optimizer, int has_held_out,
                             cmp_rate_result *rates)
{
    int n = 0;
    for (int i = 0; i < c->n_runs; i++) {
        const cmp_run *run = &c->runs[i];
        if (!is_run_of(run, optimizer, run->rate)) continue;
        int known = 0;
        for (int k = 0; k < n; k++) known |= cmp_same_rate(rates[k].rate, run->rate);
        if (!known) rates[n++] = make_rate_result(c, optimizer, run->rate, has_held_out);
    }
    qsort(rates, (size_t)n, sizeof(*rates), by_rate);
    return n;
}

/* --- the best rate --- */

/* The mean score at `rate` over the seeds that were run at `other`; NaN if one of them is
 * missing. */
static double score_on_seeds_of(const comparison *c, const char *optimizer, double rate,
                                double other, int has_held_out)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < c->n_runs; i++) {
        if (!is_run_of(&c->runs[i], optimizer, other)) continue;
        int found = 0;
        for (int k = 0; k < c->n_runs && !found; k++) {
            if (c->runs[k].seed != c->runs[i].seed) continue;
            if (!is_run_of(&c->runs[k], optimizer, rate)) continue;
            sum += score_of(&c->runs[k], has_held_out);
            found = 1;
        }
        if (!found) return NAN;
        n++;
    }
    return sum / n;
}

static int is_beaten_by_more_seeds(const comparison *c, const char *optimizer,
                                   const cmp_rate_result *rates, int n, int r, int has_held_out)
{
    for (int q = 0; q < n; q++)
        if (rates[q].seeds > rates[r].seeds &&
            score_on_seeds_of(c, optimizer, rates[q].rate, rates[r].rate, has_held_out) <=
                rates[r].score.mean)
            return 1;
    return 0;
}

static int choose_best(const comparison *c, const char *optimizer, const cmp_rate_result *rates,
                       int n, int has_held_out)
{
    int best = -1;
    for (int r = 0; r < n; r++) {
        if (is_beaten_by_more_seeds(c, optimizer, rates, n, r, has_held_out)) continue;
        const cmp_rate_result *a = &rates[r], *b = best < 0 ? a : &rates[best];
        int finished_a = a->seeds - a->diverged, finished_b = b->seeds - b->diverged;
        /* What has fewer seeds and is not beaten beats all that has more. */
        if (best < 0 || a->seeds < b->seeds ||
            (a->seeds == b->seeds && (a->score.mean < b->score.mean ||
                                      (a->score.mean == b->score.mean && finished_a > finished_b))))
            best = r;
    }
    return best;
}

int cmp_best_rate(const comparison *c, const char *optimizer, double *rate)
{
    int has_held_out = measured_held_out(c);
    cmp_rate_result *rates = malloc(sizeof(*rates) * (size_t)(c->n_runs + 1));
    if (!rates) return -1;
    int n = make_rate_results(c, optimizer, has_held_out, rates);
    int best = choose_best(c, optimizer, rates, n, has_held_out);
    if (best >= 0 && rate) *rate = rates[best].rate;
    free(rates);
    return best;
}

/* --- curves --- */

/* Mean of the bins up to i, a tenth of the curve's n at most. */
static double trailing_mean(const cmp_run *run, int i, int n)
{
    int window = n / 10 > 1 ? n / 10 : 1;
    int first = i + 1 > window ? i + 1 - window : 0;
    double sum = 0;
    for (int k = first; k <= i; k++) sum += run->bins[k].loss;
    return isnan(sum) ? INFINITY : sum / (i + 1 - first);
}

int cmp_make_curve(const comparison *c, const char *optimizer, double rate, cmp_curve *curve)
{
    const cmp_run *longest = NULL;
    for (int r = 0; r < c->n_runs; r++) {
        const cmp_run *run = &c->runs[r];
        if (is_run_of(run, optimizer, rate) && run->n_bins > (longest ? longest->n_bins : 0))
            longest = run;
    }
    *curve = (cmp_curve){0};
    if (!longest) return 0;
    curve->n = longest->n_bins < CMP_BINS ? longest->n_bins : CMP_BINS;
    for (int i = 0; i < curve->n; i++) {
        int seeds = 0, timed = 0;
        cmp_spread loss = {0, INFINITY, -INFINITY};
        for (int r = 0; r < c->n_runs; r++) {
            const cmp_run *run = &c->runs[r];
            if (!is_run_of(run, optimizer, rate) || run->n_bins == 0) continue;
            int there = i < run->n_bins;
            add_to_spread(&loss, there ? trailing_mean(run, i, curve->n) : INFINITY);
            if (there) curve->seconds[i] += run->bins[i].seconds;
            timed += there;
            seeds++;
        }
        finish_spread(&loss, seeds);
        curve->batch[i] = (double)longest->bins[i].batch;
        curve->seconds[i] /= timed;
        curve->mean[i] = loss.mean;
        curve->low[i] = loss.low;
        curve->high[i] = loss.high;
    }
    return 1;
}

static double reach(const cmp_curve *curve, const double *x, double target)
{
    double lowest = INFINITY;
    for (int i = 0; i < curve->n; i++) {
        if (curve->mean[i] <= target) {
            if (i == 0 || isinf(lowest)) return x[i];
            double share = (lowest - target) / (lowest - curve->mean[i]);
            return x[i - 1] + share * (x[i] - x[i - 1]);
        }
        lowest = fmin(lowest, curve->mean[i]);
    }
    return INFINITY;
}

double cmp_steps_to(const cmp_curve *curve, double target)
{
    return reach(curve, curve->batch, target);
}

double cmp_seconds_to(const cmp_curve *curve, double target)
{
    return reach(curve, curve->seconds, target);
}

/* --- an optimizer --- */

static void find_range(cmp_summary *s)
{
    s->range_low = s->range_high = s->range_decades = NAN;
    int first = 0, centre = -1; /* own rates have no place among the others */
    while (first < s->n_rates && s->rates[first].rate == 0) first++;
    for (int r = first; r < s->n_rates; r++)
        if (centre < 0 || s->rates[r].score.mean < s->rates[centre].score.mean) centre = r;
    if (s->rates[s->best].rate != 0) centre = s->best;
    double best = s->rates[s->best].score.mean, limit = best + 0.1 * fabs(best);
    if (s->n_rates - first < 2 || !isfinite(best) || s->rates[centre].score.mean > limit) return;
    int low = centre, high = centre;
    while (low > first && s->rates[low - 1].score.mean <= limit) low--;
    while (high + 1 < s->n_rates && s->rates[high + 1].score.mean <= limit) high++;
    s->range_low = s->rates[low].rate;
    s->range_high = s->rates[high].rate;
    s->range_decades = log10(s->range_high / s->range_low);
    s->range_low_open = low == first;
    s->range_high_open = high == s->n_rates - 1;
    if (s->best >= first) s->best_at_edge = (s->best == s->n_rates - 1) - (s->best == first);
}

double cmp_median(double *values, long n)
{
    long finite = 0;
    for (long i = 0; i < n; i++)
        if (isfinite(values[i])) values[finite++] = values[i];
    return median(values, (size_t)finite);
}

cmp_run *cmp_find_run(const comparison *c, const char *optimizer, double rate, uint64_t seed)
{
    for (int i = 0; i < c->n_runs; i++)
        if (c->runs[i].seed == seed && cmp_same_rate(c->runs[i].rate, rate) &&
            strcmp(c->runs[i].optimizer, optimizer) == 0)
            return &c->runs[i];
    return NULL;
}

/* work: [2 * c->n_runs] */
static void measure_cost(const comparison *c, cmp_summary *s, double *work)
{
    double *batch = work, *update = work + c->n_runs;
    int n = 0;
    s->state_bytes = NAN;
    for (int i = 0; i < c->n_runs; i++) {
        const cmp_run *run = &c->runs[i];
        if (!is_run_of(run, s->optimizer, s->rates[s->best].rate)) continue;
        batch[n] = run->batch_seconds;
        update[n++] = run->update_seconds;
        if (run->parameters > 0)
            s->state_bytes = (double)run->state_bytes / (double)run->parameters;
    }
    s->batch_seconds = cmp_median(batch, n);
    s->update_seconds = cmp_median(update, n);
}

static opt_status summarize(const comparison *c, cmp_summary *s, int has_held_out, opt_error *error)
{
    s->rates = malloc(sizeof(*s->rates) * (size_t)c->n_runs);
    double *work = malloc(sizeof(*work) * 2 * (size_t)c->n_runs);
    if (!s->rates || !work) {
        free(work);
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the statistics of %s", s->optimizer);
    }
    s->n_rates = make_rate_results(c, s->optimizer, has_held_out, s->rates);
    s->best = choose_best(c, s->optimizer, s->rates, s->n_rates, has_held_out);
    s->at_default = -1;
    for (int r = 0; r < s->n_rates; r++) {
        s->n_runs += s->rates[r].seeds;
        s->n_diverged += s->rates[r].diverged;
        if (cmp_same_rate(s->rates[r].rate, cmp_default_rate(s->optimizer))) s->at_default = r;
    }
    find_range(s);
    measure_cost(c, s, work);
    free(work);
    return OPT_OK;
}

static void compare_with_adam(const comparison *c, cmp_statistics *statistics)
{
    cmp_curve curve;
    double steps = NAN, seconds = NAN;
    statistics->adam_loss = NAN;
    for (int i = 0; i < statistics->n; i++) {
        const cmp_summary *s = &statistics->optimizers[i];
        if (strcmp(s->optimizer, "adam") != 0 || s->rates[s->best].diverged) continue;
        if (!cmp_make_curve(c, "adam", s->rates[s->best].rate, &curve)) continue;
        if (!isfinite(curve.mean[curve.n - 1])) continue;
        statistics->adam_loss = curve.mean[curve.n - 1];
        steps = cmp_steps_to(&curve, statistics->adam_loss);
        seconds = cmp_seconds_to(&curve, statistics->adam_loss);
    }
    for (int i = 0; i < statistics->n; i++) {
        cmp_summary *s = &statistics->optimizers[i];
        s->steps = s->seconds = s->speedup = s->speedup_seconds = NAN;
        if (isnan(statistics->adam_loss)) continue;
        if (!cmp_make_curve(c, s->optimizer, s->rates[s->best].rate, &curve)) continue;
        s->steps = cmp_steps_to(&curve, statistics->adam_loss);
        s->seconds = cmp_seconds_to(&curve, statistics->adam_loss);
        s->speedup = steps / s->steps;
        s->speedup_seconds = seconds / s->seconds;
    }
}

static void sort_by_score(cmp_statistics *statistics)
{
    for (int i = 1; i < statistics->n; i++) {
        cmp_summary s = statistics->optimizers[i];
        double score = s.rates[s.best].score.mean;
        int k = i;
        for (; k > 0; k--) {
            const cmp_summary *before = &statistics->optimizers[k - 1];
            if (before->rates[before->best].score.mean <= score) break;
            statistics->optimizers[k] = *before;
        }
        statistics->optimizers[k] = s;
    }
}

opt_status cmp_make_statistics(const comparison *c, cmp_statistics *statistics, opt_error *error)
{
    *statistics = (cmp_statistics){0};
    statistics->has_held_out = measured_held_out(c);
    statistics->optimizers = calloc((size_t)c->n_runs + 1, sizeof(*statistics->optimizers));
    if (!statistics->optimizers)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the statistics of %d runs", c->n_runs);
    for (int i = 0; i < c->n_runs; i++) {
        const cmp_run *run = &c->runs[i];
        statistics->n_unfinished += !counts(run);
        statistics->n_runs += counts(run);
        statistics->n_diverged += run->outcome == CMP_DIVERGED;
        int known = !counts(run);
        for (int k = 0; k < statistics->n && !known; k++)
            known = strcmp(statistics->optimizers[k].optimizer, run->optimizer) == 0;
        if (known) continue;
        cmp_summary *s = &statistics->optimizers[statistics->n++];
        snprintf(s->optimizer, sizeof(s->optimizer), "%s", run->optimizer);
        opt_status status = summarize(c, s, statistics->has_held_out, error);
        if (status != OPT_OK) {
            cmp_free_statistics(statistics);
            return status;
        }
    }
    sort_by_score(statistics);
    compare_with_adam(c, statistics);
    return OPT_OK;
}

void cmp_free_statistics(cmp_statistics *statistics)
{
    for (int i = 0; i < statistics->n; i++) free(statistics->optimizers[i].rates);
    free(statistics->optimizers);
    *statistics = (cmp_statistics){0};
}
