/* From the name of a corpus to its rows and their weights, and the image sets that these need,
 * loaded once. */
#include "problems/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "problems/corpus.h"

struct corpus_source {
    problem_source source;
    source_row *rows;
    char *name;
    image_data images;
};

/* Whether a comma-separated list names it. A group's name may hold ", ": it counts as one word. */
static int is_listed(const char *list, const char *group)
{
    const size_t length = strlen(group);
    for (const char *at = list; (at = strstr(at, group)); at++) {
        const int starts = at == list || at[-1] == ',';
        if (starts && (at[length] == 0 || (at[length] == ',' && at[length + 1] != ' '))) return 1;
    }
    return 0;
}

/* Whether row i is the first of its group in the corpus. */
static int is_first_of_group(unsigned corpus, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (corpus_table[k].corpora & corpus &&
            strcmp(corpus_table[k].group, corpus_table[i].group) == 0)
            return 0;
    return 1;
}

static opt_status take_rows(corpus_source *s, unsigned corpus, const char *groups, opt_error *error)
{
    size_t found = 0; /* characters of the list that groups were found for */
    int n = 0;
    source_row *rows = calloc(corpus_table_rows, sizeof *rows);
    if (!rows) return opt_fail(error, OPT_NO_MEMORY, "no memory for corpus %s", s->name);
    for (size_t i = 0; i < corpus_table_rows; i++) {
        const corpus_row *row = &corpus_table[i];
        if (!(row->corpora & corpus) || (groups && !is_listed(groups, row->group))) continue;
        rows[n++] = (source_row){row->group, row->name, row->weight, &row->spec};
        if (is_first_of_group(corpus, i)) found += strlen(row->group) + 1;
    }
    opt_status status = corpus_source_add(s, rows, n, 0.5, error);
    free(rows);
    if (status || !groups || found == strlen(groups) + 1) return status;
    return opt_fail(error, OPT_BAD_OPTION,
                    "corpus %.100s names a group that the corpus does not have", s->name);
}

/* "folder/name" or "folder/name.gz", whichever is there; neither: the first, for the message. */
static void image_path(char path[600], const char *folder, int length, const char *name)
{
    snprintf(path, 600, "%.*s/%s.gz", length, folder, name);
    if (access(path, F_OK) != 0) snprintf(path, 600, "%.*s/%s", length, folder, name);
}

static opt_status load_images(corpus_source *s, const char *folders, opt_error *error)
{
    opt_status status = OPT_OK;
    while (*folders && !status) {
        char images[600], labels[600];
        const int length = (int)strcspn(folders, ",");
        image_path(images, folders, length, "train-images-idx3-ubyte");
        image_path(labels, folders, length, "train-labels-idx1-ubyte");
        status = images_load(&s->images, images, labels, error);
        folders += length + (folders[length] == ',');
    }
    return status;
}

/* One part of a name: "wide", "wide:bowl,mlp" or "none", which it changes. Says in *images whether
 * its rows need them. */
static opt_status take_part(corpus_source *s, char *part, bool *images, opt_error *error)
{
    char *groups = strchr(part, ':');
    if (groups) *groups++ = 0;
    if (!groups && strcmp(part, "none") == 0) return OPT_OK;
    const unsigned corpus = corpus_find(part, error);
    if (!corpus) return OPT_BAD_OPTION;
    if (corpus_needs_images(corpus)) *images = true;
    return take_rows(s, corpus, groups, error);
}

corpus_source *corpus_source_open(const char *name, const char *folders, opt_error *error)
{
    corpus_source *s = calloc(1, sizeof *s);
    bool images = false;
    if (s) s->name = strdup(name);
    char *parts = strdup(name), *rest = parts;
    if (!s || !s->name || !parts) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for corpus %.60s", name);
        goto fail;
    }
    s->source.name = s->name;
    s->source.images = &s->images;
    for (char *part; (part = strsep(&rest, "+"));)
        if (take_part(s, part, &images, error)) goto fail;
    if (images && load_images(s, folders, error)) goto fail;
    free(parts);
    return s;
fail:
    free(parts);
    corpus_source_close(s);
    return NULL;
}

opt_status corpus_source_add(corpus_source *s, const source_row *rows, int n, double share,
                             opt_error *error)
{
    const int before = s->source.n;
    double of_corpus = 0, added = 0;
    source_row *all = realloc(s->rows, (size_t)(before + n + 1) * sizeof *all);
    if (!all) return opt_fail(error, OPT_NO_MEMORY, "no memory for %d rows", before + n);
    s->source.rows = s->rows = all;
    for (int i = 0; i < before; i++) of_corpus += all[i].weight;
    for (int i = 0; i < n; i++) added += rows[i].weight;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < before + i; k++)
            if (strcmp(all[k].name, rows[i].name) == 0)
                return opt_fail(error, OPT_BAD_OPTION, "%s: given twice", rows[i].name);
        all[before + i] = rows[i];
        if (before) all[before + i].weight *= of_corpus / added * (share / (1 - share));
    }
    s->source.n = before + n;
    return OPT_OK;
}

void corpus_source_close(corpus_source *s)
{
    if (!s) return;
    images_free(&s->images);
    free(s->rows);
    free(s->name);
    free(s);
}

const problem_source *corpus_source_rows(const corpus_source *s) { return &s->source; }
