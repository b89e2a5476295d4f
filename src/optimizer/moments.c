/* Fields one after the other in one arena, and the loop over spans of tensors. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "optimizer/moments.h"

enum { MAX_FIELDS = 4, ALIGN = 64, PAD = ALIGN / sizeof(float), PARALLEL_FROM = 16384 };

typedef struct {
    int tensor;
    size_t first, count; /* entries of that tensor */
} span;

typedef struct {
    int n_fields;
    float *arena;  /* of the device: n_fields arrays of length floats, one after the other */
    size_t length; /* a multiple of PAD, so that every array is aligned */
    size_t *start; /* [opt->n] where tensor k begins in each array; a multiple of PAD */
    span *spans;
    ptrdiff_t n_spans;
#ifdef GPU
    moments_device device;
    device_reporter *reporter; /* NULL on a CPU */
#endif
} moments;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Lays the active tensors out; counts what is needed. 0: more than memory can hold. */
static int lay_out(const optimizer *opt, moments *m)
{
    const size_t limit = PTRDIFF_MAX / (MAX_FIELDS * sizeof(float));
    for (int k = 0; k < opt->n; k++) {
        m->start[k] = m->length;
        if (!opt_active(opt, k)) continue;
        size_t n = opt->tensors[k].n;
        if (n > limit - PAD || m->length > limit - PAD - n) return 0;
        m->length += round_up(n, PAD);
        m->n_spans += (ptrdiff_t)((n + MOMENTS_SPAN - 1) / MOMENTS_SPAN);
    }
    return 1;
}

static void cut_spans(const optimizer *opt, moments *m)
{
    span *next = m->spans;
    for (int k = 0; k < opt->n; k++) {
        if (!opt_active(opt, k)) continue;
        size_t n = opt->tensors[k].n;
        for (size_t first = 0; first < n; first += MOMENTS_SPAN) {
            size_t rest = n - first;
            *next++ = (span){k, first, rest < MOMENTS_SPAN ? rest : MOMENTS_SPAN};
        }
    }
}

static float *span_state(const moments *m, const span *s, int field)
{
    return m->arena + (size_t)field * m->length + m->start[s->tensor] + s->first;
}

static opt_status no_memory(const optimizer *opt, opt_error *error)
{
    return opt_fail(error, OPT_NO_MEMORY,
                    "no memory for the state of %s: %d floats for each parameter", opt->rule->name,
                    ((const moments *)opt->state)->n_fields);
}

#ifdef GPU
/* The spans as the kernels read them. */
static opt_status describe_spans(const optimizer *opt, moments *m, opt_error *error)
{
    const size_t bytes = (size_t)m->n_spans * sizeof(*m->device.spans);
    device_span *spans = malloc(bytes + 1);
    m->reporter = device_reporter_new();
    m->device.spans = device_alloc(1, bytes);
    if (m->n_spans > INT_MAX || !spans || !m->reporter || !m->device.spans) {
        free(spans);
        return no_memory(opt, error);
    }
    for (ptrdiff_t i = 0; i < m->n_spans; i++) {
        const span *s = &m->spans[i];
        const opt_tensor *t = &opt->tensors[s->tensor];
        spans[i] = (device_span){t->param + s->first, t->grad + s->first, span_state(m, s, 0),
                                 (unsigned)s->count,  t->grad_scale,      t->l2,
                                 t->lr_scale,         opt->n - s->tensor};
    }
    device_put(1, m->device.spans, spans, bytes);
    free(spans);
    m->device.n_spans = (unsigned)m->n_spans;
    m->device.stride = m->length;
    return OPT_OK;
}
#endif

/* Each thread touches first what it will work on. */
static void start(const moments *m)
{
#pragma omp parallel for schedule(static)
    for (ptrdiff_t i = 0; i < m->n_spans; i++)
        for (int f = 0; f < m->n_fields; f++)
            memset(span_state(m, &m->spans[i], f), 0, m->spans[i].count * sizeof(float));
}

