/* Images of a list or batch files, drawn, augmented and labelled as the host's training does. */
#include "darknet_meta/darknet_problem_data.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "data.h"
#include "image.h"
#include "option_list.h"
#include "base/random_stream.h"
#include "tree.h"
#include "utils.h"

/* Bytes of decoded images that are kept; further ones are decoded whenever they are drawn. */
static const size_t most_kept = (size_t)2 << 30;

typedef struct {
    int w, h;
    unsigned char pixels[]; /* [c][h][w] */
} kept_image;

struct batch_source {
    int values, truths, classes, channels;
    int count;    /* images */
    data records; /* of a folder; its X.vals is NULL for a list */
    char **paths, **labels;
    _Atomic(kept_image *) *kept; /* [count] */
    atomic_size_t kept_bytes;
    tree *hierarchy;
    load_args args; /* the augmentation of a list's images */
    uint64_t digest;
};

/* --- opening --- */

static void read_folder(batch_source *s, list *options, const char *data_cfg, char *folder)
{
    const float smoothing =
        (float)option_find_number((char *)data_cfg, options, "label_smoothing", .1, 0, 1, 0);
    s->records = load_cifar_folder(folder, s->values, s->classes, smoothing);
    s->count = s->records.X.rows;
    s->digest = XXH3_64bits_withSeed(&smoothing, sizeof(smoothing), 0);
    for (int i = 0; i < s->count; i++) {
        s->digest = XXH3_64bits_withSeed(s->records.X.vals[i], (size_t)s->values * sizeof(float),
                                         s->digest);
        s->digest = XXH3_64bits_withSeed(s->records.y.vals[i], (size_t)s->truths * sizeof(float),
                                         s->digest);
    }
}

/* As train_classifier and load_thread of the host set them. */
static load_args augmentation_of(const network *net)
{
    load_args a = {0};
    a.min = (int)(net->min_ratio * (float)net->w);
    a.max = (int)(net->max_ratio * (float)net->w);
    a.angle = net->angle;
    a.aspect = net->aspect == 0 ? 1 : net->aspect;
    a.exposure = net->exposure == 0 ? 1 : net->exposure;
    a.saturation = net->saturation == 0 ? 1 : net->saturation;
    a.hue = net->hue;
    a.size = net->w;
    a.no_flip = !net->flip;
    return a;
}

static void read_list(batch_source *s, network *net, list *options, char *name)
{
    char *tree_name = option_find_str(options, "tree", 0);
    s->labels =
        get_checked_labels(option_find_str(options, "labels", "data/labels.list"), s->classes);
    s->hierarchy = tree_name ? read_tree(tree_name) : net->hierarchy;
    check_image_list(name, s->labels, s->classes);
    list *lines = get_paths(name);
    s->paths = (char **)list_to_array(lines);
    s->count = lines->size;
    free_list(lines);
    s->kept = hook_alloc((size_t)s->count, sizeof(*s->kept));
    s->args = augmentation_of(net);
    for (int i = 0; i < s->count; i++)
        s->digest = XXH3_64bits_withSeed(s->paths[i], strlen(s->paths[i]), s->digest);
}

static opt_status check_task(const batch_source *s, network *net, list *options, const char *cfg,
                             const char *data_cfg, int is_folder, opt_error *error)
{
    if (is_folder && (net->outputs < 1 || net->outputs > 256))
        hook_die("%s has %d outputs, expected 1 to 256: a label is a byte", cfg, net->outputs);
    if (s->classes != net->truths)
        hook_die("%s: classes=%d, but %s has %d outputs", data_cfg, s->classes, cfg, net->truths);
    if (is_folder) return OPT_OK;
    if (net->w * net->w * s->channels != net->inputs)
        hook_die("An image has %d values, the network takes %d (width %d, height %d, channels %d)",
                 net->w * net->w * s->channels, net->inputs, net->w, net->h, net->c);
    if (option_find_int_quiet(options, "tag", 0))
        return opt_fail(error, OPT_BAD_OPTION,
                        "%s: tag=1 is not for a meta-training, expected one "
                        "class an image",
                        data_cfg);
    if (net->random)
        return opt_fail(error, OPT_BAD_OPTION,
                        "%s: random=1 is not for a meta-training, expected one "
                        "size of images",
                        cfg);
    return OPT_OK;
}

