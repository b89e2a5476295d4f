/* Writing. The header is complete before the first data, but for the digits of the checksum, which
 * are filled in at the end. */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cjson/cJSON.h>
#include "files/atomic_file.h"
#include "files/safetensors_format.h"

struct st_writer {
    cJSON *header, *metadata;
    int incomplete; /* memory ran out while the header was declared */
    int too_large, doubled;
    size_t declared, written; /* bytes of data */
    int begun;
    long checksum_at; /* of its digits in the file; 0: none */
    XXH3_state_t *hash;
    atomic_file file;
};

st_writer *st_writer_new(void)
{
    st_writer *w = calloc(1, sizeof(*w));
    if (!w) return NULL;
    w->header = cJSON_CreateObject();
    w->metadata = cJSON_AddObjectToObject(w->header, "__metadata__");
    w->hash = XXH3_createState();
    if (w->metadata && w->hash) return w;
    st_writer_free(w);
    return NULL;
}

void st_writer_metadata(st_writer *w, const char *key, const char *value)
{
    if (cJSON_GetObjectItemCaseSensitive(w->metadata, key)) w->doubled = 1;
    if (!cJSON_AddStringToObject(w->metadata, key, value)) w->incomplete = 1;
}

static int add_number(cJSON *array, size_t value)
{
    cJSON *item = cJSON_CreateNumber((double)value);
    return item && cJSON_AddItemToArray(array, item);
}

void st_writer_tensor(st_writer *w, const char *name, st_type type, int dims, const size_t *shape)
{
    if (cJSON_GetObjectItemCaseSensitive(w->header, name)) w->doubled = 1;
    cJSON *tensor = cJSON_AddObjectToObject(w->header, name);
    int added = cJSON_AddStringToObject(tensor, "dtype", st_type_name(type)) != NULL;
    cJSON *sizes = cJSON_AddArrayToObject(tensor, "shape");
    size_t bytes = st_type_bytes(type);
    for (int i = 0; i < dims; i++) {
        added &= sizes && add_number(sizes, shape[i]);
        if (__builtin_mul_overflow(bytes, shape[i], &bytes)) w->too_large = 1;
    }
    cJSON *offsets = cJSON_AddArrayToObject(tensor, "data_offsets");
    added &= offsets && add_number(offsets, w->declared);
    if (__builtin_add_overflow(w->declared, bytes, &w->declared)) w->too_large = 1;
    if (w->declared > ST_MAX_SIZE || dims > ST_MAX_DIMS) w->too_large = 1;
    added &= offsets && add_number(offsets, w->declared);
    if (!added) w->incomplete = 1;
}

static opt_status put(st_writer *w, const void *data, size_t bytes, opt_error *error)
{
    if (!bytes || fwrite(data, 1, bytes, w->file.stream) == bytes) return OPT_OK;
    return opt_fail(error, OPT_IO, "%s: cannot be written: %s", w->file.pending, strerror(errno));
}

/* The length, the JSON text padded to a multiple of 8, as one array of *size bytes; NULL: no
 * memory. */
static char *print_header(const st_writer *w, size_t *size)
{
    char *json = cJSON_PrintUnformatted(w->header);
    if (!json) return NULL;
    size_t length = strlen(json), padded = (length + 7) / 8 * 8;
    char *header = malloc(ST_PREFIX + padded + 1);
    if (header) {
        for (int i = 0; i < ST_PREFIX; i++) header[i] = (char)((uint64_t)padded >> (8 * i) & 0xff);
        memset(header + ST_PREFIX, ' ', padded + 1);
        memcpy(header + ST_PREFIX, json, length);
        *size = ST_PREFIX + padded;
    }
    cJSON_free(json);
    return header;
}

opt_status st_writer_begin(st_writer *w, const char *path, int with_checksum, opt_error *error)
{
    static const char key[] = ST_CHECKSUM_KEY;
    if (with_checksum) st_writer_metadata(w, "checksum", ST_ZEROS);
    if (w->doubled)
        return opt_fail(error, OPT_BAD_OPTION, "%s: two tensors or notes of one name", path);
    if (w->too_large) return opt_fail(error, OPT_BAD_OPTION, "%s: a tensor is too large", path);
    size_t size = 0;
    char *header = w->incomplete ? NULL : print_header(w, &size);
    if (!header) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for its header", path);
    opt_status status = OPT_OK;
    if (size > ST_PREFIX + ST_MAX_HEADER)
        status = opt_fail(error, OPT_BAD_OPTION, "%s: a header of %zu bytes, expected at most %d",
                          path, size, ST_MAX_HEADER);
    if (!status) status = atomic_open(&w->file, path, error);
    if (!status) {
        w->begun = 1;
        if (with_checksum) {
            const char *at = memmem(header + ST_PREFIX, size - ST_PREFIX, key, sizeof(key) - 1);
            w->checksum_at = at - header + (long)sizeof(key) - 1;
        }
        XXH3_128bits_reset(w->hash);
        XXH3_128bits_update(w->hash, header, size);
        status = put(w, header, size, error);
    }
    free(header);
    return status;
}

opt_status st_writer_data(st_writer *w, const void *data, size_t bytes, opt_error *error)
{
    if (bytes > w->declared - w->written)
        return opt_fail(error, OPT_BAD_OPTION, "%s: more than the declared %zu bytes of data",
                        w->file.path, w->declared);
    w->written += bytes;
    XXH3_128bits_update(w->hash, data, bytes);
    return put(w, data, bytes, error);
}

opt_status st_writer_end(st_writer *w, opt_error *error)
{
    if (!w->begun || w->written != w->declared)
        return opt_fail(error, OPT_BAD_OPTION, "%s: %zu bytes of data, declared %zu",
                        w->begun ? w->file.path : "file", w->written, w->declared);
    opt_status status = OPT_OK;
    if (w->checksum_at) {
        char digits[ST_DIGITS + 1];
        st_print_digest(digits, XXH3_128bits_digest(w->hash));
        if (fseek(w->file.stream, w->checksum_at, SEEK_SET) != 0)
            status = opt_fail(error, OPT_IO, "%s: cannot be written: %s", w->file.pending,
                              strerror(errno));
        else
            status = put(w, digits, ST_DIGITS, error);
    }
    if (!status) status = atomic_sync(&w->file, error);
    if (!status) status = atomic_commit(&w->file, error);
    return status;
}

void st_writer_free(st_writer *w)
{
    if (!w) return;
    cJSON_Delete(w->header);
    XXH3_freeState(w->hash);
    atomic_abandon(&w->file);
    free(w);
}
