/* Private to src/darknet/ and src/darknet_meta/: what the hook keeps for each network. */
#ifndef DARKNET_PRIVATE_H
#define DARKNET_PRIVATE_H

#include "darknet/darknet_hook.h"
#include "optimizer/optimizer.h"

/* An option of [net] as it stands in the cfg. */
typedef struct {
    char *value; /* NULL: not in the cfg */
    int line;
} cfg_option;

/* An array of the network. On a GPU the one on the host is only where it is copied to and from. */
typedef struct {
    float *host;
    float *device; /* NULL: the network is on the CPU, or the array is on the host alone */
} twin;

typedef struct {
    opt_blob *items; /* data: on the host */
    float **device;  /* [n] see twin */
    int n;
} blob_list;

/* What arrays of the network held. */
typedef struct {
    blob_list list;
    char **copies; /* [list.n] */
} snapshot;

/* The names are the table's own; param and grad are where the network computes. */
typedef struct {
    opt_tensor *tensors;
    char (*names)[64];
    int n;
    int *clear; /* [n] frozen, but the backward pass reaches it: its gradient is to be zeroed */
    float **host_grad; /* [n] on the host, wherever grad is */
} tensor_table;

typedef enum { TABLE_BATCHES, TABLE_HELD_OUT } table_id;
typedef struct {
    FILE *stream; /* NULL: not wanted */
    char *path;
} run_table;

struct darknet_hook {
    char *cfg;
    cfg_option optimizer, model, rate, state, schedule, seed, log_path;
    opt_options settings; /* settings.rule NULL: the host's own update */
    optimizer *opt;       /* made by hook_start_training or the first update */
    tensor_table table;
    blob_list kept; /* hook_keep */
    int resumed;
    size_t surplus_bytes; /* of the file that was loaded last */
    run_table log, valid_log;
    double update_seconds;      /* that the optimizer has taken since the last row of the log */
    snapshot states;            /* recurrent ones, while measuring or taking statistics */
    snapshot statistics;        /* while they are taken: the training's; then: what was taken */
    int has_statistics;         /* the latter are those of the parameters as they are */
    rolling_statistics rolling; /* of the network, while statistics are taken */
    int training;               /* hook_start_training or hook_join_training was called */
    int biases_known;           /* those of [batchnorm], with the weights that were loaded last */
    int bad_updates;            /* consecutive updates with non-finite gradients */
    float losses[2];            /* since the last update: their sum, and how many there were */
    const network *first;       /* of those that train together; NULL: this one */
    int together;               /* of the first: how many there are besides it */
    int knows_horizon;          /* the optimizer has been told */
};

/* --- darknet_end.c --- */

