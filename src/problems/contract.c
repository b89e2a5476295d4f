/* Blocks of outputs that stay in registers; the loop over k is inside. */
#include "problems/contract.h"

#include "base/lanes.h"

/* Tiles in registers: up to ROWS x WIDE vectors of out; up to OUTER_ROWS x COLUMNS sums of dw. */
enum {
    ROWS = 4,
    WIDE = LANES == 16 ? 4 : 2,
    OUTER_ROWS = LANES == 16 ? 4 : 2,
    COLUMNS = 4, /* what sum_each takes */
};

/* A vector that stays in a register: gcc would read it again for every product. */
LANES_FN lanes load(const float *x)
{
    lanes value = *(const lanes_any *)x;
#if defined __x86_64__ && !defined __clang__
    __asm__("" : "+v"(value));
#endif
    return value;
}

/* rows x wide vectors of out at out[i] + at; both constants where this is inlined. w: of row 0. */
LANES_FN void tile(int rows, int wide, const contraction *c, const float *w, const float *in,
                   float *const *out, int at, const float *bias, int accumulate)
{
    lanes sum[ROWS][WIDE];
    LANES_FOR(int i = 0; i < rows; i++)
        LANES_FOR(int j = 0; j < wide; j++)
            if (accumulate)
                sum[i][j] = *(const lanes_any *)(out[i] + at + j * LANES);
            else
                sum[i][j] = lanes_set(bias[i]);
    for (int l = 0; l < c->k; l++) {
        const float *x = in + c->in_offset[l], *weight = w + c->weight[l];
        lanes value[WIDE];
        LANES_FOR(int j = 0; j < wide; j++) value[j] = load(x + j * LANES);
        LANES_FOR(int i = 0; i < rows; i++)
            LANES_FOR(int j = 0; j < wide; j++) sum[i][j] += weight[i * c->weight_step] * value[j];
    }
    LANES_FOR(int i = 0; i < rows; i++)
        LANES_FOR(int j = 0; j < wide; j++) *(lanes_any *)(out[i] + at + j * LANES) = sum[i][j];
}

LANES_FN void run_tiles(int rows, const contraction *c, const float *w, const float *in,
                        float *const *out, const float *bias, int accumulate)
{
    for (int r = 0; r < c->n_runs; r++) {
        const float *x = in + c->from[r];
        int j = 0;
        for (; j + WIDE * LANES <= c->run; j += WIDE * LANES)
            tile(rows, WIDE, c, w, x + j, out, c->to[r] + j, bias, accumulate);
        for (; j < c->run; j += LANES)
            tile(rows, 1, c, w, x + j, out, c->to[r] + j, bias, accumulate);
    }
}

void contract(const contraction *c, const float *w, const float *bias, const float *in, float *out,
              int accumulate)
{
    for (int m = 0; m < c->m; m += ROWS) {
        const float *weights = w + m * c->weight_step;
        float *rows[ROWS], biases[ROWS];
        for (int i = 0; i < ROWS; i++) {
            const int row = m + i < c->m ? m + i : c->m - 1;
            rows[i] = out + c->out_offset[row];
            biases[i] = bias ? bias[row] : 0;
        }
        switch (c->m - m) {
        case 1: run_tiles(1, c, weights, in, rows, biases, accumulate); break;
        case 2: run_tiles(2, c, weights, in, rows, biases, accumulate); break;
        case 3: run_tiles(3, c, weights, in, rows, biases, accumulate); break;
        default: run_tiles(ROWS, c, weights, in, rows, biases, accumulate);
        }
    }
}

/* SHUFFLE(a, b, i, j, k, l): of each four lanes, some of a's (0 to 3) and of b's (LANES to
 * LANES + 3). */
#define FOUR(at, i, j, k, l) (at) + (i), (at) + (j), (at) + (k), (at) + (l)
#if LANES == 16
#define FOURS(...)                                                                                 \
    FOUR(0, __VA_ARGS__), FOUR(4, __VA_ARGS__), FOUR(8, __VA_ARGS__), FOUR(12, __VA_ARGS__)
