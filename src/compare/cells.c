/* Two tables (quality, speed) of columns, each with its title, meaning and a function that prints
 * its cell, and the notes above them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "compare/cells.h"
#include "compare/step_times.h"

static const cmp_rate_result *best_of(const cmp_summary *s) { return &s->rates[s->best]; }

static const cmp_rate_result *default_of(const cmp_summary *s)
{
    return s->at_default < 0 ? NULL : &s->rates[s->at_default];
}

static void format_spread(const cmp_spread *spread, double scale, int decimals, const char *unit,
                          char *cell)
{
    double mean = scale * spread->mean, low = scale * spread->low, high = scale * spread->high;
    if (isnan(mean))
        strcpy(cell, "-");
    else if (isinf(low))
        strcpy(cell, "diverged");
    else if (isinf(mean))
        snprintf(cell, CMP_CELL, "diverged (%.*f%s at best)", decimals, low, unit);
    else if (low == high)
        snprintf(cell, CMP_CELL, "%.*f%s", decimals, mean, unit);
    else
        snprintf(cell, CMP_CELL, "%.*f%s (%.*f-%.*f)", decimals, mean, unit, decimals, low,
                 decimals, high);
}

/* Three digits that matter, but never fewer than the ones before the point. */
void cmp_format_loss(const cmp_spread *spread, char *cell)
{
    double size = isfinite(spread->mean) ? fabs(spread->mean) : 1;
    int decimals = size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 6;
    format_spread(spread, 1, decimals, "", cell);
}

void cmp_format_accuracy(const cmp_spread *spread, char *cell)
{
    format_spread(spread, 100, 2, " %", cell);
}

static void format_number(double value, const char *format, const char *infinite, char *cell)
{
    if (isnan(value))
        strcpy(cell, "-");
    else if (isinf(value))
        strcpy(cell, infinite);
    else
        snprintf(cell, CMP_CELL, format, value);
}

/* --- the columns --- */

#define COLUMN(name) static void name(const cmp_summary *s, char *cell)

COLUMN(write_optimizer) { snprintf(cell, CMP_CELL, "%s", s->optimizer); }

COLUMN(write_runs)
{
    if (s->n_diverged)
        snprintf(cell, CMP_CELL, "%d, %d diverged", s->n_runs, s->n_diverged);
    else
        snprintf(cell, CMP_CELL, "%d", s->n_runs);
}

COLUMN(write_best_rate)
{
    cmp_rate_name(best_of(s)->rate, cell);
    if (s->best_at_edge) strcat(cell, s->best_at_edge < 0 ? " (lowest)" : " (highest)");
}

COLUMN(write_held_out) { cmp_format_loss(&best_of(s)->held_out_loss, cell); }

COLUMN(write_accuracy) { cmp_format_accuracy(&best_of(s)->accuracy, cell); }

COLUMN(write_loss) { cmp_format_loss(&best_of(s)->loss, cell); }

COLUMN(write_default_rate)
{
    if (default_of(s))
        cmp_rate_name(default_of(s)->rate, cell);
    else
        strcpy(cell, "not run");
}

COLUMN(write_default_score)
{
    if (default_of(s))
        cmp_format_loss(&default_of(s)->score, cell);
    else
        strcpy(cell, "-");
}

COLUMN(write_default_accuracy)
{
    if (default_of(s))
        cmp_format_accuracy(&default_of(s)->accuracy, cell);
    else
        strcpy(cell, "-");
}

COLUMN(write_steps) { format_number(s->steps, "%.0f", "never", cell); }

/* Slower is as good as "never" when the target is never reached. */
COLUMN(write_speedup)
{
    format_number(isinf(s->steps) ? INFINITY : s->speedup, "%.2fx", "never", cell);
}

COLUMN(write_seconds) { format_number(s->seconds, "%.3g s", "never", cell); }

COLUMN(write_speedup_seconds)
{
    format_number(isinf(s->seconds) ? INFINITY : s->speedup_seconds, "%.2fx", "never", cell);
}

COLUMN(write_range)
{
    char low[24], high[24];
    if (s->n_rates == 1)
        strcpy(cell, "one rate only");
    else if (isnan(s->range_low))
        strcpy(cell, "-");
    else {
        cmp_rate_name(s->range_low, low);
        cmp_rate_name(s->range_high, high);
        snprintf(cell, CMP_CELL, "%s to %s", low, high);
    }
}

