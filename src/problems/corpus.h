/* The ensembles of problems that optimizers are meta-trained on, as rows of a table.
 *
 * `paper` are the reference's functions and small networks, `wide` networks on small grey images
 * and quadratics over decades of scales. `users` is what users train and these lack, to be mixed
 * with them (-corpus wide+users), whole or some groups of it (users:deep,plain): pretrained trained
 * for a while on another task, then a new last layer, some layers frozen deep        8 to 20
 * normalised layers, mostly with shortcuts, on coloured and augmented images plain       4 to 8
 * layers with ReLU and max-pooling, which die from a bold start detector    a loss of tens to
 * hundreds, summed over cells of which few are positive sparse      of the gradient's entries 9 in
 * 10 or 99 in 100 are 0 noisy       most of a gradient is noise The networks of the first four have
 * weight decay of up to 1e-3, as an optimizer's l2. */
#ifndef META_CORPUS_H
#define META_CORPUS_H

#include "problems/problem.h"

enum {
    CORPUS_PAPER = 1,     /* the reference's groups that are on by default */
    CORPUS_PAPER_ALL = 2, /* all its groups */
    CORPUS_WIDE = 4,
    CORPUS_USERS = 8, /* what users train, and what an optimizer that only knows `wide` is bad at */
};

typedef struct {
    const char *name;  /* unique */
    const char *group; /* what progress and evaluations are summed over */
    unsigned corpora;  /* a sum of CORPUS_* */
    double weight;     /* how often it is drawn, relative to the other rows of a corpus */
    problem_spec spec;
} corpus_row;

/* All rows of all corpora. */
extern const corpus_row corpus_table[];
extern const size_t corpus_table_rows;

/* The corpus called "paper", "paper-all", "wide" or "users"; 0 and *error: there is none of that
 * name. */
unsigned corpus_find(const char *name, opt_error *error);

/* Whether a row of it needs images. */
bool corpus_needs_images(unsigned corpus);

#endif
