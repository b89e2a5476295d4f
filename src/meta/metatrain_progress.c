/* The CSV and the line for people, smoothed by family of problems; a resumed one drops the rows
 * behind its start. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "files/atomic_file.h"
#include "meta/metatrain_private.h"

double metatrain_seconds(const metatrain *m)
{
    return m->seconds_before + clock_seconds() - m->progress.started;
}

static opt_status find_families(progress *p, const problem_source *source)
{
    p->family = calloc((size_t)source->n + 1, sizeof *p->family);
    p->of_row = calloc((size_t)source->n + 1, sizeof *p->of_row);
    p->family_sums = calloc((size_t)source->n + 1, 2 * sizeof *p->family_sums);
    p->family_loss = calloc((size_t)source->n + 1, sizeof *p->family_loss);
    if (!p->family || !p->of_row || !p->family_sums || !p->family_loss) return OPT_NO_MEMORY;
    for (int r = 0; r < source->n; r++) {
        int f = 0;
        while (f < p->families && strcmp(p->family[f], source->rows[r].family) != 0) f++;
        if (f == p->families) p->family[p->families++] = source->rows[r].family;
        p->of_row[r] = f;
    }
    return OPT_OK;
}

/* "dir/name.safetensors" -> "dir/name.csv". */
static char *csv_path(const char *path)
{
    static const char ending[] = ".safetensors";
    size_t length = strlen(path), cut = sizeof ending - 1;
    if (length > cut && strcmp(path + length - cut, ending) == 0) length -= cut;
    char *csv = malloc(length + sizeof ".csv");
    if (csv) sprintf(csv, "%.*s.csv", (int)length, path);
    return csv;
}

opt_status progress_init(progress *p, const problem_source *source, const char *path,
                         opt_error *error)
{
    *p = (progress){0};
    p->csv_path = csv_path(path);
    if (p->csv_path && find_families(p, source) == OPT_OK) return OPT_OK;
    return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for its progress", path);
}

void progress_release(progress *p)
{
    if (p->csv) fclose(p->csv);
    free(p->family);
    free(p->of_row);
    free(p->family_sums);
    free(p->family_loss);
    free(p->csv_path);
    *p = (progress){0};
}

/* A family's name may hold what CSV gives a meaning to. */
static void print_name(FILE *stream, const char *name)
{
    fputs(",\"", stream);
    for (; *name; name++) {
        if (*name == '"') fputc('"', stream);
        fputc(*name, stream);
    }
    fputc('"', stream);
}

static void write_header(const progress *p, FILE *stream)
{
    fputs("step,hours,loss,smoothed,end,episodes,diverged,norm,rate,steps_per_second", stream);
    for (int f = 0; f < p->families; f++) print_name(stream, p->family[f]);
    fputc('\n', stream);
}

/* The whole rows of the file that is there, up to `step`. */
static void copy_rows(FILE *from, FILE *to, uint64_t step)
{
    char *line = NULL;
    size_t room = 0;
    while (from && getline(&line, &room, from) > 0) {
        char *end;
        const unsigned long long row = strtoull(line, &end, 10);
        if (end != line && *end == ',' && row <= step && strchr(line, '\n')) fputs(line, to);
    }
    free(line);
}

typedef struct {
    const progress *p;
    uint64_t step;
} csv_start;

static opt_status write_start(FILE *stream, void *context, opt_error *error)
{
    const csv_start *start = context;
    FILE *before = fopen(start->p->csv_path, "r");
    (void)error;
    write_header(start->p, stream);
    copy_rows(before, stream, start->step);
    if (before) fclose(before);
    return OPT_OK;
}

opt_status progress_open_csv(progress *p, uint64_t step, opt_error *error)
{
    csv_start start = {p, step};
    const opt_status status = atomic_write(p->csv_path, write_start, &start, error);
    if (status) return status;
    p->csv = fopen(p->csv_path, "a");
    if (p->csv) return OPT_OK;
    return opt_fail(error, OPT_IO, "%s: cannot be opened: %s", p->csv_path, strerror(errno));
}

