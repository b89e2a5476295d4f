/* What problems are drawn from; a corpus by its name, with the images that it needs. */
#ifndef SOURCE_H
#define SOURCE_H

#include "problems/problem.h"

/* Borrowed. */
typedef struct {
    const char *family; /* the group that a report adds the row to */
    const char *name;   /* unique in its source */
    double weight;      /* rows are drawn in proportion to it */
    const problem_spec *spec;
} source_row;
typedef struct {
    const char *name; /* of the corpus */
    const source_row *rows;
    int n;
    const image_data *images; /* or NULL */
} problem_source;

typedef struct corpus_source corpus_source;

/* name: "wide", or "wide:bowl,mlp" for some groups of its rows; "none": no rows; "wide+paper": rows
 * of each, the last corpus as likely as those before it together. folders: comma-separated, each
 * with train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped (.gz) or not; read only when a
 * row needs images. NULL and *error: no corpus or group of that name; what images_load says. */
corpus_source *corpus_source_open(const char *name, const char *folders, opt_error *error);
/* Adds rows from elsewhere, which it copies (not what they point to). Where there are others, those
 * that are added are then drawn with probability `share` (in (0, 1)) as a whole. */
opt_status corpus_source_add(corpus_source *source, const source_row *rows, int n, double share,
                             opt_error *error);
void corpus_source_close(corpus_source *source);
const problem_source *corpus_source_rows(const corpus_source *source);

#endif
