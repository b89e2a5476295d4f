/* Image collections into the formats that Darknet trains on.
 *
 *   convert-images idx-to-png      IMAGES LABELS DIR LIST      MNIST's format -> PNGs, their list
 *   convert-images idx-to-records  IMAGES LABELS OUT           MNIST's format -> records
 *   convert-images tfjs-to-records IMAGES.png LABELS.json OUT  rows of RGB pixels -> records
 *   convert-images cifar-to-png    BATCH... DIR LIST           records -> PNGs, their list
 *
 * A record, as in CIFAR-10's binary batches, is the label's byte and then the planes of the image.
 *
 * All input is read and checked before anything is written, and OUT and LIST appear whole or not at
 * all. An error is one line on stderr and exit status 1.
 *
 * Darknet finds an image's class by looking for each label in its path. The PNG of image 42 of
 * class "coat" is called 00042_coat.png, and its label is "_coat.png": neither another class's name
 * nor the folders above can hold it. */
#include <argp.h>
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <png.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
    MAX_CLASSES = 256,
    MAX_NAME = 64,
    MAX_SIDE = 4096,
    MAX_IMAGES = 100 * 1000 * 1000,
    CIFAR_SIDE = 32,
    CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE,
    CIFAR_RECORD = 1 + CIFAR_PIXELS,
};

/* n images of h rows and w columns in c planes. */
typedef struct {
    size_t n, c, h, w;
    uint8_t *pixels; /* [n][c][h][w] */
    uint8_t *labels; /* [n] */
} image_set;

typedef struct {
    int channels;          /* of the PNGs; 0: as the source */
    int size;              /* images are padded with black to size x size; 0: as the source */
    long first, count;     /* the range of images to take; count -1: to the end */
    const char *names;     /* file of class names, one a line */
    const char *listed_as; /* the folder written in the list; NULL: DIR's absolute path */
    char **args;
    int n_args;
} settings;

typedef struct {
    int n;
    char name[MAX_CLASSES][MAX_NAME];
} class_names;

static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("convert-images: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *allocate(size_t bytes, const char *path)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) fail("%s: no memory for %zu bytes", path, bytes);
    return p;
}

/* --- reading --- */

/* Reads a big-endian idx header (gzipped or plain) with `dims` sizes, leaving the data next. */
static gzFile open_idx(const char *path, int dims, size_t *size)
{
    gzFile file = gzopen(path, "rb");
    if (!file) fail("%s: %s", path, strerror(errno));
    uint8_t head[16];
    int wanted = 4 + 4 * dims, got = gzread(file, head, (unsigned)wanted);
    if (got >= 4 && (head[0] || head[1] || head[2] != 8 || head[3] != dims)) {
        fail("%s: magic is %02x%02x%02x%02x, expected 000008%02x", path, head[0], head[1], head[2],
             head[3], (unsigned)dims);
    }
    if (got != wanted) fail("%s: the header has %d bytes, expected %d", path, got, wanted);
    for (int i = 0; i < dims; ++i) {
        const uint8_t *b = head + 4 + 4 * i;
        size[i] = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
    }
    return file;
}

/* Reads exactly `bytes` more bytes, after which the file must end. */
static uint8_t *read_idx_data(gzFile file, const char *path, size_t bytes)
{
    uint8_t *data = NULL;
    size_t have = 0, room = 0;
    while (have < bytes) { /* grows as data comes, so a false size does not claim memory */
        size_t want = bytes - have < (1 << 20) ? bytes - have : (1 << 20);
        if (have + want > room) {
            room = 2 * room > have + want ? 2 * room : have + want;
            data = realloc(data, room);
            if (!data) fail("%s: no memory for %zu bytes", path, room);
        }
        int got = gzread(file, data + have, (unsigned)want);
        if (got <= 0) break;
        have += (size_t)got;
    }
    int code;
    const char *why = gzerror(file, &code);
    if (have < bytes) {
        fail("%s: truncated: %zu bytes of data, expected %zu%s%s", path, have, bytes,
             code ? "; " : "", code ? why : "");
    }
    uint8_t extra;
    if (gzread(file, &extra, 1) > 0) fail("%s: more than the expected %zu bytes", path, bytes);
    if (gzclose(file) != Z_OK) fail("%s: damaged at its end", path);
    return data;
}

