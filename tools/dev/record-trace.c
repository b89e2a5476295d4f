/* Records a trace of hrnn-3 for tests/golden from the plain equations in double precision
 * (tests/hrnn_reference.h), which is not to be repeated unless the equations change.
 *   record-trace FILE [HORIZON]    30 steps; HORIZON: steps in all (40), 0 for none */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../tests/hrnn_reference.h"
#include "files/safetensors.h"
#include "problems/draw.h"

enum { TENSORS = 3, STEPS = 30, LARGEST = 130 };
static const size_t sizes[TENSORS] = {1, 65, LARGEST};

typedef struct {
    float start[LARGEST], log_lr[LARGEST], grads[STEPS][LARGEST];
    float param[STEPS][LARGEST], attended[STEPS][LARGEST], rates[STEPS][LARGEST];
    float hidden[LARGEST][HRNN_H0], tensor_state[HRNN_H1];
} recorded;

static recorded tensors[TENSORS];
static float losses[STEPS], global_state[HRNN_H2];

static double uniform(random_stream *stream) { return draw_uniform(stream, -1, 1); }

static hrnn_model make_model(random_stream *stream)
{
    hrnn_model model = {.min_log_lr = -33,
                        .max_log_lr = 4,
                        .initial_lr = 1e-3f,
                        .features = HRNN_FULL | HRNN_2_FEATURES | HRNN_3_FEATURES};
    for (int r = 0; r < HRNN_PARTS; r++)
        for (size_t i = 0; i < hrnn_part_count(&hrnn_parts[r]); i++)
            hrnn_part_data(&model, &hrnn_parts[r])[i] = (float)(0.3 * uniform(stream));
    model.input_decay_bias[0] += 2;
    model.scale_decay_bias[0] += 3;
    return model;
}

static reference start(const hrnn_model *model, random_stream *stream, double horizon)
{
    reference r = reference_new(model, TENSORS);
    r.horizon = horizon;
    for (int k = 0; k < TENSORS; k++) {
        reference_tensor *t = reference_add(&r, sizes[k], 1);
        for (size_t i = 0; i < sizes[k]; i++) {
            tensors[k].start[i] = (float)uniform(stream);
            tensors[k].log_lr[i] = (float)(-6 + uniform(stream));
            t->theta[i] = t->phi[i] = (double)tensors[k].start[i];
            t->log_lr[i] = (double)tensors[k].log_lr[i];
        }
    }
    return r;
}

static void step(reference *r, random_stream *stream, int s)
{
    double of[TENSORS][LARGEST], *grads[TENSORS];
    losses[s] = (float)(2.3 * exp(-s / 10.0) + 0.2 * uniform(stream));
    for (int k = 0; k < TENSORS; k++) {
        grads[k] = of[k];
        for (size_t i = 0; i < sizes[k]; i++) {
            tensors[k].grads[s][i] = (float)(uniform(stream) * pow(10, k - 2));
            of[k][i] = (double)tensors[k].grads[s][i];
        }
    }
    reference_step(r, grads, (double)losses[s], 1);
    for (int k = 0; k < TENSORS; k++)
        for (size_t i = 0; i < sizes[k]; i++) {
            tensors[k].param[s][i] = (float)r->tensors[k].theta[i];
            tensors[k].attended[s][i] = (float)r->tensors[k].phi[i];
            tensors[k].rates[s][i] = (float)r->tensors[k].log_lr[i];
        }
}

static void take_states(const reference *r)
{
    for (int j = 0; j < HRNN_H2; j++) global_state[j] = (float)r->global[j];
    for (int k = 0; k < TENSORS; k++) {
        const reference_tensor *t = &r->tensors[k];
        for (int j = 0; j < HRNN_H1; j++) tensors[k].tensor_state[j] = (float)t->z[j];
        for (size_t i = 0; i < t->n; i++)
            for (int j = 0; j < HRNN_H0; j++) tensors[k].hidden[i][j] = (float)t->h[i][j];
    }
}

/* --- the file --- */

