/* Optimizers, rates and seeds as the user names them become a list of runs, each with the text of
 * its cfgs. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "optimizer/optimizer.h"
#include "files/atomic_file.h"
#include "hrnn/hrnn_model.h"
#include "compare/net_cfg.h"
#include "compare/plan.h"
#include "compare/statistics.h"

enum { MOST_RATES = 200, MOST_LETTERS = 800 /* of -out: messages name files there */ };
static const double half_decades[] = {1e-5, 3.16e-5, 1e-4, 3.16e-4, 1e-3, 3.16e-3,
                                      1e-2, 3.16e-2, 1e-1, 3.16e-1, 1};
/* What a comparison varies itself. */
static const char *const varied[] = {
    "optimizer",     "optimizer_weights", "optimizer_rate", "optimizer_state", "optimizer_schedule",
    "learning_rate", "optimizer_log",     "seed",           "max_batches",     NULL};

static int is_rule(const char *name)
{
    for (const char *const *rule = opt_rule_names(); *rule; rule++)
        if (strcmp(*rule, name) == 0) return 1;
    return 0;
}

static int is_hrnn(const plan_optimizer *o) { return strcmp(o->rule, "hrnn") == 0; }

/* --- optimizers --- */

static plan_optimizer *find_label(const plan *p, const char *label)
{
    for (int i = 0; i < p->n_optimizers; i++)
        if (strcmp(p->optimizers[i].label, label) == 0) return &p->optimizers[i];
    return NULL;
}

static opt_status check_label(const plan *p, const char *label, int named, opt_error *error)
{
    size_t length = strlen(label);
    if (!named && !is_rule(label))
        return opt_fail(error, OPT_BAD_OPTION,
                        "-optimizers: unknown optimizer \"%.60s\", expected hrnn, "
                        "sgd, adam, rmsprop or NAME=MODEL.safetensors",
                        label);
    if (named && is_rule(label) && strcmp(label, "hrnn") != 0)
        return opt_fail(error, OPT_BAD_OPTION,
                        "-optimizers: %s=... would call a model %s; expected "
                        "another name",
                        label, label);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)label[i]) && !strchr("._+-", label[i])) length = 0;
    if (length == 0 || length > 63 || label[0] == '.')
        return opt_fail(error, OPT_BAD_OPTION,
                        "-optimizers: the name \"%.60s\" is empty, too long or holds "
                        "more than letters, digits and ._+-",
                        label);
    if (find_label(p, label))
        return opt_fail(error, OPT_BAD_OPTION, "-optimizers: %s stands there twice", label);
    return OPT_OK;
}

static opt_status add_optimizer(plan *p, char *item, opt_error *error)
{
    char *equals = strchr(item, '=');
    if (equals) *equals = '\0';
    opt_status status = check_label(p, item, equals != NULL, error);
    if (status) return status;
    if (equals && !equals[1])
        return opt_fail(error, OPT_BAD_OPTION, "-optimizers: %s= names no model", item);
    plan_optimizer *grown =
        realloc(p->optimizers, (size_t)(p->n_optimizers + 1) * sizeof(*p->optimizers));
    if (!grown) return opt_fail(error, OPT_NO_MEMORY, "no memory for the optimizers");
    p->optimizers = grown;
    plan_optimizer *o = &grown[p->n_optimizers++];
    *o = (plan_optimizer){0};
    snprintf(o->label, sizeof(o->label), "%s", item);
    snprintf(o->rule, sizeof(o->rule), "%s", equals ? "hrnn" : item);
    if (equals && !(o->model = strdup(equals + 1)))
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the optimizers");
    return OPT_OK;
}

opt_status plan_add_optimizers(plan *p, const char *list, opt_error *error)
{
    char *copy = strdup(list), *rest = copy;
    opt_status status = copy ? OPT_OK : opt_fail(error, OPT_NO_MEMORY, "no memory for -optimizers");
    while (!status && rest) status = add_optimizer(p, strsep(&rest, ","), error);
    free(copy);
    return status;
}

