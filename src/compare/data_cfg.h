/* A data cfg: which images a comparison trains and measures on. Paths in it are relative to the
 * current folder, as for darknet. */
#ifndef DATA_CFG_H
#define DATA_CFG_H

#include "base/error.h"

typedef struct {
    char *path; /* of the data cfg */
    char *text;
    int folder; /* train= names a folder of binary batches (cifar train), not a list (classifier) */
    char *train, *valid; /* valid NULL: nothing is held out */
    int other_lists;     /* train and valid are not those of the text: data_cfg_use_lists */
    char digest[17]; /* of the data and of what the cfg says about them; not of where they are */
} data_cfg;

/* What a run adds to it or puts in the place of what it says. */
typedef struct {
    const char *backup, *valid_log;
    long save_every, valid_every, valid_images; /* valid_every 0: nothing is measured */
} data_run;

/* Fails when the data cfg, its lists or its folder cannot be read or are empty. data_cfg_free is
 * legal after that, and on a zeroed struct. */
opt_status data_cfg_read(data_cfg *data, const char *path, opt_error *error);
void data_cfg_free(data_cfg *data);

/* Whether darknet trains on smoothed labels: of a folder, unless label_smoothing=0. */
int data_cfg_smooths(const data_cfg *data);

/* Other lists in the place of its own (copied); valid NULL: as it is. */
opt_status data_cfg_use_lists(data_cfg *data, const char *train, const char *valid,
                              opt_error *error);

/* The data cfg of a run; the caller frees it. NULL: no memory. */
char *data_cfg_text(const data_cfg *data, const data_run *run);

#endif
