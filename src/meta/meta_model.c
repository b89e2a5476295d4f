/* Which numbers of the vector a model uses, by the names of its parts; start values; the file. */
#include "meta/meta_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta/meta_random.h"

float *meta_params(hrnn_model *model) { return (float *)model; }

void meta_set_params(hrnn_model *model, const double *theta)
{
    float *params = meta_params(model);
    for (int i = 0; i < HRNN_META_PARAMS; i++) params[i] = (float)theta[i];
}

/* Rows whose names start so are not read by a model without the feature. */
static const struct {
    hrnn_feature feature;
    const char *prefix;
} feature_rows[] = {
    {HRNN_ATTENTION, "readout.attention."},
    {HRNN_SHORTCUT, "readout.step.shortcut"},
    {HRNN_SHORTCUT, "readout.attention.shortcut"},
    {HRNN_DYNAMIC_LR, "readout.log_lr."},
    {HRNN_DYNAMIC_LR, "log_lr.momentum_logit"},
    {HRNN_TENSOR_RNN, "param.from_tensor."},
    {HRNN_GLOBAL_RNN, "param.from_global."},
    {HRNN_GLOBAL_RNN, "tensor.from_global."},
    {HRNN_GLOBAL_RNN, "global."},
    {HRNN_LR_LIMIT, "log_lr.limit"},
    {HRNN_SCHEDULE, "schedule."},
};

static int part_is_used(const hrnn_part *part, unsigned features)
{
    for (size_t i = 0; i < sizeof feature_rows / sizeof *feature_rows; i++)
        if (!(features >> feature_rows[i].feature & 1) &&
            strncmp(part->name, feature_rows[i].prefix, strlen(feature_rows[i].prefix)) == 0)
            return 0;
    /* The tensor RNN feeds the parameter RNN and the global RNN. */
    const unsigned readers = 1u << HRNN_TENSOR_RNN | 1u << HRNN_GLOBAL_RNN;
    return (features & readers) || strncmp(part->name, "tensor.", 7) != 0;
}

/* Entry i of a part is of an input that a model with these features has. */
static int input_is_used(const hrnn_part *part, size_t i, unsigned features)
{
    static const hrnn_feature context[HRNN_CONTEXT] = {HRNN_RATE_TO_SIZE, HRNN_ABSOLUTE_LR,
                                                       HRNN_TIME};
    const size_t n = hrnn_part_count(part);
    if (strstr(part->name, "from_context")) return features >> context[i * HRNN_CONTEXT / n] & 1;
    if (!strstr(part->name, "from_outlook")) return 1;
    return features >> (i * HRNN_OUTLOOK / n < HRNN_PROGRESS ? HRNN_HORIZON : HRNN_LOSSES) & 1;
}

void meta_used_params(unsigned features, unsigned char used[HRNN_META_PARAMS])
{
    for (int r = 0; r < HRNN_PARTS; r++) {
        const hrnn_part *part = &hrnn_parts[r];
        unsigned char *of_part = used + part->offset / sizeof(float);
        for (size_t i = 0; i < hrnn_part_count(part); i++)
            of_part[i] = part_is_used(part, features) && input_is_used(part, i, features);
    }
}

static void start_part(hrnn_model *model, const hrnn_part *part, float *x, random_stream *stream,
                       double readout_scale)
{
    const size_t n = hrnn_part_count(part);
    const int is_step = strcmp(part->name, "readout.step.weight") == 0;
    const float deviation = is_step ? (float)(readout_scale / sqrt(HRNN_H0)) : part->value;
    if (part->start == START_AS_STEP) {
        memcpy(x, model->step_weight, n * sizeof *x);
    } else if (part->start == START_CONSTANT) {
        for (size_t i = 0; i < n; i++) x[i] = part->value;
    } else if (part->start == START_UNIFORM) {
        for (size_t i = 0; i < n; i++) x[i] = part->value * (float)draw_uniform(stream, -1, 1);
    } else {
        draw_normals(stream, x, n, 1);
        for (size_t i = 0; i < n; i++)
            x[i] = part->start == START_SHORTCUT ? part->value + 0.05f * x[i] : deviation * x[i];
    }
}