/* Forgets the old with `memory` steps. */
static void smooth(double *sum, double *weight, double value, double memory)
{
    *sum += (value - *sum) / memory;
    *weight += (1 - *weight) / memory;
}

void progress_add(progress *p, const population_result *results, int pairs, double clip,
                  const meta_step_report *step)
{
    enum { MEMORY = 100 };
    progress_sums *s = &p->sums;
    double loss = 0;
    for (int i = 0; i < pairs; i++)
        for (int side = 0; side < 2; side++) {
            const population_result *r = &results[i];
            double *family = p->family_sums + 2 * p->of_row[r->row];
            loss += r->loss[side] / (2 * pairs);
            smooth(&family[0], &family[1], r->loss[side], MEMORY);
            if (!r->done[side]) continue;
            s->ends++;
            s->end += fmin(r->end[side], clip);
            s->diverged += r->diverged[side];
        }
    s->loss += loss;
    s->losses++;
    smooth(&s->smoothed, &s->smoothed_weight, loss, MEMORY);
    s->norm = step->norm;
    s->rate = step->rate;
}

/* Until the nearer of the two ends. */
static double hours_left(const metatrain *m, double per_second)
{
    const metatrain_options *o = &m->options;
    double left = NAN;
    if (o->hours > 0) left = fmax(0, o->hours - metatrain_seconds(m) / 3600);
    if (o->outer_steps > 0 && per_second > 0)
        left = fmin(left, (o->outer_steps - (double)m->step) / per_second / 3600);
    return left;
}

static void write_row(FILE *csv, const metatrain_report *r)
{
    fprintf(csv, "%llu,%.5f,%.6g,%.6g,%.6g,%llu,%llu,%.6g,%.6g,%.4g", (unsigned long long)r->step,
            r->hours, r->loss, r->smoothed, r->end, (unsigned long long)r->episodes,
            (unsigned long long)r->diverged, r->norm, r->rate, r->per_second);
    for (int f = 0; f < r->families; f++)
        if (isfinite(r->family_loss[f]))
            fprintf(csv, ",%.6g", r->family_loss[f]);
        else
            fputc(',', csv);
    fputc('\n', csv);
}

opt_status progress_report(metatrain *m, const metatrain_callbacks *callbacks, opt_error *error)
{
    progress *p = &m->progress;
    progress_sums *s = &p->sums;
    const double now = clock_seconds();
    const double per_second = (double)(m->step - p->reported_step) / fmax(now - p->reported, 1e-9);
    for (int f = 0; f < p->families; f++) {
        const double *family = p->family_sums + 2 * f;
        p->family_loss[f] = family[1] > 0 ? family[0] / family[1] : NAN;
    }
    const metatrain_report report = {
        .step = m->step,
        .hours = metatrain_seconds(m) / 3600,
        .left = hours_left(m, per_second),
        .per_second = per_second,
        .loss = s->loss / s->losses,
        .smoothed = s->smoothed / s->smoothed_weight,
        .end = s->ends > 0 ? s->end / s->ends : NAN,
        .episodes = (uint64_t)s->ends,
        .diverged = (uint64_t)s->diverged,
        .norm = s->norm,
        .rate = s->rate,
        .families = p->families,
        .family = p->family,
        .family_loss = p->family_loss,
    };
    s->loss = s->losses = s->end = s->ends = s->diverged = 0;
    p->reported = now;
    p->reported_step = m->step;
    if (!p->csv) return OPT_OK;
    write_row(p->csv, &report);
    if (callbacks && callbacks->report) callbacks->report(callbacks->context, &report);
    if (fflush(p->csv) == 0 && !ferror(p->csv)) return OPT_OK;
    return opt_fail(error, OPT_IO, "%s: cannot be written: %s", p->csv_path, strerror(errno));
}