COLUMN(write_decades)
{
    int open = s->range_low_open || s->range_high_open;
    format_number(s->range_decades, open ? ">= %.1f" : "%.1f", "-", cell);
}

COLUMN(write_state) { format_number(s->state_bytes, "%.1f", "-", cell); }

COLUMN(write_batch) { format_number(1e3 * s->batch_seconds, "%.3g", "-", cell); }

COLUMN(write_network)
{
    format_number(1e3 * (s->batch_seconds - s->update_seconds), "%.3g", "-", cell);
}

COLUMN(write_update) { format_number(1e3 * s->update_seconds, "%.3g", "-", cell); }

const cmp_column cmp_quality_columns[] = {
    {"optimizer", "The label of the optimizer; the lowest loss comes first.", write_optimizer},
    {"best rate",
     "The learning rate with the lowest mean loss at the end, held-out if there is one; own: the "
     "starting rate that is stored in the model; lowest or highest: the best is at the edge of "
     "what was tried, so a wider grid may have a better one.",
     write_best_rate},
    {"held-out loss",
     "Mean loss an image at the end on images that were not trained on, at the true parameters: "
     "mean over the seeds, lowest and highest in brackets.",
     write_held_out},
    {"accuracy", "Share of the held-out images whose highest output is their class, the same way.",
     write_accuracy},
    {"training loss", "Mean loss of the last tenth of the training batches, the same way.",
     write_loss},
    {"default rate", "The learning rate that one would try first.", write_default_rate},
    {"loss there", "The loss at the end at that rate, held-out if there is one.",
     write_default_score},
    {"accuracy there", "The accuracy at that rate.", write_default_accuracy},
    {"runs",
     "Trainings over all rates and seeds, and how many of them diverged: a loss that is not finite "
     "or that ends at more than one and a half times where it began.",
     write_runs},
    {NULL, NULL, NULL}};

const cmp_column cmp_speed_columns[] = {
    {"optimizer", "As above.", write_optimizer},
    {"steps",
     "Batches until the training loss (mean of the last tenth of the run so far, mean of the "
     "seeds, best rate) is as low as what adam ends with at its best rate; never: not in these "
     "batches.",
     write_steps},
    {"speedup", "Adam's steps divided by these: above 1 is faster than the best-tuned adam.",
     write_speedup},
    {"time", "The same in seconds of training, loading and measuring left out.", write_seconds},
    {"speedup (time)", "Adam's seconds divided by these.", write_speedup_seconds},
    {"good rates",
     "The rates around the best whose loss at the end is at most 10 % above the best's: the wider, "
     "the less tuning.",
     write_range},
    {"decades", "Powers of ten that they span; >=: they reach the edge of what was tried.",
     write_decades},
    {"state B/param", "Bytes of memory that the optimizer keeps for each parameter.", write_state},
    {"ms/batch", "Median milliseconds of a training batch: network and optimizer.", write_batch},
    {"network", "Its part in the network (forward and backward).", write_network},
    {"update", "Its part in the optimizer.", write_update},
    {NULL, NULL, NULL}};

/* --- what is around the tables --- */

const char *cmp_loss_unit(const comparison *c)
{
    return c->has_softmax ? "nats per image" : "the network's own cost per image";
}

void cmp_get_title(const comparison *c, const cmp_statistics *statistics, char title[CMP_NOTE])
{
    snprintf(title, CMP_NOTE, "%s on %s: %ld batches of %d, %d run%s", c->network, c->data,
             c->batches, c->batch_size, statistics->n_runs, statistics->n_runs == 1 ? "" : "s");
}

static void describe_place(const cmp_summary *s, char place[160])
{
    char rate[24];
    cmp_rate_name(best_of(s)->rate, rate);
    snprintf(place, 160, "%s at %s%s%s (%.4g)", s->optimizer,
             best_of(s)->rate == 0 ? "its " : "rate ", rate, best_of(s)->rate == 0 ? " rate" : "",
             best_of(s)->score.mean);
}

static void describe_winner(const cmp_statistics *statistics, char *note)
{
    const char *kind = statistics->has_held_out ? "held-out" : "training";
    char place[160], second[160];
    const cmp_summary *first = statistics->optimizers;
    if (isinf(best_of(first)->score.mean)) {
        snprintf(note, CMP_NOTE, "Every optimizer diverged with at least one seed at every rate.");
        return;
    }
    describe_place(first, place);
    if (statistics->n == 1 || isinf(best_of(first + 1)->score.mean)) {
        snprintf(note, CMP_NOTE, "Lowest %s loss: %s.", kind, place);
        return;
    }
    describe_place(first + 1, second);
    snprintf(note, CMP_NOTE, "Lowest %s loss: %s, then %s.", kind, place, second);
}