#elif LANES == 8
#define FOURS(...) FOUR(0, __VA_ARGS__), FOUR(4, __VA_ARGS__)
#else
#define FOURS(...) FOUR(0, __VA_ARGS__)
#endif
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, FOURS(__VA_ARGS__))

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

/* In each four lanes, two sums of a's and two of b's. */
LANES_FN lanes add_pairs(lanes a, lanes b)
{
    return SHUFFLE(a, b, 0, LANES, 1, LANES + 1) + SHUFFLE(a, b, 2, LANES + 2, 3, LANES + 3);
}

/* The sum of all lanes of each. */
LANES_FN four sum_each(const lanes a[4])
{
    const lanes x = add_pairs(a[0], a[1]), y = add_pairs(a[2], a[3]);
    float fours[LANES];
    *(lanes_any *)fours =
        SHUFFLE(x, y, 0, 1, LANES, LANES + 1) + SHUFFLE(x, y, 2, 3, LANES + 2, LANES + 3);
    four sum = *(const four *)fours;
    LANES_FOR(int i = 4; i < LANES; i += 4) sum += *(const four *)(fours + i);
    return sum;
}

/* rows x COLUMNS sums, of which the first n are added to dw[row * step]; rows is a constant. */
LANES_FN void outer_tile(int rows, const contraction *c, const float *const *out,
                         const float *const *in, float *dw, int n)
{
    lanes sum[OUTER_ROWS][COLUMNS];
    LANES_FOR(int a = 0; a < rows; a++)
        LANES_FOR(int b = 0; b < COLUMNS; b++) sum[a][b] = lanes_set(0);
    for (int r = 0; r < c->n_runs; r++)
        for (int j = 0; j < c->run; j += LANES) {
            const int to = c->to[r] + j, from = c->from[r] + j;
            lanes right[COLUMNS];
            LANES_FOR(int b = 0; b < COLUMNS; b++) right[b] = load(in[b] + from);
            LANES_FOR(int a = 0; a < rows; a++) {
                const lanes left = load(out[a] + to);
                LANES_FOR(int b = 0; b < COLUMNS; b++) sum[a][b] += left * right[b];
            }
        }
    LANES_FOR(int a = 0; a < rows; a++) {
        const four sums = sum_each(sum[a]);
        float *to = dw + a * c->weight_step;
        if (n == COLUMNS)
            *(four *)to += sums;
        else
            for (int b = 0; b < n; b++) to[b] += sums[b];
    }
}

LANES_FN void outer_tiles(int rows, const contraction *c, const float *const *out, const float *in,
                          float *dw)
{
    for (int k = 0; k < c->k; k += COLUMNS) {
        const float *columns[COLUMNS];
        const int n = c->k - k < COLUMNS ? c->k - k : COLUMNS;
        for (int b = 0; b < COLUMNS; b++) columns[b] = in + c->in_offset[k + (b < n ? b : n - 1)];
        outer_tile(rows, c, out, columns, dw + k, n);
    }
}

void contract_outer(const contraction *c, const float *out, const float *in, float *dw)
{
    for (int m = 0; m < c->m; m += OUTER_ROWS) {
        float *to = dw + m * c->weight_step;
        const float *rows[OUTER_ROWS];
        for (int a = 0; a < OUTER_ROWS; a++)
            rows[a] = out + c->out_offset[m + a < c->m ? m + a : c->m - 1];
        switch (c->m - m) {
        case 1: outer_tiles(1, c, rows, in, to); break;
        case 2: outer_tiles(2, c, rows, in, to); break;
        case 3: outer_tiles(OUTER_ROWS < 3 ? 2 : 3, c, rows, in, to); break;
        default: outer_tiles(OUTER_ROWS, c, rows, in, to);
        }
    }
}
