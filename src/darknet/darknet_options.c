/* The options of [net] that the hook reads, and those that the host would stumble over. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "darknet/darknet_private.h"
#include "hrnn/hrnn_model.h"
#include "list.h"
#include "option_list.h"
#include "base/random_stream.h"

static kvp *find_option(list *options, const char *key)
{
    for (node *n = options->front; n; n = n->next)
        if (strcmp(((kvp *)n->val)->key, key) == 0) return n->val;
    return NULL;
}

static void die_at(const char *cfg, const kvp *option, const char *expected)
{
    hook_die("%s:%d: %s=%.100s, expected %s", cfg, option->line, option->key, option->val,
             expected);
}

/* --- what the host reads with atoi and atof --- */

/* A comment behind the number is passed over, as the host does. */
static double number_of(const char *cfg, const kvp *option, int whole)
{
    char *end;
    errno = 0;
    double value = strtod(option->val, &end);
    if (end == option->val || (*end && *end != '#' && *end != ';') || !isfinite(value) ||
        errno == ERANGE)
        die_at(cfg, option, whole ? "a whole number" : "a number");
    /* The host's atoi takes 1e3 for 1. */
    if (whole && value != (double)strtol(option->val, NULL, 10))
        die_at(cfg, option, "a whole number");
    return value;
}

static const struct numeric {
    const char *key;
    int whole;
    double low, high;
    const char *expected;
} numeric[] = {
    {"batch", 1, 1, 1 << 24, "a whole number from 1"},
    {"subdivisions", 1, 1, 1 << 24, "a whole number from 1"},
    {"time_steps", 1, 1, 1 << 20, "a whole number from 1"},
    {"width", 1, 0, 1 << 16, "a whole number from 0 to 65536"},
    {"height", 1, 0, 1 << 16, "a whole number from 0 to 65536"},
    {"channels", 1, 0, 1 << 16, "a whole number from 0 to 65536"},
    {"inputs", 1, 1, INT_MAX, "a whole number from 1"},
    {"max_batches", 1, 0, INT_MAX, "a whole number from 0"},
    {"burn_in", 1, 0, INT_MAX, "a whole number from 0"},
    {"max_crop", 1, 1, 1 << 16, "a whole number from 1 to 65536"},
    {"min_crop", 1, 1, 1 << 16, "a whole number from 1 to 65536"},
    {"step", 1, 1, INT_MAX, "a whole number from 1"},
    {"flip", 1, 0, 1, "0 or 1"},
    {"random", 1, 0, 1, "0 or 1"},
    {"center", 1, 0, 1, "0 or 1"},
    {"notruth", 1, 0, 1, "0 or 1"},
    {"adam", 1, 0, 1, "0 or 1"},
    {"angle", 0, -360, 360, "degrees from -360 to 360"},
    {"aspect", 0, 1e-2, 1e2, "a number from 0.01 to 100"},
    {"saturation", 0, 1e-3, 1e3, "a number from 0.001 to 1000"},
    {"exposure", 0, 1e-3, 1e3, "a number from 0.001 to 1000"},
    {"hue", 0, -1, 1, "a number from -1 to 1"},
    {"max_ratio", 0, 1e-2, 1e2, "a number from 0.01 to 100"},
    {"min_ratio", 0, 1e-2, 1e2, "a number from 0.01 to 100"},
    {"clip", 0, 0, 1e30, "a number from 0"},
    {"precise_bn", 1, 0, 1 << 20, "a whole number of batches, 0: off"},
    {"rolling_share", 0, 1e-6, 1, "a number from 0.000001 to 1"},
    {"learning_rate", 0, -1e30, 1e30, "a number"},
    {"momentum", 0, -1e30, 1e30, "a number"},
    {"decay", 0, -1e30, 1e30, "a number"},
    {"scale", 0, -1e30, 1e30, "a number"},
    {"gamma", 0, -1e30, 1e30, "a number"},
    {"power", 0, -1e30, 1e30, "a number"},
    {"B1", 0, -1e30, 1e30, "a number"},
    {"B2", 0, -1e30, 1e30, "a number"},
    {"eps", 0, -1e30, 1e30, "a number"},
};

static int count_items(const char *text)
{
    int n = 1;
    for (; *text; text++) n += *text == ',';
    return n;
}

static void check_schedule(list *options, const char *cfg)
{
    kvp *steps = find_option(options, "steps"), *scales = find_option(options, "scales");
    if (!steps || !scales || count_items(steps->val) == count_items(scales->val)) return;
    hook_die("%s:%d: scales has %d numbers, expected as many as steps, %d", cfg, scales->line,
             count_items(scales->val), count_items(steps->val));
}

static void check_poly(list *options, const char *cfg)
{
    kvp *policy = find_option(options, "policy"), *last = find_option(options, "max_batches");
    if (policy && strcmp(policy->val, "poly") == 0 && (!last || atoi(last->val) == 0))
        hook_die("%s:%d: policy=poly divides by max_batches, expected max_batches= above 0", cfg,
                 policy->line);
}

