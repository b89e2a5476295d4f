/* A file that appears whole or not at all: written to "<path>.new", synced, renamed. */
#ifndef ATOMIC_FILE_H
#define ATOMIC_FILE_H

#include <stdio.h>
#include "optimizer.h"

typedef struct {
    FILE *stream;  /* to write (and seek) on */
    char *path;    /* where it will be */
    char *pending; /* "<path>.new", where it is until then */
} atomic_file;

/* The one place that names the pending file; the caller frees it. */
char *atomic_pending_path(const char *path);

opt_status atomic_open(atomic_file *file, const char *path, opt_error *error);
/* Flushes, syncs and closes; the complete file stays at its pending path. */
opt_status atomic_sync(atomic_file *file, opt_error *error);
/* After atomic_sync: renames onto path and syncs the folder. Frees the strings. */
opt_status atomic_commit(atomic_file *file, opt_error *error);
/* Instead of the above at any point: closes, removes the pending file. Legal on a zeroed struct. */
void atomic_abandon(atomic_file *file);

/* XXH3-128 of a file's contents as 32 hex digits and a NUL, and its size. */
opt_status file_digest(const char *path, char digest[33], uint64_t *size, opt_error *error);

#endif
