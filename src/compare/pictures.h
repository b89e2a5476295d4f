/* The pictures of a comparison, as scripts for gnuplot. */
#ifndef PICTURES_H
#define PICTURES_H

#include <stdio.h>
#include "compare/statistics.h"

typedef enum { PICTURE_DRAWN, PICTURE_EMPTY, PICTURE_NO_MEMORY } picture_result;

/* Writes the script; nothing on PICTURE_EMPTY (there is nothing to draw). */
typedef picture_result picture_drawer(FILE *script, const comparison *c, const cmp_statistics *all);

picture_drawer picture_draw_curves; /* training and held-out loss against batch */
picture_drawer picture_draw_rates;  /* loss at the end against learning rate */
picture_drawer picture_draw_speed;  /* steps and seconds to adam's final loss */
picture_drawer picture_draw_times;  /* seconds of a step against batch size, and where they go */

/* NULL-terminated: file names and what one sees. */
typedef struct {
    const char *file, *title, *caption;
    picture_drawer *draw;
} picture_row;
extern const picture_row cmp_pictures[];

#endif
