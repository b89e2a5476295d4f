/* Problems that an optimizer is meta-trained on: an instance is drawn from a spec (a row of
 * corpus.h, or any composition of families and wrappers) and a seed.
 *
 * Everything random is drawn from counter-based streams of the instance's seed: the instance itself
 * and its start from (seed, STREAM_INIT, which), the batch of step t from (seed, STREAM_ORDER, t),
 * gradient noise from (seed, STREAM_NETWORK, t), sparsity and what is done to the images of a batch
 * from (seed, STREAM_AUGMENT, t). So a value depends on spec, seed, t and x alone: not on threads,
 * nor on what was evaluated before, and two runs of an optimizer on one seed see the same batches
 * and noise (common random numbers).
 *
 * An instance has its own workspace: evaluations allocate nothing, and one thread may use it at a
 * time. */
#ifndef META_PROBLEM_H
#define META_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "problems/images.h"
#include "optimizer/optimizer.h"

typedef struct problem problem;
typedef struct problem_spec problem_spec;

/* One tensor of the parameters: x[offset] to x[offset + n - 1]; the tensors follow each other
 * without gaps. The name is unique in its problem, without '/'. l2: what an optimizer adds to the
 * gradient, times the parameters, as weight decay; not part of the objective nor its gradient. */
typedef struct {
    char name[32];
    size_t offset, n;
    float l2;
} problem_tensor;

/* What a problem can do; called through the functions below. */
typedef struct {
    void (*start)(problem *p, float *x);
    double (*gradient)(problem *p, const float *x, uint64_t t, float *g); /* g NULL: loss alone */
    void (*hvp)(problem *p, const float *x, uint64_t t, const float *v, float *hv); /* or NULL */
    double (*full_gradient)(problem *p, const float *x, float *g); /* as gradient; or NULL */
    void (*free)(problem *p); /* what the family allocated beside the instance; or NULL */
} problem_ops;

/* The start of every family's own structure. Read-only to users. */
struct problem {
    const problem_ops *ops;
    uint64_t seed;
    size_t n; /* parameters */
    int n_tensors;
    problem_tensor *tensors; /* [n_tensors] */
};

/* A family makes instances; what it reads of the spec is said beside its declaration below. */
typedef problem *problem_family(const problem_spec *spec, uint64_t seed, const image_data *images,
                                opt_error *error);

typedef enum { SCALE_ALL, SCALE_TENSOR, SCALE_PARAMETER } scale_mode;
typedef enum { ACT_LINEAR, ACT_RELU, ACT_TANH, ACT_SIGMOID, ACT_COUNT } activation;
typedef enum {
    NETWORK_MLP,
    NETWORK_CONV,
    NETWORK_RESIDUAL,
    NETWORK_SIGMOID,
    NETWORK_DEEP,
    NETWORK_PLAIN
} network_kind;
enum { MAX_HIDDEN = 6 };

/* One row: only the fields that its family reads are set. */
struct problem_spec {
    problem_family *family;
    int dimension;                /* parameters, features or the matrices' size */
    int products;                 /* matmul: k */
    int batch, samples;           /* rows in a batch, in the data */
    int hidden[MAX_HIDDEN];       /* units of the hidden layers; ends with 0 */
    network_kind network;         /* images: what is drawn */
    int side;                     /* images: pixels across, one of image_sides */
    int max_parameters;           /* images: no more than that */
    double max_work;              /* images: multiply-adds of a batch, forward; no more than that */
    double start_low, start_high; /* images: the start's scale, log-uniform between them */
    int colour;                   /* images: three channels, and augmented in every step */
    double decay;                 /* images: the greatest weight decay */
    int pretraining;              /* images: the most steps of it; 0: none */
    double power;                 /* norm: p */
    double condition, angle;      /* bowl: c and the rotation, in radians */
    double separation;            /* of the classes */
    double amount;                /* noise: s; sparse: the probability of a zero */
    double low, high;             /* rescale: s log-uniform in [low, high]; low = high: that */
    scale_mode mode;              /* rescale: what shares one s */
    uint64_t data_seed;           /* not 0: the data is drawn from this seed in every instance */
    const problem_spec *parts;    /* what a wrapper wraps, a sum adds, a mixture chooses from */
    int n_parts;
    void *context; /* a family from elsewhere: what it makes its instances of */
};

/* Parameters x (n of them) start as N(0,1) where nothing else is said. */
problem_family quadratic_problem; /* ½‖Wx − y‖²; W, y ~ N(0,1): dimension */
problem_family norm_problem;      /* (Σ(|Wx − y| + 1e-6)^p)^(1/p): dimension, power >= 1 */
problem_family bowl_problem;      /* ½‖diag(√c, 1) R(angle) x‖²: condition, angle */
problem_family ackley_problem, beale_problem, booth_problem, branin_problem, log_sum_exp_problem,
    matyas_problem, michalewicz_problem, rosenbrock_problem, styblinski_tang_problem; /* in 2-D */
