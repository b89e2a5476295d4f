/* What a step costs at several batch sizes, from a comparison's times. */
#ifndef STEP_TIMES_H
#define STEP_TIMES_H

#include <stdio.h>
#include "compare/statistics.h"

/* NULL: not measured. */
const cmp_step_time *cmp_find_time(const comparison *c, const char *optimizer, int batch_size);

/* The smallest batch size above `after`; 0: none. */
int cmp_next_batch_size(const comparison *c, int after);

/* Milliseconds, or the ratio to sgd; NaN: not measured. */
double cmp_step_ms(const comparison *c, const char *optimizer, int batch_size, int relative);

/* The optimizers that have times, nothing but their labels set: those of all in its order, then the
 * others. OPT_NO_MEMORY. Free with cmp_free_statistics. */
opt_status cmp_list_timed(const comparison *c, const cmp_statistics *all, cmp_statistics *timed,
                          opt_error *error);

/* The table of summary.txt: a batch size a row; nothing without times. */
void cmp_put_times_text(FILE *stream, const comparison *c, const cmp_statistics *timed);

#endif
