/* The summary for people, cell by cell: summary.txt and report.html print the same ones. */
#ifndef CELLS_H
#define CELLS_H

#include <stdio.h>
#include "compare/statistics.h"

enum { CMP_CELL = 128 };

typedef struct {
    const char *title;
    const char *meaning;                             /* one sentence */
    void (*write)(const cmp_summary *s, char *cell); /* [CMP_CELL] */
} cmp_column;

/* Two tables, each ends with a column whose title is NULL. All cells are ASCII but for labels. */
extern const cmp_column cmp_quality_columns[], cmp_speed_columns[];

void cmp_format_loss(const cmp_spread *spread, char *cell);     /* "0.123 (0.120-0.125)" */
void cmp_format_accuracy(const cmp_spread *spread, char *cell); /* in per cent */

/* What to know before reading the tables, one line each; 0 when there is no further one. */
enum { CMP_NOTE = 400 };
int cmp_get_note(const comparison *c, const cmp_statistics *statistics, int index,
                 char note[CMP_NOTE]);

/* "network on data: ..." */
void cmp_get_title(const comparison *c, const cmp_statistics *statistics, char title[CMP_NOTE]);

/* summary.txt; timed: of cmp_list_timed */
void cmp_put_text(FILE *stream, const comparison *c, const cmp_statistics *statistics,
                  const cmp_statistics *timed);

/* What the loss is measured in: "nats per image", or "the network's own cost". */
const char *cmp_loss_unit(const comparison *c);

#endif
