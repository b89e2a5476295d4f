/* A file that appears whole or not at all: written to "<path>.new", synced, renamed. */
#ifndef ATOMIC_FILE_H
#define ATOMIC_FILE_H

#include <stdio.h>
#include <stdint.h>
#include "base/error.h"

typedef struct {
    FILE *stream;  /* to write (and seek) on */
    char *path;    /* where it will be */
    char *pending; /* "<path>.new", where it is until then */
} atomic_file;

/* The one place that names the pending file; the caller frees it. */
char *atomic_pending_path(const char *path);

/* path must not exist, or be a regular file. */
opt_status atomic_open(atomic_file *file, const char *path, opt_error *error);
/* Flushes, syncs and closes (also on failure); the complete file stays at its pending path. */
opt_status atomic_sync(atomic_file *file, opt_error *error);
/* After atomic_sync: renames onto path, syncs the folder and frees the strings. When the rename
 * fails the file stays pending and atomic_abandon is still to be called. */
opt_status atomic_commit(atomic_file *file, opt_error *error);
/* The same of a file that was left at its pending path: "<path>.new" becomes path. */
opt_status atomic_adopt(const char *path, opt_error *error);
/* Instead of the above at any point: closes, removes the pending file. Legal on a zeroed struct. */
void atomic_abandon(atomic_file *file);

/* All of the above: write puts the contents on the stream. What it or anything else fails with
 * leaves path as it was. */
typedef opt_status atomic_writer(FILE *stream, void *context, opt_error *error);
opt_status atomic_write(const char *path, atomic_writer *write, void *context, opt_error *error);

/* XXH3-128 of a file's contents as 32 hex digits and a NUL, and its size. */
opt_status file_digest(const char *path, char digest[33], uint64_t *size, opt_error *error);

#endif
