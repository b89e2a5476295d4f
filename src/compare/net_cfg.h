/* A network's cfg as text: what a comparison reads of it and changes in it. Darknet takes every
 * blank out of a line, so "[ net ]" and "batch = 64" are understood here as well. */
#ifndef NET_CFG_H
#define NET_CFG_H

#include <stddef.h>
#include "base/error.h"

typedef struct {
    const char *key;
    const char *value; /* NULL: the option is taken out */
} net_option;

/* A whole text file with a NUL behind it; the caller frees it. NULL and *error: it cannot be read,
 * is larger than 1 GiB or holds a NUL. */
char *text_read(const char *path, opt_error *error);

/* The line at *text without blanks and carriage returns, at most size - 1 letters of it; *text
 * moves behind it. 0 at the end. */
int text_line(const char **text, char *line, size_t size);

/* The cfg: a text whose first section is [net]. */
char *net_cfg_read(const char *path, opt_error *error);

/* The first value of a key of [net] without blanks; 0: there is none. */
int net_cfg_value(const char *cfg, const char *key, char *value, size_t size);

/* The cfg with these options in [net] in place of all that it said for their keys; the caller frees
 * it. NULL: no memory. */
char *net_cfg_edit(const char *cfg, const net_option *options, int n);

/* The cfg without blanks, comments, empty lines and these keys (NULL-terminated) of [net]: what two
 * cfgs have in common that differ in nothing else. */
char *net_cfg_normal(const char *cfg, const char *const *without);

/* Whether the last layer, or the one before a [cost], is a [softmax]. */
int net_cfg_ends_in_softmax(const char *cfg);

#endif
