/* Scripts for gnuplot: how to run one, and what the pictures of a comparison share. Text of users
 * goes through gnuplot_put_text only. */
#ifndef GNUPLOT_H
#define GNUPLOT_H

#include <stdio.h>
#include "compare/statistics.h"

/* Runs the script and writes the picture (its standard output) to `picture`. Reads no settings of
 * the user's. OPT_NO_FILE: gnuplot is not installed; OPT_IO: it failed, with the first line it
 * said. name is of the picture, for the message. */
opt_status gnuplot_run(FILE *script, FILE *picture, const char *name, opt_error *error);

/* A quoted string: no substitution, no control characters, valid UTF-8. */
void gnuplot_put_text(FILE *script, const char *text);

/* A label for a picture: at most GNUPLOT_LABEL - 1 bytes and 24 characters, then "...". */
enum { GNUPLOT_LABEL = 64 };
const char *gnuplot_shorten(const char *label, char shortened[GNUPLOT_LABEL]);

/* The terminal and the style that all pictures have. */
void gnuplot_put_style(FILE *script, int width, int height);

typedef struct {
    double low, high; /* low < high */
    int logarithmic;
} gnuplot_axis;

/* Logarithmic when the range asks for it, with a margin; low > high: nothing is known. */
gnuplot_axis gnuplot_make_axis(double low, double high);
void gnuplot_put_y_axis(FILE *script, const gnuplot_axis *axis);
/* Rates from low to high: decades. */
void gnuplot_put_rate_axis(FILE *script, double low, double high);

/* One colour (RRGGBB) an optimizer, the same in all pictures; known names have the same in all
 * comparisons. index: its place in statistics. */
const char *gnuplot_colour(const cmp_statistics *statistics, int index);

#endif
