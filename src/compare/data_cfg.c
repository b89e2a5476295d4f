/* The cfg's lines, the images that its lists and batch files name, and one digest over all of
 * them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "files/atomic_file.h"
#include "compare/data_cfg.h"
#include "compare/net_cfg.h"

enum { LINE = 4096, MOST_SEARCHES = 50000000 };

/* Of a run, not of the data. */
static const char *const replaced[] = {"backup",    "save_every",   "valid_every",
                                       "valid_log", "valid_images", NULL};
/* Where the data are or what does not change a result. */
static const char *const places[] = {"train",  "valid", "labels",  "names",   "test",
                                     "backup", "top",   "threads", "results", NULL};

static int has_key(const char *line, const char *key)
{
    size_t length = strlen(key);
    return strncmp(line, key, length) == 0 && line[length] == '=';
}

static int has_one_of(const char *line, const char *const *keys)
{
    for (; *keys; keys++)
        if (has_key(line, *keys)) return 1;
    return 0;
}

/* The first value of a key, which the caller frees; NULL: none, or no memory. */
static char *value_of(const char *text, const char *key)
{
    char line[LINE];
    while (text_line(&text, line, sizeof(line)))
        if (has_key(line, key) && line[strlen(key) + 1]) return strdup(line + strlen(key) + 1);
    return NULL;
}

static void add_text(XXH3_state_t *hash, const char *text)
{
    XXH3_64bits_update(hash, text, strlen(text) + 1);
}

/* --- lists of images --- */

typedef struct { /* labels=, as darknet looks for them in the paths of the images */
    char *text, **label;
    long n;
} label_list;

/* Adds the file to the hash too. Without labels= or its file there are none: darknet says what it
 * thinks of that. */
static label_list read_labels(const char *cfg, XXH3_state_t *hash)
{
    label_list labels = {0};
    char *path = value_of(cfg, "labels");
    char *rest = labels.text = path ? text_read(path, NULL) : NULL;
    long lines = 1;
    if (rest) add_text(hash, rest);
    for (const char *at = rest; at && *at; at++) lines += *at == '\n';
    if (rest) labels.label = malloc((size_t)lines * sizeof(*labels.label));
    for (char *line; labels.label && (line = strsep(&rest, "\n"));) {
        line[strcspn(line, "\r")] = '\0';
        if (*line) labels.label[labels.n++] = line;
    }
    free(path);
    return labels;
}

static void free_labels(label_list *labels)
{
    free(labels->label);
    free(labels->text);
}

/* Its name, and the label that the folders above may give it. */
static void add_image(XXH3_state_t *hash, const char *path, const label_list *labels, int search)
{
    const char *slash = strrchr(path, '/');
    add_text(hash, slash ? slash + 1 : path);
    for (long k = 0; slash && search && k < labels->n; k++) {
        const char *at = strstr(path, labels->label[k]);
        if (at && at <= slash) add_text(hash, labels->label[k]);
    }
}

static opt_status add_list(XXH3_state_t *hash, const char *path, const label_list *labels,
                           opt_error *error)
{
    char *text = text_read(path, error);
    long images = 0;
    if (!text) return OPT_NO_FILE;
    for (char *line = text; line;) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (*line) add_image(hash, line, labels, images++ * labels->n < MOST_SEARCHES);
        line = end ? end + 1 : NULL;
    }
    free(text);
    XXH3_64bits_update(hash, &images, sizeof(images));
    if (images) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE, "%s: there are no images in the list", path);
}

/* --- folders of binary batches --- */

static opt_status add_file(XXH3_state_t *hash, const char *path, opt_error *error)
{
    char digest[33];
    uint64_t size;
    opt_status status = file_digest(path, digest, &size, error);
    if (status) return status;
    if (size == 0) return opt_fail(error, OPT_BAD_FILE, "%s: is empty", path);
    add_text(hash, digest);
    return OPT_OK;
}

static int is_batch(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, "data_batch_", 11) == 0 && length > 4 &&
           strcmp(entry->d_name + length - 4, ".bin") == 0;
}

static opt_status add_folder(XXH3_state_t *hash, const char *folder, opt_error *error)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_batch, alphasort);
    opt_status status = OPT_OK;
    if (n < 0)
        return opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", folder, strerror(errno));
    if (n == 0)
        status =
            opt_fail(error, OPT_BAD_FILE, "%s: there is no data_batch_*.bin in the folder", folder);
    for (int i = 0; i < n; i++) {
        char path[LINE];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (!status) status = add_file(hash, path, error);
        free(names[i]);
    }
    free(names);
    return status;
}