batch_source *batch_source_open(network *net, const char *cfg, const char *data_cfg,
                                opt_error *error)
{
    list *options = read_data_cfg((char *)data_cfg);
    char *train = option_find_str(options, "train", "data/train.list");
    struct stat about;
    const int is_folder = stat(train, &about) == 0 && S_ISDIR(about.st_mode);
    batch_source *s = hook_alloc(1, sizeof(*s));
    s->values = net->inputs;
    s->truths = net->truths;
    s->channels = net->c ? net->c : 3;
    s->classes = is_folder ? net->outputs : option_find_int(options, "classes", 2);
    if (check_task(s, net, options, cfg, data_cfg, is_folder, error)) {
        free(s);
        return NULL; /* the program is about to end */
    }
    if (is_folder)
        read_folder(s, options, data_cfg, train);
    else
        read_list(s, net, options, train);
    return s;
}

void batch_source_close(batch_source *s)
{
    if (!s) return;
    for (int i = 0; i < s->count && s->kept; i++) free(atomic_load(&s->kept[i]));
    if (s->records.X.vals) free_data(s->records);
    if (s->paths) free_ptrs((void **)s->paths, s->count);
    free(s->kept);
    free(s);
}

uint64_t batch_source_digest(const batch_source *s) { return s->digest; }
tree *batch_source_tree(const batch_source *s) { return s->hierarchy; }

/* --- batches --- */

/* get_random_data and load_threads draw so. */
void batch_draw(const batch_source *s, uint64_t seed, uint64_t t, int *chosen, int images)
{
    random_use(seed, STREAM_ORDER, t);
    for (int i = 0; i < images; i++) chosen[i] = random_next() % s->count;
}

/* Keeps a decoded image, unless another thread has or there are too many. Its values are whole
 * 255ths. */
static void keep(batch_source *s, int which, image im)
{
    const size_t n = (size_t)im.w * (size_t)im.h * (size_t)im.c, bytes = sizeof(kept_image) + n;
    if (atomic_fetch_add(&s->kept_bytes, bytes) + bytes > most_kept) {
        atomic_fetch_sub(&s->kept_bytes, bytes);
        return;
    }
    kept_image *copy = hook_alloc(bytes, 1), *none = NULL;
    copy->w = im.w;
    copy->h = im.h;
    for (size_t i = 0; i < n; i++) copy->pixels[i] = (unsigned char)(im.data[i] * 255 + .5f);
    if (atomic_compare_exchange_strong(&s->kept[which], &none, copy)) return;
    free(copy);
    atomic_fetch_sub(&s->kept_bytes, bytes);
}

static image decoded(batch_source *s, int which)
{
    const kept_image *kept = atomic_load(&s->kept[which]);
    if (!kept) {
        image im = load_image(s->paths[which], 0, 0, s->channels);
        keep(s, which, im);
        return im;
    }
    image im = make_image(kept->w, kept->h, s->channels);
    const size_t n = (size_t)im.w * (size_t)im.h * (size_t)im.c;
    for (size_t i = 0; i < n; i++) im.data[i] = (float)(kept->pixels[i] / 255.);
    return im;
}

/* What load_image_augment_paths of the host does with image i of batch t. */
static void fill_one(batch_source *s, uint64_t seed, uint64_t t, int i, int which, float *input)
{
    const load_args *a = &s->args;
    random_use(seed, STREAM_AUGMENT, t << 32 | (uint32_t)i);
    image im = decoded(s, which);
    image crop = random_augment_image(im, a->angle, a->aspect, a->min, a->max, a->size, a->size);
    const int flip = random_next() % 2;
    if (flip && !a->no_flip) flip_image(crop);
    random_distort_image(crop, a->hue, a->saturation, a->exposure);
    memcpy(input, crop.data, (size_t)s->values * sizeof(float));
    free_image(im);
    free_image(crop);
}

void batch_fill(batch_source *s, uint64_t seed, uint64_t t, const int *chosen, int first, int n,
                float *input, float *truth)
{
    memset(truth, 0, (size_t)n * (size_t)s->truths * sizeof(float));
    for (int i = 0; i < n; i++, input += s->values, truth += s->truths) {
        const int which = chosen[first + i];
        if (s->records.X.vals) {
            memcpy(input, s->records.X.vals[which], (size_t)s->values * sizeof(float));
            memcpy(truth, s->records.y.vals[which], (size_t)s->truths * sizeof(float));
            continue;
        }
        fill_one(s, seed, t, first + i, which, input);
        fill_truth(s->paths[which], s->labels, s->classes, truth);
        if (s->hierarchy) fill_hierarchy(truth, s->classes, s->hierarchy);
    }
}