static image_set read_idx(const char *images, const char *labels)
{
    size_t size[3], n_labels;
    gzFile file = open_idx(images, 3, size);
    image_set set = {.n = size[0], .c = 1, .h = size[1], .w = size[2]};
    if (!set.n || set.n > MAX_IMAGES || !set.h || set.h > MAX_SIDE || !set.w || set.w > MAX_SIDE) {
        fail("%s: %zu images of %zu x %zu are out of range", images, set.n, set.h, set.w);
    }
    gzFile label_file = open_idx(labels, 1, &n_labels);
    if (n_labels != set.n) {
        fail("%s: %zu labels, expected %zu, one for each image of %s", labels, n_labels, set.n,
             images);
    }
    set.pixels = read_idx_data(file, images, set.n * set.h * set.w);
    set.labels = read_idx_data(label_file, labels, set.n);
    return set;
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s: %s", path, strerror(errno));
    if (fseek(file, 0, SEEK_END)) fail("%s: %s", path, strerror(errno));
    long size = ftell(file);
    if (size < 0 || size > 1 << 30) fail("%s: %ld bytes, expected at most 2^30", path, size);
    rewind(file);
    char *text = allocate((size_t)size + 1, path);
    if (fread(text, 1, (size_t)size, file) != (size_t)size) fail("%s: %s", path, strerror(errno));
    text[size] = 0;
    fclose(file);
    return text;
}

/* Labels first .. first + n - 1 of a JSON array of integers. */
static uint8_t *read_json_labels(const char *path, size_t first, size_t n)
{
    char *text = read_text(path);
    cJSON *array = cJSON_Parse(text);
    if (!cJSON_IsArray(array)) fail("%s: not a JSON array", path);
    uint8_t *labels = allocate(n, path);
    size_t i = 0, taken = 0;
    for (const cJSON *item = array->child; item; item = item->next, ++i) {
        if (i < first || i >= first + n) continue;
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(value >= 0 && value < MAX_CLASSES) || value != (int)value) {
            fail("%s: entry %zu is not a class number", path, i);
        }
        labels[taken++] = (uint8_t)value;
    }
    if (taken != n) {
        fail("%s: %zu labels, expected at least %zu", path, i, first + n);
    }
    cJSON_Delete(array);
    free(text);
    return labels;
}

/* A PNG with one 32x32 image a row, RGB pixel after pixel; its first label is number `first`. */
static image_set read_tfjs(const char *path, const char *labels, size_t first)
{
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&png, path)) fail("%s: %s", path, png.message);
    size_t area = CIFAR_SIDE * CIFAR_SIDE;
    if (png.width != area || !png.height || png.height > 1000 * 1000) {
        fail("%s: %u columns and %u rows, expected %zu columns and an image a row", path, png.width,
             png.height, area);
    }
    png.format = PNG_FORMAT_RGB;
    image_set set = {.n = png.height, .c = 3, .h = CIFAR_SIDE, .w = CIFAR_SIDE};
    uint8_t *rgb = allocate(set.n * CIFAR_PIXELS, path);
    if (!png_image_finish_read(&png, NULL, rgb, 0, NULL) || PNG_IMAGE_FAILED(png)) {
        fail("%s: %s", path, png.message);
    }
    set.pixels = allocate(set.n * CIFAR_PIXELS, path);
    for (size_t i = 0; i < set.n; ++i) {
        for (size_t p = 0; p < area; ++p) {
            for (size_t k = 0; k < 3; ++k) {
                set.pixels[i * CIFAR_PIXELS + k * area + p] = rgb[(i * area + p) * 3 + k];
            }
        }
    }
    free(rgb);
    set.labels = read_json_labels(labels, first, set.n);
    return set;
}

static image_set read_cifar(char **paths, int n_paths)
{
    image_set set = {.c = 3, .h = CIFAR_SIDE, .w = CIFAR_SIDE};
    for (int k = 0; k < n_paths; ++k) {
        FILE *file = fopen(paths[k], "rb");
        struct stat info;
        if (!file || fstat(fileno(file), &info)) fail("%s: %s", paths[k], strerror(errno));
        size_t n = (size_t)info.st_size / CIFAR_RECORD;
        if (!n || n * CIFAR_RECORD != (size_t)info.st_size) {
            fail("%s: %lld bytes, expected records of %d", paths[k], (long long)info.st_size,
                 CIFAR_RECORD);
        }
        set.pixels = realloc(set.pixels, (set.n + n) * CIFAR_PIXELS);
        set.labels = realloc(set.labels, set.n + n);
        if (!set.pixels || !set.labels) fail("%s: no memory for %zu images", paths[k], n);
        for (size_t i = set.n; i < set.n + n; ++i) {
            if (fread(&set.labels[i], 1, 1, file) != 1 ||
                fread(set.pixels + i * CIFAR_PIXELS, CIFAR_PIXELS, 1, file) != 1) {
                fail("%s: cannot read record %zu", paths[k], i - set.n);
            }
        }
        set.n += n;
        fclose(file);
    }
    return set;
}

