/* report.html in one file: texts and tables as HTML, pictures inside it as base64. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/cells.h"
#include "compare/gnuplot.h"
#include "compare/pictures.h"
#include "compare/report.h"
#include "compare/tables.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--line:#d1d9e0;"
    "--stripe:#f6f8fa}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;"
    "--line:#3d444d;--stripe:#161b22}img{filter:brightness(.88)}}\n"
    "body{margin:0 auto;padding:1rem;max-width:75rem;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0;overflow-wrap:anywhere}"
    "h2{font-size:1.2rem;margin:2rem 0 .5rem}\n"
    ".lead{font-size:1.1rem}.soft,small,figcaption,footer{color:var(--soft)}\n"
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}\n"
    "table{border-collapse:collapse;width:100%;font-size:.93rem;line-height:1.3;"
    "font-variant-numeric:tabular-nums}"
    "th,td{padding:.4rem .6rem;text-align:right;white-space:nowrap;vertical-align:top}"
    "td small{display:block}"
    "thead th{border-bottom:1px solid var(--line);font-weight:600;white-space:normal;"
    "vertical-align:bottom}"
    "tr{background:var(--paper)}tbody tr:nth-child(even){background:var(--stripe)}"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:inherit}tbody "
    "tr.first td{font-weight:600}"
    "tbody tr.first small{font-weight:400}\n"
    "i.dot{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin-right:.45em}\n"
    "figure{margin:0}figure .wide{background:#fff}img{display:block;width:100%;min-width:40rem}"
    "figcaption{margin:.4rem 0}\n"
    "details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft)}"
    "dl{margin:.5rem 0}dt{font-weight:600;margin-top:.5rem}dd{margin:0}\n"
    "footer{margin-top:2.5rem;border-top:1px solid "
    "var(--line);padding-top:.5rem;font-size:.9rem}\n";

static void put_html_part(FILE *f, const char *text, size_t n)
{
    for (; n > 0; text++, n--) switch (*text) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '"': fputs("&quot;", f); break;
        case '\'': fputs("&#39;", f); break;
        default: fputc(*text, f);
        }
}

static void put_html(FILE *f, const char *text) { put_html_part(f, text, strlen(text)); }

static void put_base64(FILE *f, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned word = (unsigned)bytes[i] << 16;
        if (i + 1 < n) word |= (unsigned)bytes[i + 1] << 8;
        if (i + 2 < n) word |= bytes[i + 2];
        fputc(digits[word >> 18], f);
        fputc(digits[word >> 12 & 63], f);
        fputc(i + 1 < n ? digits[word >> 6 & 63] : '=', f);
        fputc(i + 2 < n ? digits[word & 63] : '=', f);
    }
}

/* --- tables --- */

/* What is in brackets is less important. */
static void put_cell(FILE *f, const char *cell)
{
    const char *bracket = strstr(cell, " (");
    fputs("<td>", f);
    put_html_part(f, cell, bracket ? (size_t)(bracket - cell) : strlen(cell));
    if (bracket) {
        fputs(" <small>", f);
        put_html(f, bracket + 1);
        fputs("</small>", f);
    }
    fputs("</td>", f);
}

static void put_name_cell(FILE *f, const cmp_statistics *all, int index)
{
    fprintf(f, "<td><i class=\"dot\" style=\"background:#%s\"></i>", gnuplot_colour(all, index));
    put_html(f, all->optimizers[index].optimizer);
    fputs("</td>", f);
}

