/* A Darknet cfg with the data that it trains on, as a problem to meta-train on
 * (problems/problem.h): the host's own starts, batches, forward and backward passes, on the CPU.
 *
 * An instance of seed S starts where `darknet` starts with seed=S in [net], and its step t sees
 * batch t of such a training, augmentation and dropout included. Its objective is the mean over the
 * images of what the network's layers call their cost, halved where the host's gradient is that of
 * half of it ([cost] but type=L1), plus decay/2·‖w‖² of the tensors that decay: what the gradient
 * that the host hands to an optimizer is the gradient of. "All data" are 256 images or more that
 * the seed draws as whole batches, from number 2^31 on. No Hessian-vector product.
 *
 * Parameters of layers that do not learn (learning_rate=0, below stopbackward=1) are constants. */
#ifndef DARKNET_PROBLEM_H
#define DARKNET_PROBLEM_H

#include "problems/source.h"

typedef struct darknet_task darknet_task;

/* data: a data cfg whose train= is a list of images (as for `classifier train`), or a folder of
 * batches (`cifar train`). networks: how many evaluations may run at the same time, each in a
 * thread of its own; more of them wait. The same bits come out of all. What the host finds wrong
 * with cfg or data ends the program with its one line; NULL and *error: what a training does but a
 * problem does not (random=1, tag=1, learning_rate= other than 0 or 1 in a layer), no memory. */
darknet_task *darknet_task_open(const char *cfg, const char *data, int networks, opt_error *error);
void darknet_task_free(darknet_task *task);

/* Its row, of weight 1, which lives as long as the task: the family is the cfg's base name, the
 * name tells other texts and other data from it. */
source_row darknet_task_row(const darknet_task *task);

#endif
