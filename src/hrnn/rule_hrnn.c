/* The hierarchical RNN as a rule: its state's allocation, start and fields. The step is
 * hrnn_step.c's, the mathematics hrnn_cell.h's. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "hrnn/hrnn_cuda.h"
#include "hrnn/rule_hrnn.h"

/* With attention the attended parameters φ are kept too: the weights file holds the true ones. */
/* clang-format off */
#define FIELDS                                                                                   \
    {"attended", PER_PARAM, 1}, {"hidden", PER_PARAM, HRNN_H0},                                  \
        {"average", PER_PARAM, HRNN_SCALES}, {"mean_square", PER_PARAM, HRNN_SCALES},            \
        {"log_lr", PER_PARAM, 1}, {"tensor_state", PER_TENSOR, HRNN_H1},                         \
        {"global_state", PER_NETWORK, HRNN_H2}, {"mean_log_lr", PER_NETWORK, 1}
/* clang-format on */
static const rule_field fields_1[] = {FIELDS, {0}};
/* Mean η and log size, as hrnn_context has them. */
static const rule_field fields_2[] = {FIELDS, {"context", PER_TENSOR, 2}, {0}};
/* hrnn_losses, and the horizon as hrnn_state has it. */
static const rule_field fields_3[] = {FIELDS,
                                      {"context", PER_TENSOR, 2},
                                      {"losses", PER_NETWORK, sizeof(hrnn_losses) / sizeof(float)},
                                      {"horizon", PER_NETWORK, 2},
                                      {0}};

/* The row of a block where a PER_PARAM field starts; -1: it is not in the blocks. */
static int row_of_field(const rule_field *field)
{
    static const struct {
        const char *name;
        int row;
    } fields[] = {
        {"hidden", ROW_HIDDEN}, {"average", ROW_AVERAGE},    {"mean_square", ROW_MEAN_SQUARE},
        {"log_lr", ROW_LOG_LR}, {"attended", ROW_ATTENTION},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, field->name) == 0) return fields[i].row;
    return -1;
}