/* --- rates --- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static opt_status parse_rate(const char *item, const char *label, double *rate, opt_error *error)
{
    char *end;
    if (label && strcmp(item, "own") == 0) {
        *rate = 0;
        return OPT_OK;
    }
    *rate = strtod(item, &end);
    if (end != item && !*end && *rate >= 1e-12 && *rate <= 1e6) return OPT_OK;
    return opt_fail(error, OPT_BAD_OPTION,
                    "-rates: \"%.60s\" is not a learning rate, expected a number "
                    "from 1e-12 to 1e6%s",
                    item, label ? " or own" : "");
}

static opt_status set_rates(plan_optimizer *o, const double *rates, int n, opt_error *error)
{
    double *copy = malloc((size_t)n * sizeof(*copy));
    if (!copy) return opt_fail(error, OPT_NO_MEMORY, "no memory for the rates");
    memcpy(copy, rates, (size_t)n * sizeof(*copy));
    free(o->rates);
    o->rates = copy;
    o->n_rates = n;
    return OPT_OK;
}

static opt_status parse_rates(char *list, const char *label, double *rates, int *n,
                              opt_error *error)
{
    *n = 0;
    for (char *item; (item = strsep(&list, ","));) {
        opt_status status = parse_rate(item, label, &rates[*n], error);
        if (status) return status;
        if (++*n == MOST_RATES)
            return opt_fail(error, OPT_BAD_OPTION, "-rates: expected fewer than %d", MOST_RATES);
    }
    qsort(rates, (size_t)*n, sizeof(*rates), ascending);
    for (int i = 1; i < *n; i++) {
        char one[24], other[24];
        cmp_rate_name(rates[i - 1], one);
        cmp_rate_name(rates[i], other);
        if (strcmp(one, other) == 0 || cmp_same_rate(rates[i - 1], rates[i]))
            return opt_fail(error, OPT_BAD_OPTION,
                            "-rates: %s stands there twice (three digits count)", one);
    }
    return OPT_OK;
}

static opt_status assign_rates(plan *p, char *list, char *label, opt_error *error)
{
    double rates[MOST_RATES];
    int n;
    plan_optimizer *only = label ? find_label(p, label) : NULL;
    if (label && !only)
        return opt_fail(error, OPT_BAD_OPTION, "-rates: %.60s is not among the optimizers", label);
    opt_status status = parse_rates(list, only && is_hrnn(only) ? label : NULL, rates, &n, error);
    for (int i = 0; !status && i < p->n_optimizers; i++) {
        plan_optimizer *o = &p->optimizers[i];
        if (only ? o != only : is_hrnn(o)) continue;
        if (is_hrnn(o) && rates[n - 1] > 1)
            return opt_fail(error, OPT_BAD_OPTION,
                            "-rates: %g is no starting rate of %s, expected at "
                            "most 1",
                            rates[n - 1], o->label);
        status = set_rates(o, rates, n, error);
    }
    return status;
}

opt_status plan_set_rates(plan *p, const char *list, opt_error *error)
{
    char *copy = strdup(list);
    if (!copy) return opt_fail(error, OPT_NO_MEMORY, "no memory for -rates");
    char *equals = strchr(copy, '=');
    if (equals) *equals = '\0';
    opt_status status = assign_rates(p, equals ? equals + 1 : copy, equals ? copy : NULL, error);
    free(copy);
    return status;
}

static opt_status complete_rates(plan *p, opt_error *error)
{
    static const double own[] = {0};
    opt_status status = OPT_OK;
    for (int i = 0; !status && i < p->n_optimizers; i++) {
        plan_optimizer *o = &p->optimizers[i];
        if (o->n_rates) continue;
        status = is_hrnn(o) ? set_rates(o, own, 1, error)
                            : set_rates(o, half_decades,
                                        (int)(sizeof(half_decades) / sizeof(*half_decades)), error);
    }
    return status;
}

/* --- models --- */

static opt_status find_models(plan *p, const char *darknet, opt_error *error)
{
    for (int i = 0; i < p->n_optimizers; i++) {
        plan_optimizer *o = &p->optimizers[i];
        char named[PATH_MAX];
        uint64_t size;
        if (!is_hrnn(o)) continue;
        if (!o->model && net_cfg_value(p->cfg, "optimizer_weights", named, sizeof(named)))
            o->model = strdup(named);
        opt_error nowhere;
        if (!o->model && !(o->model = hrnn_model_find(darknet, &nowhere)))
            return opt_fail(error, OPT_NO_FILE,
                            "-optimizers %s: %.800s; name one with hrnn=FILE or HRNN_WEIGHTS",
                            o->label, nowhere.message);
        if (strpbrk(o->model, " \t"))
            return opt_fail(error, OPT_BAD_OPTION,
                            "%s: the name of a model must not hold a blank, which "
                            "darknet takes out of a cfg",
                            o->model);
        hrnn_model *model = hrnn_model_load(o->model, error);
        if (!model) return error ? error->status : OPT_BAD_FILE;
        hrnn_model_free(model);
        opt_status status = file_digest(o->model, o->model_digest, &size, error);
        if (status) return status;
    }
    return OPT_OK;
}

