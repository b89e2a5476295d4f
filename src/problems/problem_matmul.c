/* Algorithms that multiply n×n matrices with k products. Parameters A and B are n²×k; row (i, j) of
 * M[n⁴][k] = a_i ∘ b_j holds the products for the one-hot pair (i, j), and the third factor is
 * found by least squares: f = min over Θ[k][n²] of ‖MΘ − T‖², T[n⁴][n²] the pairs' true products.
 * In double; not a number where MᵀM is singular. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problems/draw.h"
#include "problems/problem.h"

typedef struct {
    problem base;
    size_t n, k, squares, pairs; /* squares n², pairs n⁴ */
    double *block;               /* all of the below */
    double *m, *dm, *gm, *dgm;   /* [pairs][k] M, its direction, df/dM, that in the direction */
    double *e, *de;              /* [pairs][squares] E = MΘ − T */
    double *theta, *dtheta;      /* [k][squares] */
    double *factor;              /* [k][k] Cholesky's L of MᵀM */
} matmul;

/* out[rows][columns] (+)= a[rows][inner] b[inner][columns] */
static void multiply(const double *a, const double *b, double *out, size_t rows, size_t inner,
                     size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t l = 0; l < inner; l++)
            for (size_t j = 0; j < columns; j++)
                out[i * columns + j] += a[i * inner + l] * b[l * columns + j];
}

/* out[p][q] += aᵀ b, a[rows][p], b[rows][q] */
static void multiply_transposed(const double *a, const double *b, double *out, size_t rows,
                                size_t p, size_t q)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < p; i++)
            for (size_t j = 0; j < q; j++) out[i * q + j] += a[row * p + i] * b[row * q + j];
}

/* out[rows][p] += scale · a[rows][q] (b[p][q])ᵀ */
static void multiply_by_transpose(double scale, const double *a, const double *b, double *out,
                                  size_t rows, size_t q, size_t p)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < p; i++) {
            double sum = 0;
            for (size_t j = 0; j < q; j++) sum += a[row * q + j] * b[i * q + j];
            out[row * p + i] += scale * sum;
        }
}

/* L of the symmetric g, in place (the lower triangle). A pivot that is not positive leaves NaN. */
static void factorise(double *g, size_t k)
{
    for (size_t j = 0; j < k; j++)
        for (size_t i = j; i < k; i++) {
            double sum = g[i * k + j];
            for (size_t l = 0; l < j; l++) sum -= g[i * k + l] * g[j * k + l];
            g[i * k + j] = i == j ? (sum > 0 ? sqrt(sum) : NAN) : sum / g[j * k + j];
        }
}

/* x[k][columns] <- (L Lᵀ)⁻¹ x */
static void solve(const double *factor, double *x, size_t k, size_t columns)
{
    for (size_t c = 0; c < columns; c++) {
        for (size_t i = 0; i < k; i++) {
            double sum = x[i * columns + c];
            for (size_t l = 0; l < i; l++) sum -= factor[i * k + l] * x[l * columns + c];
            x[i * columns + c] = sum / factor[i * k + i];
        }
        for (size_t i = k; i-- > 0;) {
            double sum = x[i * columns + c];
            for (size_t l = i + 1; l < k; l++) sum -= factor[l * k + i] * x[l * columns + c];
            x[i * columns + c] = sum / factor[i * k + i];
        }
    }
}

/* The column of T that row (i, j) has its 1 in; -1: the product of the one-hot matrices is 0. */
static int product_column(const matmul *p, size_t i, size_t j)
{
    return i % p->n == j / p->n ? (int)(i / p->n * p->n + j % p->n) : -1;
}

/* m[(i, j)][r] = a_ir b_jr (+ what is there) */
static void fill_products(const matmul *p, const float *a, const float *b, double *m)
{
    for (size_t i = 0; i < p->squares; i++)
        for (size_t j = 0; j < p->squares; j++)
            for (size_t r = 0; r < p->k; r++)
                m[(i * p->squares + j) * p->k + r] += (double)a[i * p->k + r] * b[j * p->k + r];
}

/* a[i][r] += Σ_j gm[(i, j)][r] b_jr and b[j][r] += Σ_i gm[(i, j)][r] a_ir, through double sums. */
static void pull_back(const matmul *p, const double *gm, const float *x, double *out)
{
    const size_t half = p->squares * p->k;
    for (size_t i = 0; i < p->squares; i++)
        for (size_t j = 0; j < p->squares; j++)
            for (size_t r = 0; r < p->k; r++) {
                const double g = gm[(i * p->squares + j) * p->k + r];
                out[i * p->k + r] += g * x[half + j * p->k + r];
                out[half + j * p->k + r] += g * x[i * p->k + r];
            }
}

/* M, L, Θ and E at x; returns f. */
static double solve_at(matmul *p, const float *x)
{
    const size_t q = p->squares, k = p->k;
    memset(p->m, 0, p->pairs * k * sizeof *p->m);
    memset(p->factor, 0, k * k * sizeof *p->factor);
    memset(p->theta, 0, k * q * sizeof *p->theta);
    memset(p->e, 0, p->pairs * q * sizeof *p->e);
    fill_products(p, x, x + q * k, p->m);
    multiply_transposed(p->m, p->m, p->factor, p->pairs, k, k);
    factorise(p->factor, k);
    for (size_t pair = 0; pair < p->pairs; pair++) {
        const int column = product_column(p, pair / q, pair % q);
        if (column < 0) continue;
        p->e[pair * q + (size_t)column] = -1;
        for (size_t r = 0; r < k; r++) p->theta[r * q + (size_t)column] += p->m[pair * k + r];
    }
    solve(p->factor, p->theta, k, q);
    multiply(p->m, p->theta, p->e, p->pairs, k, q);
    double f = 0;
    for (size_t i = 0; i < p->pairs * q; i++) f += p->e[i] * p->e[i];
    return f;
}

