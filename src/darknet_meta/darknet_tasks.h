/* What -cfg and -data of build/metatrain name, as rows to meta-train on. */
#ifndef DARKNET_TASKS_H
#define DARKNET_TASKS_H

#include "problems/source.h"

typedef struct darknet_tasks darknet_tasks;

/* Opens each cfg with its data (lists of as many names, separated by commas) and adds their rows to
 * source, of which they are then `share`; it must be closed before *tasks. networks: see
 * darknet_task_open; 0: one for each core. *tasks is to be freed after an error too. */
opt_status darknet_tasks_add(darknet_tasks **tasks, const char *cfgs, const char *data,
                             int networks, double share, corpus_source *source, opt_error *error);
void darknet_tasks_free(darknet_tasks *tasks);

#endif
