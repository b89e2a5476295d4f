/* Pictures of bars: the speed of each optimizer, and how a step's time is split at each batch
 * size. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/cells.h"
#include "compare/gnuplot.h"
#include "compare/pictures.h"
#include "compare/step_times.h"

/* --- horizontal bars: the first optimizer on top --- */

static void put_names(FILE *f, const cmp_statistics *all, const int *places, int n)
{
    char name[GNUPLOT_LABEL];
    size_t longest = 8;
    fprintf(f, "unset logscale\nunset ylabel\nset yrange [%g:-0.6] noextend\nset ytics (", n - 0.4);
    for (int i = 0; i < n; i++) {
        if (i) fputs(", ", f);
        gnuplot_put_text(f, gnuplot_shorten(all->optimizers[places[i]].optimizer, name));
        fprintf(f, " %d", i);
        if (strlen(name) > longest) longest = strlen(name);
    }
    fprintf(f, ")\nset tics scale 0.5\nset lmargin %zu\n", longest + 2);
}

static void put_bar(FILE *f, double from, double to, int row, const char *colour, double opacity)
{
    fprintf(f,
            "set object rectangle from first %.9g, first %g to first %.9g, first %g fc rgb '#%s' "
            "fs transparent solid %g noborder front\n",
            from, row - 0.32, to, row + 0.32, colour, opacity);
}

static void put_bar_label(FILE *f, double at, int row, const char *text)
{
    fputs("set label ", f);
    gnuplot_put_text(f, text);
    fprintf(f, " at first %.9g, first %d offset character 0.7,0 left front\n", at, row);
}

/* From 0 past the longest bar, with room for its label; a few round ticks. */
static void put_bar_axis(FILE *f, double longest, double room)
{
    if (!(longest > 0)) longest = 1;
    double unit = pow(10, floor(log10(longest / 4))), step = longest / 4 / unit;
    step = unit * (step <= 1 ? 1 : step <= 2 ? 2 : step <= 5 ? 5 : 10);
    fprintf(f, "set xrange [0:%.9g] noextend\nset xtics 0,%.9g,%.9g\n", room * longest, step,
            longest * 1.02);
}

/* --- speed.png --- */

typedef struct {
    const char *title, *format;
    int in_seconds;
} speed_panel;

static void put_speed_panel(FILE *f, const comparison *c, const cmp_statistics *all,
                            const int *places, int n, const speed_panel *p)
{
    double longest = 0;
    for (int i = 0; i < n; i++) {
        const cmp_summary *s = &all->optimizers[places[i]];
        double value = p->in_seconds ? s->seconds : s->steps;
        if (isfinite(value)) longest = fmax(longest, value);
    }
    put_names(f, all, places, n);
    for (int i = 0; i < n; i++) {
        const cmp_summary *s = &all->optimizers[places[i]];
        double value = p->in_seconds ? s->seconds : s->steps;
        double speedup = p->in_seconds ? s->speedup_seconds : s->speedup;
        char number[64], text[128];
        if (isinf(value)) {
            snprintf(text, sizeof(text), "not in %ld batches", c->batches);
            put_bar_label(f, 0, i, text);
            continue;
        }
        snprintf(number, sizeof(number), p->format, value);
        snprintf(text, sizeof(text), "%s  (%.2fx)", number, speedup);
        put_bar(f, 0, value, i, gnuplot_colour(all, places[i]), 0.85);
        put_bar_label(f, value, i, text);
    }
    fputs("set title ", f);
    gnuplot_put_text(f, p->title);
    fputs(" font 'DejaVu Sans,16'\n", f);
    put_bar_axis(f, longest, 1.3);
    fputs("plot NaN notitle\nunset object\nunset label\n", f);
}

picture_result picture_draw_speed(FILE *f, const comparison *c, const cmp_statistics *all)
{
    int *places = malloc(sizeof(*places) * ((size_t)all->n + 1)), n = 0;
    char title[CMP_NOTE], network[GNUPLOT_LABEL], data[GNUPLOT_LABEL];
    if (!places) return PICTURE_NO_MEMORY;
    for (int i = 0; i < all->n; i++)
        if (!isnan(all->optimizers[i].steps)) places[n++] = i;
    if (n < 2 || isnan(all->adam_loss)) {
        free(places);
        return PICTURE_EMPTY;
    }
    gnuplot_put_style(f, 1200, 260 + 100 * n);
    snprintf(title, sizeof(title), "%s on %s: until the training loss is %.3g, where adam ends",
             gnuplot_shorten(c->network, network), gnuplot_shorten(c->data, data), all->adam_loss);
    fputs("set multiplot layout 2,1 title ", f);
    gnuplot_put_text(f, title);
    fputs(" font 'DejaVu Sans,18'\nset key off\nset border 1\nunset grid\nset grid xtics lt 1 lw 1 "
          "lc "
          "rgb '#E4E4E4'\n",
          f);
    put_speed_panel(f, c, all, places, n,
                    &(speed_panel){"Batches (and speedup over adam)", "%.0f", 0});
    put_speed_panel(f, c, all, places, n,
                    &(speed_panel){"Seconds (and speedup over adam)", "%.3g s", 1});
    fputs("unset multiplot\n", f);
    free(places);
    return PICTURE_DRAWN;
}

