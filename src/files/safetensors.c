/* Reading. The writer is in safetensors_write.c. */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cjson/cJSON.h>
#include <xxhash.h>
#include "files/safetensors.h"
#include "files/safetensors_format.h"

/* From this size on a file is mapped; a smaller one is read, and cannot change under its reader. */
enum { MAP_FROM = 1 << 22 };

typedef struct {
    char *key, *value;
} entry;

struct st_file {
    char *path;
    unsigned char *bytes; /* the whole file */
    size_t size, header;  /* of the file; of the JSON text, which starts at ST_PREFIX */
    int mapped;
    st_tensor *tensors; /* [n], sorted by name */
    void **copies;      /* [n] to be freed: data that the file holds misaligned */
    int n;
    entry *metadata;
    int n_metadata;
};

/* Where a tensor's data are. */
typedef struct {
    size_t begin, end;
    int tensor; /* in the order of the header */
} extent;

static const struct {
    const char *name;
    size_t bytes;
} types[] = {[ST_F32] = {"F32", 4}, [ST_U8] = {"U8", 1}, [ST_I64] = {"I64", 8}};
enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

const char *st_type_name(st_type type) { return types[type].name; }
size_t st_type_bytes(st_type type) { return types[type].bytes; }

/* --- the file as bytes --- */

static opt_status read_all(st_file *file, int fd, opt_error *error)
{
    file->bytes = malloc(file->size);
    if (!file->bytes)
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for its %zu bytes", file->path,
                        file->size);
    for (size_t at = 0; at < file->size;) {
        ssize_t got = read(fd, file->bytes + at, file->size - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", file->path,
                            got ? strerror(errno) : "it became shorter");
        at += (size_t)got;
    }
    return OPT_OK;
}

static opt_status load_bytes(st_file *file, opt_error *error)
{
    int fd = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return opt_fail(error, OPT_NO_FILE, "%s: cannot be opened: %s", file->path,
                        strerror(errno));
    struct stat there;
    opt_status status = OPT_OK;
    if (fstat(fd, &there) != 0 || !S_ISREG(there.st_mode)) {
        status = opt_fail(error, OPT_NO_FILE, "%s: is not a regular file", file->path);
    } else if (there.st_size < ST_PREFIX + 2) {
        status = opt_fail(error, OPT_BAD_FILE, "%s: %lld bytes, expected a safetensors file",
                          file->path, (long long)there.st_size);
    } else {
        file->size = (size_t)there.st_size;
        file->mapped = file->size >= MAP_FROM;
        if (!file->mapped) {
            status = read_all(file, fd, error);
        } else {
            void *map = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
            if (map == MAP_FAILED)
                status = opt_fail(error, OPT_NO_FILE, "%s: cannot be mapped: %s", file->path,
                                  strerror(errno));
            else
                file->bytes = map;
        }
    }
    close(fd);
    return status;
}

/* --- the header --- */

static opt_status bad(const st_file *file, opt_error *error, const char *name, const char *what)
{
    if (!name) return opt_fail(error, OPT_BAD_FILE, "%s: %s", file->path, what);
    return opt_fail(error, OPT_BAD_FILE, "%s: \"%.200s\": %s", file->path, name, what);
}

/* A size that JSON holds exactly: a whole number from 0 to ST_MAX_SIZE. */
static int exact_size(const cJSON *item, size_t *size)
{
    if (!cJSON_IsNumber(item)) return 0;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= (double)ST_MAX_SIZE) || value != floor(value)) return 0;
    *size = (size_t)value;
    return 1;
}

static opt_status parse_metadata(st_file *file, const cJSON *object, opt_error *error)
{
    static const char *name = "__metadata__";
    if (file->metadata) return bad(file, error, name, "is there twice");
    if (!cJSON_IsObject(object)) return bad(file, error, name, "expected an object of strings");
    file->metadata = calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof(*file->metadata));
    if (!file->metadata) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", file->path);
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        if (!cJSON_IsString(item)) return bad(file, error, name, "expected an object of strings");
        entry *e = &file->metadata[file->n_metadata++];
        e->key = strdup(item->string);
        e->value = strdup(item->valuestring);
        if (!e->key || !e->value)
            return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", file->path);
    }
    return OPT_OK;
}