/* df/dM = 2EΘᵀ: Θ is at its minimum, so its own change does not count. */
static void fill_slope(matmul *p)
{
    memset(p->gm, 0, p->pairs * p->k * sizeof *p->gm);
    multiply_by_transpose(2, p->e, p->theta, p->gm, p->pairs, p->squares, p->k);
}

static double matmul_gradient(problem *base, const float *x, uint64_t t, float *g)
{
    matmul *p = (matmul *)base;
    (void)t;
    const double f = solve_at(p, x);
    if (g) {
        double *sum = p->dgm; /* at least as large */
        fill_slope(p);
        memset(sum, 0, base->n * sizeof *sum);
        pull_back(p, p->gm, x, sum);
        for (size_t i = 0; i < base->n; i++) g[i] = (float)sum[i];
    }
    return f;
}

/* dΘ = −(MᵀM)⁻¹ (dMᵀE + Mᵀ dM Θ), dE = dMΘ + M dΘ; leaves dE and dΘ. */
static void differentiate_solution(matmul *p)
{
    const size_t q = p->squares, k = p->k;
    memset(p->de, 0, p->pairs * q * sizeof *p->de);
    memset(p->dtheta, 0, k * q * sizeof *p->dtheta);
    multiply(p->dm, p->theta, p->de, p->pairs, k, q);
    multiply_transposed(p->dm, p->e, p->dtheta, p->pairs, k, q);
    multiply_transposed(p->m, p->de, p->dtheta, p->pairs, k, q);
    solve(p->factor, p->dtheta, k, q);
    for (size_t i = 0; i < k * q; i++) p->dtheta[i] = -p->dtheta[i];
    multiply(p->m, p->dtheta, p->de, p->pairs, k, q);
}

static void matmul_hvp(problem *base, const float *x, uint64_t t, const float *v, float *hv)
{
    matmul *p = (matmul *)base;
    const size_t q = p->squares, k = p->k, half = q * k;
    (void)t;
    solve_at(p, x);
    fill_slope(p);
    memset(p->dm, 0, p->pairs * k * sizeof *p->dm);
    fill_products(p, v, x + half, p->dm);
    fill_products(p, x, v + half, p->dm);
    differentiate_solution(p);
    memset(p->dgm, 0, p->pairs * k * sizeof *p->dgm);
    multiply_by_transpose(2, p->de, p->theta, p->dgm, p->pairs, q, k);
    multiply_by_transpose(2, p->e, p->dtheta, p->dgm, p->pairs, q, k);
    double *sum = p->dm; /* no longer needed */
    memset(sum, 0, base->n * sizeof *sum);
    pull_back(p, p->dgm, x, sum);
    pull_back(p, p->gm, v, sum);
    for (size_t i = 0; i < base->n; i++) hv[i] = (float)sum[i];
}

static double matmul_full_gradient(problem *base, const float *x, float *g)
{
    return matmul_gradient(base, x, 0, g);
}

/* N(0,1), then every column of A and B divided by its length. */
static void matmul_start(problem *base, float *x)
{
    const matmul *p = (const matmul *)base;
    random_stream stream = draw_stream(base->seed, STREAM_INIT, 1);
    draw_normals(&stream, x, base->n, 1);
    for (int factor = 0; factor < 2; factor++)
        for (size_t r = 0; r < p->k; r++) {
            float *column = x + (size_t)factor * p->squares * p->k + r;
            double square = 0;
            for (size_t i = 0; i < p->squares; i++)
                square += (double)column[i * p->k] * column[i * p->k];
            for (size_t i = 0; i < p->squares; i++)
                column[i * p->k] = (float)(column[i * p->k] / sqrt(square));
        }
}

static void matmul_free(problem *base) { free(((matmul *)base)->block); }

static void lay_out(matmul *p)
{
    double *next = p->block;
    double **const pair_products[] = {&p->m, &p->dm, &p->gm, &p->dgm};
    for (int i = 0; i < 4; i++, next += p->pairs * p->k) *pair_products[i] = next;
    p->e = next, next += p->pairs * p->squares;
    p->de = next, next += p->pairs * p->squares;
    p->theta = next, next += p->k * p->squares;
    p->dtheta = next, next += p->k * p->squares;
    p->factor = next;
}

problem *matmul_problem(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error)
{
    static const problem_ops ops = {matmul_start, matmul_gradient, matmul_hvp, matmul_full_gradient,
                                    matmul_free};
    static const char *const names[2] = {"a", "b"};
    (void)images;
    if (!problem_check("the size of the matrices", spec->dimension, 2, 5, error)) return NULL;
    const size_t n = (size_t)spec->dimension, squares = n * n, pairs = squares * squares;
    if (!problem_check("the number of products", spec->products, (double)squares,
                       (double)(n * squares), error))
        return NULL;
    const size_t k = (size_t)spec->products, sizes[2] = {squares * k, squares * k};
    matmul *p = problem_allocate(sizeof *p, &ops, seed, 2, names, sizes, error);
    if (!p) return NULL;
    p->n = n, p->k = k, p->squares = squares, p->pairs = pairs;
    p->block =
        malloc((4 * pairs * k + 2 * pairs * squares + 2 * k * squares + k * k) * sizeof *p->block);
    if (!p->block) {
        opt_fail(error, OPT_NO_MEMORY, "no memory for the products of %zu x %zu matrices", n, n);
        problem_free(&p->base);
        return NULL;
    }
    lay_out(p);
    return &p->base;
}
