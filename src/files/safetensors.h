/* safetensors files: an 8-byte little-endian length, a JSON header, the data. The only place that
 * knows the format. Every size is checked before it is used; overlapping, misplaced, duplicate or
 * missing data, trailing bytes, an unknown type, and NaN-proof shapes are errors (OPT_BAD_FILE). */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include <stdio.h>
#include "base/error.h"

enum { ST_MAX_DIMS = 8 };
typedef enum { ST_F32, ST_U8, ST_I64 } st_type;

typedef struct {
    const char *name;
    st_type type;
    int dims;
    size_t shape[ST_MAX_DIMS];
    size_t count;     /* product of shape */
    size_t bytes;     /* count * size of type */
    const void *data; /* aligned for its type; owned by the file */
} st_tensor;

typedef struct st_file st_file;

/* Maps or reads the whole file and validates it. */
st_file *st_open(const char *path, opt_error *error);
void st_close(st_file *file);
const char *st_path(const st_file *file);
int st_count(const st_file *file);
const st_tensor *st_get(const st_file *file, int i);
const st_tensor *st_find(const st_file *file, const char *name); /* NULL: not there */
const char *st_metadata(const st_file *file, const char *key);   /* NULL: not there */

enum { ST_SHAPE_TEXT = 200 };
/* "F32 [25, 130]", for messages; cut to size bytes. */
void st_print_shape(char *text, size_t size, st_type type, int dims, const size_t *shape);
int st_has_shape(const st_tensor *tensor, st_type type, int dims, const size_t *shape);
const char *st_type_name(st_type type);
size_t st_type_bytes(st_type type);

/* An F32 tensor of exactly this shape, or NULL and an error that says found and expected. */
const float *st_floats(const st_file *file, const char *name, int dims, const size_t *shape,
                       opt_error *error);
/* Metadata as a finite number within [low, high], or OPT_BAD_FILE. missing: value when absent; NAN:
 * absence is an error. */
opt_status st_number(const st_file *file, const char *key, double missing, double low, double high,
                     double *value, opt_error *error);

/* Whether metadata "checksum" equals the XXH3-128 (32 hex digits) of the whole file taken with
 * those digits as zeros. Absent counts as unequal. */
int st_checksum_holds(const st_file *file);

/* st_open of a file whose metadata "format" is this and whose checksum holds; else OPT_BAD_FILE. */
st_file *st_open_sound(const char *path, const char *format, opt_error *error);

/* --- writing: declare everything, then stream the data in that order --- */
typedef struct st_writer st_writer;
st_writer *st_writer_new(void); /* NULL: no memory */
void st_writer_metadata(st_writer *w, const char *key, const char *value);
void st_writer_tensor(st_writer *w, const char *name, st_type type, int dims, const size_t *shape);
/* Opens the temporary file and writes the header. with_checksum adds "checksum", which end fills.
 * Two tensors or notes of one name, and a header over 16 MiB, are OPT_BAD_OPTION. */
opt_status st_writer_begin(st_writer *w, const char *path, int with_checksum, opt_error *error);
opt_status st_writer_data(st_writer *w, const void *data, size_t bytes, opt_error *error);
/* Checks that all declared data came, syncs and closes, then renames onto path. On any failure
 * (here or before) path is as it was; st_writer_free removes the temporary file. */
opt_status st_writer_end(st_writer *w, opt_error *error);
void st_writer_free(st_writer *w);

#endif