void meta_random_model(hrnn_model *model, uint64_t seed, double readout_scale)
{
    random_stream stream = meta_stream(seed, META_START, 0, 0);
    *model = (hrnn_model){
        .min_log_lr = -33, .max_log_lr = 33, .initial_lr = 1e-4f, .features = HRNN_FULL};
    for (int r = 0; r < HRNN_1_PARTS; r++)
        start_part(model, &hrnn_parts[r], hrnn_part_data(model, &hrnn_parts[r]), &stream,
                   readout_scale);
}

void meta_set_format(hrnn_model *model, int format)
{
    const unsigned wanted = hrnn_format_features(format);
    const unsigned known = hrnn_format_features(hrnn_format(model));
    const int parts = hrnn_part_total(model);
    model->features = (model->features & wanted) | (wanted & ~known);
    for (int r = parts; r < hrnn_part_total(model); r++)
        start_part(model, &hrnn_parts[r], hrnn_part_data(model, &hrnn_parts[r]), NULL, 0);
}

opt_status meta_switch_off(hrnn_model *model, const char *without, opt_error *error)
{
    const int features = hrnn_feature_total(model);
    char known[300] = "";
    int length;
    if (strcmp(without, "none") == 0) return OPT_OK;
    const char *unknown = hrnn_switch_off(model, without, &length);
    if (!unknown) return OPT_OK;
    for (int f = 0; f < features; f++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", f ? ", " : "", hrnn_feature_name(f));
    }
    return opt_fail(error, OPT_BAD_OPTION, "-without names \"%.*s\", expected some of: %s",
                    length > 40 ? 40 : length, unknown, known);
}

void meta_print_without(const hrnn_model *model, char text[META_WITHOUT])
{
    const int features = hrnn_feature_total(model);
    *text = 0;
    for (int f = 0; f < features; f++) {
        const size_t used = strlen(text);
        if (!hrnn_has(model, f))
            snprintf(text + used, META_WITHOUT - used, "%s%s", used ? "," : "",
                     hrnn_feature_name(f));
    }
    if (!*text) strcpy(text, "none");
}

static void write_metadata(st_writer *w, const hrnn_model *model)
{
    char without[META_WITHOUT], number[32];
    meta_print_without(model, without);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"min_log_lr", (double)model->min_log_lr},
                   {"max_log_lr", (double)model->max_log_lr},
                   {"initial_lr", (double)model->initial_lr},
                   {"attention", hrnn_has(model, HRNN_ATTENTION)}};
    st_writer_metadata(w, "format", hrnn_format_names[hrnn_format(model) - 1]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(number, sizeof number, "%.6g", numbers[i].value);
        if (strtof(number, NULL) != (float)numbers[i].value)
            snprintf(number, sizeof number, "%.9g", numbers[i].value);
        st_writer_metadata(w, numbers[i].key, number);
    }
    if (strcmp(without, "none") != 0) st_writer_metadata(w, "without", without);
}

opt_status meta_save_model(const hrnn_model *model, const char *path, const meta_note *notes,
                           int n_notes, opt_error *error)
{
    st_writer *w = st_writer_new();
    if (!w) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", path);
    write_metadata(w, model);
    for (int i = 0; i < n_notes; i++) st_writer_metadata(w, notes[i].key, notes[i].value);
    const int parts = hrnn_part_total(model);
    for (int r = 0; r < parts; r++)
        st_writer_tensor(w, hrnn_parts[r].name, ST_F32, hrnn_parts[r].dims, hrnn_parts[r].shape);
    opt_status status = st_writer_begin(w, path, 0, error);
    for (int r = 0; r < parts && !status; r++)
        status = st_writer_data(w, hrnn_part_data((hrnn_model *)model, &hrnn_parts[r]),
                                hrnn_part_count(&hrnn_parts[r]) * sizeof(float), error);
    if (!status) status = st_writer_end(w, error);
    st_writer_free(w);
    return status;
}