static int has_edge(const cmp_statistics *statistics)
{
    for (int i = 0; i < statistics->n; i++)
        if (statistics->optimizers[i].best_at_edge) return 1;
    return 0;
}

static int has_unequal_seeds(const cmp_statistics *statistics)
{
    for (int i = 0; i < statistics->n; i++)
        for (int r = 0; r < statistics->optimizers[i].n_rates; r++)
            if (statistics->optimizers[i].rates[r].seeds != best_of(statistics->optimizers)->seeds)
                return 1;
    return 0;
}

int cmp_get_note(const comparison *c, const cmp_statistics *statistics, int index,
                 char note[CMP_NOTE])
{
    if (statistics->n == 0) {
        snprintf(note, CMP_NOTE, "No run has finished yet.");
        return index == 0 && c->n_times == 0;
    }
    if (index-- == 0) {
        describe_winner(statistics, note);
        return 1;
    }
    if (statistics->n_unfinished && index-- == 0) {
        snprintf(note, CMP_NOTE, "%d of %d runs are not finished and do not count.",
                 statistics->n_unfinished, c->n_runs);
        return 1;
    }
    if (!statistics->has_held_out && index-- == 0) {
        snprintf(note, CMP_NOTE,
                 "No held-out loss was measured: rates are judged by training loss.");
        return 1;
    }
    if (isnan(statistics->adam_loss) && index-- == 0) {
        snprintf(note, CMP_NOTE, "There is no adam that finished, so no steps to its final loss.");
        return 1;
    }
    if (has_edge(statistics) && index-- == 0) {
        snprintf(
            note, CMP_NOTE,
            "A best rate is the lowest or the highest that was tried: a wider grid may do better.");
        return 1;
    }
    if (has_unequal_seeds(statistics) && index-- == 0) {
        snprintf(note, CMP_NOTE, "Not all rates were run with the same number of seeds.");
        return 1;
    }
    return 0;
}

/* Characters of UTF-8, near enough for a table. */
static int count_characters(const char *text)
{
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void put_cell(FILE *f, const char *cell, int width, int last)
{
    fputs(cell, f);
    for (int n = count_characters(cell); !last && n < width + 2; n++) fputc(' ', f);
    if (last) fputc('\n', f);
}

static void put_table(FILE *f, const cmp_statistics *statistics, const cmp_column *columns)
{
    enum { MAX_COLUMNS = 16 };
    int width[MAX_COLUMNS] = {0};
    char cell[CMP_CELL];
    for (int k = 0; columns[k].title; k++) {
        width[k] = count_characters(columns[k].title);
        for (int i = 0; i < statistics->n; i++) {
            columns[k].write(&statistics->optimizers[i], cell);
            if (count_characters(cell) > width[k]) width[k] = count_characters(cell);
        }
    }
    for (int i = -1; i < statistics->n; i++)
        for (int k = 0; columns[k].title; k++) {
            if (i < 0)
                snprintf(cell, sizeof(cell), "%s", columns[k].title);
            else
                columns[k].write(&statistics->optimizers[i], cell);
            put_cell(f, cell, width[k], !columns[k + 1].title);
        }
}

static void put_meanings(FILE *f, const cmp_column *columns, int first)
{
    for (int k = first; columns[k].title; k++)
        fprintf(f, "  %s: %s\n", columns[k].title, columns[k].meaning);
}

void cmp_put_text(FILE *f, const comparison *c, const cmp_statistics *statistics,
                  const cmp_statistics *timed)
{
    char text[CMP_NOTE];
    cmp_get_title(c, statistics, text);
    fprintf(f, "%s\n", text);
    for (int i = 0; cmp_get_note(c, statistics, i, text); i++) fprintf(f, "%s\n", text);
    fputc('\n', f);
    cmp_put_times_text(f, c, timed);
    if (statistics->n == 0) return;
    fprintf(f, "Losses in %s.\n\n", cmp_loss_unit(c));
    put_table(f, statistics, cmp_quality_columns);
    fputc('\n', f);
    put_table(f, statistics, cmp_speed_columns);
    fputc('\n', f);
    put_meanings(f, cmp_quality_columns, 1);
    put_meanings(f, cmp_speed_columns, 1);
}