opt_status moments_init(optimizer *opt, opt_error *error)
{
    moments *m = calloc(1, sizeof(*m));
    opt->state = m;
    if (!m) return opt_fail(error, OPT_NO_MEMORY, "no memory for the state of %s", opt->rule->name);
    while (opt->fields[m->n_fields].name) m->n_fields++;
    m->start = malloc(((size_t)opt->n + 1) * sizeof(*m->start));
    if (m->start && lay_out(opt, m)) {
        m->spans = malloc(((size_t)m->n_spans + 1) * sizeof(*m->spans));
        m->arena = device_alloc(opt->cuda, moments_bytes(opt));
    }
    if (!m->spans || !m->arena) return no_memory(opt, error);
    cut_spans(opt, m);
#ifdef GPU
    if (opt->cuda) {
        device_zero(1, m->arena, moments_bytes(opt));
        return describe_spans(opt, m, error);
    }
#endif
    start(m);
    return OPT_OK;
}

void moments_free(optimizer *opt)
{
    moments *m = opt->state;
    if (!m) return;
#ifdef GPU
    if (opt->cuda) {
        device_reporter_free(m->reporter);
        device_free(1, m->device.spans);
    }
#endif
    device_free(opt->cuda, m->arena);
    free(m->start);
    free(m->spans);
    free(m);
    opt->state = NULL;
}

size_t moments_bytes(const optimizer *opt)
{
    const moments *m = opt->state;
    return (size_t)m->n_fields * m->length * sizeof(float);
}

static float *field_at(const optimizer *opt, const rule_field *field, int k, size_t first)
{
    const moments *m = opt->state;
    return m->arena + (size_t)(field - opt->fields) * m->length + m->start[k] + first;
}

void moments_read(const optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                  float *out)
{
    device_get(opt->cuda, out, field_at(opt, field, k, first), count * sizeof(float));
}

void moments_write(optimizer *opt, const rule_field *field, int k, size_t first, size_t count,
                   const float *in)
{
    device_put(opt->cuda, field_at(opt, field, k, first), in, count * sizeof(float));
}

/* grad <- the gradient, in place, non-finite entries as 0; returns how many those were. */
static size_t take_gradient(const opt_tensor *t, size_t first, size_t n)
{
    float *restrict g = t->grad + first;
    const float *restrict param = t->param + first;
    const float scale = t->grad_scale, l2 = t->l2;
    int finite = 0;
#pragma omp simd reduction(+ : finite)
    for (size_t i = 0; i < n; i++) {
        float value;
        int ok = moments_gradient(scale, l2, g[i], param[i], &value);
        g[i] = ok ? value : 0;
        finite += ok;
    }
    return n - (size_t)finite;
}

void moments_step(optimizer *opt, float rate_ratio, moments_update *update, moments_launch *launch,
                  const void *constants, opt_step_report *report)
{
    const moments *m = opt->state;
    const float rate = opt->options.rate * rate_ratio;
#ifdef GPU
    if (opt->cuda) {
        launch(constants, &m->device, rate, device_reporter_begin(m->reporter));
        *report = opt_report_counts(device_reporter_end(m->reporter), opt->n);
        return;
    }
#endif
    (void)launch;
    size_t bad = 0;
    int first_bad = opt->n;
#pragma omp parallel for schedule(static) reduction(+ : bad) reduction(min : first_bad) \
    if (m->length >= PARALLEL_FROM)
    for (ptrdiff_t i = 0; i < m->n_spans; i++) {
        const span *s = &m->spans[i];
        const opt_tensor *t = &opt->tensors[s->tensor];
        float *state[MAX_FIELDS];
        for (int f = 0; f < m->n_fields; f++) state[f] = span_state(m, s, f);
        size_t bad_here = take_gradient(t, s->first, s->count);
        bad += bad_here;
        if (bad_here && s->tensor < first_bad) first_bad = s->tensor;
        update(constants, rate * t->lr_scale, s->count, t->param + s->first, t->grad + s->first,
               state);
        memset(t->grad + s->first, 0, s->count * sizeof(float));
    }
    report->non_finite = bad;
    if (bad) report->first_bad_tensor = first_bad;
}

opt_status moments_init_divided(optimizer *opt, opt_error *error)
{
    /* A parameter whose gradient has always been 0 would divide 0 by 0. */
    if (!(opt->options.eps > 0))
        return opt_fail(error, OPT_BAD_OPTION, "eps is %g, expected more than 0", opt->options.eps);
    return moments_init(opt, error);
}
