/* The sums of products that layers are made of, on arrays whose last dimension is the batch.
 *
 * A contraction is out[m][r + j] += Σ_k w(m, k) in[r' + offset_k + j], with j over one contiguous
 * run and (r, r') over a list of runs. It serves dense layers and convolutions, forward and
 * backward: they differ in the lists. Runs are whole vectors: their length and all offsets are
 * multiples of LANES. */
#ifndef META_CONTRACT_H
#define META_CONTRACT_H

#include <stddef.h>

typedef struct {
    int m, k;        /* rows of out; terms of each sum */
    int *out_offset; /* [m] where row m of out begins */
    int *in_offset;  /* [k] */
    int *weight;     /* [k] w(m, k) = w[weight[k] + m * weight_step] */
    int weight_step;
    int n_runs, run; /* run: floats */
    int *to, *from;  /* [n_runs] r, r' */
} contraction;

/* out = the sums + bias[m] (NULL: 0), or out += the sums. */
void contract(const contraction *c, const float *w, const float *bias, const float *in, float *out,
              int accumulate);

/* The transpose in w, of a contraction with weight[k] = k: dw[k + m * weight_step] += Σ over runs
 * and j of out[out_offset_m + r + j] in[r' + offset_k + j]. */
void contract_outer(const contraction *c, const float *out, const float *in, float *dw);

#endif
