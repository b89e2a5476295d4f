/* IDX files, compressed or not, averaged down to each side and sorted by class. */
#include "problems/images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_SIDE = 256, MAX_IMAGES = 10 * 1000 * 1000 };
const int image_sides[IMAGE_SIDES] = {8, 14, 16};

/* --- idx files: a magic number, big-endian sizes, bytes --- */

static gzFile open_idx(const char *path, int dims, size_t *size, opt_error *error)
{
    uint8_t head[16];
    const int wanted = 4 + 4 * dims;
    errno = 0;
    gzFile file = gzopen(path, "rb");
    if (!file) {
        opt_fail(error, OPT_NO_FILE,
                 "%s: %s; tools/get-data.sh fashion-mnist|mnist DEST idx fetches images", path,
                 strerror(errno ? errno : ENOMEM));
        return NULL;
    }
    const int got = gzread(file, head, (unsigned)wanted);
    if (got != wanted) {
        opt_fail(error, OPT_BAD_FILE, "%s: the header has %d bytes, expected %d", path,
                 got < 0 ? 0 : got, wanted);
    } else if (head[0] || head[1] || head[2] != 8 || head[3] != dims) {
        opt_fail(error, OPT_BAD_FILE, "%s: magic is %02x%02x%02x%02x, expected 000008%02x", path,
                 head[0], head[1], head[2], head[3], (unsigned)dims);
    } else {
        for (int i = 0; i < dims; i++) {
            const uint8_t *b = head + 4 + 4 * i;
            size[i] = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
        }
        return file;
    }
    gzclose(file);
    return NULL;
}

static opt_status read_exactly(gzFile file, const char *path, uint8_t *to, size_t bytes,
                               opt_error *error)
{
    const int got = gzread(file, to, (unsigned)bytes);
    if (got == (int)bytes) return OPT_OK;
    int code;
    const char *why = gzerror(file, &code);
    return opt_fail(error, OPT_BAD_FILE, "%s: truncated: %d bytes, expected %zu more%s%s", path,
                    got < 0 ? 0 : got, bytes, code ? "; " : "", code ? why : "");
}

static opt_status expect_end(gzFile file, const char *path, opt_error *error)
{
    uint8_t extra;
    const int got = gzread(file, &extra, 1);
    if (got == 0) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE,
                    got > 0 ? "%s: more than the header says" : "%s: damaged at its end", path);
}

/* --- averaging --- */

/* In units of 1/side of a pixel, output i covers [i·from, (i+1)·from), input j [j·side,
 * (j+1)·side). */
static unsigned overlap(int i, int j, int from, int side)
{
    const int low = i * from > j * side ? i * from : j * side;
    const int high = (i + 1) * from < (j + 1) * side ? (i + 1) * from : (j + 1) * side;
    return high > low ? (unsigned)(high - low) : 0;
}

static void average_down(const uint8_t *in, int height, int width, uint8_t *out, int side)
{
    const unsigned area = (unsigned)(height * width);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            unsigned sum = area / 2; /* rounds to nearest */
            for (int v = y * height / side; v < height && v * side < (y + 1) * height; v++)
                for (int u = x * width / side; u < width && u * side < (x + 1) * width; u++)
                    sum += overlap(y, v, height, side) * overlap(x, u, width, side) *
                           in[v * width + u];
            out[y * side + x] = (uint8_t)(sum / area);
        }
}

/* --- loading --- */

static void free_set(image_set *set)
{
    for (int i = 0; i < IMAGE_SIDES; i++) free(set->pixels[i]);
    *set = (image_set){0};
}

