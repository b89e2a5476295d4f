/* The file as a whole in memory; a row at a time is cut into fields in place. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare/csv.h"

enum { MAX_BYTES = 1 << 28 };

/* --- writing --- */

void csv_put_text(FILE *stream, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, stream);
        return;
    }
    fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"') fputc('"', stream);
        fputc(*text, stream);
    }
    fputc('"', stream);
}

void csv_put_number(FILE *stream, double value)
{
    if (isnan(value))
        fputs("nan", stream); /* printf may give it a sign */
    else
        fprintf(stream, "%.6g", value);
}

/* --- reading --- */

static opt_status read_file(csv_reader *reader)
{
    FILE *stream = fopen(reader->path, "rb");
    if (!stream)
        return opt_fail(reader->error, OPT_NO_FILE, "%s: cannot be opened: %s", reader->path,
                        strerror(errno));
    opt_status status = OPT_OK;
    for (size_t room = 0;;) {
        if (reader->size == room) {
            room = room ? 2 * room : 1 << 16;
            char *more = room > MAX_BYTES ? NULL : realloc(reader->text, room + 1);
            if (!more) {
                status = opt_fail(reader->error, room > MAX_BYTES ? OPT_BAD_FILE : OPT_NO_MEMORY,
                                  "%s: larger than %zu bytes, %s", reader->path, reader->size,
                                  room > MAX_BYTES ? "expected a table" : "no memory to read it");
                break;
            }
            reader->text = more;
        }
        size_t got = fread(reader->text + reader->size, 1, room - reader->size, stream);
        reader->size += got;
        if (got == 0) break;
    }
    if (status == OPT_OK && ferror(stream))
        status = opt_fail(reader->error, OPT_NO_FILE, "%s: cannot be read: %s", reader->path,
                          strerror(errno));
    fclose(stream);
    if (status == OPT_OK) reader->text[reader->size] = 0;
    return status;
}

opt_status csv_open(csv_reader *reader, const char *path, const char *header, opt_error *error)
{
    *reader = (csv_reader){.path = path, .header = header, .error = error, .next_line = 2};
    opt_status status = read_file(reader);
    if (status != OPT_OK) return status;
    size_t nul = strlen(reader->text);
    if (nul != reader->size)
        return opt_fail(error, OPT_BAD_FILE, "%s: byte %zu is NUL, expected text", path, nul + 1);
    size_t length = strlen(header), found = strcspn(reader->text, "\r\n");
    if (found != length || memcmp(reader->text, header, length) != 0 ||
        reader->text[length] != '\n')
        return opt_fail(error, OPT_BAD_FILE, "%s:1: the header is '%.*s', expected '%s'", path,
                        found < 200 ? (int)found : 200, reader->text, header);
    reader->at = length + 1;
    reader->n_columns = 1;
    for (const char *s = header; *s; s++) reader->n_columns += *s == ',';
    return OPT_OK;
}

void csv_close(csv_reader *reader)
{
    free(reader->text);
    reader->text = NULL;
}

static int fail_row(csv_reader *reader, const char *found, const char *expected)
{
    opt_fail(reader->error, OPT_BAD_FILE, "%s:%ld: %s, expected %s", reader->path, reader->line,
             found, expected);
    return -1;
}

/* Unquotes in place from *from and leaves *from at the separator; NULL: the file ends inside. */
static char *read_field(csv_reader *reader, char **from)
{
    char *s = *from, *field = s, *to = s;
    if (*s != '"') {
        *from = s + strcspn(s, ",\n");
        return field;
    }
    for (s++; *s && !(*s == '"' && s[1] != '"'); s++) {
        if (*s == '"') s++;
        if (*s == '\n') reader->next_line++;
        *to++ = *s;
    }
    if (!*s) return NULL;
    *from = s + 1;
    *to = 0; /* before the closing quote, so the separator is still there */
    return field;
}

int csv_next(csv_reader *reader)
{
    char *s = reader->text + reader->at, found[80];
    if (!*s) return 0;
    reader->line = reader->next_line++;
    int n = 0;
    for (;;) {
        char *field = read_field(reader, &s);
        if (!field || !*s)
            return fail_row(reader, "the file ends inside this line", "a newline at its end");
        if (*s != ',' && *s != '\n')
            return fail_row(reader, "a quote inside a field", "a comma after a quoted one");
        char separator = *s;
        *s++ = 0;
        if (n < reader->n_columns) reader->field[n] = field;
        n++;
        if (separator == '\n') break;
    }
    reader->at = (size_t)(s - reader->text);
    if (n == reader->n_columns) return 1;
    snprintf(found, sizeof(found), "%d fields, expected %d", n, reader->n_columns);
    return fail_row(reader, found, reader->header);
}

int csv_complain(csv_reader *reader, int column, const char *expected)
{
    const char *name = reader->header;
    for (int i = 0; i < column; i++) name = strchr(name, ',') + 1;
    char shown[64];
    snprintf(shown, sizeof(shown), "%s", reader->field[column]);
    for (char *s = shown; *s; s++)
        if ((unsigned char)*s < ' ') *s = ' ';
    opt_fail(reader->error, OPT_BAD_FILE, "%s:%ld: %.*s is '%s', expected %s", reader->path,
             reader->line, (int)strcspn(name, ","), name, shown, expected);
    return 0;
}

int csv_number(csv_reader *reader, int column, double *value)
{
    const char *text = reader->field[column];
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end || strchr(" \t\r\v\f", *text))
        return csv_complain(reader, column, "a number");
    return 1;
}

int csv_whole(csv_reader *reader, int column, uint64_t low, uint64_t high, uint64_t *value)
{
    const char *text = reader->field[column];
    char expected[80];
    errno = 0;
    *value = strtoull(text, NULL, 10);
    if (*text && !text[strspn(text, "0123456789")] && !errno && *value >= low && *value <= high)
        return 1;
    snprintf(expected, sizeof(expected), "a whole number from %llu to %llu",
             (unsigned long long)low, (unsigned long long)high);
    return csv_complain(reader, column, expected);
}

int csv_text(csv_reader *reader, int column, char *value, size_t size)
{
    size_t length = strlen(reader->field[column]);
    char expected[80];
    snprintf(expected, sizeof(expected), "1 to %zu characters", size - 1);
    if (length == 0 || length >= size) return csv_complain(reader, column, expected);
    memcpy(value, reader->field[column], length + 1);
    return 1;
}