static void read_names(const char *path, class_names *names)
{
    char *text = read_text(path), *save = NULL;
    for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        size_t length = strlen(line);
        if (names->n == MAX_CLASSES) fail("%s: more than %d names", path, MAX_CLASSES);
        if (length >= MAX_NAME) fail("%s: name %d is too long", path, names->n + 1);
        for (size_t i = 0; i < length; ++i) {
            if (!isalnum((unsigned char)line[i]) && line[i] != '-') {
                fail("%s: \"%s\" has other characters than letters, digits and -", path, line);
            }
        }
        for (int k = 0; k < names->n; ++k) {
            if (!strcmp(names->name[k], line)) fail("%s: \"%s\" is there twice", path, line);
        }
        memcpy(names->name[names->n++], line, length + 1);
    }
    if (!names->n) fail("%s: no names", path);
    free(text);
}

/* --- changing --- */

/* Keeps only the asked range; every label must be below `classes`. */
static void select_range(image_set *set, const settings *s, int classes, const char *path)
{
    size_t first = (size_t)s->first, count = s->count < 0 ? set->n - first : (size_t)s->count;
    if (first >= set->n || !count || count > set->n - first) {
        fail("%s: %zu images, which do not hold %ld from number %ld", path, set->n, s->count,
             s->first);
    }
    size_t each = set->c * set->h * set->w;
    memmove(set->pixels, set->pixels + first * each, count * each);
    memmove(set->labels, set->labels + first, count);
    set->n = count;
    for (size_t i = 0; i < count; ++i) {
        if (set->labels[i] >= classes) {
            fail("%s: label %u of image %zu, expected less than %d", path, set->labels[i],
                 first + i, classes);
        }
    }
}

/* Centres every image on a black side x side one. */
static void pad(image_set *set, size_t side, const char *path)
{
    if (set->h == side && set->w == side) return;
    if (set->h > side || set->w > side) {
        fail("%s: images of %zu x %zu do not fit into %zu x %zu", path, set->h, set->w, side, side);
    }
    size_t top = (side - set->h) / 2, left = (side - set->w) / 2, planes = set->n * set->c;
    uint8_t *padded = calloc(planes, side * side);
    if (!padded) fail("%s: no memory for %zu images", path, set->n);
    for (size_t p = 0; p < planes; ++p) {
        for (size_t y = 0; y < set->h; ++y) {
            memcpy(padded + (p * side + top + y) * side + left,
                   set->pixels + (p * set->h + y) * set->w, set->w);
        }
    }
    free(set->pixels);
    set->pixels = padded;
    set->h = set->w = side;
}

/* --- writing --- */

static FILE *begin_file(const char *path, char *part)
{
    if (snprintf(part, PATH_MAX, "%s.part", path) >= PATH_MAX) fail("%s: too long", path);
    FILE *file = fopen(part, "wb");
    if (!file) fail("%s: %s", part, strerror(errno));
    return file;
}

static void end_file(FILE *file, const char *part, const char *path)
{
    int bad = ferror(file);
    if (fclose(file) || bad || rename(part, path)) {
        int error = errno;
        unlink(part);
        fail("%s: cannot write: %s", path, strerror(error));
    }
}

static void write_records(const image_set *set, const char *path)
{
    char part[PATH_MAX];
    FILE *file = begin_file(path, part);
    size_t each = set->c * set->h * set->w;
    for (size_t i = 0; i < set->n; ++i) {
        fputc(set->labels[i], file);
        fwrite(set->pixels + i * each, each, 1, file);
    }
    end_file(file, part, path);
}

static void write_png(const image_set *set, size_t i, size_t channels, const char *path,
                      uint8_t *buffer)
{
    size_t area = set->h * set->w;
    const uint8_t *planes = set->pixels + i * set->c * area;
    for (size_t p = 0; p < area; ++p) {
        for (size_t k = 0; k < channels; ++k) {
            buffer[p * channels + k] = planes[(k % set->c) * area + p];
        }
    }
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)set->w,
                     .height = (png_uint_32)set->h,
                     .format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB,
                     .flags = PNG_IMAGE_FLAG_FAST};
    if (!png_image_write_to_file(&png, path, 0, buffer, 0, NULL)) fail("%s: %s", path, png.message);
}

