/* Pictures of lines: loss against batch and time, and the final loss against the learning rate.
 * Data blocks first, then a line of `plot` for each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/cells.h"
#include "compare/gnuplot.h"
#include "compare/pictures.h"

/* --- ranges --- */

typedef struct {
    double low, high;
} extent;

static const extent nothing = {INFINITY, -INFINITY};

static void include(extent *e, double value)
{
    if (!isfinite(value)) return;
    e->low = fmin(e->low, value);
    e->high = fmax(e->high, value);
}

/* The mean loss of the first batches: nobody needs to see what lies far above. */
static double find_initial_loss(const comparison *c)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < c->n_runs; i++)
        if (c->runs[i].outcome != CMP_UNFINISHED && isfinite(c->runs[i].first_loss)) {
            sum += c->runs[i].first_loss;
            n++;
        }
    return n ? sum / n : INFINITY;
}

/* --- a line: x, mean, lowest, highest --- */

typedef struct {
    int n;
    double (*point)[4];
} line;

static int add_point(line *l, double x, const cmp_spread *y)
{
    if ((l->n & (l->n - 1)) == 0) {
        void *more = realloc(l->point, sizeof(*l->point) * 2 * (size_t)(l->n ? l->n : 1));
        if (!more) return 0;
        l->point = more;
    }
    memcpy(l->point[l->n++], (double[4]){x, y->mean, y->low, y->high}, sizeof(*l->point));
    return 1;
}

static void put_block(FILE *f, const char *name, int index, const line *l)
{
    fprintf(f, "$%s%d << EOD\n", name, index);
    for (int i = 0; i < l->n; i++) {
        const double *p = l->point[i];
        if (isfinite(p[1]) && isfinite(p[2]) && isfinite(p[3]))
            fprintf(f, "%.9g %.9g %.9g %.9g\n", p[0], p[1], p[2], p[3]);
        else
            fputs("\n", f); /* interrupts the line */
    }
    fputs("EOD\n", f);
}

static double between(double a, double b, double share, int logarithmic)
{
    return logarithmic ? exp((1 - share) * log(a) + share * log(b)) : (1 - share) * a + share * b;
}

/* x, lowest, highest, cut at the top of the axis: gnuplot would bend a band that leaves it, so
 * there the points lie close. */
static void put_band(FILE *f, const char *name, int index, const line *l, const gnuplot_axis *y)
{
    enum { PARTS = 32 };
    fprintf(f, "$%s%d_band << EOD\n", name, index);
    for (int i = 0; i < l->n; i++) {
        const double *p = l->point[i], *q = i + 1 < l->n ? l->point[i + 1] : p;
        if (!isfinite(p[1]) || !isfinite(p[2]) || !isfinite(p[3])) {
            fputs("\n", f);
            continue;
        }
        int leaves = isfinite(q[2]) && isfinite(q[3]) && fmax(p[3], q[3]) > y->high &&
                     (!y->logarithmic || fmin(p[2], q[2]) > 0);
        for (int k = 0; k < (leaves ? PARTS : 1); k++) {
            double share = (double)k / PARTS;
            double low = leaves ? between(p[2], q[2], share, y->logarithmic) : p[2];
            double high = leaves ? between(p[3], q[3], share, y->logarithmic) : p[3];
            fprintf(f, "%.9g %.9g %.9g\n", p[0] + share * (q[0] - p[0]), fmin(low, y->high),
                    fmin(high, y->high));
        }
    }
    fputs("EOD\n", f);
}

/* Down to the lowest, since gnuplot would bend a band that leaves the axis; up only to what comes
 * from a tenth of the line on and is not above the start. */
static void include_line(extent *e, const line *l, double initial)
{
    int early = l->n / 10 > 1 ? l->n / 10 : l->n > 1;
    for (int i = 0; i < l->n; i++) {
        const double *p = l->point[i];
        if (isfinite(p[1]) && isfinite(p[2]) && isfinite(p[3])) e->low = fmin(e->low, p[2]);
        if (i < early || !(p[1] <= 1.05 * initial)) continue;
        include(e, p[1]);
        include(e, p[2]);
        include(e, fmin(p[3], 1.05 * initial));
    }
}

static int has_points(const line *l)
{
    int n = 0;
    for (int i = 0; i < l->n; i++) n += isfinite(l->point[i][1]);
    return n > 1;
}

