/* Functions of two variables: the bowl and nine classic test functions, in double. */
#include <math.h>

#include "problems/draw.h"
#include "problems/problem.h"

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

/* Value and derivatives at a point. */
typedef struct {
    double f, x, y, xx, xy, yy;
} jet;

typedef struct plane_problem plane_problem;
typedef jet plane_function(const plane_problem *p, double x, double y);

struct plane_problem {
    problem base;
    plane_function *function;
    double low[2], high[2]; /* start uniform between them; low = high: N(0,1) */
    double xx, xy, yy;      /* bowl: the Hessian */
};

/* sum += weight·r², r given with its derivatives. */
static void add_square(jet *sum, double weight, jet r)
{
    sum->f += weight * r.f * r.f;
    sum->x += 2 * weight * r.f * r.x;
    sum->y += 2 * weight * r.f * r.y;
    sum->xx += 2 * weight * (r.x * r.x + r.f * r.xx);
    sum->xy += 2 * weight * (r.x * r.y + r.f * r.xy);
    sum->yy += 2 * weight * (r.y * r.y + r.f * r.yy);
}

static jet bowl(const plane_problem *p, double x, double y)
{
    const double gx = p->xx * x + p->xy * y, gy = p->xy * x + p->yy * y;
    return (jet){0.5 * (gx * x + gy * y), gx, gy, p->xx, p->xy, p->yy};
}

static jet ackley(const plane_problem *p, double x, double y)
{
    (void)p;
    const double radius = sqrt(0.5 * (x * x + y * y)), a = radius > 1e-30 ? radius : 1e-30;
    const double ax = x / (2 * a), ay = y / (2 * a);
    const double axx = 1 / (2 * a) - ax * ax / a, ayy = 1 / (2 * a) - ay * ay / a;
    const double axy = -ax * ay / a;
    const double cone = exp(-0.2 * a);
    const double waves = exp(0.5 * (cos(2 * M_PI * x) + cos(2 * M_PI * y)));
    const double sx = M_PI * sin(2 * M_PI * x), sy = M_PI * sin(2 * M_PI * y);
    const double cx = 2 * M_PI * M_PI * cos(2 * M_PI * x), cy = 2 * M_PI * M_PI * cos(2 * M_PI * y);
    return (jet){-20 * cone - waves + M_E + 20,
                 4 * cone * ax + sx * waves,
                 4 * cone * ay + sy * waves,
                 4 * cone * (axx - 0.2 * ax * ax) + (cx - sx * sx) * waves,
                 4 * cone * (axy - 0.2 * ax * ay) - sx * sy * waves,
                 4 * cone * (ayy - 0.2 * ay * ay) + (cy - sy * sy) * waves};
}

static jet beale(const plane_problem *p, double x, double y)
{
    (void)p;
    jet sum = {0};
    add_square(&sum, 1, (jet){1.5 - x + x * y, y - 1, x, 0, 1, 0});
    add_square(&sum, 1, (jet){2.25 - x + x * y * y, y * y - 1, 2 * x * y, 0, 2 * y, 2 * x});
    add_square(
        &sum, 1,
        (jet){2.625 - x + x * y * y * y, y * y * y - 1, 3 * x * y * y, 0, 3 * y * y, 6 * x * y});
    return sum;
}

static jet booth(const plane_problem *p, double x, double y)
{
    (void)p;
    jet sum = {0};
    add_square(&sum, 1, (jet){x + 2 * y - 7, 1, 2, 0, 0, 0});
    add_square(&sum, 1, (jet){2 * x + y - 5, 2, 1, 0, 0, 0});
    return sum;
}

static jet branin(const plane_problem *p, double x, double y)
{
    (void)p;
    const double b = 5.1 / (4 * M_PI * M_PI), c = 5 / M_PI, r = 6;
    const double wave = 10 * (1 - 1 / (8 * M_PI));
    jet sum = {.f = wave * cos(x) + 10, .x = -wave * sin(x), .xx = -wave * cos(x)};
    add_square(&sum, 1, (jet){y - b * x * x + c * x - r, c - 2 * b * x, 1, -2 * b, 0, 0});
    return sum;
}

/* log(exp(x + 3y − 0.1) + exp(x − 3y − 0.1) + exp(−x − 0.1) + 1) */
static jet log_sum_exp(const plane_problem *p, double x, double y)
{
    (void)p;
    const double a[4] = {x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, 0};
    const double top = fmax(fmax(a[0], a[1]), fmax(a[2], a[3]));
    double share[4], sum = 0;
    for (int i = 0; i < 4; i++) sum += share[i] = exp(a[i] - top);
    for (int i = 0; i < 4; i++) share[i] /= sum;
    const double fx = share[0] + share[1] - share[2], fy = 3 * (share[0] - share[1]);
    return (jet){top + log(sum),
                 fx,
                 fy,
                 share[0] + share[1] + share[2] - fx * fx,
                 fy - fx * fy,
                 9 * (share[0] + share[1]) - fy * fy};
}

static jet matyas(const plane_problem *p, double x, double y)
{
    (void)p;
    return (jet){0.26 * (x * x + y * y) - 0.48 * x * y,
                 0.52 * x - 0.48 * y,
                 0.52 * y - 0.48 * x,
                 0.52,
                 -0.48,
                 0.52};
}