/* --- times.png --- */

static void put_times_against_size(FILE *f, const comparison *c, const cmp_statistics *all)
{
    int relative = 0, first = cmp_next_batch_size(c, 0), last = first;
    double low = INFINITY, high = -INFINITY;
    for (int b = first; b; b = cmp_next_batch_size(c, b)) {
        relative |= cmp_find_time(c, "sgd", b) != NULL;
        last = b;
    }
    for (int i = 0; i < all->n; i++) {
        fprintf(f, "$s%d << EOD\n", i);
        for (int b = first; b; b = cmp_next_batch_size(c, b)) {
            double y = cmp_step_ms(c, all->optimizers[i].optimizer, b, relative);
            if (isnan(y)) continue;
            fprintf(f, "%d %.9g\n", b, y);
            low = fmin(low, y);
            high = fmax(high, y);
        }
        fputs("EOD\n", f);
    }
    gnuplot_axis axis = gnuplot_make_axis(relative ? fmin(low, 0.95) : low, high);
    gnuplot_put_y_axis(f, &axis);
    fprintf(
        f,
        "set logscale x 2\nset xrange [%g:%g]\nset xtics auto\nset format x '%%.0f'\n"
        "set xlabel 'images in a batch'\nset ylabel '%s'\nset title '%s' font 'DejaVu Sans,16'\n"
        "set key on below horizontal nobox noopaque\nset bmargin 6\nplot NaN notitle",
        first / 1.2, last * 1.2, relative ? "time of a step / sgd''s" : "time of a step (ms)",
        relative ? "Time of a step relative to sgd" : "Time of a step");
    char name[GNUPLOT_LABEL];
    for (int i = 0; i < all->n; i++) {
        fprintf(f, ", \\\n$s%d using 1:2 with linespoints pt 7 ps 1 lw 3 lc rgb '#%s' title ", i,
                gnuplot_colour(all, i));
        gnuplot_put_text(f, gnuplot_shorten(all->optimizers[i].optimizer, name));
    }
    fputc('\n', f);
}

static void put_split(FILE *f, const comparison *c, const cmp_statistics *all, const int *places,
                      int n, int batch_size)
{
    double longest = 0;
    put_names(f, all, places, n);
    for (int i = 0; i < n; i++) {
        const cmp_step_time *time =
            cmp_find_time(c, all->optimizers[places[i]].optimizer, batch_size);
        double update = 1e3 * time->update_seconds, total = 1e3 * time->batch_seconds;
        char text[128];
        put_bar(f, 0, total - update, i, "999999", 0.6);
        put_bar(f, total - update, total, i, gnuplot_colour(all, places[i]), 0.9);
        snprintf(text, sizeof(text), "%.3g ms = %.3g + %.3g  (%.1f %%)", total, total - update,
                 update, 100 * update / total);
        put_bar_label(f, total, i, text);
        longest = fmax(longest, total);
    }
    fprintf(
        f,
        "set title 'A step of %d images: network (grey) + optimizer (coloured), milliseconds' "
        "font 'DejaVu Sans,16'\nset key off\nset bmargin\nset xlabel 'milliseconds'\nset format x '%%g'\n"
        "unset grid\nset grid xtics lt 1 lw 1 lc rgb '#E4E4E4'\nset border 1\n",
        batch_size);
    put_bar_axis(f, longest, 1.6);
    fputs("plot NaN notitle\n", f);
}

static picture_result draw_times(FILE *f, const comparison *c, const cmp_statistics *all)
{
    int *places = malloc(sizeof(*places) * ((size_t)all->n + 1)), n = 0, last = 0, sizes = 0;
    char title[CMP_NOTE], network[GNUPLOT_LABEL];
    if (!places) return PICTURE_NO_MEMORY;
    for (int b = cmp_next_batch_size(c, 0); b; b = cmp_next_batch_size(c, b)) {
        last = b;
        sizes++;
    }
    for (int i = 0; i < all->n; i++)
        if (cmp_find_time(c, all->optimizers[i].optimizer, last)) places[n++] = i;
    if (n == 0) {
        free(places);
        return PICTURE_EMPTY;
    }
    int below = 170 + 55 * n, height = sizes > 1 ? 640 + below : below + 60;
    gnuplot_put_style(f, 1200, height);
    snprintf(title, sizeof(title), "%s: what a step costs", gnuplot_shorten(c->network, network));
    fputs("set multiplot title ", f);
    gnuplot_put_text(f, title);
    fputs(" font 'DejaVu Sans,18'\n", f);
    if (sizes > 1) {
        fprintf(f, "set origin 0,%g\nset size 1,%g\n", (double)below / height, 590. / height);
        put_times_against_size(f, c, all);
    }
    fprintf(f, "set origin 0,0\nset size 1,%g\n", (double)below / height);
    put_split(f, c, all, places, n, last);
    fputs("unset multiplot\n", f);
    free(places);
    return PICTURE_DRAWN;
}

picture_result picture_draw_times(FILE *f, const comparison *c, const cmp_statistics *all)
{
    cmp_statistics timed;
    if (cmp_list_timed(c, all, &timed, NULL) != OPT_OK) return PICTURE_NO_MEMORY;
    picture_result result = draw_times(f, c, &timed);
    cmp_free_statistics(&timed);
    return result;
}
