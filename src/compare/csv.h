/* CSV as in RFC 4180, with a header that must be exactly the expected one. Errors name file, line,
 * column, found and expected. */
#ifndef CSV_H
#define CSV_H

#include <stdint.h>
#include <stdio.h>
#include "base/error.h"

enum { CSV_MAX_COLUMNS = 32 };

typedef struct {
    const char *path, *header; /* borrowed */
    char *text;                /* the file, unquoted in place */
    size_t size, at;
    long line, next_line;         /* of the row last read, and the one after it */
    char *field[CSV_MAX_COLUMNS]; /* of the row last read */
    int n_columns;
    opt_error *error;
} csv_reader;

/* path, header (names with commas between, no newline) and error must outlive the reader.
 * OPT_NO_FILE, OPT_BAD_FILE (another header, a NUL), OPT_NO_MEMORY. csv_close is legal after a
 * failure. */
opt_status csv_open(csv_reader *reader, const char *path, const char *header, opt_error *error);
void csv_close(csv_reader *reader);

/* 1: a row is in field; 0: the end; -1: malformed, the error is set: too few or too many fields, a
 * quote in the wrong place, a last line without its newline (the file was cut). */
int csv_next(csv_reader *reader);

/* Fields of the row as values. 0 when the field is none; the error then is set. */
int csv_number(csv_reader *reader, int column, double *value); /* inf and nan too */
int csv_whole(csv_reader *reader, int column, uint64_t low, uint64_t high, uint64_t *value);
/* Not empty, fits size with its NUL. */
int csv_text(csv_reader *reader, int column, char *value, size_t size);

/* Sets the reader's error to OPT_BAD_FILE "path:line: column 'found', expected ..."; returns 0. */
int csv_complain(csv_reader *reader, int column, const char *expected);

/* Quoted when it has to be. */
void csv_put_text(FILE *stream, const char *text);
/* 6 digits, inf, nan. */
void csv_put_number(FILE *stream, double value);

#endif
