/* The table of pictures, and gnuplot on the script of each; one that has nothing to show is
 * removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
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

typedef struct {
    FILE *script;
    const char *name; /* of the picture */
} drawing;

static opt_status draw_into(FILE *picture, void *context, opt_error *error)
{
    const drawing *d = context;
    return gnuplot_run(d->script, picture, d->name, error);
}

/* A picture that there is nothing to draw in must not be left from an earlier report. */
static opt_status remove_picture(const char *folder, const char *name, opt_error *error)
{
    opt_status status = OPT_OK;
    char *path = cmp_join(folder, name);
    if (!path) return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to remove it", name);
    if (unlink(path) != 0 && errno != ENOENT)
        status = opt_fail(error, OPT_IO, "%s: is out of date and cannot be removed: %s", path,
                          strerror(errno));
    free(path);
    return status;
}

static opt_status write_picture(const comparison *c, const cmp_statistics *all, const char *folder,
                                const picture_row *row, opt_error *error)
{
    drawing d = {tmpfile(), row->file};
    opt_status status;
    if (!d.script)
        return opt_fail(error, OPT_IO, "%s: no room for gnuplot's script: %s", row->file,
                        strerror(errno));
    switch (row->draw(d.script, c, all)) {
    case PICTURE_DRAWN: status = cmp_write_file(folder, row->file, draw_into, &d, error); break;
    case PICTURE_EMPTY: status = remove_picture(folder, row->file, error); break;
    default: status = opt_fail(error, OPT_NO_MEMORY, "%s: no memory to draw it", row->file);
    }
    fclose(d.script);
    return status;
}

opt_status cmp_write_pictures(const comparison *c, const cmp_statistics *all, const char *folder,
                              opt_error *error)
{
    opt_status status = OPT_OK;
    for (const picture_row *row = cmp_pictures; row->file && status == OPT_OK; row++)
        status = write_picture(c, all, folder, row, error);
    return status;
}
