/* Look-ups among the times, and the table of them in summary.txt. */
#include "compare/step_times.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const cmp_step_time *cmp_find_time(const comparison *c, const char *optimizer, int batch_size)
{
    for (int i = 0; i < c->n_times; i++)
        if (c->times[i].batch_size == batch_size && strcmp(c->times[i].optimizer, optimizer) == 0 &&
            c->times[i].batch_seconds > 0)
            return &c->times[i];
    return NULL;
}

int cmp_next_batch_size(const comparison *c, int after)
{
    int next = 0;
    for (int i = 0; i < c->n_times; i++)
        if (c->times[i].batch_size > after && (!next || c->times[i].batch_size < next))
            next = c->times[i].batch_size;
    return next;
}

double cmp_step_ms(const comparison *c, const char *optimizer, int batch_size, int relative)
{
    const cmp_step_time *time = cmp_find_time(c, optimizer, batch_size);
    const cmp_step_time *sgd = cmp_find_time(c, "sgd", batch_size);
    if (!time || (relative && !sgd)) return NAN;
    return relative ? time->batch_seconds / sgd->batch_seconds : 1e3 * time->batch_seconds;
}

static void add_label(const comparison *c, const char *label, cmp_statistics *timed)
{
    int found = 0;
    for (int i = 0; i < c->n_times; i++)
        found |= strcmp(c->times[i].optimizer, label) == 0 && c->times[i].batch_seconds > 0;
    for (int i = 0; i < timed->n; i++)
        if (strcmp(timed->optimizers[i].optimizer, label) == 0) return;
    if (found) strcpy(timed->optimizers[timed->n++].optimizer, label);
}

opt_status cmp_list_timed(const comparison *c, const cmp_statistics *all, cmp_statistics *timed,
                          opt_error *error)
{
    *timed = (cmp_statistics){
        .optimizers = calloc((size_t)(all->n + c->n_times) + 1, sizeof(*timed->optimizers))};
    if (!timed->optimizers) return opt_fail(error, OPT_NO_MEMORY, "no memory for the step times");
    for (int i = 0; i < all->n; i++) add_label(c, all->optimizers[i].optimizer, timed);
    for (int i = 0; i < c->n_times; i++) add_label(c, c->times[i].optimizer, timed);
    return OPT_OK;
}

void cmp_put_times_text(FILE *stream, const comparison *c, const cmp_statistics *timed)
{
    if (!timed->n) return;
    fputs("Median milliseconds of a step and, in brackets, times sgd's:\n\nbatch size", stream);
    for (int i = 0; i < timed->n; i++) fprintf(stream, "  %20s", timed->optimizers[i].optimizer);
    fputc('\n', stream);
    for (int b = cmp_next_batch_size(c, 0); b; b = cmp_next_batch_size(c, b)) {
        fprintf(stream, "%-10d", b);
        for (int i = 0; i < timed->n; i++) {
            const char *label = timed->optimizers[i].optimizer;
            double ms = cmp_step_ms(c, label, b, 0), ratio = cmp_step_ms(c, label, b, 1);
            char cell[64] = "-";
            if (!isnan(ms)) snprintf(cell, sizeof(cell), "%.3g", ms);
            if (!isnan(ratio)) snprintf(cell, sizeof(cell), "%.3g (%.2f)", ms, ratio);
            fprintf(stream, "  %20s", cell);
        }
        fputc('\n', stream);
    }
    fputc('\n', stream);
}