typedef struct {
    char name[64];
    int dims;
    size_t shape[2];
    const float *data;
    size_t width; /* floats from one row of data to the next */
} array;
static array arrays[1 + HRNN_PARTS + 8 * TENSORS + 1];
static int n_arrays;

static void add(const char *name, int k, int dims, size_t rows, size_t columns, const float *data,
                size_t width)
{
    array *a = &arrays[n_arrays++];
    *a = (array){.dims = dims, .shape = {rows, columns}, .data = data, .width = width};
    if (k < 0)
        snprintf(a->name, sizeof a->name, "%s", name);
    else
        snprintf(a->name, sizeof a->name, "%s.%d", name, k);
}

static void list_arrays(hrnn_model *model)
{
    for (int r = 0; r < HRNN_PARTS; r++) {
        const hrnn_part *row = &hrnn_parts[r];
        char name[64];
        snprintf(name, sizeof name, "model.%s", row->name);
        add(name, -1, row->dims, row->shape[0], row->shape[1], hrnn_part_data(model, row),
            row->shape[1]);
    }
    for (int k = 0; k < TENSORS; k++) {
        const size_t n = sizes[k];
        recorded *t = &tensors[k];
        add("init.param", k, 1, n, 1, t->start, 1);
        add("init.log_lr", k, 1, n, 1, t->log_lr, 1);
        add("grad", k, 2, STEPS, n, t->grads[0], LARGEST);
        add("want.param", k, 2, STEPS, n, t->param[0], LARGEST);
        add("want.attended", k, 2, STEPS, n, t->attended[0], LARGEST);
        add("want.log_lr", k, 2, STEPS, n, t->rates[0], LARGEST);
        add("want.hidden", k, 2, n, HRNN_H0, t->hidden[0], HRNN_H0);
        add("want.tensor_state", k, 1, HRNN_H1, 1, t->tensor_state, 1);
    }
    add("want.global_state", -1, 1, HRNN_H2, 1, global_state, 1);
    add("losses", -1, 1, STEPS, 1, losses, 1);
}

static opt_status write_file(const char *path, const char *horizon, opt_error *error)
{
    const char *const notes[][2] = {{"format", "hrnn-trace-1"},
                                    {"model_format", "hrnn-3"},
                                    {"attention", "1"},
                                    {"tensors", "3"},
                                    {"steps", "30"},
                                    {"max_log_lr", "4"},
                                    {"min_log_lr", "-33"},
                                    {"horizon", horizon}};
    st_writer *w = st_writer_new();
    if (!w) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", path);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        st_writer_metadata(w, notes[i][0], notes[i][1]);
    for (int i = 0; i < n_arrays; i++)
        st_writer_tensor(w, arrays[i].name, ST_F32, arrays[i].dims, arrays[i].shape);
    opt_status status = st_writer_begin(w, path, 0, error);
    for (int i = 0; i < n_arrays; i++)
        for (size_t row = 0; row < arrays[i].shape[0] && !status; row++)
            status = st_writer_data(w, arrays[i].data + row * arrays[i].width,
                                    arrays[i].shape[1] * sizeof(float), error);
    if (!status) status = st_writer_end(w, error);
    st_writer_free(w);
    return status;
}

int main(int argc, char **argv)
{
    const char *horizon = argc > 2 ? argv[2] : "40";
    opt_error error = {0};
    if (argc < 2 || argc > 3 || strspn(horizon, "0123456789") != strlen(horizon)) {
        fprintf(stderr, "usage: record-trace FILE [HORIZON]\n");
        return 2;
    }
    random_stream stream = draw_stream(20, STREAM_OTHER, 3);
    hrnn_model model = make_model(&stream);
    reference r = start(&model, &stream, atof(horizon));
    for (int s = 0; s < STEPS; s++) step(&r, &stream, s);
    take_states(&r);
    reference_free(&r);
    list_arrays(&model);
    if (!write_file(argv[1], horizon, &error)) return 0;
    fprintf(stderr, "record-trace: %s\n", error.message);
    return 1;
}