/* sin z · sin(i z²/π)^10 with its first two derivatives. */
static void michalewicz_term(double i, double z, double out[3])
{
    const double w = i * z * z / M_PI, w1 = 2 * i * z / M_PI, w2 = 2 * i / M_PI;
    const double s = sin(w), c = cos(w), s8 = pow(s, 8), s9 = s8 * s, s10 = s9 * s;
    const double d1 = 10 * s9 * c * w1;
    const double d2 = 90 * s8 * c * c * w1 * w1 - 10 * s10 * w1 * w1 + 10 * s9 * c * w2;
    out[0] = sin(z) * s10;
    out[1] = cos(z) * s10 + sin(z) * d1;
    out[2] = -sin(z) * s10 + 2 * cos(z) * d1 + sin(z) * d2;
}

static jet michalewicz(const plane_problem *p, double x, double y)
{
    (void)p;
    double first[3], second[3];
    michalewicz_term(1, x, first);
    michalewicz_term(2, y, second);
    return (jet){2 - first[0] - second[0], -first[1], -second[1], -first[2], 0, -second[2]};
}

static jet rosenbrock(const plane_problem *p, double x, double y)
{
    (void)p;
    jet sum = {0};
    add_square(&sum, 1, (jet){1 - x, -1, 0, 0, 0, 0});
    add_square(&sum, 100, (jet){y - x * x, -2 * x, 1, -2, 0, 0});
    return sum;
}

static jet styblinski_tang(const plane_problem *p, double x, double y)
{
    (void)p;
    const double x2 = x * x, y2 = y * y;
    return (jet){0.5 * (x2 * x2 - 16 * x2 + 5 * x + y2 * y2 - 16 * y2 + 5 * y) + 80,
                 2 * x2 * x - 16 * x + 2.5,
                 2 * y2 * y - 16 * y + 2.5,
                 6 * x2 - 16,
                 0,
                 6 * y2 - 16};
}

static void plane_start(problem *base, float *x)
{
    const plane_problem *p = (const plane_problem *)base;
    random_stream stream = draw_stream(base->seed, STREAM_INIT, 1);
    for (int i = 0; i < 2; i++)
        x[i] = p->low[i] == p->high[i] ? draw_normal(&stream)
                                       : (float)draw_uniform(&stream, p->low[i], p->high[i]);
}

static double plane_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    const plane_problem *p = (const plane_problem *)base;
    (void)t;
    const jet at = p->function(p, x[0], x[1]);
    if (g) {
        g[0] = (float)at.x;
        g[1] = (float)at.y;
    }
    return at.f;
}

static void plane_hvp(problem *base, const float *x, uint64_t t, const float *v, float *hv)
{
    const plane_problem *p = (const plane_problem *)base;
    (void)t;
    const jet at = p->function(p, x[0], x[1]);
    hv[0] = (float)(at.xx * v[0] + at.xy * v[1]);
    hv[1] = (float)(at.xy * v[0] + at.yy * v[1]);
}

static double plane_full_gradient(problem *base, const float *x, float *g)
{
    return plane_gradient(base, x, 0, g);
}

static plane_problem *make(uint64_t seed, plane_function *function, opt_error *error)
{
    static const problem_ops ops = {plane_start, plane_gradient, plane_hvp, plane_full_gradient,
                                    NULL};
    const size_t n = 2;
    plane_problem *p = problem_allocate(sizeof *p, &ops, seed, 1, NULL, &n, error);
    if (p) p->function = function;
    return p;
}

/* A family: its function, and where it starts. */
#define PLANE_FAMILY(name, low0, high0, low1, high1)                                               \
    problem *name##_problem(const problem_spec *spec, uint64_t seed, const image_data *images,     \
                            opt_error *error)                                                      \
    {                                                                                              \
        (void)spec, (void)images;                                                                  \
        plane_problem *p = make(seed, name, error);                                                \
        if (!p) return NULL;                                                                       \
        p->low[0] = low0, p->high[0] = high0, p->low[1] = low1, p->high[1] = high1;                \
        return &p->base;                                                                           \
    }

PLANE_FAMILY(ackley, -32.768, 32.768, -32.768, 32.768)
PLANE_FAMILY(beale, -4.5, 4.5, -4.5, 4.5)
PLANE_FAMILY(booth, -10, 10, -10, 10)
PLANE_FAMILY(branin, -5, 10, 0, 15)
PLANE_FAMILY(log_sum_exp, 0, 0, 0, 0)
PLANE_FAMILY(matyas, -10, 10, -10, 10)
PLANE_FAMILY(michalewicz, 0, M_PI, 0, M_PI)
PLANE_FAMILY(rosenbrock, -5, 10, -5, 10)
PLANE_FAMILY(styblinski_tang, -5, 5, -5, 5)

problem *bowl_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                      opt_error *error)
{
    (void)images;
    if (!problem_check("the condition of a bowl", spec->condition, 1e-6, 1e6, error)) return NULL;
    plane_problem *p = make(seed, bowl, error);
    if (!p) return NULL;
    const double c = cos(spec->angle), s = sin(spec->angle), k = spec->condition;
    p->xx = k * c * c + s * s;
    p->xy = (1 - k) * c * s;
    p->yy = k * s * s + c * c;
    return &p->base;
}