static void identify(hrnn_state *state)
{
    /* Of the tensors that its format has and of what follows them in memory: as when there was no
     * later format. */
    hrnn_model model = state->model;
    const size_t end = hrnn_param_total(&model) * sizeof(float);
    const size_t rest = HRNN_META_PARAMS * sizeof(float);
    memmove((char *)&model + end, (char *)&model + rest, sizeof model - rest);
    XXH128_hash_t hash = XXH3_128bits(&model, sizeof model - rest + end);
    snprintf(state->identity, sizeof state->identity, "%016llx%016llx",
             (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

/* h is between its start and what tanh can be. */
static void set_format(hrnn_state *state, int compact)
{
    float most = 1;
    for (int j = 0; j < HRNN_H0; j++) most = fmaxf(most, fabsf(state->model.param_init[j]));
    state->format = (row_format){.compact = compact, .hidden_unit = most / 32766};
    state->block_bytes =
        row_offset(compact, ROW_ATTENTION + hrnn_has(&state->model, HRNN_ATTENTION));
}

static opt_status take_model(optimizer *opt, hrnn_state *state, opt_error *error)
{
    if (opt->model) {
        state->model = *(const hrnn_model *)opt->model;
    } else {
        if (!opt->options.model)
            return opt_fail(error, OPT_BAD_OPTION, "optimizer hrnn needs a model file");
        hrnn_model *model = hrnn_model_load(opt->options.model, error);
        if (!model) return error ? error->status : OPT_BAD_FILE;
        state->model = *model;
        hrnn_model_free(model);
    }
    identify(state);
    set_format(state, opt->options.compact);
    return OPT_OK;
}

/* Counts tensors, chunks and blocks that are not frozen, and allocates them. */
static opt_status allocate(const optimizer *opt, hrnn_state *state, opt_error *error)
{
    size_t blocks = 0, chunks = 0;
    for (int k = 0; k < opt->n; k++) {
        if (!opt_active(opt, k)) continue;
        const size_t b = opt->tensors[k].n / BLOCK + (opt->tensors[k].n % BLOCK != 0);
        blocks += b;
        chunks += b / CHUNK_BLOCKS + (b % CHUNK_BLOCKS != 0);
        state->params += opt->tensors[k].n;
        state->n++;
    }
    if (chunks > INT32_MAX)
        return opt_fail(error, OPT_NO_MEMORY, "%zu parameters are too many for optimizer hrnn",
                        state->params);
    state->n_chunks = (int)chunks;
    state->arena_bytes = blocks * state->block_bytes;
    state->of_tensor = malloc(((size_t)opt->n + 1) * sizeof *state->of_tensor);
    state->tensors = calloc((size_t)state->n + 1, sizeof *state->tensors);
    state->chunks = calloc(chunks + 1, sizeof *state->chunks);
    state->arena = device_alloc(opt->cuda, state->arena_bytes);
    if (!state->of_tensor || !state->tensors || !state->chunks || !state->arena)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the state of optimizer hrnn: %zu MB",
                        state->arena_bytes >> 20);
    device_zero(opt->cuda, state->arena, state->arena_bytes);
    return OPT_OK;
}

static void lay_out(const optimizer *opt, hrnn_state *state)
{
    unsigned char *blocks = state->arena;
    int index = 0, chunk = 0;
    for (int k = 0; k < opt->n; k++) {
        state->of_tensor[k] = opt_active(opt, k) ? index : -1;
        if (!opt_active(opt, k)) continue;
        hrnn_tensor *tensor = &state->tensors[index];
        const size_t n = opt->tensors[k].n, step = (size_t)CHUNK_BLOCKS * BLOCK;
        tensor->t = &opt->tensors[k];
        tensor->blocks = blocks;
        tensor->first_chunk = chunk;
        for (size_t first = 0; first < n; first += step)
            state->chunks[chunk++] = (hrnn_chunk){
                .tensor = index, .first = first, .count = n - first < step ? n - first : step};
        tensor->chunks = chunk - tensor->first_chunk;
        blocks += (n / BLOCK + (n % BLOCK != 0)) * state->block_bytes;
        index++;
    }
}

static void fill_row(const hrnn_state *state, const hrnn_tensor *tensor, size_t i, int row, float x)
{
    float numbers[BLOCK];
    for (int j = 0; j < BLOCK; j++) numbers[j] = x;
    pack_row(&state->format, row, numbers, hrnn_state_row(state, tensor, i, row));
}

/* The blocks before the first step; the padding of the last is set like the rest. */
static void start_blocks(const hrnn_state *state, const hrnn_tensor *tensor, float log_lr)
{
    const size_t n = tensor->t->n;
    for (size_t i = 0; i < n; i += BLOCK) {
        for (int r = 0; r < HRNN_H0; r++)
            fill_row(state, tensor, i, ROW_HIDDEN + r, state->model.param_init[r]);
        fill_row(state, tensor, i, ROW_LOG_LR, log_lr);
        if (hrnn_has(&state->model, HRNN_ATTENTION) && !state->format.compact)
            memcpy(hrnn_state_row(state, tensor, i, ROW_ATTENTION), tensor->t->param + i,
                   (n - i < BLOCK ? n - i : BLOCK) * sizeof(float));
    }
}

static void prepare(hrnn_state *state)
{
    if (state->cuda)
        hrnn_cuda_prepare(state);
    else
        hrnn_prepare(state);
}

static void start(hrnn_state *state, float log_lr)
{
    const hrnn_model *m = &state->model;
    memcpy(state->global, m->global_init, sizeof state->global);
    for (int k = 0; k < state->n; k++)
        memcpy(state->tensors[k].z, m->tensor_init, sizeof state->tensors[k].z);
    state->mean_log_lr = log_lr;
    prepare(state);
    if (state->cuda) {
        hrnn_cuda_start(state, log_lr);
        return;
    }
    for (int k = 0; k < state->n; k++) start_blocks(state, &state->tensors[k], log_lr);
}

void opt_set_model(optimizer *opt, const hrnn_model *model)
{
    hrnn_state *state = opt->state;
    assert(!state->format.compact); /* whose units are of the model that it was made with */
    hrnn_cuda_edit(state);
    state->model = *model;
    identify(state);
    prepare(state);
}

static opt_status init(optimizer *opt, opt_error *error)
{
    hrnn_state *state = calloc(1, sizeof *state);
    opt->state = state;
    if (!state) return opt_fail(error, OPT_NO_MEMORY, "no memory for optimizer hrnn");
    opt_status status = take_model(opt, state, error);
    if (status) return status;
    const float rate = opt->options.rate > 0 ? opt->options.rate : state->model.initial_lr;
    if (!(rate > 0))
        return opt_fail(error, OPT_BAD_OPTION,
                        "the model names no initial_lr: give a starting rate");
    if ((status = allocate(opt, state, error))) return status;
    lay_out(opt, state);
    if (opt->cuda && (status = hrnn_cuda_new(state, opt->tensors, opt->n, error))) return status;
    static const rule_field *const fields[] = {NULL, fields_1, fields_2, fields_3};
    state->without_schedule = opt->options.without_schedule;
    start(state, logf(rate));
    opt->fields = fields[hrnn_format(&state->model)];
    if (!hrnn_has(&state->model, HRNN_ATTENTION)) opt->fields++;
    return OPT_OK;
}

static void free_state(optimizer *opt)
{
    hrnn_state *state = opt->state;
    if (!state) return;
    hrnn_cuda_free(state);
    device_free(opt->cuda, state->arena);
    free(state->chunks);
    free(state->tensors);
    free(state->of_tensor);
    free(state);
    opt->state = NULL;
}

static void step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report)
{
    hrnn_state *state = opt->state;
    if (state->cuda) {
        *report = opt_report_counts(hrnn_cuda_step(state, loss, rate_ratio), opt->n);
        return;
    }
    hrnn_step(state, loss, rate_ratio);
    for (int k = 0; k < opt->n; k++) {
        if (state->of_tensor[k] < 0) continue;
        const size_t bad = state->tensors[state->of_tensor[k]].bad;
        if (bad && report->first_bad_tensor < 0) report->first_bad_tensor = k;
        report->non_finite += bad;
    }
}

static size_t state_bytes(const optimizer *opt)
{
    const hrnn_state *state = opt->state;
    return state->arena_bytes;
}

/* Where a field that is not in the blocks lives, or NULL. */
static float *small_field(const hrnn_state *state, const rule_field *field, int k)
{
    if (field->scope == PER_TENSOR) {
        hrnn_tensor *tensor = &state->tensors[state->of_tensor[k]];
        return strcmp(field->name, "context") == 0 ? (float *)&tensor->context : tensor->z;
    }
    if (field->scope != PER_NETWORK) return NULL;
    if (strcmp(field->name, "losses") == 0) return (float *)&state->losses;
    if (strcmp(field->name, "horizon") == 0) return (float *)state->horizon;
    return strcmp(field->name, "global_state") == 0 ? (float *)state->global
                                                    : (float *)&state->mean_log_lr;
}

/* A field's rows in blocks of a tensor, where they are, stride bytes apart, or, on a GPU, in a copy
 * of at most BOUNCE_BLOCKS. */
typedef struct {
    unsigned char *at, *device;
    size_t stride, bytes, pitch, blocks;
} field_rows;

static field_rows get_rows(const hrnn_state *state, const hrnn_tensor *tensor, size_t block,
                           size_t blocks, const rule_field *field)
{
    const int row = row_of_field(field), compact = state->format.compact;
    const size_t pitch = state->block_bytes;
    const size_t copied = (size_t)field->width * BLOCK * row_width(compact, row);
    unsigned char *rows = hrnn_state_row(state, tensor, block * BLOCK, row);
    if (!state->cuda) return (field_rows){rows, NULL, pitch, 0, 0, blocks};
    const field_rows r = {state->cuda->bounce, rows, copied, copied, pitch, blocks};
    device_get_rows(1, r.at, r.device, r.pitch, r.bytes, r.blocks);
    return r;
}

static void put_rows(const field_rows *r)
{
    if (r->device) device_put_rows(1, r->device, r->pitch, r->at, r->bytes, r->blocks);
}

/* count entries of column w of [.., width] arrays, one of which is NULL, out of numbers or into
 * them. */
static void copy_column(float *numbers, size_t count, size_t width, float *out, const float *in)
{
    for (size_t j = 0; j < count; j++)
        if (out)
            out[j * width] = numbers[j];
        else
            numbers[j] = in[j * width];
}

/* The entries of one block from the first-th on. */
static void copy_block(const hrnn_state *state, const rule_field *field, unsigned char *rows,
                       size_t first, size_t count, float *out, const float *in)
{
    const int row = row_of_field(field);
    const size_t width = (size_t)field->width,
                 bytes = BLOCK * row_width(state->format.compact, row);
    for (size_t w = 0; w < width; w++, rows += bytes) {
        float numbers[BLOCK];
        unpack_row(&state->format, row, rows, numbers);
        copy_column(numbers + first, count, width, out ? out + w : NULL, in ? in + w : NULL);
        if (in) pack_row(&state->format, row, numbers, rows);
    }
}

/* One of out and in is NULL: [count, width], of the parameters from `first` on. */
static void copy_field(const hrnn_state *state, const hrnn_tensor *tensor, const rule_field *field,
                       size_t first, size_t count, float *out, const float *in)
{
    const size_t width = (size_t)field->width, end = first + count;
    for (size_t i = first, last; i < end; i = last) {
        const size_t block = i / BLOCK, most = (block + BOUNCE_BLOCKS) * BLOCK;
        last = end < most ? end : most;
        const field_rows r =
            get_rows(state, tensor, block, (last + BLOCK - 1) / BLOCK - block, field);
        for (size_t j = i, next; j < last; j = next) {
            next = (j / BLOCK + 1) * BLOCK < last ? (j / BLOCK + 1) * BLOCK : last;
            const size_t at = (j - first) * width;
            copy_block(state, field, r.at + (j / BLOCK - block) * r.stride, j % BLOCK, next - j,
                       out ? out + at : NULL, in ? in + at : NULL);
        }
        if (in) put_rows(&r);
    }
}

enum { PIECE = 4096 }; /* parameters that are brought here at once */

/* φ is in param while training and in ROW_ATTENTION while param holds θ; compact: φ − θ is
 * there. */
static void read_attended(const hrnn_state *state, const rule_field *field,
                          const hrnn_tensor *tensor, size_t first, size_t count, float *out)
{
    const float *param = tensor->t->param + first;
    if (!state->at_true_params) {
        device_get(state->cuda != NULL, out, param, count * sizeof *out);
        return;
    }
    copy_field(state, tensor, field, first, count, out, NULL);
    for (size_t done = 0, n; state->format.compact && done < count; done += n) {
        float theta[PIECE];
        n = count - done < PIECE ? count - done : PIECE;
        device_get(state->cuda != NULL, theta, param + done, n * sizeof *theta);
        for (size_t j = 0; j < n; j++) out[done + j] += theta[j];
    }
}

/* Takes the attended parameters as what is swapped in by `loaded`; param holds θ. Those that came
 * from a compact state are found there again: the nearest difference leads to the same φ and θ. */
static void write_attended(hrnn_state *state, const rule_field *field, const hrnn_tensor *tensor,
                           size_t first, size_t count, const float *in)
{
    state->at_true_params = 1;
    if (!state->format.compact) {
        copy_field(state, tensor, field, first, count, NULL, in);
        return;
    }
    for (size_t done = 0, n; done < count; done += n) {
        float ahead[PIECE];
        n = count - done < PIECE ? count - done : PIECE;
        device_get(state->cuda != NULL, ahead, tensor->t->param + first + done, n * sizeof *ahead);
        for (size_t j = 0; j < n; j++) ahead[j] = in[done + j] - ahead[j];
        copy_field(state, tensor, field, first + done, n, NULL, ahead);
    }
}

static void read_field(const optimizer *opt, const rule_field *field, int k, size_t first,
                       size_t count, float *out)
{
    const hrnn_state *state = opt->state;
    const float *small = small_field(state, field, k);
    if (small) {
        hrnn_cuda_read(state);
        memcpy(out, small, (size_t)field->width * sizeof *out);
        return;
    }
    const hrnn_tensor *tensor = &state->tensors[state->of_tensor[k]];
    if (row_of_field(field) == ROW_ATTENTION)
        read_attended(state, field, tensor, first, count, out);
    else
        copy_field(state, tensor, field, first, count, out, NULL);
}

static void write_field(optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                        const float *in)
{
    hrnn_state *state = opt->state;
    float *small = small_field(state, field, k);
    if (small) {
        hrnn_cuda_edit(state);
        memcpy(small, in, (size_t)field->width * sizeof *in);
        return;
    }
    const hrnn_tensor *tensor = &state->tensors[state->of_tensor[k]];
    if (row_of_field(field) == ROW_ATTENTION)
        write_attended(state, field, tensor, first, count, in);
    else
        copy_field(state, tensor, field, first, count, NULL, in);
    if (row_of_field(field) == ROW_LOG_LR) state->mean_is_stale = 1;
}

/* Of the entries of one block. */
static void swap_block(const row_format *format, float *param, void *other, size_t n, int to_true)
{
    float numbers[BLOCK];
    if (!format->compact) {
        memcpy(numbers, other, n * sizeof *param);
        memcpy(other, param, n * sizeof *param);
        memcpy(param, numbers, n * sizeof *param);
        return;
    }
    unpack_row(format, ROW_ATTENTION, other, numbers);
    for (size_t j = 0; j < n; j++) param[j] += to_true ? -numbers[j] : numbers[j];
}

static void swap_params(optimizer *opt, int to_true)
{
    hrnn_state *state = opt->state;
    if (!hrnn_has(&state->model, HRNN_ATTENTION) || state->at_true_params == to_true) return;
    state->at_true_params = to_true;
    if (state->cuda) {
        hrnn_cuda_swap(state);
        return;
    }
    for (int k = 0; k < state->n; k++) {
        const hrnn_tensor *tensor = &state->tensors[k];
        const size_t n = tensor->t->n;
        for (size_t i = 0; i < n; i += BLOCK)
            swap_block(&state->format, tensor->t->param + i,
                       hrnn_state_row(state, tensor, i, ROW_ATTENTION),
                       n - i < BLOCK ? n - i : BLOCK, to_true);
    }
}

static void true_params(optimizer *opt) { swap_params(opt, 1); }

static void attended_params(optimizer *opt) { swap_params(opt, 0); }

static void loaded(optimizer *opt)
{
    hrnn_state *state = opt->state;
    hrnn_cuda_edit(state);
    state->mean_is_stale = 0;
    state->steps = opt->steps;
    swap_params(opt, 0);
    prepare(state);
}

static int has_schedule(const optimizer *opt)
{
    const hrnn_state *state = opt->state;
    return hrnn_has_outlook(&state->model) && !state->without_schedule;
}

static float schedule(const optimizer *opt)
{
    return ((const hrnn_state *)opt->state)->outlook.schedule;
}

static uint64_t horizon(const optimizer *opt) { return hrnn_horizon(opt->state); }

static void set_horizon(optimizer *opt, uint64_t steps)
{
    hrnn_state *state = opt->state;
    if (!hrnn_has_outlook(&state->model)) return;
    hrnn_cuda_edit(state);
    hrnn_set_horizon(state, steps);
    prepare(state);
}

/* --- bytes: G, η̄ and losses, the parameters, z and context of each tensor, the arena --- */

typedef struct {
    float global[HRNN_H2], mean_log_lr;
    hrnn_losses losses;
} packed_network;

size_t opt_packed_size(const optimizer *opt)
{
    const hrnn_state *state = opt->state;
    size_t params = 0;
    for (int k = 0; k < opt->n; k++) params += opt->tensors[k].n;
    return sizeof(packed_network) + params * sizeof(float) +
           (size_t)state->n * (HRNN_H1 * sizeof(float) + sizeof(hrnn_context)) + state->arena_bytes;
}

static char *put(char *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return to + bytes;
}

static const char *take(void *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return from + bytes;
}

void opt_pack(const optimizer *opt, void *bytes)
{
    const hrnn_state *state = opt->state;
    packed_network network = {.mean_log_lr = state->mean_log_lr, .losses = state->losses};
    memcpy(network.global, state->global, sizeof network.global);
    char *to = put(bytes, &network, sizeof network);
    for (int k = 0; k < opt->n; k++)
        to = put(to, opt->tensors[k].param, opt->tensors[k].n * sizeof(float));
    for (int k = 0; k < state->n; k++) {
        to = put(to, state->tensors[k].z, sizeof state->tensors[k].z);
        to = put(to, &state->tensors[k].context, sizeof state->tensors[k].context);
    }
    put(to, state->arena, state->arena_bytes);
}

void opt_unpack(optimizer *opt, const void *bytes, uint64_t steps)
{
    hrnn_state *state = opt->state;
    packed_network network;
    const char *from = take(&network, bytes, sizeof network);
    for (int k = 0; k < opt->n; k++)
        from = take(opt->tensors[k].param, from, opt->tensors[k].n * sizeof(float));
    for (int k = 0; k < state->n; k++) {
        from = take(state->tensors[k].z, from, sizeof state->tensors[k].z);
        from = take(&state->tensors[k].context, from, sizeof state->tensors[k].context);
    }
    take(state->arena, from, state->arena_bytes);
    memcpy(state->global, network.global, sizeof state->global);
    state->mean_log_lr = network.mean_log_lr;
    state->losses = network.losses;
    state->mean_is_stale = 0;
    opt->steps = state->steps = steps;
    hrnn_prepare(state);
}

static const char *identity(const optimizer *opt)
{
    return ((const hrnn_state *)opt->state)->identity;
}

const rule rule_hrnn = {
    .name = "hrnn",
    .takes_model = 1,
    .fields = fields_1,
    .init = init,
    .step = step,
    .free_state = free_state,
    .state_bytes = state_bytes,
    .read_field = read_field,
    .write_field = write_field,
    .loaded = loaded,
    .true_params = true_params,
    .attended_params = attended_params,
    .has_schedule = has_schedule,
    .schedule = schedule,
    .horizon = horizon,
    .set_horizon = set_horizon,
    .identity = identity,
};
