/* The tape and the cotangents in one arena, their layout, and the way forward. The way back is in
 * hrnn_adjoint_back.c. */
#include "adjoint/hrnn_adjoint_private.h"

#include <stdlib.h>
#include <string.h>

#include "hrnn/hrnn_vector.h"

/* --- memory --- */

hrnn_adjoint *hrnn_adjoint_new(opt_error *error)
{
    hrnn_adjoint *a = calloc(1, sizeof *a);
    if (!a) opt_fail(error, OPT_NO_MEMORY, "no memory for an adjoint");
    return a;
}

void hrnn_adjoint_free(hrnn_adjoint *a)
{
    if (!a) return;
    free(a->arena);
    free(a);
}

/* `count` things from the arena, or only counted when there is none. */
static void *carve(char *arena, size_t *used, size_t count, size_t size)
{
    void *found = arena ? arena + *used : NULL;
    *used += (count * size + 63) / 64 * 64;
    return found;
}

/* Cuts the chunks into units; only counts them when there are none yet. */
static void lay_out_units(hrnn_adjoint *a)
{
    const hrnn_state *state = a->state;
    size_t filled = UNIT_PARAMS;
    a->n_units = 0;
    for (int c = 0; c < state->n_chunks; c++) {
        if (filled >= UNIT_PARAMS) {
            if (a->units) a->units[a->n_units] = (adjoint_unit){.first_chunk = c};
            a->n_units++;
            filled = 0;
        }
        filled += state->chunks[c].count;
        if (a->units) a->units[a->n_units - 1].chunks++;
    }
}

/* Lays everything out in `arena`; returns the bytes it takes. NULL: only that. */
static size_t lay_out(hrnn_adjoint *a, char *arena)
{
    const hrnn_state *state = a->state;
    const size_t steps = (size_t)a->capacity, tensors = (size_t)state->n;
    const size_t floats = count_blocks(state) * BLOCK;
    size_t used = 0;
    a->units = NULL;
    lay_out_units(a);
    a->units = carve(arena, &used, (size_t)a->n_units, sizeof *a->units);
    a->cot = carve(arena, &used, floats * COT_ROWS, sizeof *a->cot);
    a->tensors = carve(arena, &used, tensors, sizeof *a->tensors);
    a->chunks = carve(arena, &used, (size_t)state->n_chunks, sizeof *a->chunks);
    a->records = carve(arena, &used, steps, sizeof *a->records);
    for (size_t t = 0; t < steps; t++) {
        hrnn_record here = {0};
        here.tensors = carve(arena, &used, tensors, sizeof *here.tensors);
        here.blocks = carve(arena, &used, floats * (size_t)hrnn_tape_rows(state), sizeof(float));
        if (arena) a->records[t] = here;
    }
    return used;
}

static opt_status reserve(hrnn_adjoint *a, opt_error *error)
{
    const size_t bytes = lay_out(a, NULL);
    if (bytes > a->arena_bytes) {
        free(a->arena);
        a->arena = aligned_alloc(64, bytes);
        a->arena_bytes = a->arena ? bytes : 0;
    }
    if (!a->arena)
        return opt_fail(error, OPT_NO_MEMORY,
                        "no memory to keep %d steps of optimizer hrnn: %zu MB", a->capacity,
                        bytes >> 20);
    lay_out(a, a->arena);
    lay_out_units(a);
    size_t first = 0;
    for (int k = 0; k < a->state->n; k++) {
        a->tensors[k] = (adjoint_tensor){.first = first};
        first += a->state->tensors[k].t->n;
    }
    return OPT_OK;
}

/* to [n_out, n_in], from [n_in, n_out]. */
static void transpose(float *to, const float *from, int n_in, int n_out)
{
    for (int k = 0; k < n_in; k++)
        for (int j = 0; j < n_out; j++) to[j * n_in + k] = from[k * n_out + j];
}

static void transpose_weights(hrnn_adjoint *a)
{
    enum { N = HRNN_H0, X = HRNN_INPUTS };
    const hrnn_model *m = &a->state->model;
    transposed_weights *t = &a->transposed;
    transpose(t->cell.input, m->param_gates_weight, X, 2 * N);
    transpose(t->cell.input + 2 * N * X, m->param_candidate_weight, X, N);
    transpose(t->cell.hidden, m->param_gates_weight + X * 2 * N, N, 2 * N);
    transpose(t->cell.reset, m->param_candidate_weight + X * N, N, N);
    transpose(t->tensor_gates, m->tensor_gates_weight, HRNN_TENSOR_FAN, 2 * HRNN_H1);
    transpose(t->tensor_candidate, m->tensor_candidate_weight, HRNN_TENSOR_FAN, HRNN_H1);
    transpose(t->global_gates, m->global_gates_weight, HRNN_GLOBAL_FAN, 2 * HRNN_H2);
    transpose(t->global_candidate, m->global_candidate_weight, HRNN_GLOBAL_FAN, HRNN_H2);
    transpose(t->param_from_tensor, m->param_from_tensor_weight, HRNN_H1, 3 * N);
    transpose(t->param_from_global, m->param_from_global_weight, HRNN_H2, 3 * N);
    transpose(t->tensor_from_global, m->tensor_from_global_weight, HRNN_H2, GRU_BIASES);
}

