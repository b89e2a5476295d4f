/* The state of an optimizer as a safetensors file (a sidecar "<weights>.optimizer"):
 *
 *     metadata  format = opt-state-1; rule (none: no optimizer); steps; identity, where the rule
 *               has one; "host.<key>" = the caller's notes; checksum (of the whole file)
 *     tensors   "network/<field>" F32 [width]; for each tensor that is not frozen
 *               "<tensor>/<field>" F32 [n, width] where the field is per parameter, [width] where
 *               it is per tensor; "host/<name>" U8 [bytes]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/device.h"
#include "optimizer/rule.h"
#include "files/safetensors.h"

enum { BUFFER = 1 << 16 /* floats that are copied at once */ };
static const char format[] = "opt-state-1";

/* --- what a checkpoint of this optimizer holds, one piece after the other --- */

typedef struct {
    const rule_field *field;
    int k;            /* tensor; -1: the network */
    const char *name; /* "<tensor>/<field>" */
    int dims;
    size_t shape[2];
    size_t rows; /* parameters, or 1 */
} piece;

typedef opt_status visit_piece(const piece *p, void *context, opt_error *error);

/* name: room for the longest. */
static opt_status visit(const optimizer *opt, const rule_field *field, int k, char *name,
                        visit_piece *visitor, void *context, opt_error *error)
{
    size_t width = (size_t)field->width;
    piece p = {field, k, name, 1, {width, 0}, 1};
    strcpy(name, k < 0 ? "network" : opt->tensors[k].name);
    strcat(strcat(name, "/"), field->name);
    if (field->scope == PER_PARAM) {
        p.dims = 2;
        p.rows = p.shape[0] = opt->tensors[k].n;
        p.shape[1] = width;
    }
    return visitor(&p, context, error);
}

static char *name_buffer(const optimizer *opt)
{
    size_t owner = strlen("network"), field = 0;
    for (int k = 0; k < opt->n; k++)
        if (strlen(opt->tensors[k].name) > owner) owner = strlen(opt->tensors[k].name);
    for (const rule_field *f = opt->fields; f->name; f++)
        if (strlen(f->name) > field) field = strlen(f->name);
    return malloc(owner + field + 2);
}

/* In the order of the file. Stops at the first failure; its own can only come before the first
 * visit. */
static opt_status visit_all(const optimizer *opt, visit_piece *visitor, void *context,
                            opt_error *error)
{
    opt_status status = OPT_OK;
    if (!opt) return OPT_OK;
    char *name = name_buffer(opt);
    if (!name) return opt_fail(error, OPT_NO_MEMORY, "no memory for the names of a state");
    for (const rule_field *f = opt->fields; f->name && !status; f++)
        if (f->scope == PER_NETWORK) status = visit(opt, f, -1, name, visitor, context, error);
    for (int k = 0; k < opt->n && !status; k++) {
        if (!opt_active(opt, k)) continue;
        for (const rule_field *f = opt->fields; f->name && !status; f++)
            if (f->scope != PER_NETWORK) status = visit(opt, f, k, name, visitor, context, error);
    }
    free(name);
    return status;
}

/* --- saving --- */

typedef struct {
    const optimizer *opt;
    st_writer *writer;
    float *buffer; /* [BUFFER] */
} saving;

static opt_status declare_piece(const piece *p, void *context, opt_error *error)
{
    (void)error;
    st_writer_tensor(((saving *)context)->writer, p->name, ST_F32, p->dims, p->shape);
    return OPT_OK;
}

static opt_status write_piece(const piece *p, void *context, opt_error *error)
{
    saving *s = context;
    size_t width = (size_t)p->field->width, at_once = BUFFER / width;
    opt_status status = OPT_OK;
    for (size_t first = 0; first < p->rows && !status; first += at_once) {
        size_t count = p->rows - first < at_once ? p->rows - first : at_once;
        s->opt->rule->read_field(s->opt, p->field, p->k, first, count, s->buffer);
        status = st_writer_data(s->writer, s->buffer, count * width * sizeof(float), error);
    }
    return status;
}

static opt_status check_device(const optimizer *opt, const char *file, opt_error *error)
{
    const char *failure = opt ? device_failure(opt->cuda) : NULL;
    return failure ? opt_fail(error, OPT_IO, "%s: device cuda has failed: %s", file, failure)
                   : OPT_OK;
}