static void write_pngs(const image_set *set, const settings *s, const class_names *names,
                       const char *dir, const char *list)
{
    size_t channels = s->channels ? (size_t)s->channels : set->c;
    if (channels < set->c) fail("%s: colour images cannot be written with 1 channel", dir);
    if (mkdir(dir, 0777) && errno != EEXIST) fail("%s: %s", dir, strerror(errno));
    char folder[PATH_MAX], path[2 * PATH_MAX], part[PATH_MAX];
    if (!realpath(dir, folder)) fail("%s: %s", dir, strerror(errno));
    const char *listed = s->listed_as ? s->listed_as : folder;
    if (strpbrk(listed, "\r\n")) fail("%s: the folder's name has a line break", dir);
    FILE *file = begin_file(list, part);
    uint8_t *buffer = allocate(set->h * set->w * channels, dir);
    for (size_t i = 0; i < set->n; ++i) {
        char name[MAX_NAME + 32];
        snprintf(name, sizeof name, "%05zu_%s.png", (size_t)s->first + i,
                 names->name[set->labels[i]]);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        write_png(set, i, channels, path, buffer);
        fprintf(file, "%s/%s\n", listed, name);
    }
    free(buffer);
    end_file(file, part, list);
}

/* --- the commands --- */

static void run(const char *command, settings *s)
{
    int to_png = !strcmp(command, "idx-to-png") || !strcmp(command, "cifar-to-png");
    int from_cifar = !strcmp(command, "cifar-to-png");
    int from_tfjs = !strcmp(command, "tfjs-to-records");
    if (!to_png && !from_tfjs && strcmp(command, "idx-to-records")) {
        fail("unknown command \"%s\"; --help lists them", command);
    }
    int wanted = strcmp(command, "idx-to-png") ? 3 : 4;
    if (from_cifar ? s->n_args < wanted : s->n_args != wanted) {
        fail("%s: %d file names, expected %d; --help lists them", command, s->n_args, wanted);
    }
    static class_names names;
    if (s->names) {
        read_names(s->names, &names);
    } else if (to_png) {
        fail("%s: --names=FILE is missing", command);
    }
    image_set set;
    if (from_cifar) {
        set = read_cifar(s->args, s->n_args - 2);
    } else if (from_tfjs) {
        set = read_tfjs(s->args[0], s->args[1], (size_t)s->first);
        s->first = 0;
    } else {
        set = read_idx(s->args[0], s->args[1]);
    }
    select_range(&set, s, s->names ? names.n : 10, s->args[0]);
    if (s->size) pad(&set, (size_t)s->size, s->args[0]);
    if (to_png) {
        write_pngs(&set, s, &names, s->args[s->n_args - 2], s->args[s->n_args - 1]);
    } else {
        write_records(&set, s->args[2]);
    }
    free(set.pixels);
    free(set.labels);
}

static long parse_number(const char *option, const char *text, long low, long high)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high) {
        fail("--%s=%s: expected a number from %ld to %ld", option, text, low, high);
    }
    return value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    settings *s = state->input;
    switch (key) {
    case 'c':
        s->channels = (int)parse_number("channels", arg, 1, 3);
        if (s->channels == 2) fail("--channels=2: expected 1 or 3");
        return 0;
    case 's': s->size = (int)parse_number("size", arg, 1, MAX_SIDE); return 0;
    case 'f': s->first = parse_number("first", arg, 0, MAX_IMAGES); return 0;
    case 'n': s->count = parse_number("count", arg, 1, MAX_IMAGES); return 0;
    case 'm': s->names = arg; return 0;
    case 'l': s->listed_as = arg; return 0;
    case ARGP_KEY_ARGS:
        s->args = state->argv + state->next;
        s->n_args = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS: fail("no command; --help lists them");
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"channels", 'c', "1|3", 0, "channels of the PNGs (default: as the source)", 0},
        {"size", 's', "N", 0, "pad with black to N x N", 0},
        {"first", 'f', "N", 0, "first image to take; in tfjs-to-records, number of its label", 0},
        {"count", 'n', "N", 0, "how many images to take (default: all)", 0},
        {"names", 'm', "FILE", 0, "class names, one a line (PNGs)", 0},
        {"listed-as", 'l', "DIR", 0, "folder to write in LIST (default: DIR's full path)", 0},
        {0},
    };
    static const struct argp argp = {
        options,
        parse_option,
        "idx-to-png IMAGES LABELS DIR LIST\nidx-to-records IMAGES LABELS OUT\n"
        "tfjs-to-records IMAGES.png LABELS.json OUT\ncifar-to-png BATCH... DIR LIST",
        "Converts image collections into the formats that Darknet trains on.",
        NULL,
        NULL,
        NULL};
    settings s = {.count = -1};
    argp_err_exit_status = 1;
    argp_parse(&argp, argc, argv, 0, NULL, &s);
    char *command = s.args[0];
    ++s.args;
    --s.n_args;
    run(command, &s);
    return 0;
}
