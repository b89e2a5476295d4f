/* The table of rules, what every rule has in common, and the dispatch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/device.h"
#include "optimizer/rule.h"

static const rule *const rules[] = {&rule_sgd, &rule_adam, &rule_rmsprop, &rule_hrnn};
enum { N_RULES = sizeof(rules) / sizeof(rules[0]) };

static const rule *find_rule(const char *name)
{
    for (int i = 0; name && i < N_RULES; i++)
        if (strcmp(rules[i]->name, name) == 0) return rules[i];
    return NULL;
}

const char *const *opt_rule_names(void)
{
    static const char *names[N_RULES + 1];
    for (int i = 0; i < N_RULES; i++) names[i] = rules[i]->name;
    return names;
}

int opt_takes_model(const char *name)
{
    const rule *found = find_rule(name);
    return found && found->takes_model;
}

opt_options opt_default_options(const char *name)
{
    const rule *found = find_rule(name);
    opt_options options = {0};
    if (found) options = found->defaults;
    options.rule = name;
    return options;
}

static opt_status check_range(const char *option, double value, double low, double below,
                              opt_error *error)
{
    if (value >= low && value < below) return OPT_OK;
    return opt_fail(error, OPT_BAD_OPTION, "%s is %g, expected a number from %g to below %g",
                    option, value, low, below);
}

static opt_status check_options(const opt_options *options, opt_error *error)
{
    if (!find_rule(options->rule)) {
        char known[256] = "";
        for (int i = 0; i < N_RULES; i++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", rules[i]->name);
        }
        return opt_fail(error, OPT_BAD_OPTION, "unknown optimizer \"%.100s\", expected one of: %s",
                        options->rule ? options->rule : "", known);
    }
    opt_status status = check_range("rate", options->rate, 0, INFINITY, error);
    if (!status) status = check_range("momentum", options->momentum, 0, 1, error);
    if (!status) status = check_range("beta1", options->beta1, 0, 1, error);
    if (!status) status = check_range("beta2", options->beta2, 0, 1, error);
    if (!status) status = check_range("eps", options->eps, 0, INFINITY, error);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static opt_status check_unique(const opt_tensor *tensors, int n, opt_error *error)
{
    const char **names = malloc(((size_t)n + 1) * sizeof(*names));
    if (!names) return opt_fail(error, OPT_NO_MEMORY, "no memory for the names of %d tensors", n);
    for (int k = 0; k < n; k++) names[k] = tensors[k].name;
    qsort(names, (size_t)n, sizeof(*names), compare_names);
    opt_status status = OPT_OK;
    for (int k = 1; k < n && !status; k++)
        if (strcmp(names[k - 1], names[k]) == 0)
            status = opt_fail(error, OPT_BAD_OPTION, "two tensors have the name \"%s\"", names[k]);
    free(names);
    return status;
}

static opt_status check_tensors(const opt_tensor *tensors, int n, opt_error *error)
{
    if (n < 0) return opt_fail(error, OPT_BAD_OPTION, "%d tensors, expected 0 or more", n);
    for (int k = 0; k < n; k++) {
        const opt_tensor *t = &tensors[k];
        /* '/' and these two words would make checkpoint names ambiguous. */
        if (!t->name || !*t->name || strchr(t->name, '/') || strcmp(t->name, "host") == 0 ||
            strcmp(t->name, "network") == 0)
            return opt_fail(error, OPT_BAD_OPTION,
                            "tensor %d is named \"%s\", expected a name without '/' that is "
                            "neither host nor network",
                            k, t->name ? t->name : "");
        if (t->n == 0 || t->n > PTRDIFF_MAX / sizeof(float))
            return opt_fail(error, OPT_BAD_OPTION, "tensor %s has %zu parameters", t->name, t->n);
        if (!isfinite(t->grad_scale) || !isfinite(t->l2) || !isfinite(t->lr_scale))
            return opt_fail(error, OPT_BAD_OPTION,
                            "tensor %s: grad_scale %g, l2 %g, lr_scale %g; expected finite numbers",
                            t->name, t->grad_scale, t->l2, t->lr_scale);
        if (t->lr_scale != 0 && (!t->param || !t->grad))
            return opt_fail(error, OPT_BAD_OPTION, "tensor %s has no %s array", t->name,
                            t->param ? "gradient" : "parameter");
    }
    return check_unique(tensors, n, error);
}

static int copy_string(const char **string)
{
    if (!*string) return 1;
    *string = strdup(*string);
    return *string != NULL;
}

