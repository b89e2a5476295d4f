/* What the patched host calls. darknet_hook.c is the only file of src/ that includes darknet.h; it
 * does not know which rule runs.
 *
 * These functions are called from Darknet's own commands, so, unlike the library, they end the
 * program on an error that the user must mend: one line on stderr, exit status 1. */
#ifndef DARKNET_HOOK_H
#define DARKNET_HOOK_H

#include "darknet.h"

/* [net]: reads optimizer=, optimizer_weights=, optimizer_rate=, seed=, optimizer_log= from the options
 * (which are freed afterwards) into net->hook and net->seed, before any layer is made, and starts the
 * stream of the starting weights (random_use(seed, STREAM_INIT, 0)). cfg names the file in messages.
 * An unknown option of ours is an error, of the host's a warning, both with file and line. */
void hook_read_options(network *net, list *options, const char *cfg);

/* Every training command, after load_network and before its first load_data: makes the optimizer,
 * prints rule, model, rate and seed, and picks up weights' sidecar (see hook_save) unless clear.
 * weights: the file that load_network loaded, or NULL. Without optimizer= it only prints the seed. */
void hook_start_training(network *net, const char *weights, int clear);

/* update_network: does the update and returns 1, or returns 0 when the cfg has no optimizer=. */
int hook_update(network *net);

/* save_weights: `write` writes the stock format to a stream, returns 0 on failure. Puts the true
 * parameters in place, writes weights and sidecar "<filename>.optimizer" atomically, puts the
 * attended ones back. Order: weights to "<filename>.new", synced; sidecar (with digest and size of the
 * weights) renamed into place; weights renamed into place. */
void hook_save(network *net, const char *filename, int (*write)(network *net, FILE *stream, int cutoff),
               int cutoff);

/* load_weights, before it opens filename: completes a save that a kill interrupted between its two
 * renames (a sidecar that belongs to "<filename>.new" and not to filename). */
void hook_complete_save(const char *filename);

/* After each batch of a training command: a row of optimizer_log=. */
void hook_log(network *net, float loss, float average, double seconds);

/* Arrays of a training command that a bit-exact resume needs (rnn: the offsets of its streams):
 * registered before hook_start_training, which fills them on a resume; saved with every sidecar.
 * Returns nothing; data must outlive the training. */
void hook_keep(network *net, const char *name, void *data, size_t bytes);
/* Whether hook_start_training restored a sidecar (then kept arrays hold its values). */
int hook_resumed(const network *net);

void hook_free(network *net);

#endif