/* --- curves.png --- */

static int make_training_line(const comparison *c, const cmp_summary *s, line *l)
{
    cmp_curve curve;
    if (!cmp_make_curve(c, s->optimizer, s->rates[s->best].rate, &curve)) return 1;
    for (int i = 0; i < curve.n; i++) {
        cmp_spread y = {curve.mean[i], curve.low[i], curve.high[i]};
        if (!add_point(l, curve.batch[i], &y)) return 0;
    }
    return 1;
}

static int is_at_best(const cmp_run *run, const cmp_summary *s)
{
    return run->outcome != CMP_UNFINISHED && strcmp(run->optimizer, s->optimizer) == 0 &&
           cmp_same_rate(run->rate, s->rates[s->best].rate) && run->n_held_out > 0;
}

static double held_out_at(const cmp_run *run, long batch)
{
    for (int i = 0; i < run->n_held_out; i++)
        if (run->held_out[i].batch == batch && !isnan(run->held_out[i].loss))
            return run->held_out[i].loss;
    return INFINITY;
}

/* At the batches of the seed that was measured most often; a seed that lacks one is infinite
 * there. */
static int make_held_out_line(const comparison *c, const cmp_summary *s, line *l)
{
    const cmp_run *most = NULL;
    for (int r = 0; r < c->n_runs; r++)
        if (is_at_best(&c->runs[r], s) && c->runs[r].n_held_out > (most ? most->n_held_out : 0))
            most = &c->runs[r];
    for (int i = 0; most && i < most->n_held_out; i++) {
        cmp_spread y = {0, INFINITY, -INFINITY};
        int seeds = 0;
        for (int r = 0; r < c->n_runs; r++) {
            if (!is_at_best(&c->runs[r], s)) continue;
            double loss = held_out_at(&c->runs[r], most->held_out[i].batch);
            y.mean += loss;
            y.low = fmin(y.low, loss);
            y.high = fmax(y.high, loss);
            seeds++;
        }
        y.mean /= seeds;
        if (!add_point(l, (double)most->held_out[i].batch, &y)) return 0;
    }
    return 1;
}

static void put_label(FILE *f, const cmp_summary *s)
{
    char rate[24], label[160], name[GNUPLOT_LABEL];
    const cmp_rate_result *best = &s->rates[s->best];
    cmp_rate_name(best->rate, rate);
    snprintf(label, sizeof(label), "%s at %s%s%s%s", gnuplot_shorten(s->optimizer, name),
             best->rate == 0 ? "its " : "", rate, best->rate == 0 ? " rate" : "",
             best->diverged ? " (a seed diverged)" : "");
    gnuplot_put_text(f, label);
}

typedef struct {
    const char *name, *title, *y_label, *style;
    line *lines;
    double initial;
    int labelled;
} panel;

static void put_panel(FILE *f, const cmp_statistics *all, const panel *p)
{
    extent e = nothing;
    for (int i = 0; i < all->n; i++) {
        put_block(f, p->name, i, &p->lines[i]);
        include_line(&e, &p->lines[i], p->initial);
    }
    int is_above = !(e.low <= e.high); /* all of it, above the start */
    for (int i = 0; i < all->n && is_above; i++) include_line(&e, &p->lines[i], INFINITY);
    gnuplot_axis axis = gnuplot_make_axis(e.low, e.high);
    for (int i = 0; i < all->n; i++) put_band(f, p->name, i, &p->lines[i], &axis);
    gnuplot_put_y_axis(f, &axis);
    fputs("set title ", f);
    gnuplot_put_text(f, p->title);
    fputs(" font 'DejaVu Sans,16'\nset ylabel ", f);
    gnuplot_put_text(f, p->y_label);
    fprintf(f, "\nset key %s\nplot NaN notitle", p->labelled ? "on" : "off");
    for (int i = all->n - 1; i >= 0; i--)
        if (has_points(&p->lines[i]))
            fprintf(
                f,
                ", \\\n$%s%d_band using 1:2:3 with filledcurves fc rgb '#%s' fs transparent solid "
                "0.18 noborder notitle",
                p->name, i, gnuplot_colour(all, i));
    /* The best is drawn last, on top, but named first: its sample comes from a line of nothing. */
    for (int i = 0; i < all->n; i++) {
        if (!has_points(&p->lines[i])) continue;
        fprintf(f, ", \\\nNaN with %s lw 3 lc rgb '#%s' title ", p->style, gnuplot_colour(all, i));
        put_label(f, &all->optimizers[i]);
    }
    for (int i = all->n - 1; i >= 0; i--)
        if (has_points(&p->lines[i]))
            fprintf(f, ", \\\n$%s%d using 1:2 with %s lw 3 lc rgb '#%s' notitle", p->name, i,
                    p->style, gnuplot_colour(all, i));
    fputc('\n', f);
}