static void declare_host(st_writer *w, const opt_note *notes, int n_notes, const opt_blob *blobs,
                         int n_blobs)
{
    char name[300];
    for (int i = 0; i < n_notes; i++) {
        snprintf(name, sizeof(name), "host.%s", notes[i].key);
        st_writer_metadata(w, name, notes[i].value);
    }
    for (int i = 0; i < n_blobs; i++) {
        snprintf(name, sizeof(name), "host/%s", blobs[i].name);
        st_writer_tensor(w, name, ST_U8, 1, &blobs[i].bytes);
    }
}

opt_status opt_save(const optimizer *opt, const char *file, const opt_note *notes, int n_notes,
                    const opt_blob *blobs, int n_blobs, opt_error *error)
{
    saving s = {opt, st_writer_new(), malloc(BUFFER * sizeof(float))};
    opt_status status = OPT_OK;
    if (!s.writer || !s.buffer) {
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", file);
        goto done;
    }
    char steps[24];
    snprintf(steps, sizeof(steps), "%" PRIu64, opt ? opt->steps : 0);
    st_writer_metadata(s.writer, "format", format);
    st_writer_metadata(s.writer, "rule", opt ? opt->rule->name : "none");
    st_writer_metadata(s.writer, "steps", steps);
    if (opt && opt->rule->identity)
        st_writer_metadata(s.writer, "identity", opt->rule->identity(opt));
    status = visit_all(opt, declare_piece, &s, error);
    declare_host(s.writer, notes, n_notes, blobs, n_blobs);
    if (!status) status = st_writer_begin(s.writer, file, 1, error);
    if (!status) status = visit_all(opt, write_piece, &s, error);
    if (!status) status = check_device(opt, file, error);
    for (int i = 0; i < n_blobs && !status; i++)
        status = st_writer_data(s.writer, blobs[i].data, blobs[i].bytes, error);
    if (!status) status = st_writer_end(s.writer, error);
done:
    st_writer_free(s.writer);
    free(s.buffer);
    return status;
}

/* --- loading --- */

opt_checkpoint *opt_checkpoint_open(const char *path, opt_error *error)
{
    return st_open_sound(path, format, error);
}

void opt_checkpoint_close(opt_checkpoint *c) { st_close(c); }

static opt_status fill_note(const st_file *file, opt_note *note, opt_error *error)
{
    char key[300];
    snprintf(key, sizeof(key), "host.%s", note->key);
    const char *value = st_metadata(file, key);
    if (!value) return OPT_OK;
    if (strlen(value) >= sizeof(note->value))
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: metadata \"%s\" has %zu characters, expected below %zu", st_path(file),
                        key, strlen(value), sizeof(note->value));
    strcpy(note->value, value);
    return OPT_OK;
}

opt_status opt_read_notes(const opt_checkpoint *c, opt_note *notes, int n_notes, opt_error *error)
{
    opt_status status = OPT_OK;
    for (int i = 0; i < n_notes; i++) notes[i].value[0] = '\0';
    for (int i = 0; i < n_notes && !status; i++) status = fill_note(c, &notes[i], error);
    for (int i = 0; i < n_notes && status; i++) notes[i].value[0] = '\0';
    return status;
}

typedef struct {
    optimizer *opt;
    const st_file *file;
    int expected; /* tensors that the optimizer accounts for */
} loading;

static opt_status check_piece(const piece *p, void *context, opt_error *error)
{
    loading *l = context;
    char found[ST_SHAPE_TEXT], expected[ST_SHAPE_TEXT];
    const st_tensor *t = st_find(l->file, p->name);
    l->expected++;
    if (!t)
        return opt_fail(error, OPT_MISMATCH, "%s: holds no \"%s\", which this network needs",
                        st_path(l->file), p->name);
    if (st_has_shape(t, ST_F32, p->dims, p->shape)) return OPT_OK;
    st_print_shape(found, sizeof(found), t->type, t->dims, t->shape);
    st_print_shape(expected, sizeof(expected), ST_F32, p->dims, p->shape);
    return opt_fail(error, OPT_MISMATCH, "%s: \"%s\": found %s, expected %s", st_path(l->file),
                    p->name, found, expected);
}

