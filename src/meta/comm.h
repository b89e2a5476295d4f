/* What the ranks of a meta-training tell each other. comm_self.c: one rank, no library; comm_mpi.c:
 * OpenMPI, in builds with MPI=1. All calls are collective: every rank makes them in the same order,
 * from one thread. */
#ifndef COMM_H
#define COMM_H

#include <stdint.h>
#include <stddef.h>
#include "base/error.h"

typedef struct comm comm;

/* Once in a program, before its arguments are read. NULL and *error: the library did not start. */
comm *comm_open(int *argc, char ***argv, opt_error *error);
void comm_close(comm *c);

int comm_rank(const comm *c);
int comm_size(const comm *c);

/* words[i] becomes the bitwise or over the ranks: exact where one rank wrote an entry and the
 * others left 0, so nothing depends on the order in which ranks are heard. */
void comm_or(comm *c, uint64_t *words, size_t n);

/* Rank `owner`'s bytes arrive at rank 0: there *data is a new array of *size bytes, which the
 * caller frees (also when owner is 0). Elsewhere *data is NULL. OPT_NO_MEMORY, on every rank, when
 * rank 0 has no room for them. */
opt_status comm_to_root(comm *c, int owner, const void *mine, size_t mine_size, void **data,
                        size_t *size, opt_error *error);

/* The status and message of the lowest rank whose status is not OPT_OK, on every rank. */
opt_status comm_agree(comm *c, opt_status status, opt_error *error);

#endif
