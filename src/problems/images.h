/* Collections of small grey images, averaged down, loaded once and shared by all problems. */
#ifndef META_IMAGES_H
#define META_IMAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { IMAGE_SIDES = 3, IMAGE_MAX_SETS = 4, IMAGE_CLASSES = 10 };
extern const int image_sides[IMAGE_SIDES]; /* 8, 14, 16 */

/* One collection. Images are sorted by class, in the file's order within each. */
typedef struct {
    size_t n;
    size_t first[IMAGE_CLASSES + 1]; /* class c is images first[c] .. first[c + 1] - 1 */
    uint8_t *pixels[IMAGE_SIDES];    /* [n][side][side], 0 black to 255 */
} image_set;

/* What problems on images draw from. */
typedef struct {
    int n_sets;
    image_set sets[IMAGE_MAX_SETS];
} image_data;

/* Reads an idx file of images and one of labels (gzipped or not), averages every image down to each
 * of image_sides, and appends the set. All sizes are checked; every class must occur. OPT_NO_FILE
 * (the message names tools/get-data.sh), OPT_BAD_FILE, OPT_NO_MEMORY, OPT_BAD_OPTION (too many
 * sets); then data is as it was. */
opt_status images_load(image_data *data, const char *images, const char *labels, opt_error *error);

void images_free(image_data *data);

#endif