/* Copies what the caller may free. */
static opt_status copy_arguments(optimizer *opt, const opt_options *options,
                                 const opt_tensor *tensors, opt_error *error)
{
    opt->options = *options;
    int copied = copy_string(&opt->options.rule);
    copied &= copy_string(&opt->options.device);
    copied &= copy_string(&opt->options.model);
    opt->tensors = malloc(((size_t)opt->n + 1) * sizeof(*opt->tensors));
    if (!copied || !opt->tensors)
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the descriptions of %d tensors",
                        opt->n);
    if (opt->n) memcpy(opt->tensors, tensors, (size_t)opt->n * sizeof(*opt->tensors));
    return OPT_OK;
}

optimizer *opt_create_from(const opt_options *options, const void *model, const opt_tensor *tensors,
                           int n, opt_error *error)
{
    int cuda;
    if (check_options(options, error) || check_tensors(tensors, n, error) ||
        device_find(options->device, &cuda, error))
        return NULL;
    optimizer *opt = calloc(1, sizeof(*opt));
    if (!opt) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for an optimizer");
        return NULL;
    }
    opt->rule = find_rule(options->rule);
    opt->fields = opt->rule->fields;
    opt->n = n;
    opt->model = model;
    opt->cuda = cuda;
    if (copy_arguments(opt, options, tensors, error) || opt->rule->init(opt, error)) {
        opt_free(opt);
        return NULL;
    }
    opt->model = NULL;
    return opt;
}

optimizer *opt_create(const opt_options *options, const opt_tensor *tensors, int n,
                      opt_error *error)
{
    return opt_create_from(options, NULL, tensors, n, error);
}

void opt_free(optimizer *opt)
{
    if (!opt) return;
    opt->rule->free_state(opt);
    free(opt->tensors);
    free((char *)opt->options.rule);
    free((char *)opt->options.device);
    free((char *)opt->options.model);
    free(opt);
}

void opt_step(optimizer *opt, float loss, float rate_ratio, opt_step_report *report)
{
    opt_step_report unread;
    if (!report) report = &unread;
    *report = (opt_step_report){0, -1};
    opt->rule->step(opt, loss, rate_ratio, report);
    opt->steps++;
}

void opt_show_true(optimizer *opt)
{
    if (opt->rule->true_params) opt->rule->true_params(opt);
}

void opt_show_attended(optimizer *opt)
{
    if (opt->rule->attended_params) opt->rule->attended_params(opt);
}

int opt_has_schedule(const optimizer *opt)
{
    return opt->rule->has_schedule && opt->rule->has_schedule(opt);
}

float opt_schedule(const optimizer *opt)
{
    return opt_has_schedule(opt) ? opt->rule->schedule(opt) : 1;
}

uint64_t opt_horizon(const optimizer *opt)
{
    return opt->rule->horizon ? opt->rule->horizon(opt) : 0;
}

void opt_set_horizon(optimizer *opt, uint64_t steps)
{
    if (opt->rule->set_horizon) opt->rule->set_horizon(opt, steps);
}

uint64_t opt_steps(const optimizer *opt) { return opt->steps; }

size_t opt_state_bytes(const optimizer *opt) { return opt->rule->state_bytes(opt); }

const rule_field *opt_find_field(const optimizer *opt, const char *name)
{
    for (const rule_field *field = opt->fields; field->name; field++)
        if (strcmp(field->name, name) == 0) return field;
    return NULL;
}

int opt_has_attention(const optimizer *opt) { return opt_find_field(opt, "attended") != NULL; }

/* A field of tensor k, out of the state or into it; 0: there is none. */
static int get_field(const optimizer *opt, const char *name, int k, float *out)
{
    const rule_field *field = opt_find_field(opt, name);
    if (!field || k < 0 || k >= opt->n || !opt_active(opt, k)) return 0;
    opt->rule->read_field(opt, field, k, 0, opt->tensors[k].n, out);
    return 1;
}

static int set_field(optimizer *opt, const char *name, int k, const float *in)
{
    const rule_field *field = opt_find_field(opt, name);
    if (!field || k < 0 || k >= opt->n || !opt_active(opt, k)) return 0;
    opt->rule->write_field(opt, field, k, 0, opt->tensors[k].n, in);
    return 1;
}

int opt_get_attended(const optimizer *opt, int k, float *attended)
{
    return get_field(opt, "attended", k, attended);
}

int opt_set_attended(optimizer *opt, int k, const float *attended)
{
    return set_field(opt, "attended", k, attended);
}

int opt_get_log_lr(const optimizer *opt, int k, float *log_lr)
{
    return get_field(opt, "log_lr", k, log_lr);
}

int opt_set_log_lr(optimizer *opt, int k, const float *log_lr)
{
    return set_field(opt, "log_lr", k, log_lr);
}

int opt_get_mean_log_lr(const optimizer *opt, double *mean)
{
    const rule_field *field = opt_find_field(opt, "mean_log_lr");
    float value;
    if (!field) return 0;
    opt->rule->read_field(opt, field, 0, 0, 1, &value);
    *mean = (double)value;
    return 1;
}
