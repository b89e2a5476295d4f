/* The table of the meta-parameters, from a safetensors file to a model, and where a model is looked
 * for. */
#include "hrnn/hrnn_model.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD(field) offsetof(hrnn_model, field)
#define NORMAL(fan) START_NORMAL, 0.5f / SQRT_##fan
#define ZERO START_CONSTANT, 0
/* Square roots of the fans, for constant initialisers. */
#define SQRT_10 3.16227766f
#define SQRT_20 4.47213595f
#define SQRT_22 4.69041576f
#define SQRT_40 6.32455532f
#define SQRT_42 6.48074070f

const hrnn_part hrnn_parts[HRNN_PARTS] = {
    {"param.gates.weight", 2, {22, 20}, FIELD(param_gates_weight), NORMAL(22)},
    {"param.gates.bias", 1, {20, 1}, FIELD(param_gates_bias), START_CONSTANT, 2.2f},
    {"param.candidate.weight", 2, {22, 10}, FIELD(param_candidate_weight), NORMAL(22)},
    {"param.candidate.bias", 1, {10, 1}, FIELD(param_candidate_bias), START_CONSTANT, 0},
    {"param.init", 1, {10, 1}, FIELD(param_init), START_UNIFORM, 1},
    {"tensor.gates.weight", 2, {42, 40}, FIELD(tensor_gates_weight), NORMAL(42)},
    {"tensor.gates.bias", 1, {40, 1}, FIELD(tensor_gates_bias), START_CONSTANT, 2.2f},
    {"tensor.candidate.weight", 2, {42, 20}, FIELD(tensor_candidate_weight), NORMAL(42)},
    {"tensor.candidate.bias", 1, {20, 1}, FIELD(tensor_candidate_bias), START_CONSTANT, 0},
    {"tensor.init", 1, {20, 1}, FIELD(tensor_init), START_UNIFORM, 1},
    {"global.gates.weight", 2, {40, 40}, FIELD(global_gates_weight), NORMAL(40)},
    {"global.gates.bias", 1, {40, 1}, FIELD(global_gates_bias), START_CONSTANT, 2.2f},
    {"global.candidate.weight", 2, {40, 20}, FIELD(global_candidate_weight), NORMAL(40)},
    {"global.candidate.bias", 1, {20, 1}, FIELD(global_candidate_bias), START_CONSTANT, 0},
    {"global.init", 1, {20, 1}, FIELD(global_init), START_UNIFORM, 1},
    {"param.from_tensor.weight", 2, {20, 30}, FIELD(param_from_tensor_weight), NORMAL(20)},
    {"param.from_tensor.bias", 1, {30, 1}, FIELD(param_from_tensor_bias), START_CONSTANT, 0},
    {"param.from_global.weight", 2, {20, 30}, FIELD(param_from_global_weight), NORMAL(20)},
    {"param.from_global.bias", 1, {30, 1}, FIELD(param_from_global_bias), START_CONSTANT, 0},
    {"tensor.from_global.weight", 2, {20, 60}, FIELD(tensor_from_global_weight), NORMAL(20)},
    {"tensor.from_global.bias", 1, {60, 1}, FIELD(tensor_from_global_bias), START_CONSTANT, 0},
    {"readout.step.weight", 1, {10, 1}, FIELD(step_weight), NORMAL(10)},
    {"readout.step.shortcut", 1, {4, 1}, FIELD(step_shortcut), START_SHORTCUT, 0.25f},
    {"readout.attention.weight", 1, {10, 1}, FIELD(attention_weight), START_AS_STEP, 0},
    {"readout.attention.shortcut", 1, {4, 1}, FIELD(attention_shortcut), START_SHORTCUT, 0.25f},
    {"readout.scale_decay.weight", 1, {10, 1}, FIELD(scale_decay_weight), NORMAL(10)},
    {"readout.scale_decay.bias", 1, {1, 1}, FIELD(scale_decay_bias), START_CONSTANT, 3.2f},
    {"readout.input_decay.weight", 1, {10, 1}, FIELD(input_decay_weight), NORMAL(10)},
    {"readout.input_decay.bias", 1, {1, 1}, FIELD(input_decay_bias), START_CONSTANT, 2.2f},
    {"readout.log_lr.weight", 1, {10, 1}, FIELD(log_lr_weight), START_CONSTANT, 0},
    {"readout.log_lr.bias", 1, {1, 1}, FIELD(log_lr_bias), START_CONSTANT, 0},
    {"log_lr.momentum_logit", 1, {1, 1}, FIELD(momentum_logit), START_CONSTANT, 3.2f},
    {"log_lr.step_offset", 1, {1, 1}, FIELD(step_offset), START_CONSTANT, -1},
    {"param.from_context.weight", 2, {3, 30}, FIELD(param_from_context_weight), ZERO},
    {"tensor.from_context.weight", 2, {3, 60}, FIELD(tensor_from_context_weight), ZERO},
    {"readout.log_lr.from_context", 1, {3, 1}, FIELD(log_lr_from_context_weight), ZERO},
    {"log_lr.limit", 1, {1, 1}, FIELD(lr_limit), START_CONSTANT, 0.4f},
    {"param.from_outlook.weight", 2, {15, 30}, FIELD(param_from_outlook_weight), ZERO},
    {"tensor.from_outlook.weight", 2, {15, 60}, FIELD(tensor_from_outlook_weight), ZERO},
    {"global.from_outlook.weight", 2, {15, 60}, FIELD(global_from_outlook_weight), ZERO},
    {"readout.log_lr.from_outlook", 1, {15, 1}, FIELD(log_lr_from_outlook_weight), ZERO},
    {"schedule.weight", 1, {8, 1}, FIELD(schedule_weight), ZERO},
};

