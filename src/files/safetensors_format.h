/* Private to safetensors.c and safetensors_write.c: the numbers of the format. */
#ifndef SAFETENSORS_FORMAT_H
#define SAFETENSORS_FORMAT_H

#include <xxhash.h>
#include "files/safetensors.h"

enum {
    ST_PREFIX = 8,            /* bytes of the header's length, little-endian */
    ST_MAX_HEADER = 16 << 20, /* bytes; a header may not make its reader use up the memory */
    ST_DIGITS = 32,           /* of a checksum */
};

/* Whole numbers up to here are exact in JSON, print without an exponent, and fit a pointer. */
#define ST_MAX_SIZE 999999999999999LL

/* How the writer prints the checksum; quotes inside strings are escaped, so this occurs but
 * once. */
#define ST_CHECKSUM_KEY "\"checksum\":\""
#define ST_ZEROS "00000000000000000000000000000000"

static inline void st_print_digest(char text[ST_DIGITS + 1], XXH128_hash_t hash)
{
    snprintf(text, ST_DIGITS + 1, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

#endif
