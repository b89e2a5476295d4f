/* A line at a time, blanks taken out: all else of an edited cfg stays as it is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "compare/net_cfg.h"

enum { MOST_BYTES = 1 << 30, LINE = 4096 };

char *text_read(const char *path, opt_error *error)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t length = 0;
    if (!file) {
        opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    for (size_t room = 1 << 16;; room *= 2) {
        char *more = room <= (size_t)MOST_BYTES ? realloc(text, room + 1) : NULL;
        if (!more) {
            opt_fail(error, OPT_BAD_FILE, "%s: is larger than %d bytes", path, MOST_BYTES);
            goto fail;
        }
        text = more;
        length += fread(text + length, 1, room - length, file);
        if (length < room) break;
    }
    if (ferror(file)) {
        opt_fail(error, OPT_NO_FILE, "%s: cannot be read: %s", path, strerror(errno));
        goto fail;
    }
    text[length] = '\0';
    if (strlen(text) != length) {
        opt_fail(error, OPT_BAD_FILE, "%s: holds a NUL byte, expected text", path);
        goto fail;
    }
    fclose(file);
    return text;
fail:
    fclose(file);
    free(text);
    return NULL;
}

int text_line(const char **text, char *line, size_t size)
{
    const char *at = *text;
    size_t n = 0;
    if (!*at) return 0;
    for (; *at && *at != '\n'; at++)
        if (*at != ' ' && *at != '\t' && *at != '\r' && n + 1 < size) line[n++] = *at;
    line[n] = '\0';
    *text = at + (*at == '\n');
    return 1;
}

static int is_comment(const char *line) { return !*line || *line == '#' || *line == ';'; }

static int is_net(const char *line)
{
    return strcmp(line, "[net]") == 0 || strcmp(line, "[network]") == 0;
}

/* The value of a line "key=value", or NULL. */
static const char *value_of(const char *line, const char *key)
{
    size_t length = strlen(key);
    return strncmp(line, key, length) == 0 && line[length] == '=' ? line + length + 1 : NULL;
}

char *net_cfg_read(const char *path, opt_error *error)
{
    char *text = text_read(path, error), line[LINE];
    if (!text) return NULL;
    for (const char *at = text; text_line(&at, line, sizeof(line));) {
        if (is_comment(line)) continue;
        if (is_net(line)) return text;
        break;
    }
    opt_fail(error, OPT_BAD_FILE,
             "%s: does not begin with a section [net], expected a network's cfg", path);
    free(text);
    return NULL;
}

int net_cfg_value(const char *cfg, const char *key, char *value, size_t size)
{
    char line[LINE];
    int within = 0;
    while (text_line(&cfg, line, sizeof(line))) {
        if (*line == '[') {
            if (within) return 0;
            within = is_net(line);
        }
        const char *found = within ? value_of(line, key) : NULL;
        if (!found) continue;
        snprintf(value, size, "%s", found);
        return 1;
    }
    return 0;
}

char *net_cfg_edit(const char *cfg, const net_option *options, int n)
{
    char *text = NULL, line[LINE];
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    for (int within = 0; *cfg;) {
        const char *start = cfg;
        int dropped = 0;
        text_line(&cfg, line, sizeof(line));
        if (*line == '[') within = is_net(line);
        for (int i = 0; within && i < n; i++) dropped |= value_of(line, options[i].key) != NULL;
        if (dropped) continue;
        fwrite(start, 1, (size_t)(cfg - start), out);
        if (cfg[-1] != '\n') fputc('\n', out);
        if (!is_net(line)) continue;
        for (int i = 0; i < n; i++)
            if (options[i].value) fprintf(out, "%s=%s\n", options[i].key, options[i].value);
    }
    int failed = ferror(out);
    if (fclose(out) == 0 && !failed) return text;
    free(text);
    return NULL;
}

char *net_cfg_normal(const char *cfg, const char *const *without)
{
    char *text = NULL, line[LINE];
    size_t bytes;
    int within = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    while (text_line(&cfg, line, sizeof(line))) {
        if (is_comment(line)) continue;
        if (*line == '[') within = is_net(line);
        int dropped = 0;
        for (const char *const *key = without; within && *key; key++)
            dropped |= value_of(line, *key) != NULL;
        if (!dropped) fprintf(out, "%s\n", line);
    }
    int failed = ferror(out);
    if (fclose(out) == 0 && !failed) return text;
    free(text);
    return NULL;
}

int net_cfg_ends_in_softmax(const char *cfg)
{
    char line[LINE];
    int softmax = 0;
    while (text_line(&cfg, line, sizeof(line)))
        if (*line == '[' && strcmp(line, "[cost]") != 0)
            softmax = strcmp(line, "[softmax]") == 0 || strcmp(line, "[soft]") == 0;
    return softmax;
}