static const char *const feature_names[HRNN_FEATURES] = {
    "attention",   "timescales", "products",      "log_mean_square",
    "relative_lr", "shortcut",   "input_scaling", "step_normalisation",
    "dynamic_lr",  "tensor_rnn", "global_rnn",    "rate_to_size",
    "absolute_lr", "time",       "lr_limit",      "horizon",
    "losses",      "schedule",
};

const char *hrnn_feature_name(hrnn_feature feature) { return feature_names[feature]; }

size_t hrnn_part_count(const hrnn_part *part) { return part->shape[0] * part->shape[1]; }

float *hrnn_part_data(hrnn_model *model, const hrnn_part *part)
{
    return (float *)((char *)model + part->offset);
}

static const int parts_of[] = {0, HRNN_1_PARTS, HRNN_2_PARTS, HRNN_PARTS};

int hrnn_part_total(const hrnn_model *model) { return parts_of[hrnn_format(model)]; }

size_t hrnn_param_total(const hrnn_model *model)
{
    const hrnn_part *last = &hrnn_parts[hrnn_part_total(model) - 1];
    return last->offset / sizeof(float) + hrnn_part_count(last);
}

static const int features_of[] = {0, HRNN_FEATURES_1, HRNN_FEATURES_2, HRNN_FEATURES};
const char *const hrnn_format_names[] = {"hrnn-1", "hrnn-2", "hrnn-3", NULL};

unsigned hrnn_format_features(int format) { return (1u << features_of[format]) - 1; }

int hrnn_feature_total(const hrnn_model *model) { return features_of[hrnn_format(model)]; }

const char *hrnn_switch_off(hrnn_model *model, const char *list, int *length)
{
    const int known = hrnn_feature_total(model);
    while (*list) {
        const size_t n = strcspn(list, ",");
        int f = 0;
        while (f < known &&
               (strlen(feature_names[f]) != n || strncmp(feature_names[f], list, n) != 0))
            f++;
        *length = (int)n;
        if (f == known) return list;
        model->features &= ~(1u << f);
        list += n + (list[n] == ',');
    }
    return NULL;
}

static opt_status read_without(const st_file *file, hrnn_model *model, opt_error *error)
{
    int length;
    const char *list = st_metadata(file, "without");
    const int format = hrnn_format(model);
    const char *unknown = list ? hrnn_switch_off(model, list, &length) : NULL;
    if (!unknown) return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE,
                    "%s: metadata \"without\" names \"%.*s\", which is not a feature of hrnn-%d",
                    st_path(file), length > 40 ? 40 : length, unknown, format);
}

/* Which format the metadata name, for a file that holds something else besides as its
 * model_format; 0: none of ours. */
static int format_of(const st_file *file)
{
    const char *format = st_metadata(file, "model_format");
    if (!format) format = st_metadata(file, "format");
    for (int f = 0; format && hrnn_format_names[f]; f++)
        if (strcmp(format, hrnn_format_names[f]) == 0) return f + 1;
    return 0;
}