static opt_status take_piece(const piece *p, void *context, opt_error *error)
{
    (void)error;
    loading *l = context;
    const st_tensor *t = st_find(l->file, p->name);
    l->opt->rule->write_field(l->opt, p->field, p->k, 0, p->rows, t->data);
    return OPT_OK;
}

/* State of a tensor that this network does not have, or has frozen. */
static opt_status refuse_surplus(const optimizer *opt, const st_file *file, opt_error *error)
{
    for (int i = 0; i < st_count(file); i++) {
        const char *name = st_get(file, i)->name, *slash = strchr(name, '/');
        size_t length = slash ? (size_t)(slash - name) : strlen(name);
        int known = strncmp(name, "host/", 5) == 0 || strncmp(name, "network/", 8) == 0;
        for (int k = 0; k < opt->n && !known; k++)
            known = opt_active(opt, k) && strlen(opt->tensors[k].name) == length &&
                    strncmp(opt->tensors[k].name, name, length) == 0;
        if (!known)
            return opt_fail(error, OPT_MISMATCH,
                            "%s: holds \"%s\", of a tensor that this network does not train",
                            st_path(file), name);
    }
    return opt_fail(error, OPT_MISMATCH, "%s: holds state that rule %s does not have",
                    st_path(file), opt->rule->name);
}

static opt_status check_tensors(loading *l, opt_error *error)
{
    opt_status status = visit_all(l->opt, check_piece, l, error);
    int others = 0;
    for (int i = 0; i < st_count(l->file); i++)
        others += strncmp(st_get(l->file, i)->name, "host/", 5) != 0;
    if (!status && others != l->expected) status = refuse_surplus(l->opt, l->file, error);
    return status;
}

static opt_status check_text(const st_file *file, const char *key, const char *expected,
                             const char *meaning, opt_error *error)
{
    const char *found = st_metadata(file, key);
    if (found && strcmp(found, expected) == 0) return OPT_OK;
    return opt_fail(error, OPT_MISMATCH, "%s: belongs to %s %.60s, expected %s", st_path(file),
                    meaning, found ? found : "(none named)", expected);
}

static opt_status read_steps(const st_file *file, uint64_t *steps, opt_error *error)
{
    const char *text = st_metadata(file, "steps");
    char *end = NULL;
    errno = 0;
    *steps = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (end && !*end && !errno) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE, "%s: steps \"%.60s\", expected a whole number",
                    st_path(file), text ? text : "");
}

static const st_tensor *find_blob(const st_file *file, const opt_blob *blob)
{
    char name[300];
    snprintf(name, sizeof(name), "host/%s", blob->name);
    return st_find(file, name);
}

static opt_status check_blobs(const st_file *file, const opt_blob *blobs, int n, opt_error *error)
{
    for (int i = 0; i < n; i++) {
        const st_tensor *t = find_blob(file, &blobs[i]);
        if (t && (t->type != ST_U8 || t->bytes != blobs[i].bytes))
            return opt_fail(error, OPT_MISMATCH, "%s: \"host/%s\": found %zu bytes, expected %zu",
                            st_path(file), blobs[i].name, t->bytes, blobs[i].bytes);
    }
    return OPT_OK;
}

opt_status opt_read_blobs(const opt_checkpoint *c, const opt_blob *blobs, int n_blobs,
                          opt_error *error)
{
    opt_status status = check_blobs(c, blobs, n_blobs, error);
    for (int i = 0; i < n_blobs && !status; i++) {
        const st_tensor *t = find_blob(c, &blobs[i]);
        if (t && t->bytes) memcpy(blobs[i].data, t->data, t->bytes);
    }
    return status;
}

opt_status opt_load(optimizer *opt, const opt_checkpoint *c, opt_error *error)
{
    uint64_t steps = 0;
    loading l = {opt, c, 0};
    opt_status status = check_text(c, "rule", opt->rule->name, "optimizer", error);
    if (!status && opt->rule->identity)
        status = check_text(c, "identity", opt->rule->identity(opt), "model", error);
    if (!status) status = read_steps(c, &steps, error);
    if (!status) status = check_tensors(&l, error);
    if (!status) status = visit_all(opt, take_piece, &l, error);
    if (status) return status;
    opt->steps = steps;
    if (opt->rule->loaded) opt->rule->loaded(opt);
    return check_device(opt, st_path(c), error);
}
