/* What the patched host calls: an optimizer for its training commands, and weights files that are
 * complete or absent. Only src/darknet/ and src/darknet_meta/ include darknet.h; they do not know
 * which rule runs.
 *
 * These functions are called from Darknet's own commands, so, unlike the library, they end the
 * program on an error that the user must mend: one line on stderr, exit status 1; 3 when a training
 * has diverged (the gradients of 100 updates in a row were not finite), and only then. */
#ifndef DARKNET_HOOK_H
#define DARKNET_HOOK_H

#include "darknet.h"

/* --- for the training commands (examples/) --- */

/* Before load_data is first called, after load_network and every hook_keep: makes the optimizer,
 * prints rule, model, rate and seed, opens optimizer_log=, and picks up the sidecar of weights (see
 * hook_save) unless clear. weights: the file that load_network loaded; NULL or "": none. Without
 * optimizer= it prints the seed and opens the log. A command that never calls this gets its
 * optimizer at the first update, without a resume. */
void hook_start_training(network *net, const char *weights, int clear);

/* The same for the other networks of a training on several GPUs, after hook_start_training of the
 * first, which alone prints, logs and is saved: each gets an optimizer of its own, from the first's
 * sidecar when there is one, and the first's seed. */
void hook_join_training(network *net, const network *first, const char *weights, int clear);

/* Whether hook_start_training restored a sidecar (then kept arrays hold its values). */
int hook_resumed(const network *net);

/* An array of a training command that a bit-exact resume needs (the average loss, the offsets of
 * rnn's streams): registered before hook_start_training, which fills it on a resume; saved with
 * every sidecar. name: at most 40 characters, unique, a literal. data must outlive the training. */
void hook_keep(network *net, const char *name, void *data, size_t bytes);

/* After each batch: a row of optimizer_log=; nothing without that option. loss is the batch's,
 * average the smoothed one that is printed, seconds what its forward and backward passes and the
 * update took; the row says beside it what the optimizer took of them (0 without optimizer=). With
 * the option an update on a GPU waits until it is done, so that these are the times of the work
 * itself. */
void hook_log(network *net, float loss, float average, double seconds);

/* Around forward passes on images that are not trained on: the network holds the true parameters,
 * and the statistics that were taken of them, if any were; its recurrent states may be changed.
 * Afterwards all are again what they were, to the bit. */
void hook_begin_measuring(network *net);
void hook_end_measuring(network *net);

/* Statistics of batch normalisation taken anew (Wu and Johnson 2021, "Rethinking 'Batch' in
 * BatchNorm", section 3): what the rolling ones would be, had the network been as it is for a
 * while. Between the two calls the network holds the true parameters, and each forward pass without
 * net->train normalises with its own statistics and enters them into the rolling ones (then
 * ++net->rolling.batches). Afterwards all is again what it was, to the bit. keep: what was taken is
 * shown in place of the rolling statistics by hook_begin_measuring and hook_save, until the next
 * update. */
void hook_begin_statistics(network *net);
void hook_end_statistics(network *net, int keep);
int hook_has_statistics(const network *net);
/* A line where biases of [batchnorm] layers were not found with the weights: the rolling means,
 * which statistics take the place of, may hold them. */
void hook_note_biases(const network *net);
/* How far what was taken is from the rolling statistics: a table, one row a layer, on stdout. */
void hook_print_statistics(const network *net);
/* Index of the last layer with batch normalisation, -1: there is none. */
int hook_last_normalised(const network *net);

/* After hook_start_training: opens a table of measurements and drops the rows of batches that the
 * weights have not seen, as optimizer_log= does. Returns the batch of the last row kept, -1:
 * none. */
long hook_open_valid_log(network *net, const char *path);
/* A row of it; nothing when it is not open. loss in nats an image, accuracy from 0 to 1. */
void hook_log_valid(network *net, int images, double loss, double accuracy, double seconds);

/* --- for the host's parser.c and network.c --- */

/* [net], before the host reads it: refuses numbers that it would divide by, overflow with or read
 * as something else (batch=0, subdivisions=0, width=abc, steps and scales of different lengths). */
void hook_check_options(list *options, const char *cfg);

/* [net], after the host has read it and before any layer is made: reads optimizer=,
 * optimizer_weights=, optimizer_rate=, optimizer_state=, optimizer_schedule=, seed= and
 * optimizer_log= (copied: the options are freed afterwards) into net->hook and net->seed, and
 * starts the stream of the starting weights. An unknown option is a warning, an error when it looks
 * like one of ours; both with file and line. */
void hook_read_options(network *net, list *options, const char *cfg);

/* The loss of a part of the batch that the next update is of. */
void hook_add_loss(network *net, float loss);

/* Does the update and returns 1, or returns 0 when the cfg has no optimizer= (nor adam=1 on a
 * CPU). */
int hook_update(network *net);

/* save_weights: `write` writes the stock format to a stream and returns 0 on failure. The file
 * holds the true parameters and appears whole or not at all; on a failure the old one stays. With
 * an optimizer and cutoff >= net->n it gets a sidecar "<filename>.optimizer" with everything that a
 * resume needs. Order: weights to "<filename>.new", synced; sidecar, with digest and size of the
 * weights, renamed into place; weights renamed into place. A kill between the two renames is
 * completed by the next hook_start_training. A save that needs no sidecar removes that of the file
 * it replaced.
 *
 * Statistics that were taken anew are written in place of the rolling ones, which the sidecar
 * keeps.
 *
 * [batchnorm]: the format has no place for its biases, so they are folded into the rolling means
 * that are written, with which any Darknet computes the same output; the sidecar keeps the
 * originals. Without an optimizer the sidecar of a training has the rolling statistics and these
 * biases; that of other weights, or of the first layers (cutoff < net->n), these biases, if any are
 * not 0. */
void hook_save(network *net, const char *filename,
               int (*write)(network *net, FILE *stream, int cutoff), int cutoff);

/* load_weights. One file is open at a time. A file that ends inside a layer, or holds a NaN or an
 * infinity, is refused; one that ends between two layers is a pretrained backbone: what is not in
 * it keeps its start, with one line that says which layers. */
FILE *hook_open_weights(const char *filename);
void hook_read_header(void *to, size_t bytes, FILE *stream);
void hook_read_layer(int index, LAYER_TYPE type); /* what the next hook_read_floats belong to */
void hook_read_floats(float *to, int n, const char *tensor, FILE *stream);
/* whole: all layers were read, so that data left over do not belong to this network: a warning, and
 * hook_start_training refuses. Biases of [batchnorm] come from the sidecar of this very file, if
 * there is one, and are taken out of the rolling means again. */
void hook_close_weights(network *net, FILE *stream, int whole);

/* Networks of one cfg, whose parameters and running statistics all become the mean over the
 * networks, those of layers within layers and of frozen layers included. Where an optimizer trains
 * on other parameters than it saves, both are averaged. What else the optimizers keep stays each
 * network's own. */
void hook_average(network **nets, int n);

void hook_free(network *net);

#endif
