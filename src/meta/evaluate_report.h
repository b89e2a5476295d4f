/* What an evaluation found, as tables for people and as CSV. */
#ifndef META_EVALUATE_REPORT_H
#define META_EVALUATE_REPORT_H

#include <stdio.h>

#include "meta/evaluate.h"

/* The report card. model: how it names what was evaluated. Rows that a stop has left unfinished are
 * left out. */
void evaluate_print(const evaluation *e, const char *model, FILE *stream);

/* Makes the folder where it is missing: before a long evaluation. OPT_IO: it cannot be written
 * to. */
opt_status evaluate_make_folder(const char *folder, opt_error *error);

/* Makes the folder where it is missing, and writes into it, each atomically, what was evaluated of
 *   report.txt    what evaluate_print prints
 *   rows.csv      a row of the corpus a line: the subject's loss, each baseline at its best rate
 *   sweep.csv     a row, baseline and rate a line
 *   lengths.csv   a row, seed and length a line
 *   starts.csv    a row and starting rate a line
 * Names stand in quotes, numbers do not. Those of parts that were not evaluated are removed, if
 * they are there. OPT_IO. */
opt_status evaluate_write(const evaluation *e, const char *model, const char *folder,
                          opt_error *error);

#endif
