/* Comparisons that no training made. */
#ifndef MADE_COMPARISON_H
#define MADE_COMPARISON_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/comparison.h"

static comparison make_comparison(long batches)
{
    comparison c = {.batches = batches, .batch_size = 64, .has_softmax = 1};
    strcpy(c.network, "net.cfg");
    strcpy(c.data, "some.data");
    strcpy(c.setting, "0123456789abcdef");
    return c;
}

/* A finished run without curves; an infinite loss: diverged. */
static cmp_run *add_run(comparison *c, const char *optimizer, double rate, uint64_t seed,
                        double held_out_loss)
{
    c->runs = realloc(c->runs, sizeof(*c->runs) * (size_t)(c->n_runs + 1));
    cmp_run *run = &c->runs[c->n_runs++];
    *run = (cmp_run){.rate = rate,
                     .seed = seed,
                     .outcome = isinf(held_out_loss) ? CMP_DIVERGED : CMP_FINISHED,
                     .last_batch = c->batches,
                     .first_loss = 2.5,
                     .loss = held_out_loss / 2,
                     .held_out_loss = held_out_loss,
                     .accuracy = 1 - held_out_loss / 10,
                     .batch_seconds = 0.010,
                     .update_seconds = 0.002,
                     .parameters = 1000,
                     .state_bytes = 8000};
    strcpy(run->optimizer, optimizer);
    return run;
}

/* One bin every `every` batches, a second each. */
static void set_curve(cmp_run *run, long every, int n, const double *losses)
{
    free(run->bins);
    run->n_bins = n;
    run->bins = malloc(sizeof(*run->bins) * (size_t)n);
    for (int i = 0; i < n; i++)
        run->bins[i] = (cmp_bin){(i + 1) * every, losses[i], (double)(i + 1)};
}

#endif
