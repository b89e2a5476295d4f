/* Ranks as processes of MPI; messages in pieces, as it counts with int. */
#include "meta/comm.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

struct comm {
    int rank, size;
};
static comm world;

comm *comm_open(int *argc, char ***argv, opt_error *error)
{
    int provided = 0;
    /* Only the main thread calls: the others run episodes. */
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS ||
        provided < MPI_THREAD_FUNNELED) {
        opt_fail(error, OPT_IO, "MPI did not start");
        return NULL;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world.size);
    return &world;
}

void comm_close(comm *c)
{
    if (c) MPI_Finalize();
}

int comm_rank(const comm *c) { return c->rank; }

int comm_size(const comm *c) { return c->size; }

void comm_or(comm *c, uint64_t *words, size_t n)
{
    (void)c;
    enum { MOST = 1 << 24 };
    for (size_t done = 0; done < n; done += MOST)
        MPI_Allreduce(MPI_IN_PLACE, words + done, (int)(n - done < MOST ? n - done : MOST),
                      MPI_UINT64_T, MPI_BOR, MPI_COMM_WORLD);
}

/* In pieces, as MPI counts with int. */
static void send_all(const void *data, size_t size)
{
    for (size_t done = 0; done < size; done += INT_MAX) {
        const size_t piece = size - done < INT_MAX ? size - done : INT_MAX;
        MPI_Send((const char *)data + done, (int)piece, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
}

static void receive_all(int owner, void *data, size_t size)
{
    for (size_t done = 0; done < size; done += INT_MAX) {
        const size_t piece = size - done < INT_MAX ? size - done : INT_MAX;
        MPI_Recv((char *)data + done, (int)piece, MPI_BYTE, owner, 0, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    }
}

opt_status comm_to_root(comm *c, int owner, const void *mine, size_t mine_size, void **data,
                        size_t *size, opt_error *error)
{
    uint64_t bytes = mine_size, room = 1;
    *data = NULL;
    MPI_Bcast(&bytes, 1, MPI_UINT64_T, owner, MPI_COMM_WORLD);
    *size = bytes;
    if (c->rank == 0) room = (*data = malloc(bytes + 1)) != NULL;
    MPI_Bcast(&room, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    if (!room) return opt_fail(error, OPT_NO_MEMORY, "no memory for %zu bytes", *size);
    if (owner == 0 && c->rank == 0)
        memcpy(*data, mine, bytes);
    else if (c->rank == 0)
        receive_all(owner, *data, bytes);
    else if (c->rank == owner)
        send_all(mine, bytes);
    return OPT_OK;
}

opt_status comm_agree(comm *c, opt_status status, opt_error *error)
{
    int first = status ? c->rank : c->size;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == c->size) return OPT_OK;
    opt_error unread = {0};
    if (!error) error = &unread;
    MPI_Bcast(error, (int)sizeof *error, MPI_BYTE, first, MPI_COMM_WORLD);
    return error->status;
}
