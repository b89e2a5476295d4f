/* One network of the host for each thread that evaluates; parameters are copied in and gradients
 * out around its own forward and backward pass. */
#include "darknet_meta/darknet_problem.h"

#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <xxhash.h>

#include "darknet_meta/darknet_problem_data.h"
#include "problems/vectors.h"
#include "network.h"
#include "base/random_stream.h"
#include "utils.h"

/* The batches that stand for all data, and how many images they hold at least. */
static const uint64_t first_of_all = (uint64_t)1 << 31;
enum { IMAGES_OF_ALL = 256 };

/* A network that one evaluation at a time uses: the instances have none of their own. Between
 * evaluations its gradients are zero. */
typedef struct {
    network *net;
    tensor_table table;
    int *chosen; /* [images of a batch] */
} place;

struct darknet_task {
    char *name, *family;
    problem_spec spec;
    batch_source *data;
    int images, passes; /* of a batch */
    int n_places, n_free;
    place *places;
    place **free; /* [n_places], the first n_free of them */
    pthread_mutex_t lock;
    pthread_cond_t freed;
};

/* An instance. */
typedef struct {
    problem base;
    darknet_task *task;
    float *frozen; /* the constants, in the table's order */
} host_problem;

static darknet_task *task_of(const problem *p) { return ((const host_problem *)p)->task; }

static int is_trained(const opt_tensor *t) { return t->lr_scale != 0; }

/* --- places --- */

static place *take_place(darknet_task *task)
{
    pthread_mutex_lock(&task->lock);
    while (!task->n_free) pthread_cond_wait(&task->freed, &task->lock);
    place *at = task->free[--task->n_free];
    pthread_mutex_unlock(&task->lock);
    return at;
}

static void give_back(darknet_task *task, place *at)
{
    pthread_mutex_lock(&task->lock);
    task->free[task->n_free++] = at;
    pthread_cond_signal(&task->freed);
    pthread_mutex_unlock(&task->lock);
}

/* The lines of the host's account of a network that a user must see. */
static void pass_warnings(const char *text)
{
    static const char *const marks[] = {"warning", "Unused", "ignored"};
    while (*text) {
        const int length = (int)strcspn(text, "\n");
        for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
            const char *found = strstr(text, marks[i]);
            if (!found || found >= text + length) continue;
            fprintf(stderr, "%.*s\n", length, text);
            break;
        }
        text += length + (text[length] == '\n');
    }
}

/* Without the table of its layers; an error ends the program with its line all the same. */
static network *parse(const char *cfg, int warn)
{
    char *text = NULL;
    size_t size = 0;
    FILE *const own = stderr, *quiet = open_memstream(&text, &size);
    gpu_index = -1;
    fflush(stderr);
    if (quiet) stderr = quiet;
    network *net = parse_network_cfg((char *)cfg);
    stderr = own;
    if (!quiet) return net;
    fclose(quiet);
    if (warn) pass_warnings(text);
    free(text);
    return net;
}

static void open_place(darknet_task *task, place *at, const char *cfg, int warn)
{
    at->net = parse(cfg, warn);
    at->table = hook_list_tensors(at->net);
    at->chosen = hook_alloc((size_t)at->net->batch * (size_t)at->net->subdivisions, sizeof(int));
    task->free[task->n_free++] = at;
}

/* --- evaluations --- */

/* Between x or the constants, and a network: to = 1: into the network. */
static void copy_parameters(const host_problem *p, const place *at, float *x, int to)
{
    float *frozen = p->frozen;
    for (int k = 0; k < at->table.n; k++) {
        const opt_tensor *t = &at->table.tensors[k];
        float **const other = is_trained(t) ? &x : &frozen;
        memcpy(to ? t->param : *other, to ? *other : t->param, t->n * sizeof(float));
        *other += t->n;
    }
}

/* What a layer's cost must be multiplied by to be what its delta is the negative gradient of. */
static double cost_factor(const layer *l)
{
    if (l->type != COST) return 1;
    return (double)l->scale * (l->cost_type == L1 || l->cost_type == WGAN ? 1 : 0.5);
}

