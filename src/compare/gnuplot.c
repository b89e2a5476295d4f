/* gnuplot as a process whose complaint becomes the error, and text, colours and axes as its
 * scripts want them. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "compare/gnuplot.h"

extern char **environ;

/* --- running --- */

/* The first line that is not blank; the position of the stream moves. */
static void read_complaint(FILE *messages, char *line, size_t size)
{
    rewind(messages);
    line[0] = 0;
    while (fgets(line, (int)size, messages)) {
        line[strcspn(line, "\n")] = 0;
        if (line[strspn(line, " \t^")]) return;
    }
    snprintf(line, size, "it does not say why");
}

static int spawn_gnuplot(FILE *script, FILE *picture, FILE *messages, pid_t *child)
{
    char *const arguments[] = {"gnuplot", "-d", "-", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    int failed = posix_spawn_file_actions_init(&files);
    if (failed) return failed;
    failed = posix_spawnattr_init(&attributes);
    if (!failed) {
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        failed = posix_spawn_file_actions_adddup2(&files, fileno(script), 0);
        if (!failed) failed = posix_spawn_file_actions_adddup2(&files, fileno(picture), 1);
        if (!failed) failed = posix_spawn_file_actions_adddup2(&files, fileno(messages), 2);
        if (!failed)
            failed = posix_spawnp(child, "gnuplot", &files, &attributes, arguments, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

opt_status gnuplot_run(FILE *script, FILE *picture, const char *name, opt_error *error)
{
    int result = 0;
    pid_t child, ended;
    char complaint[300];
    FILE *messages = tmpfile();
    if (!messages || fflush(script) != 0 || ferror(script) || fflush(picture) != 0 ||
        lseek(fileno(script), 0, SEEK_SET) != 0) {
        int cause = errno;
        if (messages) fclose(messages);
        return opt_fail(error, OPT_IO, "%s: no room for gnuplot's script: %s", name,
                        strerror(cause));
    }
    int failed = spawn_gnuplot(script, picture, messages, &child);
    if (failed) {
        fclose(messages);
        if (failed == ENOENT)
            return opt_fail(error, OPT_NO_FILE,
                            "%s: gnuplot is not installed: tools/install-packages.sh demo", name);
        return opt_fail(error, OPT_IO, "%s: gnuplot cannot be started: %s", name, strerror(failed));
    }
    while ((ended = waitpid(child, &result, 0)) < 0 && errno == EINTR) continue;
    read_complaint(messages, complaint, sizeof(complaint));
    fclose(messages);
    if (ended == child && WIFEXITED(result) && WEXITSTATUS(result) == 0) {
        fseek(picture, 0, SEEK_END);
        if (ftell(picture) > 0) return OPT_OK;
    }
    return opt_fail(error, OPT_IO, "%s: gnuplot failed: %s", name, complaint);
}

/* --- text --- */

/* Bytes of the character at text; 0: not valid UTF-8. */
static int count_bytes(const unsigned char *text)
{
    int n = *text < 0x80 ? 1 : *text < 0xC2 ? 0 : *text < 0xE0 ? 2 : *text < 0xF0 ? 3 : 4;
    if (*text > 0xF4) return 0;
    for (int i = 1; i < n; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    int overlong = (*text == 0xE0 && text[1] < 0xA0) || (*text == 0xF0 && text[1] < 0x90);
    int outside = (*text == 0xED && text[1] > 0x9F) || (*text == 0xF4 && text[1] > 0x8F);
    return overlong || outside ? 0 : n;
}

void gnuplot_put_text(FILE *script, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('\'', script);
    while (*s) {
        int n = count_bytes(s);
        if (n == 0)
            fputc('?', script);
        else if (*s < ' ' || *s == 0x7F)
            fputc(' ', script);
        else if (*s == '\'')
            fputs("''", script);
        else
            fwrite(s, 1, (size_t)n, script);
        s += n ? n : 1;
    }
    fputc('\'', script);
}

const char *gnuplot_shorten(const char *label, char shortened[GNUPLOT_LABEL])
{
    enum { CHARACTERS = 24 };
    size_t length = 0;
    int n = 0;
    for (; label[length]; length++) {
        int starts = ((unsigned char)label[length] & 0xC0) != 0x80;
        if ((n += starts) > CHARACTERS || length + 4 >= GNUPLOT_LABEL) break;
    }
    snprintf(shortened, GNUPLOT_LABEL, "%.*s%s", (int)length, label, label[length] ? "..." : "");
    return shortened;
}

/* --- style --- */

void gnuplot_put_style(FILE *script, int width, int height)
{
    fprintf(script,
            "set encoding utf8\n"
            "set terminal pngcairo size %d,%d font 'DejaVu Sans,15' noenhanced\n"
            "set grid xtics ytics lt 1 lw 1 lc rgb '#E4E4E4'\n"
            "set border 3\n"
            "set tics nomirror out\n"
            "set key top right Left reverse samplen 2 spacing 1.25 width 1 height 0.5 box "
            "lc rgb '#BBBBBB' opaque\n"
            "set lmargin 11\n"
            "set rmargin 4\n",
            width, height);
}

const char *gnuplot_colour(const cmp_statistics *statistics, int index)
{
    static const struct {
        const char *name, *colour;
    } known[] = {{"hrnn", "D55E00"}, {"adam", "0072B2"}, {"sgd", "009E73"}, {"rmsprop", "CC79A7"}};
    static const char *const others[] = {"E69F00", "56B4E9", "000000",
                                         "8C564B", "7F7F7F", "BCBD22"};
    enum { KNOWN = sizeof(known) / sizeof(*known), OTHERS = sizeof(others) / sizeof(*others) };
    int place = 0; /* among those without a colour of their own */
    for (int i = 0; i <= index; i++) {
        const char *colour = NULL;
        for (int k = 0; k < KNOWN; k++)
            if (strcmp(statistics->optimizers[i].optimizer, known[k].name) == 0)
                colour = known[k].colour;
        if (i == index) return colour ? colour : others[place % OTHERS];
        place += !colour;
    }
    return others[0];
}

/* --- axes --- */

gnuplot_axis gnuplot_make_axis(double low, double high)
{
    if (!(low <= high)) return (gnuplot_axis){0, 1, 0};
    if (low > 0 && high > 3 * low) return (gnuplot_axis){low * 0.92, high * 1.08, 1};
    double margin = high > low ? 0.06 * (high - low) : high != 0 ? 0.1 * fabs(high) : 1;
    return (gnuplot_axis){low - margin, high + margin, 0};
}

void gnuplot_put_y_axis(FILE *script, const gnuplot_axis *axis)
{
    static const double few[] = {1}, some[] = {1, 2, 5}, many[] = {1, 1.5, 2, 2.5, 3, 4, 5, 6, 8};
    fprintf(script, "set yrange [%.9g:%.9g]\n", axis->low, axis->high);
    if (!axis->logarithmic) {
        fputs("unset logscale y\nset ytics auto\n", script);
        return;
    }
    double ratio = axis->high / axis->low;
    const double *digits = ratio > 1e4 ? few : ratio > 20 ? some : many;
    int n = ratio > 1e4 ? 1 : ratio > 20 ? 3 : 9, first = 1;
    fputs("set logscale y\nset ytics (", script);
    for (int e = (int)floor(log10(axis->low)); e <= (int)floor(log10(axis->high)); e++)
        for (int k = 0; k < n; k++) {
            double at = digits[k] * pow(10, e);
            if (at < axis->low || at > axis->high) continue;
            fprintf(script, "%s'%.6g' %.9g", first ? "" : ", ", at, at);
            first = 0;
        }
    fputs(")\n", script);
}

void gnuplot_put_rate_axis(FILE *script, double low, double high)
{
    int first = (int)floor(log10(low) + 1e-6), last = (int)ceil(log10(high) - 1e-6);
    fprintf(script, "set logscale x\nset xrange [%.9g:%.9g]\nset xtics (", low / 1.5, high * 1.5);
    for (int e = first; e <= last; e++) {
        double at = pow(10, e);
        if (e >= -3 && e <= 3)
            fprintf(script, "%s'%g' %.9g", e > first ? ", " : "", at, at);
        else
            fprintf(script, "%s'1e%d' %.9g", e > first ? ", " : "", e, at);
    }
    fputs(")\n", script);
}