static void put_curves(FILE *f, const comparison *c, const cmp_statistics *all, line *training,
                       line *held_out)
{
    char title[CMP_NOTE], y_label[200], network[GNUPLOT_LABEL], data[GNUPLOT_LABEL];
    double initial = find_initial_loss(c);
    int panels = 1;
    for (int i = 0; i < all->n; i++)
        if (has_points(&held_out[i])) panels = 2;
    gnuplot_put_style(f, 1200, panels == 2 ? 1240 : 700);
    snprintf(title, sizeof(title), "%s on %s: each optimizer at its best rate",
             gnuplot_shorten(c->network, network), gnuplot_shorten(c->data, data));
    fprintf(f, "set multiplot layout %d,1 title ", panels);
    gnuplot_put_text(f, title);
    fprintf(f, " font 'DejaVu Sans,18'\nset xlabel 'training batches'\nset xrange [0:%ld]\n",
            c->batches);
    snprintf(y_label, sizeof(y_label), "training loss (%s)", cmp_loss_unit(c));
    put_panel(f, all,
              &(panel){"t", "Training loss (line: mean of the seeds; band: lowest to highest seed)",
                       y_label, "lines", training, initial, 1});
    if (panels == 2) {
        snprintf(y_label, sizeof(y_label), "held-out loss (%s)", cmp_loss_unit(c));
        put_panel(f, all,
                  &(panel){"h", "Loss on held-out images", y_label, "linespoints pt 7 ps 0.9",
                           held_out, initial, 0});
    }
    fputs("unset multiplot\n", f);
}

picture_result picture_draw_curves(FILE *f, const comparison *c, const cmp_statistics *all)
{
    line *lines = calloc(2 * (size_t)all->n + 1, sizeof(*lines));
    int made = lines != NULL, drawable = 0;
    for (int i = 0; i < all->n && made; i++) {
        made = make_training_line(c, &all->optimizers[i], &lines[i]) &&
               make_held_out_line(c, &all->optimizers[i], &lines[all->n + i]);
        drawable |= has_points(&lines[i]);
    }
    if (made && drawable) put_curves(f, c, all, lines, lines + all->n);
    for (int i = 0; lines && i < 2 * all->n; i++) free(lines[i].point);
    free(lines);
    return !made ? PICTURE_NO_MEMORY : drawable ? PICTURE_DRAWN : PICTURE_EMPTY;
}

/* --- rates.png --- */

static int make_rate_line(const cmp_summary *s, line *l)
{
    for (int r = 0; r < s->n_rates; r++)
        if (s->rates[r].rate > 0 && !add_point(l, s->rates[r].rate, &s->rates[r].score)) return 0;
    return 1;
}

static void put_mark(FILE *f, const char *name, int index, const cmp_rate_result *a)
{
    fprintf(f, "$%s%d << EOD\n", name, index);
    if (a && a->rate > 0 && isfinite(a->score.mean))
        fprintf(f, "%.9g %.9g\n", a->rate, a->score.mean);
    fputs("EOD\n", f);
}

/* height: of the crosses of rates at which a seed diverged */
static void put_rate_blocks(FILE *f, const cmp_summary *s, int index, double height)
{
    fprintf(f, "$x%d << EOD\n", index);
    for (int r = 0; r < s->n_rates; r++)
        if (s->rates[r].rate > 0 && !isfinite(s->rates[r].score.mean))
            fprintf(f, "%.9g %.9g\n", s->rates[r].rate, height);
    fputs("EOD\n", f);
    put_mark(f, "b", index, &s->rates[s->best]);
    put_mark(f, "d", index, s->at_default < 0 ? NULL : &s->rates[s->at_default]);
}

typedef struct {
    int finite, diverged, best, usual; /* how many rates above 0 there are to draw */
    const cmp_rate_result *own;        /* with a finite score; NULL */
} rate_marks;