/* --- what the cfg says --- */

static opt_status read_count(const plan *p, const char *key, long fallback, long *value,
                             opt_error *error)
{
    char text[64], *end;
    *value = fallback;
    if (!net_cfg_value(p->cfg, key, text, sizeof(text))) return OPT_OK;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (end != text && (!*end || *end == '#' || *end == ';') && !errno && *value >= 0 &&
        *value <= INT_MAX)
        return OPT_OK;
    return opt_fail(error, OPT_BAD_FILE, "%s: %s=%s, expected a whole number", p->cfg_path, key,
                    text);
}

static opt_status digest_setting(plan *p, opt_error *error)
{
    char *normal = net_cfg_normal(p->cfg, varied), numbers[128];
    XXH3_state_t *hash = XXH3_createState();
    if (!normal || !hash) {
        free(normal);
        XXH3_freeState(hash);
        return opt_fail(error, OPT_NO_MEMORY, "%s: no memory to read it", p->cfg_path);
    }
    XXH3_64bits_reset(hash);
    XXH3_64bits_update(hash, normal, strlen(normal) + 1);
    XXH3_64bits_update(hash, p->data.digest, sizeof(p->data.digest));
    snprintf(numbers, sizeof(numbers), "batches=%ld valid_images=%ld", p->batches,
             p->data.valid ? p->valid_images : 0);
    XXH3_64bits_update(hash, numbers, strlen(numbers) + 1);
    snprintf(p->setting, sizeof(p->setting), "%016llx",
             (unsigned long long)XXH3_64bits_digest(hash));
    XXH3_freeState(hash);
    free(normal);
    return OPT_OK;
}

opt_status plan_finish(plan *p, const char *darknet, opt_error *error)
{
    long batches, images;
    opt_status status = read_count(p, "max_batches", 0, &batches, error);
    if (!status) status = read_count(p, "batch", 1, &images, error);
    if (status) return status;
    p->batch_size = (int)images;
    if (images < 1)
        return opt_fail(error, OPT_BAD_FILE, "%s: batch=0, expected a whole number from 1",
                        p->cfg_path);
    if (!p->batches) p->batches = batches ? batches : 1000;
    if (!p->every) p->every = p->batches >= 5 ? p->batches / 5 : 1;
    if (strpbrk(p->out, " \t"))
        return opt_fail(error, OPT_BAD_OPTION,
                        "%s: the folder's name must not hold a blank, which darknet "
                        "takes out of a cfg",
                        p->out);
    if (strlen(p->out) > MOST_LETTERS)
        return opt_fail(error, OPT_BAD_OPTION,
                        "%.60s...: the folder's name has %zu bytes, expected at most %d", p->out,
                        strlen(p->out), MOST_LETTERS);
    if (p->scan_seeds > p->seeds)
        return opt_fail(error, OPT_BAD_OPTION, "-scan-seeds %d: there are only %d seeds",
                        p->scan_seeds, p->seeds);
    status = complete_rates(p, error);
    if (!status) status = find_models(p, darknet, error);
    return status ? status : digest_setting(p, error);
}

static void copy_base_name(char *to, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');
    snprintf(to, size, "%s", slash ? slash + 1 : path);
}

void plan_describe(const plan *p, comparison *c)
{
    copy_base_name(c->network, sizeof(c->network), p->cfg_path);
    copy_base_name(c->data, sizeof(c->data), p->data.path);
    memcpy(c->setting, p->setting, sizeof(c->setting));
    c->batches = p->batches;
    c->batch_size = p->batch_size;
    c->has_softmax = net_cfg_ends_in_softmax(p->cfg);
}

void plan_free(plan *p)
{
    for (int i = 0; i < p->n_optimizers; i++) {
        free(p->optimizers[i].model);
        free(p->optimizers[i].rates);
    }
    free(p->optimizers);
    data_cfg_free(&p->data);
    free(p->cfg_path);
    free(p->cfg);
    free(p->out);
    *p = (plan){0};
}