/* One pass: the sum over its images. */
static double pass(const place *at, darknet_task *task, uint64_t seed, uint64_t t, int part,
                   int backward)
{
    network *net = at->net;
    const uint64_t number = t * (uint64_t)task->passes + (uint64_t)part;
    double sum = 0;
    batch_fill(task->data, seed, t, at->chosen, part * net->batch, net->batch, net->input,
               net->truth);
    for (int b = 0; b < net->batch / net->time_steps; b++) reset_network_state(net, b);
    random_use(seed, STREAM_NETWORK, number);
    *net->seen = (number + 1) * (uint64_t)net->batch;
    net->train = 1;
    forward_network(net);
    if (backward) backward_network(net);
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].cost) sum += cost_factor(&net->layers[i]) * net->layers[i].cost[0];
    return sum;
}

/* Takes the gradients of `batches` batches out of the network. */
static void take_gradient(const place *at, int batches, float *g)
{
    for (int k = 0; k < at->table.n; k++) {
        const opt_tensor *t = &at->table.tensors[k];
        const float scale = t->grad_scale / (float)batches;
        if (is_trained(t)) {
            for (size_t i = 0; i < t->n; i++) g[i] = scale * t->grad[i];
            g += t->n;
        }
        if (t->grad) memset(t->grad, 0, t->n * sizeof(float));
    }
}

/* decay/2·‖w‖², whose gradient is added to g unless that is NULL. */
static double decay(const place *at, const float *x, float *g)
{
    double sum = 0;
    for (int k = 0; k < at->table.n; k++) {
        const opt_tensor *t = &at->table.tensors[k];
        if (!is_trained(t)) continue;
        if (t->l2 != 0) {
            sum += 0.5 * (double)t->l2 * vector_dot(x, x, t->n);
            if (g) vector_add(g, t->l2, x, t->n);
        }
        x += t->n;
        if (g) g += t->n;
    }
    return sum;
}

/* The mean over batches first to first + batches - 1. */
static double evaluate(problem *base, const float *x, uint64_t first, int batches, float *g)
{
    const host_problem *p = (const host_problem *)base;
    darknet_task *task = p->task;
    place *at = take_place(task);
    double sum = 0;
    copy_parameters(p, at, (float *)x, 1);
    for (uint64_t t = first; t < first + (uint64_t)batches; t++) {
        batch_draw(task->data, base->seed, t, at->chosen, task->images);
        for (int part = 0; part < task->passes; part++)
            sum += pass(at, task, base->seed, t, part, g != NULL);
    }
    if (g) take_gradient(at, batches, g);
    const double regular = decay(at, x, g);
    give_back(task, at);
    return sum / ((double)batches * task->images) + regular;
}

static double host_gradient(problem *p, const float *x, uint64_t t, float *g)
{
    return evaluate(p, x, t, 1, g);
}

static double host_full_gradient(problem *p, const float *x, float *g)
{
    const int images = task_of(p)->images;
    return evaluate(p, x, first_of_all, (IMAGES_OF_ALL + images - 1) / images, g);
}

/* --- instances --- */

static void start_at(problem *p, float *x)
{
    place *at = take_place(task_of(p));
    restart_network(at->net, p->seed);
    copy_parameters((const host_problem *)p, at, x, 0);
    give_back(task_of(p), at);
}

static void host_free(problem *p) { free(((host_problem *)p)->frozen); }

