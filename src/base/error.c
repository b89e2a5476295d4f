/* Failures as one line of text. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/error.h"

opt_status opt_fail(opt_error *error, opt_status status, const char *format, ...)
{
    if (!error) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    /* Names come from files and may hold anything; the message is one line all the same. */
    for (char *c = error->message; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    error->status = status;
    return status;
}