static double value_of(list *options, const char *key)
{
    kvp *option = find_option(options, key);
    return option ? atof(option->val) : 1;
}

/* The host counts the values of a batch in an int. */
static void check_size(list *options, const char *cfg)
{
    kvp *width = find_option(options, "width");
    double values = value_of(options, "width") * value_of(options, "height") *
                    value_of(options, "channels") * value_of(options, "batch") *
                    value_of(options, "time_steps");
    if (width && values > INT_MAX)
        hook_die("%s:%d: width, height, channels and batch make %.0f values, expected at most %d",
                 cfg, width->line, values, INT_MAX);
}

void hook_check_options(list *options, const char *cfg)
{
    for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++) {
        const struct numeric *n = &numeric[i];
        kvp *option = find_option(options, n->key);
        if (!option) continue;
        double value = number_of(cfg, option, n->whole);
        if (value < n->low || value > n->high) die_at(cfg, option, n->expected);
    }
    check_schedule(options, cfg);
    check_poly(options, cfg);
    check_size(options, cfg);
    kvp *batch = find_option(options, "batch"), *parts = find_option(options, "subdivisions");
    int images = batch ? atoi(batch->val) : 1;
    if (parts && images / atoi(parts->val) < 1)
        hook_die("%s:%d: subdivisions=%s of batch=%d leave no image, expected at most %d", cfg,
                 parts->line, parts->val, images, images);
}

/* --- ours --- */

static const struct own {
    const char *key;
    size_t offset; /* of the cfg_option in struct darknet_hook */
} own[] = {
    {"optimizer", offsetof(struct darknet_hook, optimizer)},
    {"optimizer_weights", offsetof(struct darknet_hook, model)},
    {"optimizer_rate", offsetof(struct darknet_hook, rate)},
    {"optimizer_state", offsetof(struct darknet_hook, state)},
    {"optimizer_schedule", offsetof(struct darknet_hook, schedule)},
    {"optimizer_log", offsetof(struct darknet_hook, log_path)},
    {"seed", offsetof(struct darknet_hook, seed)},
};
enum { N_OWN = sizeof(own) / sizeof(own[0]) };

/* Levenshtein's distance, for words of at most 31 letters. */
static int edit_distance(const char *a, const char *b)
{
    int row[32], n = (int)strlen(b);
    if (strlen(a) > 31 || n > 31) return INT_MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* The host's own words, which may stand in [net] without effect (step= under another policy). */
static int is_hosts(const char *key)
{
    static const char *const others[] = {"policy", "steps", "scales", "seen"};
    for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++)
        if (strcmp(key, numeric[i].key) == 0) return 1;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(key, others[i]) == 0) return 1;
    return 0;
}

/* The option of ours that an unknown one was probably meant to be, or NULL. */
static const char *resembles(const char *key)
{
    const char *closest = NULL;
    if (is_hosts(key)) return NULL;
    int least = strncmp(key, "optimizer", 9) == 0 ? INT_MAX - 1 : 3;
    for (int i = 0; i < N_OWN; i++) {
        int distance = edit_distance(key, own[i].key);
        if (distance < least) {
            least = distance;
            closest = own[i].key;
        }
    }
    return closest;
}

/* Options of later Darknets or of none; only a misspelt one of ours would train with something
 * else. */
static void report_unused(list *options, const char *cfg)
{
    for (node *n = options->front; n; n = n->next) {
        kvp *option = n->val;
        if (option->used) continue;
        const char *meant = resembles(option->key);
        if (meant)
            hook_die("%s:%d: unknown option %.100s in [net], did you mean %s?", cfg, option->line,
                     option->key, meant);
        fprintf(stderr, "%s:%d: warning: unknown option %.100s in [net] is ignored\n", cfg,
                option->line, option->key);
    }
}

static void take_own(list *options, struct darknet_hook *hook)
{
    for (node *n = options->front; n; n = n->next) {
        kvp *option = n->val;
        for (int i = 0; i < N_OWN; i++) {
            if (strcmp(option->key, own[i].key) != 0) continue;
            cfg_option *to = (cfg_option *)((char *)hook + own[i].offset);
            if (to->value)
                hook_die("%s:%d: %s stands in [net] twice, first on line %d", hook->cfg,
                         option->line, option->key, to->line);
            if (!*option->val)
                hook_die("%s:%d: %s= has no value", hook->cfg, option->line, option->key);
            option->used = 1;
            to->value = hook_copy(option->val);
            to->line = option->line;
        }
    }
}

char *hook_find_model(void)
{
    opt_error error;
    char *path = hrnn_model_find("/proc/self/exe", &error);
    if (!path)
        hook_die("optimizer=hrnn: %s; name one with optimizer_weights= or HRNN_WEIGHTS",
                 error.message);
    return path;
}

