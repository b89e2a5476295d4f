/* What the device keeps of a state beside its blocks, and the copies of it in both directions, made
 * only when the other side has something new. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hrnn/hrnn_cuda.h"

/* G and η̄ lie together. */
enum {
    NETWORK_BYTES = offsetof(hrnn_state, mean_log_lr) + sizeof(float) - offsetof(hrnn_state, global)
};

opt_status hrnn_cuda_new(hrnn_state *state, const opt_tensor *tensors, int n, opt_error *error)
{
    struct hrnn_cuda *c = calloc(1, sizeof *c);
    state->cuda = c;
    if (!c) return opt_fail(error, OPT_NO_MEMORY, "no memory for optimizer hrnn");
    const size_t chunk_bytes = (size_t)state->n_chunks * sizeof *c->chunks;
    const size_t described_bytes = (size_t)n * sizeof *c->described;
    c->described_here = tensors;
    c->n_described = n;
    c->state = device_alloc(1, sizeof *c->state);
    c->tensors = device_alloc(1, (size_t)state->n * sizeof *c->tensors);
    c->chunks = device_alloc(1, chunk_bytes);
    c->described = device_alloc(1, described_bytes);
    c->state_copy = malloc(sizeof *c->state_copy);
    c->tensor_copies = malloc(((size_t)state->n + 1) * sizeof *c->tensor_copies);
    c->bounce = device_alloc(0, sizeof(float) * BOUNCE_BLOCKS * BLOCK * HRNN_H0);
    c->reporter = device_reporter_new();
    if (!c->state || !c->tensors || !c->chunks || !c->described || !c->state_copy ||
        !c->tensor_copies || !c->bounce || !c->reporter)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the state of optimizer hrnn");
    device_put(1, c->chunks, state->chunks, chunk_bytes);
    device_put(1, c->described, tensors, described_bytes);
    c->current = c->edited = 1;
    return OPT_OK;
}

void hrnn_cuda_free(hrnn_state *state)
{
    struct hrnn_cuda *c = state->cuda;
    if (!c) return;
    device_reporter_free(c->reporter);
    device_free(1, c->state);
    device_free(1, c->tensors);
    device_free(1, c->chunks);
    device_free(1, c->described);
    free(c->state_copy);
    free(c->tensor_copies);
    device_free(0, c->bounce);
    free(c);
    state->cuda = NULL;
}

void hrnn_cuda_read(const hrnn_state *state)
{
    struct hrnn_cuda *c = state->cuda;
    if (!c || c->current) return;
    hrnn_state *here = (hrnn_state *)state; /* what it holds is a copy of the device's */
    device_get(1, here->global, c->state->global, NETWORK_BYTES);
    device_get(1, c->tensor_copies, c->tensors, (size_t)state->n * sizeof *c->tensors);
    for (int k = 0; k < state->n; k++) {
        const opt_tensor *t = state->tensors[k].t;
        state->tensors[k] = c->tensor_copies[k];
        state->tensors[k].t = t;
    }
    c->current = 1;
}

void hrnn_cuda_edit(hrnn_state *state)
{
    if (!state->cuda) return;
    hrnn_cuda_read(state);
    state->cuda->edited = 1;
}

void hrnn_cuda_send(hrnn_state *state)
{
    struct hrnn_cuda *c = state->cuda;
    if (!c->edited) return;
    *c->state_copy = *state;
    c->state_copy->tensors = c->tensors;
    c->state_copy->chunks = c->chunks;
    c->state_copy->of_tensor = NULL;
    c->state_copy->record = NULL;
    c->state_copy->cuda = NULL;
    for (int k = 0; k < state->n; k++) {
        c->tensor_copies[k] = state->tensors[k];
        c->tensor_copies[k].t = c->described + (state->tensors[k].t - c->described_here);
    }
    device_put(1, c->state, c->state_copy, sizeof *c->state);
    device_put(1, c->tensors, c->tensor_copies, (size_t)state->n * sizeof *c->tensors);
    c->edited = 0;
}
