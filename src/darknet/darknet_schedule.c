/* Where a training is, and what its schedule makes of the rate there. */
#include <math.h>
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
