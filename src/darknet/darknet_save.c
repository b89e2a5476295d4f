/* Weights files and their sidecars: written whole or not at all, read checked, resumed from. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files/atomic_file.h"
#include "darknet/darknet_private.h"

/* --- writing --- */

char *hook_sidecar_path(const char *weights)
{
    char *path = hook_alloc(strlen(weights) + 11, 1);
    sprintf(path, "%s.optimizer", weights);
    return path;
}

enum { NOTE_SEED, NOTE_SEEN, NOTE_BATCH, NOTE_DIGEST, NOTE_BYTES, NOTE_OPTIMIZER, NOTES };
static const char *const note_keys[NOTES] = {"seed",           "seen",          "images_per_update",
                                             "weights_digest", "weights_bytes", "optimizer"};
static const char no_optimizer[] = "none"; /* the note, where the sidecar has no state of one */

static void name_notes(opt_note *notes)
{
    memset(notes, 0, NOTES * sizeof(*notes));
    for (int i = 0; i < NOTES; i++) notes[i].key = note_keys[i];
}

static void write_number(opt_note *note, uint64_t value)
{
    snprintf(note->value, sizeof(note->value), "%llu", (unsigned long long)value);
}

/* Everything a sidecar holds beside the optimizer's own state. */
static blob_list list_all(network *net)
{
    blob_list list = hook_list_beside_weights(net, &net->hook->table);
    for (int i = 0; i < net->hook->kept.n; i++) {
        opt_blob *kept = &net->hook->kept.items[i];
        hook_add_blob(&list, kept->name, (twin){kept->data, NULL}, kept->bytes);
    }
    return list;
}

static opt_status name_weights(opt_note *notes, const char *pending, opt_error *error)
{
    uint64_t bytes;
    name_notes(notes);
    const opt_status status = file_digest(pending, notes[NOTE_DIGEST].value, &bytes, error);
    if (!status) write_number(&notes[NOTE_BYTES], bytes);
    return status;
}

static opt_status save_optimizer(network *net, const char *sidecar, const char *pending,
                                 opt_error *error)
{
    opt_note notes[NOTES];
    opt_status status = name_weights(notes, pending, error);
    if (status) return status;
    write_number(&notes[NOTE_SEED], net->seed);
    write_number(&notes[NOTE_SEEN], *net->seen);
    write_number(&notes[NOTE_BATCH], (uint64_t)net->batch * (uint64_t)net->subdivisions);
    blob_list blobs = list_all(net);
    /* The arrays beside the weights must hold true parameters, as the weights file does. */
    opt_show_true(net->hook->opt);
    hook_pull_blobs(&blobs);
    status = opt_save(net->hook->opt, sidecar, notes, NOTES, blobs.items, blobs.n, error);
    opt_show_attended(net->hook->opt);
    hook_free_blobs(&blobs);
    return status;
}

/* What the weights file has no place for where there is no optimizer, or of the first layers
 * alone. */
static opt_status save_blobs(const char *sidecar, const char *pending, const blob_list *blobs,
                             opt_error *error)
{
    opt_note notes[NOTES];
    const opt_status status = name_weights(notes, pending, error);
    strcpy(notes[NOTE_OPTIMIZER].value, no_optimizer);
    return status ? status : opt_save(NULL, sidecar, notes, NOTES, blobs->items, blobs->n, error);
}

static int any_nonzero(const blob_list *list)
{
    for (int i = 0; i < list->n; i++) {
        const float *values = list->items[i].data;
        for (size_t k = 0; k < list->items[i].bytes / sizeof(*values); k++)
            if (values[k] != 0) return 1;
    }
    return 0;
}