static opt_status parse_shape(const st_file *file, const cJSON *shape, st_tensor *t,
                              opt_error *error)
{
    if (!cJSON_IsArray(shape)) return bad(file, error, t->name, "no array \"shape\"");
    t->count = 1;
    const cJSON *item;
    cJSON_ArrayForEach(item, shape)
    {
        size_t size;
        if (t->dims == ST_MAX_DIMS) return bad(file, error, t->name, "more than 8 dimensions");
        if (!exact_size(item, &size)) return bad(file, error, t->name, "a dimension is not a size");
        t->shape[t->dims++] = size;
        if (__builtin_mul_overflow(t->count, size, &t->count))
            return bad(file, error, t->name, "the product of its dimensions is too large");
    }
    if (__builtin_mul_overflow(t->count, types[t->type].bytes, &t->bytes))
        return bad(file, error, t->name, "the product of its dimensions is too large");
    return OPT_OK;
}

static opt_status parse_type(const st_file *file, const cJSON *dtype, st_tensor *t,
                             opt_error *error)
{
    if (!cJSON_IsString(dtype)) return bad(file, error, t->name, "no string \"dtype\"");
    for (int i = 0; i < N_TYPES; i++) {
        if (strcmp(types[i].name, dtype->valuestring) != 0) continue;
        t->type = (st_type)i;
        return OPT_OK;
    }
    return opt_fail(error, OPT_BAD_FILE, "%s: \"%.200s\": type \"%.20s\", expected F32, U8 or I64",
                    file->path, t->name, dtype->valuestring);
}

static opt_status parse_tensor(const st_file *file, const cJSON *object, st_tensor *t,
                               extent *where, opt_error *error)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(object, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(object, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(object, "data_offsets");
    /* With three entries, none of them missing, none is doubled or unknown. */
    if (!cJSON_IsObject(object) || !dtype || !shape || !offsets || cJSON_GetArraySize(object) != 3)
        return bad(file, error, t->name, "expected an object of dtype, shape and data_offsets");
    opt_status status = parse_type(file, dtype, t, error);
    if (!status) status = parse_shape(file, shape, t, error);
    if (status) return status;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !exact_size(offsets->child, &where->begin) ||
        !exact_size(offsets->child->next, &where->end))
        return bad(file, error, t->name, "data_offsets are not two sizes");
    if (where->end < where->begin || where->end - where->begin != t->bytes)
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: \"%.200s\": data_offsets %zu to %zu, expected %zu bytes", file->path,
                        t->name, where->begin, where->end, t->bytes);
    return OPT_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1; /* empty ones first */
    return 0;
}

/* The extents must cover the data without a gap, an overlap or a rest. */
static opt_status check_tiling(const st_file *file, extent *extents, opt_error *error)
{
    size_t at = 0, end = file->size - ST_PREFIX - file->header;
    qsort(extents, (size_t)file->n, sizeof(*extents), by_place);
    for (int i = 0; i < file->n; i++) {
        if (extents[i].begin != at)
            return opt_fail(error, OPT_BAD_FILE, "%s: \"%.200s\": data start at %zu, expected %zu",
                            file->path, file->tensors[extents[i].tensor].name, extents[i].begin,
                            at);
        at = extents[i].end;
    }
    if (at == end) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE, "%s: holds %zu bytes of data, its header says %zu%s",
                    file->path, end, at, at > end ? " (truncated?)" : "");
}

static opt_status check_duplicates(const st_file *file, opt_error *error)
{
    for (int i = 1; i < file->n; i++)
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0)
            return bad(file, error, file->tensors[i].name, "is there twice");
    for (int i = 1; i < file->n_metadata; i++)
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return bad(file, error, file->metadata[i].key, "is in the metadata twice");
    return OPT_OK;
}

/* Points a tensor at its data, or at a copy where the file holds them misaligned for the type. */
static opt_status place_data(st_file *file, const extent *where, opt_error *error)
{
    st_tensor *t = &file->tensors[where->tensor];
    const unsigned char *data = file->bytes + ST_PREFIX + file->header + where->begin;
    t->data = data;
    if ((uintptr_t)data % types[t->type].bytes == 0) return OPT_OK;
    t->data = file->copies[where->tensor] = malloc(t->bytes ? t->bytes : 1);
    if (!t->data)
        return opt_fail(error, OPT_NO_MEMORY, "%s: \"%.200s\": no memory for %zu bytes", file->path,
                        t->name, t->bytes);
    memcpy(file->copies[where->tensor], data, t->bytes);
    return OPT_OK;
}

