/* path.checkpoint: safetensors with a checksum, format=metatrain-1. Numbers of double precision and
 * the states of episodes are kept as bytes (U8). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "meta/metatrain_private.h"
#include "files/safetensors.h"
#include "version.h"

static const char format_name[] = "metatrain-1";

static uint64_t hash_images(const image_data *images, uint64_t hash)
{
    for (int s = 0; images && s < images->n_sets; s++) {
        const image_set *set = &images->sets[s];
        for (int k = 0; k < IMAGE_SIDES; k++)
            hash = XXH3_64bits_withSeed(set->pixels[k],
                                        set->n * (size_t)(image_sides[k] * image_sides[k]), hash);
        hash = XXH3_64bits_withSeed(set->first, sizeof set->first, hash);
    }
    return hash;
}

/* Of what problems are drawn from: the rows' order, names and weights, and the images. */
static void source_digest(const problem_source *source, char digest[17])
{
    uint64_t hash = hash_images(source->images, 0);
    for (int r = 0; r < source->n; r++) {
        const source_row *row = &source->rows[r];
        hash = XXH3_64bits_withSeed(row->family, strlen(row->family), hash);
        hash = XXH3_64bits_withSeed(row->name, strlen(row->name), hash);
        hash = XXH3_64bits_withSeed(&row->weight, sizeof row->weight, hash);
    }
    snprintf(digest, 17, "%016llx", (unsigned long long)hash);
}

/* What is the same on every rank, by name. */
typedef struct {
    const char *name;
    void *data;
    size_t bytes;
} piece;
enum { PIECES = 7 };

static int list_pieces(metatrain *m, piece pieces[PIECES])
{
    const size_t pairs = (size_t)m->options.pairs, n = HRNN_META_PARAMS * sizeof(double);
    const piece all[PIECES] = {
        {"theta", m->theta, n},
        {"optimizer.first", m->optimizer.first, n},
        {"optimizer.second", m->optimizer.second, n},
        {"pairs", population_pairs(m->population), pairs * sizeof(population_pair)},
        {"progress", &m->progress.sums, sizeof m->progress.sums},
        {"progress.families", m->progress.family_sums,
         (size_t)m->progress.families * 2 * sizeof(double)},
        {"sums", population_sums(m->population), pairs * n},
    };
    memcpy(pieces, all, sizeof all);
    return population_sums(m->population) ? PIECES : PIECES - 1;
}

/* --- writing --- */

typedef struct {
    void *bytes;
    size_t size;
} packed;

static void episode_name(char name[40], int index)
{
    snprintf(name, 40, "episode.%d.%s", index / 2, index % 2 ? "minus" : "plus");
}

static void declare(metatrain *m, st_writer *w, const piece *pieces, int n_pieces,
                    const packed *episodes)
{
    char text[METATRAIN_TEXT], number[40], name[40], digest[17];
    st_writer_metadata(w, "format", format_name);
    metatrain_print_options(&m->options, 0, text);
    st_writer_metadata(w, "recipe", text);
    metatrain_print_options(&m->options, 1, text);
    st_writer_metadata(w, "run", text);
    snprintf(number, sizeof number, "%llu", (unsigned long long)m->step);
    st_writer_metadata(w, "outer_steps", number);
    snprintf(number, sizeof number, "%.17g", metatrain_seconds(m));
    st_writer_metadata(w, "seconds", number);
    source_digest(m->source, digest);
    st_writer_metadata(w, "rows", digest);
    st_writer_metadata(w, "version", HRNN_VERSION);
    st_writer_metadata(w, "started_from", m->note);
    for (int i = 0; i < n_pieces; i++)
        st_writer_tensor(w, pieces[i].name, ST_U8, 1, &pieces[i].bytes);
    for (int i = 0; i < 2 * (int)m->options.pairs; i++) {
        if (!episodes[i].bytes) continue;
        episode_name(name, i);
        st_writer_tensor(w, name, ST_U8, 1, &episodes[i].size);
    }
}

static opt_status write_checkpoint(metatrain *m, const packed *episodes, opt_error *error)
{
    piece pieces[PIECES];
    const int n_pieces = list_pieces(m, pieces);
    st_writer *w = st_writer_new();
    if (!w) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", m->checkpoint);
    declare(m, w, pieces, n_pieces, episodes);
    opt_status status = st_writer_begin(w, m->checkpoint, 1, error);
    for (int i = 0; i < n_pieces && !status; i++)
        status = st_writer_data(w, pieces[i].data, pieces[i].bytes, error);
    for (int i = 0; i < 2 * (int)m->options.pairs && !status; i++)
        if (episodes[i].bytes)
            status = st_writer_data(w, episodes[i].bytes, episodes[i].size, error);
    if (!status) status = st_writer_end(w, error);
    st_writer_free(w);
    return status;
}

static opt_status write_model(metatrain *m, opt_error *error)
{
    char recipe[METATRAIN_TEXT], run[METATRAIN_TEXT], steps[40], hours[40], seed[40];
    hrnn_model model = m->model;
    meta_set_params(&model, m->theta);
    metatrain_print_options(&m->options, 0, recipe);
    metatrain_print_options(&m->options, 1, run);
    snprintf(steps, sizeof steps, "%llu", (unsigned long long)m->step);
    snprintf(hours, sizeof hours, "%.3f", metatrain_seconds(m) / 3600);
    snprintf(seed, sizeof seed, "%.0f", m->options.seed);
    const meta_note notes[] = {{"recipe", recipe},
                               {"run", run},
                               {"corpus", m->options.corpus},
                               {"seed", seed},
                               {"outer_steps", steps},
                               {"hours", hours},
                               {"version", HRNN_VERSION},
                               {"started_from", m->note}};
    const int n = sizeof notes / sizeof *notes;
    return meta_save_model(&model, m->path, notes, *m->note ? n : n - 1, error);
}

