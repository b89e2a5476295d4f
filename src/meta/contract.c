#include "contract.h"

#include "lanes.h"

/* Tiles: ROWS x WIDE vectors of out in registers; ROWS x COLUMNS sums of dw, LANES in all, so that
 * they reduce to one vector. */
enum {
    ROWS = 4,
    WIDE = LANES == 16 ? 4 : 2,
    OUTER_ROWS = LANES == 4 ? 2 : 4,
    OUTER_COLUMNS = LANES / OUTER_ROWS,
};

static int round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

size_t contract_scratch(const contraction *c)
{
    return (size_t)round_up(c->m, ROWS) * (size_t)c->k;
}

/* Panels [m / ROWS][k][ROWS] of w, 0 beyond m. */
static void pack(const contraction *c, const float *w, float *packed)
{
    for (int m = 0; m < c->m; m += ROWS)
        for (int k = 0; k < c->k; k++)
            for (int i = 0; i < ROWS; i++)
                *packed++ = m + i < c->m ? w[c->weight[k] + (m + i) * c->weight_step] : 0;
}

/* rows x wide vectors of out at out[i] + at; both constants where this is inlined. */
LANES_FN void tile(int rows, int wide, const float *panel, int k, const int *offset,
                   const float *in, float *const *out, int at, const float *bias, int accumulate)
{
    lanes sum[ROWS][WIDE];
    LANES_UNROLL
    for (int i = 0; i < rows; i++)
        LANES_UNROLL
        for (int j = 0; j < wide; j++)
            if (accumulate)
                sum[i][j] = *(const lanes_any *)(out[i] + at + j * LANES);
            else
                sum[i][j] = lanes_set(bias[i]);
    for (int l = 0; l < k; l++, panel += ROWS) {
        const float *x = in + offset[l];
        LANES_UNROLL
        for (int i = 0; i < rows; i++)
            LANES_UNROLL
            for (int j = 0; j < wide; j++)
                sum[i][j] += panel[i] * *(const lanes_any *)(x + j * LANES);
    }
    LANES_UNROLL
    for (int i = 0; i < rows; i++)
        LANES_UNROLL
        for (int j = 0; j < wide; j++) *(lanes_any *)(out[i] + at + j * LANES) = sum[i][j];
}

LANES_FN void run_tiles(int rows, const contraction *c, const float *panel, const float *in,
                        float *const *out, const float *bias, int accumulate)
{
    for (int r = 0; r < c->n_runs; r++) {
        const float *x = in + c->from[r];
        int j = 0;
        for (; j + WIDE * LANES <= c->run; j += WIDE * LANES)
            tile(rows, WIDE, panel, c->k, c->in_offset, x + j, out, c->to[r] + j, bias, accumulate);
        for (; j < c->run; j += LANES)
            tile(rows, 1, panel, c->k, c->in_offset, x + j, out, c->to[r] + j, bias, accumulate);
    }
}

void contract(const contraction *c, const float *w, const float *bias, const float *in, float *out,
              int accumulate, float *scratch)
{
    pack(c, w, scratch);
    for (int m = 0; m < c->m; m += ROWS, scratch += ROWS * c->k) {
        float *rows[ROWS], biases[ROWS];
        for (int i = 0; i < ROWS; i++) {
            const int row = m + i < c->m ? m + i : c->m - 1;
            rows[i] = out + c->out_offset[row];
            biases[i] = bias ? bias[row] : 0;
        }
        switch (c->m - m) {
        case 1: run_tiles(1, c, scratch, in, rows, biases, accumulate); break;
        case 2: run_tiles(2, c, scratch, in, rows, biases, accumulate); break;
        case 3: run_tiles(3, c, scratch, in, rows, biases, accumulate); break;
        default: run_tiles(ROWS, c, scratch, in, rows, biases, accumulate);
        }
    }
}

/* Sums of neighbouring lanes of a, then of b. */
LANES_FN lanes add_pairs(lanes a, lanes b)
{
#if LANES == 16
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                   30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                   31);
#elif LANES == 8
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

/* Lane i of the result is the sum of all lanes of a[i]; overwrites a. */
LANES_FN lanes sum_each(lanes a[LANES])
{
    LANES_UNROLL
    for (int n = LANES; n > 1; n /= 2)
        LANES_UNROLL
        for (int i = 0; i < n / 2; i++) a[i] = add_pairs(a[2 * i], a[2 * i + 1]);
    return a[0];
}

LANES_FN lanes outer_tile(const contraction *c, const float *const *out, const float *const *in)
{
    lanes sum[LANES];
    LANES_UNROLL
    for (int i = 0; i < LANES; i++) sum[i] = lanes_set(0);
    for (int r = 0; r < c->n_runs; r++)
        for (int j = 0; j < c->run; j += LANES) {
            const int to = c->to[r] + j, from = c->from[r] + j;
            LANES_UNROLL
            for (int a = 0; a < OUTER_ROWS; a++) {
                const lanes left = *(const lanes_any *)(out[a] + to);
                LANES_UNROLL
                for (int b = 0; b < OUTER_COLUMNS; b++)
                    sum[a * OUTER_COLUMNS + b] += left * *(const lanes_any *)(in[b] + from);
            }
        }
    return sum_each(sum);
}

void contract_outer(const contraction *c, const float *out, const float *in, float *dw)
{
    for (int m = 0; m < c->m; m += OUTER_ROWS) {
        const float *rows[OUTER_ROWS];
        const int n_rows = c->m - m < OUTER_ROWS ? c->m - m : OUTER_ROWS;
        for (int i = 0; i < OUTER_ROWS; i++)
            rows[i] = out + c->out_offset[m + (i < n_rows ? i : n_rows - 1)];
        for (int k = 0; k < c->k; k += OUTER_COLUMNS) {
            const float *columns[OUTER_COLUMNS];
            const int n_columns = c->k - k < OUTER_COLUMNS ? c->k - k : OUTER_COLUMNS;
            for (int i = 0; i < OUTER_COLUMNS; i++)
                columns[i] = in + c->in_offset[k + (i < n_columns ? i : n_columns - 1)];
            const lanes sums = outer_tile(c, rows, columns);
            for (int i = 0; i < n_rows; i++)
                for (int j = 0; j < n_columns; j++)
                    dw[c->weight[k + j] + (m + i) * c->weight_step] += sums[i * OUTER_COLUMNS + j];
        }
    }
}
