/* From a drawn task to its network: limits, start, weight decay, augmentation. */
#include "problems/image_task.h"

#include "problems/draw.h"

enum { TRIES = 1000 };
static const double LEAST_DECAY = 1e-5;

bool image_spec_check(const problem_spec *spec, int side, const image_data *images, int *index,
                      opt_error *error)
{
    if (!images || images->n_sets < 1) {
        opt_fail(error, OPT_NO_FILE,
                 "a problem on images, but none are loaded; tools/get-data.sh fashion-mnist|mnist "
                 "DEST idx fetches them");
        return false;
    }
    for (*index = 0; *index < IMAGE_SIDES; ++*index)
        if (image_sides[*index] == side) break;
    if (*index == IMAGE_SIDES) {
        opt_fail(error, OPT_BAD_OPTION, "images of %d pixels across, expected %d, %d or %d", side,
                 image_sides[0], image_sides[1], image_sides[2]);
        return false;
    }
    return problem_check("the least scale of a start", spec->start_low, 1e-6, 1e6, error) &&
           problem_check("the greatest scale of a start", spec->start_high, spec->start_low, 1e6,
                         error) &&
           problem_check("the greatest weight decay", spec->decay, 0, 1, error);
}

double image_decay_draw(random_stream *stream, const problem_spec *spec)
{
    if (!(spec->decay > 0) || !draw_flag(stream, 0.7)) return 0;
    return draw_log_uniform(stream, LEAST_DECAY, spec->decay);
}

bool image_task_find(image_task_draw *draw, random_stream *stream, const problem_spec *spec,
                     const char *what, image_task *task, opt_error *error)
{
    double work;
    for (int i = 0; i < TRIES; i++) {
        draw(stream, spec, task);
        if (net_count(&task->net, &work) <= (size_t)spec->max_parameters &&
            work * task->batch <= spec->max_work)
            return true;
    }
    opt_fail(error, OPT_BAD_OPTION,
             "none of %d %s had at most %d parameters and %g multiply-adds a batch", TRIES, what,
             spec->max_parameters, spec->max_work);
    return false;
}

classifier *image_task_create(const image_task *task, uint64_t seed, opt_error *error)
{
    classifier *p = classifier_create(&task->net, task->samples, task->batch, seed, error);
    if (!p) return NULL;
    p->start = START_NETWORK;
    p->start_scale = task->start_scale;
    for (int k = 0; k < p->base.n_tensors; k++)
        if (net_tensors(p->net)[k].fan_in) p->base.tensors[k].l2 = (float)task->decay;
    if (!classifier_augment(p, &task->augment, error)) return p;
    problem_free(&p->base);
    return NULL;
}
