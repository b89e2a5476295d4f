/* Networks of one cfg that train side by side, each on its part of the data. */
#include <stdlib.h>
#include "darknet/darknet_private.h"

void hook_join_training(network *net, const network *first, const char *weights, int clear)
{
    hook_use_device(net);
    hook_begin_optimizer(net, weights, clear);
    net->seed = first->seed;
    net->hook->first = first;
    first->hook->together++;
}

/* Array i of every list becomes the mean of them all. */
static void average_array(network **nets, const blob_list *lists, int n, int i)
{
    const ptrdiff_t size = (ptrdiff_t)(lists[0].items[i].bytes / sizeof(float));
    for (int k = 0; k < n; k++) {
        hook_use_device(nets[k]);
        hook_pull(hook_twin_of(&lists[k], i), (size_t)size);
    }
#pragma omp parallel for schedule(static) if (size > 1 << 14)
    for (ptrdiff_t j = 0; j < size; j++) {
        double sum = 0; /* the mean of equal numbers is that number */
        for (int k = 0; k < n; k++) sum += (double)((float *)lists[k].items[i].data)[j];
        const float mean = (float)(sum / n);
        for (int k = 0; k < n; k++) ((float *)lists[k].items[i].data)[j] = mean;
    }
    for (int k = 0; k < n; k++) {
        hook_use_device(nets[k]);
        hook_push(hook_twin_of(&lists[k], i), (size_t)size);
    }
}

/* Where the networks attend to becomes the mean of where they do; params hold θ. */
static void average_attended(network **nets, int n)
{
    const tensor_table *table = &nets[0]->hook->table;
    for (int t = 0; t < table->n; t++) {
        const ptrdiff_t size = (ptrdiff_t)table->tensors[t].n;
        if (table->tensors[t].lr_scale == 0) continue;
        double *sum = hook_alloc((size_t)size, sizeof(*sum));
        float *attended = hook_alloc((size_t)size, sizeof(*attended));
        for (int k = 0; k < n; k++) {
            hook_use_device(nets[k]);
            opt_get_attended(nets[k]->hook->opt, t, attended);
#pragma omp parallel for schedule(static) if (size > 1 << 14)
            for (ptrdiff_t j = 0; j < size; j++) sum[j] += (double)attended[j];
        }
#pragma omp parallel for schedule(static) if (size > 1 << 14)
        for (ptrdiff_t j = 0; j < size; j++) attended[j] = (float)(sum[j] / n);
        for (int k = 0; k < n; k++) {
            hook_use_device(nets[k]);
            opt_set_attended(nets[k]->hook->opt, t, attended);
        }
        free(sum);
        free(attended);
    }
}

/* What param holds, θ or φ: nothing happens where they are the same. */
static void swap_params(network **nets, int n, void (*swap)(optimizer *))
{
    for (int k = 0; k < n; k++) {
        hook_use_device(nets[k]);
        if (nets[k]->hook->opt) swap(nets[k]->hook->opt);
    }
}

void hook_average(network **nets, int n)
{
    blob_list *lists = hook_alloc((size_t)n, sizeof(*lists));
    for (int k = 0; k < n; k++) {
        lists[k] = hook_list_learned(nets[k]);
        if (lists[k].n != lists[0].n) hook_die("the networks to be averaged are not of one cfg");
    }
    swap_params(nets, n, opt_show_true);
    for (int i = 0; i < lists[0].n; i++) average_array(nets, lists, n, i);
    const optimizer *opt = nets[0]->hook->opt;
    if (opt && opt_has_attention(opt)) average_attended(nets, n);
    swap_params(nets, n, opt_show_attended);
    hook_use_device(nets[0]);
    for (int k = 0; k < n; k++) hook_free_blobs(&lists[k]);
    free(lists);
}
