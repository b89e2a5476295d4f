/* The table of pictures, and gnuplot on the script of each; one that has nothing to show is
 * removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "files/atomic_file.h"
#include "compare/gnuplot.h"
#include "compare/pictures.h"
#include "compare/report.h"
#include "compare/tables.h"

const picture_row cmp_pictures[] = {
    {"curves.png", "Loss while training",
     "Each optimizer at its best rate. The line is the mean of the seeds, the band goes from the "
     "lowest to the highest; lower is better. The top of the range is cut, so that the end can be "
     "read.",
     picture_draw_curves},
    {"rates.png", "Loss at the end against learning rate",
     "A wide flat valley needs little tuning. The large dot is the best rate, the ring the one "
     "that "
     "one would try first; a cross at the top is a rate at which a seed diverged. A dashed line is "
     "an optimizer at its own starting rate.",
     picture_draw_rates},
    {"speed.png", "How soon it is where adam ends",
     "Batches and seconds of training until the training loss is as low as what the best-tuned "
     "adam "
     "ends with; shorter is better.",
     picture_draw_speed},
    {"times.png", "What a step costs",
     "Time of a training step at several batch sizes, and how it divides into the network (forward "
     "and backward) and the optimizer.",
     picture_draw_times},
    {NULL, NULL, NULL, NULL}};

static opt_status draw_into(FILE *picture, const comparison *c, const cmp_statistics *all,
                            const picture_row *row, int *empty, opt_error *error)
{
    FILE *script = tmpfile();
    if (!script)
        return opt_fail(error, OPT_IO, "%s: no room for gnuplot's script: %s", row->file,
                        strerror(errno));
    picture_result result = row->draw(script, c, all);
    opt_status status = OPT_OK;
    *empty = result == PICTURE_EMPTY;
    if (result == PICTURE_NO_MEMORY)
        status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to draw it", row->file);
    if (result == PICTURE_DRAWN) status = gnuplot_run(script, picture, row->file, error);
    fclose(script);
    return status;
}

static opt_status write_picture(const comparison *c, const cmp_statistics *all, const char *folder,
                                const picture_row *row, opt_error *error)
{
    char *path = cmp_join(folder, row->file);
    if (!path) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to write it", row->file);
    atomic_file file;
    int empty = 0;
    opt_status status = atomic_open(&file, path, error);
    if (status == OPT_OK) status = draw_into(file.stream, c, all, row, &empty, error);
    if (status == OPT_OK && !empty) status = atomic_sync(&file, error);
    if (status == OPT_OK && !empty) status = atomic_commit(&file, error);
    if (status != OPT_OK || empty) atomic_abandon(&file);
    if (status == OPT_OK && empty && unlink(path) != 0 && errno != ENOENT)
        status = opt_fail(error, OPT_IO, "%s: is out of date and cannot be removed: %s", path,
                          strerror(errno));
    free(path);
    return status;
}

opt_status cmp_write_pictures(const comparison *c, const char *folder, opt_error *error)
{
    cmp_statistics all;
    opt_status status = cmp_make_statistics(c, &all, error);
    for (const picture_row *row = cmp_pictures; row->file && status == OPT_OK; row++)
        status = write_picture(c, &all, folder, row, error);
    cmp_free_statistics(&all);
    return status;
}