static opt_status parse_entries(st_file *file, const cJSON *root, extent *extents, opt_error *error)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        opt_status status;
        if (strcmp(item->string, "__metadata__") == 0) {
            status = parse_metadata(file, item, error);
        } else {
            st_tensor *t = &file->tensors[file->n];
            extent *where = &extents[file->n];
            where->tensor = file->n++;
            t->name = strdup(item->string);
            if (!t->name) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", file->path);
            status = parse_tensor(file, item, t, where, error);
        }
        if (status) return status;
    }
    return OPT_OK;
}

static opt_status parse_root(st_file *file, const cJSON *root, opt_error *error)
{
    size_t n = (size_t)cJSON_GetArraySize(root);
    extent *extents = calloc(n + 1, sizeof(*extents));
    file->tensors = calloc(n + 1, sizeof(*file->tensors));
    file->copies = calloc(n + 1, sizeof(*file->copies));
    opt_status status;
    if (!extents || !file->tensors || !file->copies)
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %zu tensors", file->path, n);
    else
        status = parse_entries(file, root, extents, error);
    if (!status) status = check_tiling(file, extents, error);
    for (int i = 0; i < file->n && !status; i++) status = place_data(file, &extents[i], error);
    if (!status) {
        qsort(file->tensors, (size_t)file->n, sizeof(*file->tensors), by_name);
        if (file->n_metadata)
            qsort(file->metadata, (size_t)file->n_metadata, sizeof(*file->metadata), by_key);
        status = check_duplicates(file, error);
    }
    free(extents);
    return status;
}

static opt_status parse_header(st_file *file, opt_error *error)
{
    uint64_t header = 0;
    for (int i = 0; i < ST_PREFIX; i++) header |= (uint64_t)file->bytes[i] << (8 * i);
    if (header > file->size - ST_PREFIX || header > ST_MAX_HEADER)
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: a header of %llu bytes in a file of %zu, expected at most %d",
                        file->path, (unsigned long long)header, file->size, ST_MAX_HEADER);
    file->header = (size_t)header;
    const char *text = (const char *)file->bytes + ST_PREFIX;
    /* A NUL inside a name would make two different names compare as equal. */
    if (header < 2 || text[0] != '{' || memchr(text, 0, header) ||
        memmem(text, header, "\\u0000", 6))
        return bad(file, error, NULL, "not a safetensors header");
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, header, &end, 0);
    if (!root || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return bad(file, error, NULL, "the header is not valid JSON");
    }
    opt_status status = OPT_OK;
    for (; end < text + header; end++)
        if (*end != ' ') status = bad(file, error, NULL, "text after the JSON header");
    if (!status) status = parse_root(file, root, error);
    cJSON_Delete(root);
    return status;
}

st_file *st_open(const char *path, opt_error *error)
{
    st_file *file = calloc(1, sizeof(*file));
    if (file) file->path = strdup(path);
    if (!file || !file->path) {
        free(file);
        opt_fail(error, OPT_NO_MEMORY, "%s: no memory to open it", path);
        return NULL;
    }
    if (load_bytes(file, error) || parse_header(file, error)) {
        st_close(file);
        return NULL;
    }
    return file;
}

void st_close(st_file *file)
{
    if (!file) return;
    for (int i = 0; i < file->n; i++) {
        free((char *)file->tensors[i].name);
        free(file->copies[i]);
    }
    for (int i = 0; i < file->n_metadata; i++) {
        free(file->metadata[i].key);
        free(file->metadata[i].value);
    }
    if (file->mapped) {
        if (file->bytes) munmap(file->bytes, file->size);
    } else {
        free(file->bytes);
    }
    free(file->tensors);
    free(file->copies);
    free(file->metadata);
    free(file->path);
    free(file);
}

/* --- access --- */

const char *st_path(const st_file *file) { return file->path; }
int st_count(const st_file *file) { return file->n; }
const st_tensor *st_get(const st_file *file, int i) { return &file->tensors[i]; }

