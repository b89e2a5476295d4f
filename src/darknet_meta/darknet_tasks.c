/* Pairs of comma-separated cfgs and data cfgs, each opened once and added to a source as a row. */
#include "darknet_meta/darknet_tasks.h"

#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "darknet_meta/darknet_problem.h"
#include "meta/metatrain_options.h"

struct darknet_tasks {
    int n;
    darknet_task **task; /* [n] */
    source_row *rows;    /* [n] */
};

static int max_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* The next name of a list, to be freed; *list moves behind it. */
static char *next_name(const char **list)
{
    const size_t length = strcspn(*list, ",");
    char *name = strndup(*list, length);
    *list += length + ((*list)[length] == ',');
    return name;
}

static opt_status open_next(darknet_tasks *t, const char **cfgs, const char **data, int networks,
                            opt_error *error)
{
    char *cfg = next_name(cfgs), *of = next_name(data);
    opt_status status = OPT_OK;
    if (!cfg || !of)
        status = opt_fail(error, OPT_NO_MEMORY, "no memory for the names of networks");
    else if (!(t->task[t->n] = darknet_task_open(cfg, of, networks, error)))
        status = OPT_BAD_OPTION;
    free(cfg);
    free(of);
    if (!status) t->rows[t->n] = darknet_task_row(t->task[t->n]);
    t->n += !status;
    return status;
}

opt_status darknet_tasks_add(darknet_tasks **tasks, const char *cfgs, const char *data,
                             int networks, double share, corpus_source *source, opt_error *error)
{
    const size_t n = (size_t)metatrain_count(cfgs);
    darknet_tasks *t = *tasks = calloc(1, sizeof *t);
    if (t) t->task = calloc(n + 1, sizeof(*t->task));
    if (t) t->rows = calloc(n + 1, sizeof *t->rows);
    if (!t || !t->task || !t->rows)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for %zu networks", n);
    while (*cfgs) {
        const opt_status status =
            open_next(t, &cfgs, &data, networks > 0 ? networks : max_threads(), error);
        if (status) return status;
    }
    return t->n ? corpus_source_add(source, t->rows, t->n, share, error) : OPT_OK;
}

void darknet_tasks_free(darknet_tasks *t)
{
    if (!t) return;
    for (int i = 0; i < t->n; i++) darknet_task_free(t->task[i]);
    free(t->task);
    free(t->rows);
    free(t);
}