static opt_status save_sidecar(network *net, const char *weights, const char *pending, int layers,
                               opt_error *error)
{
    const int whole = layers == net->n;
    opt_status status = OPT_OK;
    char *path = hook_sidecar_path(weights);
    blob_list blobs = {0};
    if (whole && net->hook->opt) {
        status = save_optimizer(net, path, pending, error);
        goto done;
    }
    blobs = hook_list_batchnorm_biases(net, layers);
    hook_pull_blobs(&blobs);
    int wanted = any_nonzero(&blobs);
    if (whole && net->hook->training) {
        hook_add_rolling(&blobs, net);
        hook_pull_blobs(&blobs);
        wanted = blobs.n > 0;
    }
    if (wanted)
        status = save_blobs(path, pending, &blobs, error);
    else
        unlink(path);
done:
    hook_free_blobs(&blobs);
    free(path);
    return status;
}

/* The weights, complete and synced, at their pending path. */
static opt_status write_weights_file(network *net, atomic_file *file, const char *filename,
                                     int (*write)(network *, FILE *, int), int cutoff,
                                     opt_error *error)
{
    float *kept = NULL;
    opt_status status = atomic_open(file, filename, error);
    if (status) return status;
    if (net->hook->opt) opt_show_true(net->hook->opt);
    hook_show_statistics(net);
    hook_fold_batchnorm(net, &kept, 1);
    if (!write(net, file->stream, cutoff))
        status = opt_fail(error, OPT_IO, "%s: cannot write it (%s)", filename, strerror(errno));
    hook_fold_batchnorm(net, &kept, 0);
    hook_hide_statistics(net);
    if (net->hook->opt) opt_show_attended(net->hook->opt);
    return status ? status : atomic_sync(file, error);
}

void hook_save(network *net, const char *filename,
               int (*write)(network *net, FILE *stream, int cutoff), int cutoff)
{
    atomic_file file = {0};
    opt_error error;
    hook_use_device(net);
    opt_status status = write_weights_file(net, &file, filename, write, cutoff, &error);
    if (!status)
        status =
            save_sidecar(net, filename, file.pending, cutoff < net->n ? cutoff : net->n, &error);
    if (!status) status = atomic_commit(&file, &error);
    if (status) {
        atomic_abandon(&file);
        hook_die("%s; what was saved before is untouched", error.message);
    }
}

/* --- reading --- */

static struct {
    char *name;
    int first; /* layer; -1: none */
    int layer; /* that is being read; -1: the header */
    LAYER_TYPE type;
    int first_absent; /* -1: none */
    LAYER_TYPE absent_type;
    int started; /* something of the layer has been read */
} reading;

FILE *hook_open_weights(const char *filename)
{
    struct stat info;
    FILE *stream = fopen(filename, "rb");
    if (!stream) hook_die("%s: cannot read the weights (%s)", filename, strerror(errno));
    if (fstat(fileno(stream), &info) || !S_ISREG(info.st_mode))
        hook_die("%s: expected a weights file, found something that is not a file", filename);
    free(reading.name);
    reading.name = hook_copy(filename);
    reading.first = reading.layer = reading.first_absent = -1;
    reading.started = 0;
    return stream;
}

void hook_read_header(void *to, size_t bytes, FILE *stream)
{
    size_t got = fread(to, 1, bytes, stream);
    if (got != bytes)
        hook_die("%s: ends inside its header, expected a Darknet weights file", reading.name);
}

void hook_read_layer(int index, LAYER_TYPE type)
{
    if (reading.first < 0) reading.first = index;
    reading.layer = index;
    reading.type = type;
    reading.started = 0;
}

void hook_read_floats(float *to, int n, const char *tensor, FILE *stream)
{
    if (reading.first_absent >= 0) return;
    float *values = hook_alloc((size_t)n + 1, sizeof(*values));
    size_t got = fread(values, 1, (size_t)n * sizeof(*values), stream);
    if (got == 0 && n > 0 && !reading.started) {
        reading.first_absent = reading.layer;
        reading.absent_type = reading.type;
    } else if (got != (size_t)n * sizeof(*values)) {
        hook_die("%s: truncated: %s of layer %d [%s] hold %zu of %d numbers", reading.name, tensor,
                 reading.layer, hook_layer_name(reading.type), got / sizeof(*values), n);
    } else {
        for (int i = 0; i < n; i++)
            if (!isfinite(values[i]))
                hook_die("%s: %s of layer %d [%s] hold %g at entry %d, expected finite numbers",
                         reading.name, tensor, reading.layer, hook_layer_name(reading.type),
                         values[i], i);
        memcpy(to, values, (size_t)n * sizeof(*values));
        reading.started = 1;
    }
    free(values);
}