static problem *make_instance(darknet_task *task, uint64_t seed, opt_error *error)
{
    static const problem_ops ops = {start_at, host_gradient, NULL, host_full_gradient, host_free};
    const tensor_table *table = &task->places[0].table;
    const char **names = hook_alloc((size_t)table->n + 1, sizeof(*names));
    size_t *sizes = hook_alloc((size_t)table->n + 1, sizeof(*sizes)), constants = 0;
    int n = 0;
    for (int k = 0; k < table->n; k++) {
        const opt_tensor *t = &table->tensors[k];
        if (!is_trained(t)) {
            constants += t->n;
            continue;
        }
        names[n] = t->name;
        sizes[n++] = t->n;
    }
    host_problem *p = problem_allocate(sizeof(*p), &ops, seed, n, names, sizes, error);
    free(names);
    free(sizes);
    if (!p) return NULL;
    p->task = task;
    p->frozen = problem_floats(constants, error);
    if (p->frozen) return &p->base;
    problem_free(&p->base);
    return NULL;
}

static problem *darknet_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                                opt_error *error)
{
    problem *p = make_instance(spec->context, seed, error);
    float *x = p ? problem_floats(p->n, error) : NULL;
    (void)images;
    if (x) problem_start(p, x); /* the constants */
    if (p && !x) {
        problem_free(p);
        return NULL;
    }
    free(x);
    return p;
}

/* --- tasks --- */

static uint64_t hash_file(const char *path, uint64_t hash)
{
    unsigned char *text = read_file((char *)path);
    hash = XXH3_64bits_withSeed(text, strlen((char *)text), hash);
    free(text);
    return hash;
}

static opt_status check_network(const place *at, const char *cfg, opt_error *error)
{
    size_t trained = 0;
    for (int k = 0; k < at->table.n; k++) {
        const opt_tensor *t = &at->table.tensors[k];
        if (t->lr_scale != 0 && t->lr_scale != 1)
            return opt_fail(error, OPT_BAD_OPTION,
                            "%s: %s has learning_rate=%g; a meta-training takes 0 or 1", cfg,
                            t->name, (double)t->lr_scale);
        trained += is_trained(t) ? t->n : 0;
    }
    if (trained) return OPT_OK;
    return opt_fail(error, OPT_BAD_OPTION, "%s: no layer has parameters to train", cfg);
}

static void name_task(darknet_task *task, const char *cfg, const char *data)
{
    const uint64_t digest = hash_file(data, hash_file(cfg, batch_source_digest(task->data)));
    const size_t size = strlen(cfg) + 32;
    task->family = basecfg((char *)cfg);
    task->name = hook_alloc(size, 1);
    snprintf(task->name, size, "%s %016llx", task->family, (unsigned long long)digest);
}

darknet_task *darknet_task_open(const char *cfg, const char *data, int networks, opt_error *error)
{
    const int n = networks < 1 ? 1 : networks;
    darknet_task *task = hook_alloc(1, sizeof(*task));
    pthread_mutex_init(&task->lock, NULL);
    pthread_cond_init(&task->freed, NULL);
    task->places = hook_alloc((size_t)n, sizeof(*task->places));
    task->free = hook_alloc((size_t)n, sizeof(*task->free));
    for (; task->n_places < n; task->n_places++)
        open_place(task, &task->places[task->n_places], cfg, task->n_places == 0);
    network *net = task->places[0].net;
    task->images = net->batch * net->subdivisions;
    task->passes = net->subdivisions;
    if (check_network(&task->places[0], cfg, error) ||
        !(task->data = batch_source_open(net, cfg, data, error))) {
        darknet_task_free(task);
        return NULL;
    }
    for (int i = 0; i < n; i++) task->places[i].net->hierarchy = batch_source_tree(task->data);
    name_task(task, cfg, data);
    task->spec = (problem_spec){.family = darknet_problem, .context = task};
    return task;
}

void darknet_task_free(darknet_task *task)
{
    if (!task) return;
    for (int i = 0; i < task->n_places; i++) {
        hook_free_tensors(&task->places[i].table);
        free(task->places[i].chosen);
        free_network(task->places[i].net);
    }
    batch_source_close(task->data);
    pthread_mutex_destroy(&task->lock);
    pthread_cond_destroy(&task->freed);
    free(task->places);
    free(task->free);
    free(task->name);
    free(task->family);
    free(task);
}

source_row darknet_task_row(const darknet_task *task)
{
    return (source_row){task->family, task->name, 1, &task->spec};
}