static rate_marks count_marks(const cmp_summary *s)
{
    rate_marks m = {0};
    for (int r = 0; r < s->n_rates; r++) {
        const cmp_rate_result *a = &s->rates[r];
        int finite = isfinite(a->score.mean);
        if (a->rate == 0) {
            if (finite) m.own = a;
            continue;
        }
        m.finite += finite;
        m.diverged += !finite;
        m.best += finite && r == s->best;
        m.usual += finite && r == s->at_default;
    }
    return m;
}

static int has_line(const rate_marks *m) { return m->finite || (m->diverged && !m->own); }

static void put_rate_bands(FILE *f, const cmp_statistics *all, extent x)
{
    for (int i = all->n - 1; i >= 0; i--) {
        rate_marks m = count_marks(&all->optimizers[i]);
        const char *colour = gnuplot_colour(all, i);
        char with[128];
        snprintf(with, sizeof(with),
                 "with filledcurves fc rgb '#%s' fs transparent solid 0.18 noborder", colour);
        if (m.own)
            fprintf(f, ", \\\n[%.9g:%.9g] '+' using 1:(%.9g):(%.9g) %s notitle", x.low, x.high,
                    m.own->score.low, m.own->score.high, with);
        if (m.finite) fprintf(f, ", \\\n$r%d_band using 1:2:3 %s notitle", i, with);
    }
}

static void put_rate_names(FILE *f, const cmp_statistics *all)
{
    char label[160], name[GNUPLOT_LABEL];
    for (int i = 0; i < all->n; i++) {
        const cmp_summary *s = &all->optimizers[i];
        gnuplot_shorten(s->optimizer, name);
        rate_marks m = count_marks(s);
        const char *colour = gnuplot_colour(all, i);
        snprintf(label, sizeof(label), "%s at its own rate", name);
        if (m.own) {
            fprintf(f, ", \\\nNaN with lines lw 3 dt 2 lc rgb '#%s' title ", colour);
            gnuplot_put_text(f, label);
        }
        if (has_line(&m)) {
            fprintf(f, ", \\\nNaN with linespoints pt 7 ps 0.8 lw 3 lc rgb '#%s' title ", colour);
            gnuplot_put_text(f, name);
        }
    }
}

static void put_rate_lines(FILE *f, const cmp_statistics *all)
{
    for (int i = all->n - 1; i >= 0; i--) {
        rate_marks m = count_marks(&all->optimizers[i]);
        const char *colour = gnuplot_colour(all, i);
        if (m.own)
            fprintf(f, ", \\\n%.9g with lines lw 3 dt 2 lc rgb '#%s' notitle", m.own->score.mean,
                    colour);
        if (m.finite)
            fprintf(f,
                    ", \\\n$r%d using 1:2 with linespoints pt 7 ps 0.8 lw 3 lc rgb '#%s' notitle",
                    i, colour);
        if (m.diverged)
            fprintf(f,
                    ", \\\n$x%d using 1:2 axes x1y2 with points pt 2 ps 1.4 lw 3 lc rgb '#%s' "
                    "notitle",
                    i, colour);
        if (m.best)
            fprintf(f, ", \\\n$b%d using 1:2 with points pt 7 ps 2 lc rgb '#%s' notitle", i,
                    colour);
        if (m.usual)
            fprintf(f, ", \\\n$d%d using 1:2 with points pt 6 ps 3 lw 2 lc rgb '#%s' notitle", i,
                    colour);
    }
}

static void put_rate_legend(FILE *f, const rate_marks *any)
{
    static const char *const grey = "lc rgb '#666666'";
    if (any->best) fprintf(f, ", \\\nNaN with points pt 7 ps 2 %s title 'best rate'", grey);
    if (any->usual)
        fprintf(f, ", \\\nNaN with points pt 6 ps 3 lw 2 %s title 'default rate'", grey);
    if (any->diverged)
        fprintf(f, ", \\\nNaN with points pt 2 ps 1.4 lw 3 %s title 'a seed diverged'", grey);
}

typedef struct {
    extent x, y;
    rate_marks any;
    int entries, longest; /* of the legend: how many, and the bytes of the longest */
} rate_view;

static int max_length(int longest, const char *optimizer, int own)
{
    char name[GNUPLOT_LABEL];
    int length = (int)strlen(gnuplot_shorten(optimizer, name)) + (own ? 16 : 0);
    return length > longest ? length : longest;
}