static int holds(const char *path, const opt_note *notes);

/* A sidecar that is read. */
typedef struct {
    opt_checkpoint *file;
    opt_note notes[NOTES];
} sidecar_file;

/* Opens a sidecar and reads its notes; 0: it is not there, or, with *error set, cannot be read. */
static int open_sidecar(sidecar_file *s, const char *sidecar, opt_error *error)
{
    *error = (opt_error){0};
    s->file = NULL;
    name_notes(s->notes);
    if (access(sidecar, F_OK)) return 0;
    s->file = opt_checkpoint_open(sidecar, error);
    if (s->file && !opt_read_notes(s->file, s->notes, NOTES, error)) return 1;
    opt_checkpoint_close(s->file);
    return 0;
}

static int is_without_optimizer(const opt_note *notes)
{
    return strcmp(notes[NOTE_OPTIMIZER].value, no_optimizer) == 0;
}

/* Fills biases from the sidecar of these weights; 0: there is none that belongs to them, or it
 * holds something else. What is wrong with it is for hook_start_training to say. */
static int read_biases(const char *weights, const blob_list *biases)
{
    sidecar_file s;
    opt_error error;
    char *sidecar = hook_sidecar_path(weights);
    int found = 0;
    if (open_sidecar(&s, sidecar, &error)) {
        found = holds(weights, s.notes) && !opt_read_blobs(s.file, biases->items, biases->n, NULL);
        opt_checkpoint_close(s.file);
    }
    free(sidecar);
    return found;
}

/* Of the [batchnorm] layers that were read from the start on. */
static void find_biases(network *net)
{
    const int layers = reading.first_absent >= 0 ? reading.first_absent : reading.layer + 1;
    blob_list biases = hook_list_batchnorm_biases(net, reading.first == 0 ? layers : 0);
    for (int i = 0; i < biases.n; i++) memset(biases.items[i].data, 0, biases.items[i].bytes);
    net->hook->biases_known = biases.n && read_biases(reading.name, &biases);
    hook_push_blobs(&biases);
    if (net->hook->biases_known) hook_unfold_batchnorm(net, layers);
    hook_free_blobs(&biases);
}

void hook_close_weights(network *net, FILE *stream, int whole)
{
    struct darknet_hook *hook = net->hook;
    off_t at = ftello(stream);
    hook->surplus_bytes = 0;
    if (reading.first_absent >= 0)
        fprintf(stderr,
                "%s ends before layer %d [%s]: that and what follows keep their starting "
                "values\n",
                reading.name, reading.first_absent, hook_layer_name(reading.absent_type));
    else if (whole && !fseeko(stream, 0, SEEK_END) && ftello(stream) > at)
        hook->surplus_bytes = (size_t)(ftello(stream) - at);
    if (hook->surplus_bytes)
        fprintf(stderr, "warning: %s holds %zu bytes more than this network has parameters for\n",
                reading.name, hook->surplus_bytes);
    fclose(stream);
    hook_use_device(net);
    find_biases(net);
}

/* --- resuming --- */

static int holds(const char *path, const opt_note *notes)
{
    char digest[33], size[32];
    uint64_t bytes;
    if (file_digest(path, digest, &bytes, NULL)) return 0;
    snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
    return strcmp(digest, notes[NOTE_DIGEST].value) == 0 &&
           strcmp(size, notes[NOTE_BYTES].value) == 0;
}