static void put_table(FILE *f, const cmp_statistics *all, const cmp_column *columns)
{
    char cell[CMP_CELL];
    fputs("<div class=\"wide\"><table><thead><tr>", f);
    for (int k = 0; columns[k].title; k++) {
        fputs("<th scope=\"col\" title=\"", f);
        put_html(f, columns[k].meaning);
        fputs("\">", f);
        put_html(f, columns[k].title);
        fputs("</th>", f);
    }
    fputs("</tr></thead><tbody>\n", f);
    for (int i = 0; i < all->n; i++) {
        fprintf(f, "<tr%s>", i == 0 ? " class=\"first\"" : "");
        put_name_cell(f, all, i);
        for (int k = 1; columns[k].title; k++) {
            columns[k].write(&all->optimizers[i], cell);
            put_cell(f, cell);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n<details><summary>What the columns mean</summary><dl>\n", f);
    for (int k = 0; columns[k].title; k++) {
        fputs("<dt>", f);
        put_html(f, columns[k].title);
        fputs("</dt><dd>", f);
        put_html(f, columns[k].meaning);
        fputs("</dd>\n", f);
    }
    fputs("</dl></details>\n", f);
}

static void put_all_rates(FILE *f, const cmp_statistics *all)
{
    char cell[CMP_CELL], rate[24];
    fprintf(
        f,
        "<details><summary>Every rate in numbers</summary><div class=\"wide\"><table><thead><tr>"
        "<th>optimizer</th><th>rate</th><th>seeds</th><th>diverged</th><th>%s loss</th>"
        "<th>accuracy</th><th>training loss</th></tr></thead><tbody>\n",
        all->has_held_out ? "held-out" : "final");
    for (int i = 0; i < all->n; i++) {
        const cmp_summary *s = &all->optimizers[i];
        for (int r = 0; r < s->n_rates; r++) {
            const cmp_rate_result *a = &s->rates[r];
            fprintf(f, "<tr%s>", r == s->best ? " class=\"first\"" : "");
            put_name_cell(f, all, i);
            cmp_rate_name(a->rate, rate);
            fprintf(f, "<td>%s</td><td>%d</td><td>%d</td>", rate, a->seeds, a->diverged);
            cmp_format_loss(&a->score, cell);
            put_cell(f, cell);
            cmp_format_accuracy(&a->accuracy, cell);
            put_cell(f, cell);
            cmp_format_loss(&a->loss, cell);
            put_cell(f, cell);
            fputs("</tr>\n", f);
        }
    }
    fputs("</tbody></table></div></details>\n", f);
}

/* --- pictures --- */

/* NULL with OPT_OK: there is none. */
static opt_status read_picture(const char *path, unsigned char **bytes, size_t *size,
                               opt_error *error)
{
    enum { MAX_BYTES = 1 << 26 };
    FILE *file = fopen(path, "rb");
    *bytes = NULL;
    if (!file && errno == ENOENT) return OPT_OK;
    if (!file)
        return opt_fail(error, OPT_NO_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    opt_status status = OPT_OK;
    rewind(file);
    if (end <= 0 || end > MAX_BYTES)
        status = opt_fail(error, OPT_BAD_FILE, "%s: %ld bytes, expected a picture", path, end);
    else if (!(*bytes = malloc((size_t)end)))
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", path);
    else if (fread(*bytes, 1, (size_t)end, file) != (size_t)end)
        status = opt_fail(error, OPT_NO_FILE, "%s: cannot be read", path);
    *size = (size_t)end;
    fclose(file);
    if (status != OPT_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

static opt_status put_picture(FILE *f, const char *folder, const picture_row *row, opt_error *error)
{
    unsigned char *bytes;
    size_t size;
    char *path = cmp_join(folder, row->file);
    if (!path) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", row->file);
    opt_status status = read_picture(path, &bytes, &size, error);
    if (bytes) {
        fprintf(f,
                "<h2>%s</h2>\n<figure><div class=\"wide\"><img alt=\"%s\" "
                "src=\"data:image/png;base64,",
                row->title, row->title);
        put_base64(f, bytes, size);
        fprintf(f, "\"></div><figcaption>%s</figcaption></figure>\n", row->caption);
    }
    free(bytes);
    free(path);
    return status;
}

/* --- the page --- */

static void put_head(FILE *f, const comparison *c, const cmp_statistics *all)
{
    char text[CMP_NOTE];
    cmp_get_title(c, all, text);
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;"
          "style-src 'unsafe-inline'\">\n<title>",
          f);
    put_html(f, text);
    fprintf(f, "</title>\n<style>\n%s</style></head><body>\n<h1>", style);
    put_html(f, text);
    fputs("</h1>\n", f);
    for (int i = 0; cmp_get_note(c, all, i, text); i++) {
        fprintf(f, "<p class=\"%s\">", i ? "soft" : "lead");
        put_html(f, text);
        fputs("</p>\n", f);
    }
}

static opt_status put_page(FILE *f, void *report, opt_error *error)
{
    const cmp_report *r = report;
    const comparison *c = r->c;
    const cmp_statistics *all = r->all;
    put_head(f, c, all);
    if (all->n) {
        fprintf(f,
                "<h2>How good</h2>\n<p class=\"soft\">Losses in %s; lower is better. Mean of the "
                "seeds, in brackets lowest and highest.</p>\n",
                cmp_loss_unit(c));
        put_table(f, all, cmp_quality_columns);
        put_all_rates(f, all);
        fputs("<h2>How fast, how robust, at what cost</h2>\n", f);
        put_table(f, all, cmp_speed_columns);
    }
    opt_status status = OPT_OK;
    for (const picture_row *row = cmp_pictures; row->file && status == OPT_OK; row++)
        status = put_picture(f, r->folder, row, error);
    fputs("<footer>All optimizers start from the same weights and see the same images in the same "
          "order for one seed. Setting ",
          f);
    put_html(f, c->setting);
    fputs(". The numbers are in runs.csv, curves.csv, times.csv and summary.csv beside this "
          "page.</footer>\n"
          "</body></html>\n",
          f);
    return status;
}

opt_status cmp_write_page(const comparison *c, const cmp_statistics *all, const char *folder,
                          opt_error *error)
{
    cmp_report report = {c, all, folder};
    return cmp_write_file(folder, "report.html", put_page, &report, error);
}