opt_status hrnn_adjoint_begin(hrnn_adjoint *a, optimizer *opt, int steps, opt_error *error)
{
    if (strcmp(opt->rule->name, "hrnn") != 0)
        return opt_fail(error, OPT_BAD_OPTION, "the adjoint is of optimizer hrnn, found \"%s\"",
                        opt->rule->name);
    if (opt->cuda)
        return opt_fail(error, OPT_BAD_OPTION,
                        "the adjoint is of an optimizer on device cpu, found cuda");
    if (opt->options.compact)
        return opt_fail(error, OPT_BAD_OPTION,
                        "the adjoint is of a full state, found a compact one");
    if (hrnn_has_context(&((const hrnn_state *)opt->state)->model))
        return opt_fail(error, OPT_BAD_OPTION,
                        "the adjoint is of models of format hrnn-1, found hrnn-%d",
                        hrnn_format(&((const hrnn_state *)opt->state)->model));
    if (steps < 1)
        return opt_fail(error, OPT_BAD_OPTION, "an unroll of %d steps, expected at least 1", steps);
    for (int k = 0; k < opt->n; k++)
        if (opt->tensors[k].l2 != 0)
            return opt_fail(error, OPT_BAD_OPTION,
                            "tensor %s has L2 decay %g, which the adjoint "
                            "takes as 0",
                            opt->tensors[k].name, (double)opt->tensors[k].l2);
    a->opt = opt;
    a->state = opt->state;
    a->capacity = steps;
    a->steps = a->left = 0;
    a->from_start = opt->steps == 0;
    opt_status status = reserve(a, error);
    if (!status) transpose_weights(a);
    return status;
}

size_t hrnn_adjoint_params(const hrnn_adjoint *a) { return a->state->params; }

size_t hrnn_adjoint_bytes(const hrnn_adjoint *a) { return sizeof *a + a->arena_bytes; }

/* --- forward --- */

void hrnn_adjoint_step(hrnn_adjoint *a, float rate_ratio)
{
    a->state->record = &a->records[a->steps++];
    opt_step(a->opt, NAN, rate_ratio, NULL);
    a->state->record = NULL;
}

void hrnn_adjoint_attended_params(const hrnn_adjoint *a, float *phi)
{
    for (int k = 0; k < a->state->n; k++) {
        const opt_tensor *t = a->state->tensors[k].t;
        memcpy(phi + a->tensors[k].first, t->param, t->n * sizeof *phi);
    }
}

void hrnn_adjoint_true_params(const hrnn_adjoint *a, float *theta)
{
    const hrnn_state *state = a->state;
    if (!hrnn_has(&state->model, HRNN_ATTENTION)) {
        hrnn_adjoint_attended_params(a, theta);
        return;
    }
    for (int k = 0; k < state->n; k++) {
        const hrnn_tensor *tensor = &state->tensors[k];
        const size_t n = tensor->t->n;
        for (size_t i = 0; i < n; i += BLOCK)
            memcpy(theta + a->tensors[k].first + i, hrnn_state_row(state, tensor, i, ROW_ATTENTION),
                   (n - i < BLOCK ? n - i : BLOCK) * sizeof *theta);
    }
}

void hrnn_adjoint_add_gradient(hrnn_adjoint *a, const float *gradient)
{
    for (int k = 0; k < a->state->n; k++) {
        const opt_tensor *t = a->state->tensors[k].t;
        const float *from = gradient + a->tensors[k].first;
        for (size_t i = 0; i < t->n; i++) t->grad[i] += from[i];
    }
}

/* --- the start of the way back --- */

void hrnn_adjoint_turn(hrnn_adjoint *a, int last)
{
    memset(a->cot, 0, count_blocks(a->state) * BLOCK * COT_ROWS * sizeof *a->cot);
    memset(a->global_cot, 0, sizeof a->global_cot);
    memset(a->gradient, 0, sizeof a->gradient);
    a->log_lr_shift = 0;
    for (int k = 0; k < a->state->n; k++)
        memset(a->tensors[k].z_cot, 0, sizeof a->tensors[k].z_cot);
    for (int u = 0; u < a->n_units; u++) {
        adjoint_unit *unit = &a->units[u];
        memset(unit->sums, 0, sizeof unit->sums);
        memset(unit->totals, 0, sizeof unit->totals);
        memset(unit->tails, 0, sizeof unit->tails);
        unit->n_tails = unit->tiles = 0;
    }
    a->left = last;
}
