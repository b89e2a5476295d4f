/* How the hook ends the program, and memory that it gets or ends it. Below all its other files. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "darknet/darknet_private.h"

static _Noreturn void end_with(int status, const char *format, va_list args)
{
    fflush(stdout);
    fflush(stderr);
    dprintf(STDERR_FILENO, "darknet: "); /* the stream may be another program's own */
    vdprintf(STDERR_FILENO, format, args);
    dprintf(STDERR_FILENO, "\n");
    _exit(status); /* loading threads may be running: nothing is torn down under them */
}

void hook_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_with(1, format, args);
}

void hook_end(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_with(status, format, args);
}

void *hook_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory) hook_die("no memory for %zu times %zu bytes", count, bytes);
    return memory;
}

char *hook_copy(const char *text)
{
    char *copy = hook_alloc(strlen(text) + 1, 1);
    return strcpy(copy, text);
}
