/* A corpus by name as what a meta-training draws from, with the images that it needs. */
#ifndef META_SOURCE_H
#define META_SOURCE_H

#include "meta/population.h"

typedef struct corpus_source corpus_source;

/* name: "wide", or "wide:bowl,mlp" for some groups of its rows; "none": no rows; "wide+paper": rows
 * of each, the last corpus as likely as those before it together. folders: comma-separated, each
 * with train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped (.gz) or not; read only when a
 * row needs images. NULL and *error: no corpus or group of that name; what images_load says. */
corpus_source *corpus_source_open(const char *name, const char *folders, opt_error *error);
/* Adds rows from elsewhere, which it copies (not what they point to). Those of a corpus and those
 * that are added are then equally likely as a whole. */
opt_status corpus_source_add(corpus_source *source, const meta_row *rows, int n, opt_error *error);
void corpus_source_close(corpus_source *source);
const meta_source *corpus_source_rows(const corpus_source *source);

#endif
