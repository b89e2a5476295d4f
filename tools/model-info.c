/* Prints what a model file says of itself: metadata and a digest of its meta-parameters. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "meta/meta_model.h"

static int print_model(const char *path)
{
    static const char *const keys[] = {
        "format", "attention",   "without", "min_log_lr", "max_log_lr",   "initial_lr", "corpus",
        "seed",   "outer_steps", "hours",   "version",    "started_from", "recipe",     "run"};
    opt_error error = {0};
    hrnn_model *model = hrnn_model_load(path, &error);
    st_file *file = model ? st_open(path, &error) : NULL;
    if (!file) {
        fprintf(stderr, "model-info: %s\n", error.message);
        hrnn_model_free(model);
        return 1;
    }
    const int params = (int)hrnn_param_total(model);
    const XXH128_hash_t hash = XXH3_128bits(meta_params(model), (size_t)params * sizeof(float));
    printf("%s\n", path);
    printf("  %-13s %d, digest %016llx%016llx\n", "parameters", params,
           (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = st_metadata(file, keys[i]);
        if (value) printf("  %-13s %s\n", keys[i], value);
    }
    st_close(file);
    hrnn_model_free(model);
    return 0;
}

int main(int argc, char **argv)
{
    int status = 0;
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        printf("Usage: model-info FILE...\n"
               "Prints what each model file says of itself: its features, how it was meta-trained, "
               "and a\n"
               "digest of its meta-parameters.\n");
        return argc < 2 ? 2 : 0;
    }
    for (int i = 1; i < argc; i++) status |= print_model(argv[i]);
    return status;
}