static rate_view find_rate_view(const cmp_statistics *all, double initial)
{
    rate_view v = {.x = nothing, .y = nothing};
    for (int i = 0; i < all->n; i++) {
        const cmp_summary *s = &all->optimizers[i];
        rate_marks m = count_marks(s);
        v.any.finite += m.finite;
        v.any.diverged += m.diverged;
        v.any.best += m.best;
        v.any.usual += m.usual;
        v.entries += (m.own != NULL) + has_line(&m);
        v.longest = max_length(v.longest, s->optimizer, m.own != NULL);
        for (int r = 0; r < s->n_rates; r++) {
            const cmp_spread *score = &s->rates[r].score;
            if (s->rates[r].rate > 0) include(&v.x, s->rates[r].rate);
            if (!isfinite(score->mean)) continue;
            include(&v.y, score->low);
            include(&v.y, fmin(score->high, fmax(score->low, 1.1 * initial)));
        }
    }
    v.entries += (v.any.best > 0) + (v.any.usual > 0) + (v.any.diverged > 0);
    return v;
}

static void put_rates(FILE *f, const comparison *c, const cmp_statistics *all, const line *lines,
                      const rate_view *v)
{
    char text[CMP_NOTE], network[GNUPLOT_LABEL], data[GNUPLOT_LABEL];
    gnuplot_axis axis = gnuplot_make_axis(v->y.low, v->y.high);
    for (int i = 0; i < all->n; i++) put_band(f, "r", i, &lines[i], &axis);
    /* Crosses have a strip of their own at the top, a row for each optimizer, and an axis of their
     * own from 0 to 1, whatever the scale of the first. */
    double strip = v->any.diverged ? 0.036 * all->n + 0.03 : 0;
    if (axis.logarithmic)
        axis.high *= pow(axis.high / axis.low, strip / (1 - fmin(strip, 0.5)));
    else
        axis.high += strip / (1 - fmin(strip, 0.5)) * (axis.high - axis.low);
    int rows = v->longest <= 20 ? (v->entries + 1) / 2 : v->entries;
    gnuplot_put_style(f, 1200, 700 + 30 * rows);
    for (int i = 0; i < all->n; i++) {
        put_block(f, "r", i, &lines[i]);
        put_rate_blocks(f, &all->optimizers[i], i, 0.98 - 0.036 * i);
    }
    gnuplot_put_rate_axis(f, v->x.low, v->x.high);
    gnuplot_put_y_axis(f, &axis);
    snprintf(text, sizeof(text), "%s on %s: loss after %ld batches against learning rate",
             gnuplot_shorten(c->network, network), gnuplot_shorten(c->data, data), c->batches);
    fputs("set title ", f);
    gnuplot_put_text(f, text);
    fputs(" font 'DejaVu Sans,18'\nset xlabel 'learning rate'\nset ylabel ", f);
    snprintf(text, sizeof(text), "%s loss at the end (%s)",
             all->has_held_out ? "held-out" : "training", cmp_loss_unit(c));
    gnuplot_put_text(f, text);
    fprintf(f,
            "\nset key outside bottom center horizontal maxrows %d samplen 4 nobox noopaque\n"
            "set bmargin %g\nset y2range [0:1]\nplot NaN notitle",
            rows, 4.5 + 1.3 * rows);
    put_rate_bands(f, all, (extent){v->x.low / 1.5, v->x.high * 1.5});
    put_rate_names(f, all);
    put_rate_legend(f, &v->any);
    put_rate_lines(f, all);
    fputc('\n', f);
}

picture_result picture_draw_rates(FILE *f, const comparison *c, const cmp_statistics *all)
{
    rate_view v = find_rate_view(all, find_initial_loss(c));
    if (!(v.x.high > v.x.low) || !(v.y.low <= v.y.high)) return PICTURE_EMPTY;
    line *lines = calloc((size_t)all->n + 1, sizeof(*lines));
    int made = lines != NULL;
    for (int i = 0; i < all->n && made; i++) made = make_rate_line(&all->optimizers[i], &lines[i]);
    if (made) put_rates(f, c, all, lines, &v);
    for (int i = 0; lines && i < all->n; i++) free(lines[i].point);
    free(lines);
    return made ? PICTURE_DRAWN : PICTURE_NO_MEMORY;
}
