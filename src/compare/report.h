/* What a comparison says: as CSV and text, as pictures, as one page, and back from the CSV.
 *
 * Files in a folder (which must exist), each replaced as a whole or left alone:
 *   runs.csv     every run that finished or diverged, one a row
 *   curves.csv   training bins and held-out points of the runs at each optimizer's best rate and at
 *                its default rate only, so that a baseline that is kept stays small
 *   times.csv    seconds of a step at several batch sizes
 *   summary.csv  one optimizer a row: statistics.h says what the columns are
 *   summary.txt  the same for people
 *   curves.png rates.png speed.png times.png, report.html
 * In the CSV numbers have 6 significant digits, rate 0 is the optimizer's own, inf is infinite or
 * never, nan is not measured; text that needs it is quoted as in RFC 4180. */
#ifndef REPORT_H
#define REPORT_H

#include "compare/statistics.h"

/* The three take the statistics of c, which are made once for all of them.
 *
 * The five tables. OPT_IO names the file that cannot be written, OPT_NO_MEMORY. */
opt_status cmp_write_tables(const comparison *c, const cmp_statistics *all, const char *folder,
                            opt_error *error);

/* The pictures, drawn by gnuplot: those that there is something to draw in; the others are removed.
 * OPT_NO_FILE without gnuplot, OPT_IO with its first line when it fails. */
opt_status cmp_write_pictures(const comparison *c, const cmp_statistics *all, const char *folder,
                              opt_error *error);

/* report.html, with the pictures that are in the folder inside: it needs nothing else and loads
 * nothing. */
opt_status cmp_write_page(const comparison *c, const cmp_statistics *all, const char *folder,
                          opt_error *error);

/* Adds the runs of runs.csv and curves.csv to c (zeroed, or with runs). With c->setting "" c takes
 * network, data, setting, batches, batch_size and has_softmax from the file; else setting and
 * batches must agree (OPT_MISMATCH). A run that c has already (optimizer, rate, seed) stays as it
 * is, unless it is CMP_UNFINISHED. What is malformed is OPT_BAD_FILE with file, line, found and
 * expected. c is unchanged on failure. */
opt_status cmp_read_tables(comparison *c, const char *folder, opt_error *error);

/* Frees runs (each one's bins and held_out), times, and zeroes c. All come from malloc. */
void cmp_free(comparison *c);

#endif