static void read_rate(struct darknet_hook *hook)
{
    if (!hook->rate.value) return;
    kvp option = {"optimizer_rate", hook->rate.value, 0, hook->rate.line};
    if (strpbrk(option.val, "#;")) die_at(hook->cfg, &option, "a number");
    double rate = number_of(hook->cfg, &option, 0);
    if (!opt_takes_model(hook->settings.rule))
        hook_die(
            "%s:%d: optimizer_rate= is hrnn's starting rate; optimizer=%s takes learning_rate=",
            hook->cfg, hook->rate.line, hook->settings.rule);
    if (rate < 1e-12 || rate > 1) die_at(hook->cfg, &option, "a number from 1e-12 to 1");
    hook->settings.rate = (float)rate;
}

static void read_state(struct darknet_hook *hook)
{
    const cfg_option *state = &hook->state;
    if (!state->value) return;
    hook->settings.compact = strcmp(state->value, "compact") == 0;
    if (!hook->settings.compact && strcmp(state->value, "full") != 0)
        hook_die("%s:%d: optimizer_state=%.100s, expected full or compact", hook->cfg, state->line,
                 state->value);
}

static void read_schedule(struct darknet_hook *hook)
{
    const cfg_option *schedule = &hook->schedule;
    if (!schedule->value) return;
    hook->settings.without_schedule = strcmp(schedule->value, "cfg") == 0;
    if (!hook->settings.without_schedule && strcmp(schedule->value, "model") != 0)
        hook_die("%s:%d: optimizer_schedule=%.100s, expected model or cfg", hook->cfg,
                 schedule->line, schedule->value);
}

/* What is said of an optimizer that is not there, or not this one. */
static void refuse_orphans(const struct darknet_hook *hook, const char *rule)
{
    const struct {
        const char *key;
        const cfg_option *option;
    } orphans[] = {
        {"optimizer_weights", &hook->model},
        {"optimizer_rate", &hook->rate},
        {"optimizer_state", &hook->state},
        {"optimizer_schedule", &hook->schedule},
    };
    for (size_t i = 0; i < sizeof(orphans) / sizeof(orphans[0]); i++) {
        if (!orphans[i].option->value) continue;
        if (!rule)
            hook_die("%s:%d: %s stands in [net] without optimizer=", hook->cfg,
                     orphans[i].option->line, orphans[i].key);
        if (!opt_takes_model(rule) && orphans[i].option != &hook->rate)
            hook_die("%s:%d: %s= goes with optimizer=hrnn, found optimizer=%s", hook->cfg,
                     orphans[i].option->line, orphans[i].key, rule);
    }
}

static void read_optimizer(network *net, list *options)
{
    struct darknet_hook *hook = net->hook;
    const char *rule = hook->optimizer.value;
    if (!rule && net->adam && net->gpu_index < 0) {
        rule = "adam";
        hook->optimizer.line = find_option(options, "adam")->line;
    }
    if (!rule) {
        refuse_orphans(hook, NULL);
        return;
    }
    char known[128] = "";
    int found = 0;
    for (const char *const *name = opt_rule_names(); *name; name++) {
        found |= strcmp(*name, rule) == 0;
        snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", *known ? ", " : "",
                 *name);
    }
    if (!found)
        hook_die("%s:%d: optimizer=%.100s, expected one of %s", hook->cfg, hook->optimizer.line,
                 rule, known);
    hook->settings = opt_default_options(rule);
    hook->settings.momentum = net->momentum;
    hook->settings.beta1 = option_find_float_quiet(options, "B1", hook->settings.beta1);
    hook->settings.beta2 = option_find_float_quiet(options, "B2", hook->settings.beta2);
    hook->settings.eps = option_find_float_quiet(options, "eps", hook->settings.eps);
    if (!opt_takes_model(rule)) hook->settings.rate = net->learning_rate;
    read_rate(hook);
    refuse_orphans(hook, rule);
    read_state(hook);
    read_schedule(hook);
}

static void read_seed(network *net)
{
    static uint64_t drawn; /* once a process: networks that train together start alike */
    const cfg_option *seed = &net->hook->seed;
    if (!drawn) drawn = (uint64_t)time(NULL);
    net->seed = drawn;
    if (!seed->value) return;
    char *end;
    errno = 0;
    net->seed = strtoull(seed->value, &end, 10);
    if (errno || *end || *seed->value < '0' || *seed->value > '9')
        hook_die("%s:%d: seed=%.100s, expected a whole number from 0 to 18446744073709551615",
                 net->hook->cfg, seed->line, seed->value);
}

void hook_read_options(network *net, list *options, const char *cfg)
{
    struct darknet_hook *hook = hook_alloc(1, sizeof(*hook));
    net->hook = hook;
    hook->cfg = hook_copy(cfg);
    take_own(options, hook);
    read_optimizer(net, options);
    read_seed(net);
    report_unused(options, cfg);
    if (hook->model.value) hook->settings.model = hook_copy(hook->model.value);
    random_use(net->seed, STREAM_INIT, 0);
}