opt_status metatrain_save(metatrain *m, opt_error *error)
{
    const int n = 2 * (int)m->options.pairs;
    opt_status status = OPT_OK;
    packed *episodes = calloc((size_t)n, sizeof *episodes);
    if (!episodes) status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory", m->checkpoint);
    status = comm_agree(m->comm, status, error);
    for (int i = 0; i < n && !status; i++)
        status = population_packed(m->population, i / 2, i % 2, &episodes[i].bytes,
                                   &episodes[i].size, error);
    if (!status && comm_rank(m->comm) == 0) {
        status = write_checkpoint(m, episodes, error);
        if (!status) status = write_model(m, error);
    }
    for (int i = 0; episodes && i < n; i++) free(episodes[i].bytes);
    free(episodes);
    return comm_agree(m->comm, status, error);
}

/* --- reading --- */

opt_status metatrain_checkpoint_options(const char *path, metatrain_options *options,
                                        opt_error *error)
{
    opt_error inner = {0};
    char *checkpoint = malloc(strlen(path) + sizeof ".checkpoint");
    if (!checkpoint) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory", path);
    sprintf(checkpoint, "%s.checkpoint", path);
    metatrain_defaults(options);
    st_file *file = st_open_sound(checkpoint, format_name, error);
    opt_status status = file ? OPT_OK : error ? error->status : OPT_BAD_FILE;
    const char *const keys[] = {"recipe", "run"};
    for (int i = 0; i < 2 && !status; i++) {
        const char *text = st_metadata(file, keys[i]);
        status = metatrain_read_options(options, text ? text : "", &inner);
        if (!text || status)
            status = opt_fail(error, OPT_BAD_FILE, "%s: metadata \"%s\": %s", checkpoint, keys[i],
                              text ? inner.message : "is missing");
    }
    st_close(file);
    free(checkpoint);
    return status;
}

static opt_status read_piece(const st_file *file, const char *name, void *to, size_t bytes,
                             opt_error *error)
{
    const st_tensor *t = st_find(file, name);
    if (!t || t->type != ST_U8 || t->bytes != bytes)
        return opt_fail(error, OPT_BAD_FILE, "%s: tensor \"%s\": found %zu bytes, expected %zu",
                        st_path(file), name, t ? t->bytes : 0, bytes);
    memcpy(to, t->data, bytes);
    return OPT_OK;
}

static opt_status read_notes(metatrain *m, const st_file *file, opt_error *error)
{
    double steps, seconds;
    char digest[17];
    opt_status status = st_number(file, "outer_steps", NAN, 0, 9e15, &steps, error);
    if (!status) status = st_number(file, "seconds", NAN, 0, 1e12, &seconds, error);
    if (status) return status;
    m->step = m->optimizer.steps = (uint64_t)steps;
    m->seconds_before = seconds;
    source_digest(m->source, digest);
    const char *rows = st_metadata(file, "rows"), *note = st_metadata(file, "started_from");
    if (!rows || strcmp(rows, digest) != 0)
        return opt_fail(error, OPT_MISMATCH,
                        "%s: was trained on other rows or images of corpus %s (%.20s, now "
                        "%s)",
                        st_path(file), m->options.corpus, rows ? rows : "", digest);
    free(m->note);
    m->note = strdup(note ? note : "");
    return m->note ? OPT_OK : opt_fail(error, OPT_NO_MEMORY, "%s: no memory", m->checkpoint);
}

static opt_status check_numbers(const metatrain *m, const st_file *file, opt_error *error)
{
    const population_pair *pairs = population_pairs(m->population);
    for (int i = 0; i < HRNN_META_PARAMS; i++)
        if (!isfinite(m->theta[i]))
            return opt_fail(error, OPT_BAD_FILE, "%s: theta holds %g at entry %d", st_path(file),
                            m->theta[i], i);
    for (int i = 0; i < (int)m->options.pairs; i++)
        if (pairs[i].row < 0 || pairs[i].row >= m->source->n ||
            (!pairs[i].starts && !pairs[i].steps))
            return opt_fail(error, OPT_BAD_FILE, "%s: pair %d runs row %d for %llu steps",
                            st_path(file), i, pairs[i].row, (unsigned long long)pairs[i].steps);
    return OPT_OK;
}

opt_status metatrain_load(metatrain *m, opt_error *error)
{
    piece pieces[PIECES];
    const int n_pieces = list_pieces(m, pieces);
    st_file *file = st_open_sound(m->checkpoint, format_name, error);
    opt_status status = file ? OPT_OK : error ? error->status : OPT_BAD_FILE;
    if (!status) status = read_notes(m, file, error);
    for (int i = 0; i < n_pieces && !status; i++)
        status = read_piece(file, pieces[i].name, pieces[i].data, pieces[i].bytes, error);
    if (!status) status = check_numbers(m, file, error);
    for (int i = 0; i < 2 * (int)m->options.pairs && !status; i++) {
        char name[40];
        episode_name(name, i);
        const st_tensor *t = st_find(file, name);
        opt_error inner = {0};
        status = population_restore(m->population, i / 2, i % 2, t ? t->data : NULL,
                                    t ? t->bytes : 0, &inner);
        if (status)
            opt_fail(error, status, "%s: tensor \"%s\": %s", m->checkpoint, name, inner.message);
    }
    st_close(file);
    return status;
}