/* --- both --- */

static opt_status add_data(data_cfg *data, XXH3_state_t *hash, opt_error *error)
{
    char line[LINE];
    for (const char *at = data->text; text_line(&at, line, sizeof(line));)
        if (*line && *line != '#' && *line != ';' && !has_one_of(line, places) &&
            !has_one_of(line, replaced))
            add_text(hash, line);
    label_list labels = read_labels(data->text, hash);
    opt_status status = data->folder ? add_folder(hash, data->train, error)
                                     : add_list(hash, data->train, &labels, error);
    if (!status && data->valid)
        status = data->folder ? add_file(hash, data->valid, error)
                              : add_list(hash, data->valid, &labels, error);
    free_labels(&labels);
    return status;
}

/* What is held out where the data cfg of a folder does not say. */
static char *default_valid(const char *folder)
{
    char path[LINE];
    snprintf(path, sizeof(path), "%s/test_batch.bin", folder);
    return access(path, F_OK) == 0 ? strdup(path) : NULL;
}

static opt_status make_digest(data_cfg *data, opt_error *error)
{
    XXH3_state_t *hash = XXH3_createState();
    if (!hash) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", data->path);
    XXH3_64bits_reset(hash);
    opt_status status = add_data(data, hash, error);
    snprintf(data->digest, sizeof(data->digest), "%016llx",
             (unsigned long long)XXH3_64bits_digest(hash));
    XXH3_freeState(hash);
    return status;
}

opt_status data_cfg_read(data_cfg *data, const char *path, opt_error *error)
{
    struct stat there;
    *data = (data_cfg){.path = strdup(path), .text = text_read(path, error)};
    if (!data->text) return error ? error->status : OPT_NO_FILE;
    data->train = value_of(data->text, "train");
    data->valid = value_of(data->text, "valid");
    if (!data->train)
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: has no train=, expected a list of images or a folder "
                        "of data_batch_*.bin",
                        path);
    if (stat(data->train, &there))
        return opt_fail(error, OPT_NO_FILE, "%s: train=%s: %s", path, data->train, strerror(errno));
    data->folder = S_ISDIR(there.st_mode);
    if (data->folder && !data->valid) data->valid = default_valid(data->train);
    return make_digest(data, error);
}

int data_cfg_smooths(const data_cfg *data)
{
    char *given = data->folder ? value_of(data->text, "label_smoothing") : NULL;
    int smooths = data->folder && (!given || strtod(given, NULL) != 0);
    free(given);
    return smooths;
}

opt_status data_cfg_use_lists(data_cfg *data, const char *train, const char *valid,
                              opt_error *error)
{
    char *one = strdup(train), *other = valid ? strdup(valid) : NULL;
    if (!one || (valid && !other)) {
        free(one);
        free(other);
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for its lists", data->path);
    }
    free(data->train);
    data->train = one;
    if (valid) {
        free(data->valid);
        data->valid = other;
    }
    data->other_lists = 1;
    return make_digest(data, error);
}

void data_cfg_free(data_cfg *data)
{
    free(data->path);
    free(data->text);
    free(data->train);
    free(data->valid);
    *data = (data_cfg){0};
}

char *data_cfg_text(const data_cfg *data, const data_run *run)
{
    char *text = NULL, line[LINE];
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    for (const char *at = data->text; *at;) {
        const char *start = at;
        text_line(&at, line, sizeof(line));
        if (has_one_of(line, replaced)) continue;
        if (data->other_lists && has_key(line, "train")) {
            fprintf(out, "train=%s\n", data->train);
        } else if (data->other_lists && has_key(line, "valid")) {
            fprintf(out, "valid=%s\n", data->valid);
        } else {
            fwrite(start, 1, (size_t)(at - start), out);
            if (at[-1] != '\n') fputc('\n', out);
        }
    }
    fprintf(out, "backup=%s\nsave_every=%ld\n", run->backup, run->save_every);
    if (run->valid_every)
        fprintf(out, "valid_every=%ld\nvalid_images=%ld\nvalid_log=%s\n", run->valid_every,
                run->valid_images, run->valid_log);
    int failed = ferror(out);
    if (fclose(out) == 0 && !failed) return text;
    free(text);
    return NULL;
}
