/* Where a training is, and what its schedule makes of the rate there. */
#include <math.h>
#include <string.h>
#include "base/random_stream.h"
#include "darknet/darknet_private.h"

size_t hook_batch_number(const network *net)
{
    return *net->seen / ((size_t)net->batch * (size_t)net->subdivisions);
}

float hook_rate_ratio(network *net)
{
    const float rate = net->learning_rate;
    random_use(net->seed, STREAM_OTHER, hook_batch_number(net)); /* policy=random draws */
    net->learning_rate = 1;
    const float ratio = get_current_rate(net);
    net->learning_rate = rate;
    if (!isfinite(ratio))
        hook_die(
            "%s: batch %zu: policy and burn_in make the rate %g times the first, expected a finite "
            "number",
            net->hook->cfg, hook_batch_number(net), ratio);
    return ratio;
}

float hook_step_ratio(network *net)
{
    return opt_has_schedule(net->hook->opt) ? 1 : hook_rate_ratio(net);
}

/* In updates of this network, after `done` batches. Those that train together share the batches. 0:
 * it has no end. */
static uint64_t horizon_of(const network *net, size_t done)
{
    const network *first = net->hook->first ? net->hook->first : net;
    const uint64_t all = (uint64_t)(1 + first->hook->together);
    if (net->max_batches <= 0) return 0;
    const uint64_t end = (uint64_t)net->max_batches, left = end > done ? end - done : 0;
    const uint64_t horizon = opt_steps(net->hook->opt) + (left + all - 1) / all;
    return horizon ? horizon : 1;
}

void hook_tell_horizon(network *net)
{
    if (net->hook->knows_horizon) return;
    net->hook->knows_horizon = 1;
    /* The batch that the update is of has been seen. */
    opt_set_horizon(net->hook->opt, horizon_of(net, hook_batch_number(net) - 1));
}

/* The words of [net] that were written for another schedule. */
static void list_ignored(const network *net, char *text, size_t size)
{
    static const char *const names[] = {"constant", "step",    "exp",   "poly",
                                        "steps",    "sigmoid", "random"};
    static const learning_rate_policy policies[] = {CONSTANT, STEP, EXP, POLY, STEPS, SIG, RANDOM};
    *text = 0;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (net->policy == policies[i] && policies[i] != CONSTANT)
            snprintf(text, size, "policy=%s", names[i]);
    if (net->burn_in > 0)
        snprintf(text + strlen(text), size - strlen(text), "%sburn_in=%d", *text ? " and " : "",
                 net->burn_in);
}

void hook_describe_schedule(network *net)
{
    const optimizer *opt = net->hook->opt;
    char ignored[80];
    if (!opt || !opt_has_schedule(opt)) return;
    const uint64_t before = opt_horizon(opt), horizon = horizon_of(net, hook_batch_number(net));
    list_ignored(net, ignored, sizeof ignored);
    if (horizon)
        printf("Schedule: the model's own, to batch %d", net->max_batches);
    else
        printf("Schedule: none, since there is no max_batches");
    if (net->hook->resumed && !net->hook->together && before != horizon)
        printf(" (%llu updates in all; %llu when this was saved)", (unsigned long long)horizon,
               (unsigned long long)before);
    if (*ignored) printf("; %s would count with optimizer_schedule=cfg", ignored);
    printf("\n");
}