/* Completes a save that was killed between its two renames: weights are still pending. */
static void match_weights(network *net, const char *weights, const char *sidecar,
                          const opt_note *notes)
{
    if (holds(weights, notes)) return;
    char *pending = atomic_pending_path(weights);
    if (!holds(pending, notes))
        hook_die("%s does not belong to %s (size or digest differ); -clear starts afresh from the "
                 "weights alone",
                 sidecar, weights);
    opt_error error;
    if (atomic_adopt(weights, &error))
        hook_die("%s: an interrupted save cannot be completed", error.message);
    fprintf(stderr, "%s: completed a save that was interrupted\n", weights);
    free(pending);
    load_weights(net, (char *)weights);
}

static uint64_t read_number(const opt_note *note, const char *sidecar)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(note->value, &end, 10);
    if (errno || end == note->value || *end)
        hook_die("%s: note %s is \"%s\", expected a number", sidecar, note->key, note->value);
    return value;
}

static void adopt_seed(network *net, uint64_t seed)
{
    if (net->hook->seed.value && net->seed != seed)
        printf(
            "%s:%d: seed=%s differs from the checkpoint's %llu: from here on the data follow the "
            "cfg's\n",
            net->hook->cfg, net->hook->seed.line, net->hook->seed.value, (unsigned long long)seed);
    else
        net->seed = seed;
}

/* Everything that the sidecar holds. */
static void take_sidecar(network *net, const char *sidecar, const sidecar_file *s)
{
    opt_error error;
    const uint64_t images = (uint64_t)net->batch * (uint64_t)net->subdivisions;
    if (read_number(&s->notes[NOTE_BATCH], sidecar) != images)
        hook_die("%s: batch is %s images an update, the cfg's %llu; -clear starts afresh from the "
                 "weights alone",
                 sidecar, s->notes[NOTE_BATCH].value, (unsigned long long)images);
    *net->seen = read_number(&s->notes[NOTE_SEEN], sidecar);
    net->rolling.batches = *net->seen / (size_t)net->batch; /* where the sidecar does not say */
    blob_list blobs = list_all(net);
    hook_pull_blobs(&blobs); /* those that the file does not hold stay */
    if (opt_read_blobs(s->file, blobs.items, blobs.n, &error))
        hook_die("%s; -clear starts afresh from the weights alone", error.message);
    /* parameters are among them, which have to be there when the state is read */
    hook_push_blobs(&blobs);
    if (opt_load(net->hook->opt, s->file, &error))
        hook_die("%s; -clear starts afresh from the weights alone", error.message);
    hook_free_blobs(&blobs);
    adopt_seed(net, read_number(&s->notes[NOTE_SEED], sidecar));
}

int hook_resume_from(network *net, const char *weights)
{
    sidecar_file s;
    opt_error error;
    char *sidecar = hook_sidecar_path(weights);
    const int there = open_sidecar(&s, sidecar, &error);
    if (error.status) hook_die("%s; -clear starts afresh from the weights alone", error.message);
    const int resumes = there && !is_without_optimizer(s.notes);
    if (resumes) {
        match_weights(net, weights, sidecar, s.notes);
        take_sidecar(net, sidecar, &s);
    }
    if (there) opt_checkpoint_close(s.file);
    free(sidecar);
    return resumes;
}

int hook_has_optimizer_state(const char *sidecar)
{
    sidecar_file s;
    opt_error error;
    if (!open_sidecar(&s, sidecar, &error)) return error.status != OPT_OK;
    opt_checkpoint_close(s.file);
    return !is_without_optimizer(s.notes);
}

void hook_resume_statistics(network *net, const char *weights)
{
    sidecar_file s;
    opt_error error;
    char *sidecar = hook_sidecar_path(weights);
    const int there = open_sidecar(&s, sidecar, &error);
    if (there && is_without_optimizer(s.notes) && holds(weights, s.notes)) {
        blob_list blobs = {0};
        hook_add_rolling(&blobs, net);
        hook_pull_blobs(&blobs); /* those that the file does not hold stay */
        if (opt_read_blobs(s.file, blobs.items, blobs.n, &error))
            hook_die("%s; -clear starts afresh from the weights alone", error.message);
        hook_push_blobs(&blobs);
        hook_free_blobs(&blobs);
    }
    if (there) opt_checkpoint_close(s.file);
    free(sidecar);
}