/* One line on stderr and the end of the program, with exit status 1 or another one. */
_Noreturn void hook_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void hook_end(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* malloc'ed memory, zeroed, or the end of the program. */
void *hook_alloc(size_t count, size_t bytes);
char *hook_copy(const char *text);

/* --- darknet_schedule.c --- */

size_t hook_batch_number(const network *net); /* updates so far, by the images seen */
/* What the schedule (policy, burn_in) multiplies the starting rate by now; it does not depend on
 * learning_rate. */
float hook_rate_ratio(network *net);
/* What multiplies the optimizer's step beside its own schedule, if it has one: 1, or else the
 * above. */
float hook_step_ratio(network *net);
/* Tells the optimizer, once a training, how many updates there will have been at max_batches. */
void hook_tell_horizon(network *net);
/* A line on the horizon and on what in the cfg does not count; nothing without an own schedule. */
void hook_describe_schedule(network *net);

/* --- darknet_options.c --- */

/* Where hrnn's model is when the cfg does not say: $HRNN_WEIGHTS, or beside the executable. Ends
 * the program when it is nowhere. The caller frees it. */
char *hook_find_model(void);
/* --- darknet_hook.c --- */

/* At the start of a training with optimizer=: makes the optimizer, if there is none yet, and takes
 * what the sidecar of weights (NULL or "": none) holds, unless clear. */
void hook_begin_optimizer(network *net, const char *weights, int clear);

/* --- darknet_device.c: nothing for a network on the CPU, but for hook_zero_array --- */

void hook_use_device(const network *net); /* what follows is for its GPU */
/* Until everything that was started there is done. What fails there ends the program. */
void hook_wait_device(const network *net);
void hook_pull(twin p, size_t n); /* n floats to the host */
void hook_push(twin p, size_t n);
/* One that the network computes with. */
void hook_zero_array(const network *net, float *array, size_t n);

/* --- darknet_tensors.c --- */

/* The parameters of a network, one row each, in the order of its layers. Frozen ones (lr_scale 0):
 * those that the backward pass does not reach because of a stopbackward, and those of layers with
 * learning_rate=0. The running statistics of batch normalisation are no parameters: those of frozen
 * layers go on following the data, as in the host. */
tensor_table hook_list_tensors(network *net);
void hook_free_tensors(tensor_table *table);
const char *hook_layer_name(LAYER_TYPE type);
/* What a .weights file does not give back exactly: the states of recurrent layers, rolling
 * statistics and how many batches they hold, what [batchnorm] layers really hold, everything from
 * the first layer on with dontload, dontsave, numload, dontloadscales or flipped, and gradients of
 * an update that is under way. The arrays are the network's; free with hook_free_blobs. */
blob_list hook_list_beside_weights(network *net, const tensor_table *table);
/* The rolling statistics of all layers. */
blob_list hook_list_statistics(network *net);
/* Adds them to a list, and how many batches they hold; nothing where no layer has any. */
void hook_add_rolling(blob_list *list, network *net);
/* The biases of the [batchnorm] layers among the first `layers`. */
blob_list hook_list_batchnorm_biases(network *net, int layers);
/* The states of recurrent layers alone. */
blob_list hook_list_recurrent_states(network *net);
/* Everything that a network has learned: parameters, and the running statistics of batch
 * normalisation. Two networks of one cfg have the same list. */
blob_list hook_list_learned(network *net);
void hook_add_blob(blob_list *list, const char *name, twin data, size_t bytes);
twin hook_twin_of(const blob_list *list, int i); /* the data of blob i */
/* Between a network's GPU and the blobs' data. */
void hook_pull_blobs(const blob_list *list);
void hook_push_blobs(const blob_list *list);
void hook_free_blobs(blob_list *list);
snapshot hook_take_snapshot(blob_list list); /* comes to own list */
void hook_swap_snapshot(snapshot *s);        /* between the network's arrays and the copies */
void hook_free_snapshot(snapshot *s);
int hook_has_layer(const network *net, LAYER_TYPE type);
/* Puts into the [batchnorm] layers what a reader without biases needs for the same output (to = 1),
 * keeping the originals in *kept, and back again (to = 0), which frees *kept. */
void hook_fold_batchnorm(network *net, float **kept, int to);
/* Takes the biases of the first `layers` out of the means that were folded. */
void hook_unfold_batchnorm(network *net, int layers);

/* --- darknet_statistics.c --- */
void hook_show_statistics(network *net); /* what was taken and is up to date; nothing without */
void hook_hide_statistics(network *net);

/* --- darknet_save.c --- */

char *hook_sidecar_path(const char *weights);
/* Restores everything from the sidecar of weights; ends the program if it cannot. Returns 0 when
 * there is none. */
int hook_resume_from(network *net, const char *weights);
/* For the host's own update: the rolling statistics, where it has saved these weights. */
void hook_resume_statistics(network *net, const char *weights);
/* Whether a sidecar is there and holds the state of an optimizer, or cannot be read. */
int hook_has_optimizer_state(const char *sidecar);

/* --- darknet_log.c --- */
void hook_open_log(network *net);
void hook_close_logs(network *net);

#endif