problem_family chain_problem; /* x₀² + Σ x_{i+1}²/(x_i² + 1e-6): dimension */
problem_family well_problem;  /* max xᵢ² + 1/min xᵢ² − 2 + 1e-12: dimension */
problem_family snake_problem; /* outward snake: dimension, samples, batch */
problem_family quadratics_problem; /* Σ ‖x − r‖² − ‖r‖² + 1e-12: dimension, samples, batch */
problem_family projection_problem; /* Σ ‖x ∘ r‖²: dimension, samples, batch */
/* Multiplying n×n matrices with k products: dimension n, products k. */
problem_family matmul_problem;
/* Softmax regression on two Gaussian clusters: dimension, separation, samples, batch, data_seed. */
problem_family softmax_problem;
/* Sigmoid MLP on labels of a random ReLU network, 2 classes: dimension, hidden, samples, batch. */
problem_family mlp_problem;
/* Softmax of the sum of 5 embeddings of `dimension`, 2 classes, on noisy parity: samples, batch. */
problem_family embedding_problem;
/* A network and a task on real images, all drawn at random (problem_images.c): network, side,
 * max_parameters, max_work, start_low, start_high, colour, decay, pretraining. */
problem_family images_problem;
/* A detector of such images on a ground, all drawn at random (problem_detector.c): max_parameters,
 * max_work, start_low, start_high, decay. */
problem_family detector_problem;

/* Wrappers: parts[0], or all parts. The seed of part i is drawn from (seed, STREAM_INIT). */
problem_family
    noise_problem; /* amount·N(0,1) added to every entry of the gradient, not to the loss */
problem_family sparse_problem;  /* every entry of the gradient 0 with probability amount */
problem_family rescale_problem; /* x replaced by x/s, start multiplied by s: low, high, mode */
/* log(f + 1e-6) − log(1e-6); noise and sparsity go around it, not inside. */
problem_family log_problem;
problem_family sum_problem;     /* of independent problems, each with its own tensors */
problem_family mixture_problem; /* one of the parts, chosen by the seed; every one equally likely */

/* NULL and *error: a size is out of range, a file of images is missing, no memory. images may be
 * NULL where no part needs them; it must outlive the instance. */
problem *problem_create(const problem_spec *spec, uint64_t seed, const image_data *images,
                        opt_error *error);
void problem_free(problem *p);

/* Writes the start, x[n]. */
void problem_start(problem *p, float *x);

/* The objective of step t's batch at x, averaged or summed over the batch as the family says,
 * without gradient noise. Its gradient, noise and sparsity of step t included, is written to g[n]
 * (NULL: not wanted). Not finite where the arithmetic overflows. */
double problem_gradient(problem *p, const float *x, uint64_t t, float *g);

/* Whether problem_hvp may be called; problem_full_loss and problem_full_gradient. */
bool problem_has_hvp(const problem *p);
bool problem_has_full_loss(const problem *p);

/* hv[n] = (∂g/∂x)ᵀ v, g as problem_gradient gives it at (x, t): the Hessian of that objective times
 * v (almost everywhere, where it has kinks); under sparse_problem H·(mask ∘ v). hv is not v. */
void problem_hvp(problem *p, const float *x, uint64_t t, const float *v, float *hv);

/* The objective on all the data of the instance, scaled as on a batch: f of the paper's
 * meta-loss. */
double problem_full_loss(problem *p, const float *x);

/* The same, and its gradient, without noise or sparsity, in g[n] (NULL: not wanted). */
double problem_full_gradient(problem *p, const float *x, float *g);

/* The objective on all the data; of a problem without that, whose batches are all of the same data,
 * the objective. */
double problem_loss(problem *p, const float *x);

/* The tensors of the parameters x [n] and their gradient g [n] as an optimizer takes them (g points
 * uphill), to be freed. NULL and *error: no memory. */
opt_tensor *problem_opt_tensors(const problem *p, float *x, float *g, opt_error *error);

/* --- for families (problem.c) --- */

/* size bytes, zeroed, that start with a problem of these tensors ("x", n[k]; names may be NULL when
 * n_tensors is 1). NULL and *error: no memory. */
void *problem_allocate(size_t size, const problem_ops *ops, uint64_t seed, int n_tensors,
                       const char *const *names, const size_t *n, opt_error *error);
/* count zeroed floats, aligned to 64 bytes; free() frees them. NULL and *error: no memory. */
float *problem_floats(size_t count, opt_error *error);
/* Checks low <= value <= high; else OPT_BAD_OPTION naming what. */
bool problem_check(const char *what, double value, double low, double high, opt_error *error);

#endif