static opt_status read_labels(const char *path, size_t n, uint8_t **labels, opt_error *error)
{
    size_t found;
    gzFile file = open_idx(path, 1, &found, error);
    if (!file) return error ? error->status : OPT_BAD_FILE;
    opt_status status = OPT_OK;
    if (found != n)
        status = opt_fail(error, OPT_BAD_FILE, "%s: %zu labels, expected %zu", path, found, n);
    if (!status && !(*labels = malloc(n)))
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %zu labels", path, n);
    if (!status) status = read_exactly(file, path, *labels, n, error);
    if (!status) status = expect_end(file, path, error);
    for (size_t i = 0; !status && i < n; i++)
        if ((*labels)[i] >= IMAGE_CLASSES)
            status = opt_fail(error, OPT_BAD_FILE, "%s: label %zu is %d, expected 0 to %d", path, i,
                              (*labels)[i], IMAGE_CLASSES - 1);
    gzclose(file);
    return status;
}

/* Where each class begins when images are sorted by it. */
static opt_status count_classes(image_set *set, const uint8_t *labels, const char *path,
                                opt_error *error)
{
    for (size_t i = 0; i < set->n; i++) set->first[labels[i] + 1]++;
    for (int c = 0; c < IMAGE_CLASSES; c++) {
        if (set->first[c + 1] == 0)
            return opt_fail(error, OPT_BAD_FILE, "%s: no image of class %d", path, c);
        set->first[c + 1] += set->first[c];
    }
    return OPT_OK;
}

static opt_status read_images(gzFile file, const char *path, image_set *set, const uint8_t *labels,
                              const size_t *size, opt_error *error)
{
    uint8_t image[MAX_SIDE * MAX_SIDE];
    size_t next[IMAGE_CLASSES];
    memcpy(next, set->first, sizeof next);
    for (int s = 0; s < IMAGE_SIDES; s++) {
        set->pixels[s] = malloc(set->n * (size_t)(image_sides[s] * image_sides[s]));
        if (!set->pixels[s])
            return opt_fail(error, OPT_NO_MEMORY, "%s: no memory for %zu images", path, set->n);
    }
    for (size_t i = 0; i < set->n; i++) {
        const opt_status status = read_exactly(file, path, image, size[1] * size[2], error);
        if (status) return status;
        const size_t at = next[labels[i]]++;
        for (int s = 0; s < IMAGE_SIDES; s++)
            average_down(image, (int)size[1], (int)size[2],
                         set->pixels[s] + at * (size_t)(image_sides[s] * image_sides[s]),
                         image_sides[s]);
    }
    return expect_end(file, path, error);
}

opt_status images_load(image_data *data, const char *images, const char *labels, opt_error *error)
{
    size_t size[3];
    image_set set = {0};
    uint8_t *classes = NULL;
    opt_error own;
    if (!error) error = &own;
    if (data->n_sets >= IMAGE_MAX_SETS)
        return opt_fail(error, OPT_BAD_OPTION, "%s: %d sets of images are loaded, expected fewer",
                        images, data->n_sets);
    gzFile file = open_idx(images, 3, size, error);
    if (!file) return error->status;
    opt_status status = OPT_OK;
    const size_t least = (size_t)image_sides[IMAGE_SIDES - 1];
    if (size[0] < 1 || size[0] > MAX_IMAGES || size[1] < least || size[1] > MAX_SIDE ||
        size[2] < least || size[2] > MAX_SIDE)
        status = opt_fail(error, OPT_BAD_FILE,
                          "%s: %zu images of %zu x %zu, expected 1 to %d of %zu to %d", images,
                          size[0], size[1], size[2], MAX_IMAGES, least, MAX_SIDE);
    set.n = size[0];
    if (!status) status = read_labels(labels, set.n, &classes, error);
    if (!status) status = count_classes(&set, classes, labels, error);
    if (!status) status = read_images(file, images, &set, classes, size, error);
    gzclose(file);
    free(classes);
    if (status)
        free_set(&set);
    else
        data->sets[data->n_sets++] = set;
    return status;
}

void images_free(image_data *data)
{
    for (int i = 0; i < data->n_sets; i++) free_set(&data->sets[i]);
    data->n_sets = 0;
}