const st_tensor *st_find(const st_file *file, const char *name)
{
    st_tensor wanted = {.name = name};
    return bsearch(&wanted, file->tensors, (size_t)file->n, sizeof(wanted), by_name);
}

const char *st_metadata(const st_file *file, const char *key)
{
    if (!file->n_metadata) return NULL;
    entry wanted = {.key = (char *)key};
    const entry *e =
        bsearch(&wanted, file->metadata, (size_t)file->n_metadata, sizeof(wanted), by_key);
    return e ? e->value : NULL;
}

void st_print_shape(char *text, size_t size, st_type type, int dims, const size_t *shape)
{
    int at = snprintf(text, size, "%s [", types[type].name);
    for (int i = 0; i < dims && at > 0 && (size_t)at < size; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%zu", i ? ", " : "", shape[i]);
    if (at > 0 && (size_t)at < size) snprintf(text + at, size - (size_t)at, "]");
}

int st_has_shape(const st_tensor *t, st_type type, int dims, const size_t *shape)
{
    if (t->type != type || t->dims != dims) return 0;
    for (int i = 0; i < dims; i++)
        if (t->shape[i] != shape[i]) return 0;
    return 1;
}

const float *st_floats(const st_file *file, const char *name, int dims, const size_t *shape,
                       opt_error *error)
{
    char found[ST_SHAPE_TEXT] = "nothing", expected[ST_SHAPE_TEXT];
    const st_tensor *t = st_find(file, name);
    if (t && st_has_shape(t, ST_F32, dims, shape)) return t->data;
    if (t) st_print_shape(found, sizeof(found), t->type, t->dims, t->shape);
    st_print_shape(expected, sizeof(expected), ST_F32, dims, shape);
    opt_fail(error, OPT_BAD_FILE, "%s: tensor \"%s\": found %s, expected %s", file->path, name,
             found, expected);
    return NULL;
}

opt_status st_number(const st_file *file, const char *key, double missing, double low, double high,
                     double *value, opt_error *error)
{
    const char *text = st_metadata(file, key);
    if (!text) {
        *value = missing;
        if (!isnan(missing)) return OPT_OK;
        return opt_fail(error, OPT_BAD_FILE, "%s: no \"%s\" in the metadata, expected a number",
                        file->path, key);
    }
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= low && number <= high) || !isfinite(number))
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: metadata \"%s\" is \"%.60s\", expected a number from %g to %g",
                        file->path, key, text, low, high);
    *value = number;
    return OPT_OK;
}

int st_checksum_holds(const st_file *file)
{
    static const char key[] = ST_CHECKSUM_KEY;
    const char *text = (const char *)file->bytes + ST_PREFIX;
    const char *checksum = st_metadata(file, "checksum");
    const char *at = memmem(text, file->header, key, sizeof(key) - 1);
    if (!checksum || strlen(checksum) != ST_DIGITS || !at) return 0;
    at += sizeof(key) - 1;
    if ((size_t)(text + file->header - at) < ST_DIGITS || memcmp(at, checksum, ST_DIGITS) != 0)
        return 0;
    XXH3_state_t *state = XXH3_createState();
    if (!state) return 0;
    size_t before = (size_t)(at - (const char *)file->bytes), after = before + ST_DIGITS;
    char digest[ST_DIGITS + 1];
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, file->bytes, before);
    XXH3_128bits_update(state, ST_ZEROS, ST_DIGITS);
    XXH3_128bits_update(state, file->bytes + after, file->size - after);
    st_print_digest(digest, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return memcmp(digest, checksum, ST_DIGITS) == 0;
}

st_file *st_open_sound(const char *path, const char *format, opt_error *error)
{
    st_file *file = st_open(path, error);
    if (!file) return NULL;
    const char *found = st_metadata(file, "format");
    if (!found || strcmp(found, format) != 0)
        opt_fail(error, OPT_BAD_FILE, "%s: format \"%.60s\", expected \"%s\"", path,
                 found ? found : "", format);
    else if (!st_checksum_holds(file))
        opt_fail(error, OPT_BAD_FILE, "%s: its checksum is wrong: the file is corrupt", path);
    else
        return file;
    st_close(file);
    return NULL;
}