static opt_status read_metadata(const st_file *file, hrnn_model *model, opt_error *error)
{
    double low, high, initial, attention;
    opt_status status;
    if ((status = st_number(file, "max_log_lr", 33, -88, 88, &high, error)) ||
        (status = st_number(file, "min_log_lr", -33, -88, 88, &low, error)) ||
        (status = st_number(file, "initial_lr", 0, 0, 1, &initial, error)) ||
        (status = st_number(file, "attention", NAN, 0, 1, &attention, error)))
        return status;
    if (low >= high)
        return opt_fail(error, OPT_BAD_FILE,
                        "%s: metadata min_log_lr is %g, expected less than "
                        "max_log_lr, %g",
                        st_path(file), low, high);
    model->min_log_lr = (float)low;
    model->max_log_lr = (float)high;
    model->initial_lr = (float)initial;
    /* Where neither says so it is of hrnn-1. */
    const int format = format_of(file);
    model->features = hrnn_format_features(format ? format : 1);
    if (attention == 0) model->features &= ~(1u << HRNN_ATTENTION);
    return read_without(file, model, error);
}

static opt_status read_part(const st_file *file, const char *prefix, const hrnn_part *part,
                            hrnn_model *model, opt_error *error)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s", prefix, part->name);
    int optional = strncmp(part->name, "readout.attention.", 18) == 0;
    if (optional && !hrnn_has(model, HRNN_ATTENTION) && !st_find(file, name)) return OPT_OK;
    const float *values = st_floats(file, name, part->dims, part->shape, error);
    if (!values) return OPT_BAD_FILE;
    for (size_t i = 0; i < hrnn_part_count(part); i++)
        if (!isfinite(values[i]))
            return opt_fail(error, OPT_BAD_FILE,
                            "%s: tensor %s holds %g at entry %zu, expected "
                            "finite numbers",
                            st_path(file), name, values[i], i);
    memcpy(hrnn_part_data(model, part), values, hrnn_part_count(part) * sizeof *values);
    return OPT_OK;
}

hrnn_model *hrnn_model_read(const st_file *file, const char *prefix, opt_error *error)
{
    hrnn_model *model = calloc(1, sizeof *model);
    if (!model) {
        opt_fail(error, OPT_NO_MEMORY, "%s: no memory for the model", st_path(file));
        return NULL;
    }
    if (read_metadata(file, model, error)) goto fail;
    const int parts = format_of(file) ? parts_of[format_of(file)] : HRNN_1_PARTS;
    for (int r = 0; r < parts; r++)
        if (read_part(file, prefix, &hrnn_parts[r], model, error)) goto fail;
    return model;
fail:
    hrnn_model_free(model);
    return NULL;
}

hrnn_model *hrnn_model_load(const char *path, opt_error *error)
{
    hrnn_model *model = NULL;
    double initial;
    st_file *file = st_open(path, error);
    if (!file) return NULL;
    const char *format = st_metadata(file, "format");
    if (!format_of(file))
        opt_fail(error, OPT_BAD_FILE,
                 "%s: metadata format is \"%.40s\", expected \"hrnn-1\", \"hrnn-2\" or \"hrnn-3\"",
                 path, format ? format : "");
    else if (!st_number(file, "initial_lr", NAN, 1e-12, 1, &initial, error))
        model = hrnn_model_read(file, "", error);
    st_close(file);
    return model;
}

void hrnn_model_free(hrnn_model *model) { free(model); }

char *hrnn_model_find(const char *program, opt_error *error)
{
    static const char *const places[] = {"hrnn.safetensors", "../weights/hrnn.safetensors",
                                         "../../weights/hrnn.safetensors",
                                         "../share/darknet-hrnn/hrnn.safetensors"};
    const char *named = getenv("HRNN_WEIGHTS");
    char folder[PATH_MAX], path[PATH_MAX + 64];
    if (named && *named) return strdup(named);
    if (!realpath(program, folder)) strcpy(folder, "/");
    strrchr(folder, '/')[1] = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), "%s%s", folder, places[i]);
        if (access(path, R_OK) == 0) return strdup(path);
    }
    opt_fail(error, OPT_NO_FILE, "no model beside the executable (%s%s)", folder, places[0]);
    return NULL;
}
