/* What a function of the library returns when it can fail, and the one line that says why. */
#ifndef ERROR_H
#define ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    OPT_OK = 0,
    OPT_BAD_OPTION, /* an option's value is out of range or unknown */
    OPT_NO_FILE,    /* the file does not exist or cannot be read */
    OPT_BAD_FILE,   /* the file is truncated, corrupt or of another format */
    OPT_MISMATCH,   /* the file is sound but belongs to another network, rule or weights file */
    OPT_IO,         /* writing failed; what was there before is untouched */
    OPT_NO_MEMORY,
} opt_status;

typedef struct {
    opt_status status;
    char message[1024]; /* one line, without a newline */
} opt_error;

/* Writes status and the formatted line into error (which may be NULL); returns status. */
opt_status opt_fail(opt_error *error, opt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
