/* What a network holds while it does not train: measuring it, and taking the statistics of its
 * batch normalisation anew. */
#include <math.h>
#include <string.h>
#include "darknet/darknet_private.h"

static void begin_evaluation(network *net)
{
    struct darknet_hook *hook = net->hook;
    hook_use_device(net);
    if (hook->opt) opt_show_true(hook->opt);
    hook->states = hook_take_snapshot(hook_list_recurrent_states(net));
}

static void end_evaluation(network *net)
{
    struct darknet_hook *hook = net->hook;
    hook_use_device(net);
    hook_swap_snapshot(&hook->states);
    hook_free_snapshot(&hook->states);
    if (hook->opt) opt_show_attended(hook->opt);
}

/* Showing and hiding are the same exchange. */
static void exchange_statistics(network *net)
{
    if (net->hook->has_statistics) hook_swap_snapshot(&net->hook->statistics);
}

void hook_show_statistics(network *net) { exchange_statistics(net); }

void hook_hide_statistics(network *net) { exchange_statistics(net); }

void hook_begin_measuring(network *net)
{
    begin_evaluation(net);
    hook_show_statistics(net);
}

void hook_end_measuring(network *net)
{
    hook_use_device(net);
    hook_hide_statistics(net);
    end_evaluation(net);
}

void hook_begin_statistics(network *net)
{
    struct darknet_hook *hook = net->hook;
    begin_evaluation(net);
    hook_free_snapshot(&hook->statistics);
    hook->has_statistics = 0;
    hook->statistics = hook_take_snapshot(hook_list_statistics(net));
    hook->rolling = net->rolling;
    net->rolling = (rolling_statistics){.pool = 1};
}

void hook_end_statistics(network *net, int keep)
{
    struct darknet_hook *hook = net->hook;
    hook_use_device(net);
    net->rolling = hook->rolling;
    hook_swap_snapshot(&hook->statistics);
    hook->has_statistics = keep;
    end_evaluation(net);
}

int hook_has_statistics(const network *net) { return net->hook->has_statistics; }

/* As the host divides by it. */
static double deviation_of(float variance) { return sqrt((double)variance) + 1e-6; }

/* blob i of the list has the means of a layer, i + 1 its variances. */
static void print_layer(const snapshot *s, int i)
{
    const float *mean = s->list.items[i].data, *variance = s->list.items[i + 1].data;
    const float *new_mean = (const float *)s->copies[i];
    const float *new_variance = (const float *)s->copies[i + 1];
    const size_t n = s->list.items[i].bytes / sizeof(float);
    const char *name = s->list.items[i].name;
    double sum = 0, most = 0, narrowest = INFINITY, widest = 0;
    for (size_t c = 0; c < n; c++) {
        const double deviation = deviation_of(new_variance[c]);
        const double moved = fabs((double)new_mean[c] - (double)mean[c]) / deviation;
        const double times = deviation / deviation_of(variance[c]);
        sum += moved;
        most = fmax(most, moved);
        narrowest = fmin(narrowest, times);
        widest = fmax(widest, times);
    }
    printf("%-16.*s %8zu %9.3f %9.3f %9.3f %9.3f\n", (int)(strrchr(name, '.') - name), name, n,
           sum / (double)n, most, narrowest, widest);
}

void hook_print_statistics(const network *net)
{
    const struct darknet_hook *hook = net->hook;
    if (!hook->has_statistics) return;
    printf("%-16s %8s %19s %19s\n", "", "", "means moved by", "deviations became");
    printf("%-16s %8s %9s %9s %9s %9s\n", "layer", "channels", "mean", "most", "least x", "most x");
    for (int i = 0; i + 1 < hook->statistics.list.n; i += 2) print_layer(&hook->statistics, i);
    printf("(means in standard deviations, deviations in times of the old ones)\n");
    fflush(stdout);
}
