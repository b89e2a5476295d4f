/* The specs, then the table of rows that weighs them. */
#include "problems/corpus.h"

#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

/* --- specs --- */

/* clang-format off */

#define PARTS(...)                                                                               \
    .parts = (const problem_spec[]){__VA_ARGS__},                                                \
    .n_parts = sizeof((const problem_spec[]){__VA_ARGS__}) / sizeof(problem_spec)

#define QUADRATIC(n) {.family = quadratic_problem, .dimension = n}
#define NORM(n, p) {.family = norm_problem, .dimension = n, .power = p}
#define BOWL(c, turn) {.family = bowl_problem, .condition = c, .angle = turn}
#define FUNCTION(name) {.family = name##_problem}
#define MATMUL(n, k) {.family = matmul_problem, .dimension = n, .products = k}
#define CHAIN(n) {.family = chain_problem, .dimension = n}
#define WELL(n) {.family = well_problem, .dimension = n}
#define ON_ROWS(name, n, rows, of)                                                               \
    {.family = name##_problem, .dimension = n, .samples = rows, .batch = of}
#define SOFTMAX(n, apart, of)                                                                    \
    {.family = softmax_problem, .dimension = n, .separation = apart, .samples = 1000, .batch = of, \
     .data_seed = 123}
/* The same on clusters of its own in every instance. */
#define SOFTMAX_OF(n, apart, of)                                                                 \
    {.family = softmax_problem, .dimension = n, .separation = apart, .samples = 1000, .batch = of}
#define MLP(n, of, ...)                                                                          \
    {.family = mlp_problem, .dimension = n, .samples = 1000, .batch = of, .hidden = {__VA_ARGS__}}
#define EMBEDDING {.family = embedding_problem, .dimension = 5, .samples = 1000, .batch = 23, \
                   .data_seed = 123}

#define NOISE(s, ...) {.family = noise_problem, .amount = s, PARTS(__VA_ARGS__)}
#define ZEROS(part, ...) {.family = sparse_problem, .amount = part, PARTS(__VA_ARGS__)}
#define SPARSE(...) ZEROS(0.99, __VA_ARGS__)
#define RESCALE(s, ...)                                                                          \
    {.family = rescale_problem, .mode = SCALE_ALL, .low = s, .high = s, PARTS(__VA_ARGS__)}
#define LOG(...) {.family = log_problem, PARTS(__VA_ARGS__)}
#define SUM(...) {.family = sum_problem, PARTS(__VA_ARGS__)}
#define MIXTURE(...) {.family = mixture_problem, PARTS(__VA_ARGS__)}

/* As it is, or each parameter, each tensor or all divided by scales over many decades. */
#define SCALED(how, from, to, ...)                                                               \
    {.family = rescale_problem, .mode = how, .low = from, .high = to, PARTS(__VA_ARGS__)}
#define ANY_SCALE(...)                                                                           \
    MIXTURE(__VA_ARGS__, SCALED(SCALE_ALL, 1e-3, 1e3, __VA_ARGS__),                              \
            SCALED(SCALE_TENSOR, 1e-2, 1e2, __VA_ARGS__),                                        \
            SCALED(SCALE_PARAMETER, 1e-1, 1e1, __VA_ARGS__))

#define IMAGES(kind, across, parameters, work)                                                   \
    {.family = images_problem, .network = kind, .side = across, .max_parameters = parameters,    \
     .max_work = work, .start_low = 0.2, .start_high = 4}

/* Three channels of colours, augmentation, weight decay: as users train. */
#define COLOURED(kind, parameters, work, low, high)                                              \
    {.family = images_problem, .network = kind, .side = 16, .max_parameters = parameters,        \
     .max_work = work, .start_low = low, .start_high = high, .colour = 1, .decay = 1e-3}

#define PRETRAINED(kind, across, coloured, parameters, work, steps)                              \
    {.family = images_problem, .network = kind, .side = across, .max_parameters = parameters,    \
     .max_work = work, .start_low = 0.7, .start_high = 1.4, .colour = coloured, .decay = 1e-3,     \
     .pretraining = steps}

#define SCENES(parameters, work, low, high)                                                      \
    {.family = detector_problem, .max_parameters = parameters, .max_work = work,                 \
     .start_low = low, .start_high = high, .decay = 1e-3}

/* Most of a gradient's entries are 0, or most of it is noise. */
#define MANY_ZEROS(...) MIXTURE(ZEROS(0.9, __VA_ARGS__), ZEROS(0.99, __VA_ARGS__))
#define MUCH_NOISE(s, ...)                                                                       \
    MIXTURE(NOISE(s, __VA_ARGS__), NOISE(3 * (s), __VA_ARGS__), NOISE(10 * (s), __VA_ARGS__))

/* --- rows --- */

#define PAPER CORPUS_PAPER | CORPUS_PAPER_ALL
#define FULL CORPUS_PAPER_ALL
#define ROW(in, of, called, ...) {called, of, in, 1, __VA_ARGS__}

#define FUNCTIONS(row)                                                                           \
    row(ackley) row(beale) row(booth) row(branin) row(log_sum_exp) row(matyas) row(michalewicz)  \
        row(rosenbrock) row(styblinski_tang)
#define FUNCTION_ROW(name) ROW(PAPER, "functions", #name, FUNCTION(name)),
#define NOISY_FUNCTION_ROW(name)                                                                 \
    ROW(PAPER, "functions, noisy", #name ", noise 1", NOISE(1, FUNCTION(name))),
#define NINE_FUNCTIONS                                                                           \
    FUNCTION(rosenbrock), FUNCTION(log_sum_exp), FUNCTION(ackley), FUNCTION(beale),              \
        FUNCTION(booth), FUNCTION(styblinski_tang), FUNCTION(matyas), FUNCTION(branin),          \
        FUNCTION(michalewicz)

const corpus_row corpus_table[] = {
    ROW(PAPER, "quadratic, noisy", "quadratic 20, noise 0.5", NOISE(0.5, QUADRATIC(20))),
    ROW(PAPER, "quadratic, noisy", "quadratic 25, noise 0", NOISE(0, QUADRATIC(25))),
    ROW(PAPER, "quadratic, noisy", "quadratic 50, noise 1", NOISE(1, QUADRATIC(50))),
    ROW(PAPER, "quadratic, noisy", "quadratic 100, noise 2", NOISE(2, QUADRATIC(100))),

    ROW(FULL, "quadratic", "quadratic 20", QUADRATIC(20)),
    ROW(FULL, "quadratic", "quadratic 25", QUADRATIC(25)),
    ROW(FULL, "quadratic", "quadratic 50", QUADRATIC(50)),
    ROW(FULL, "quadratic", "quadratic 100", QUADRATIC(100)),

    ROW(PAPER, "quadratic, large", "quadratic 784", QUADRATIC(784)),
    ROW(PAPER, "quadratic, large", "quadratic 1024", QUADRATIC(1024)),
    ROW(PAPER, "quadratic, large", "quadratic 2048", QUADRATIC(2048)),

    ROW(PAPER, "bowl", "bowl 0.1", BOWL(0.1, 0)),
    ROW(PAPER, "bowl", "bowl 1", BOWL(1, 0)),
    ROW(PAPER, "bowl", "bowl 5", BOWL(5, 0)),
    ROW(PAPER, "bowl", "bowl 5 turned", BOWL(5, M_PI / 4)),
    ROW(PAPER, "bowl, noisy", "bowl 0.1, noise 0.1", NOISE(0.1, BOWL(0.1, 0))),
    ROW(PAPER, "bowl, noisy", "bowl 1, noise 0.1", NOISE(0.1, BOWL(1, 0))),
    ROW(PAPER, "bowl, noisy", "bowl 5, noise 0.1", NOISE(0.1, BOWL(5, 0))),
    ROW(PAPER, "bowl, noisy", "bowl 5 turned, noise 0.1", NOISE(0.1, BOWL(5, M_PI / 4))),

    ROW(PAPER, "softmax", "softmax 10", SOFTMAX(10, 2, 100)),
    ROW(PAPER, "softmax", "softmax 100", SOFTMAX(100, 1, 50)),
    ROW(PAPER, "softmax", "softmax 200", SOFTMAX(200, 1.5, 20)),
    ROW(PAPER, "softmax", "softmax 256", SOFTMAX(256, 1.5, 100)),
    ROW(PAPER, "softmax, noisy", "softmax 10, noise 0.5", NOISE(0.5, SOFTMAX(10, 2, 100))),
    ROW(PAPER, "softmax, noisy", "softmax 100, noise 0.1", NOISE(0.1, SOFTMAX(100, 1, 50))),
    ROW(PAPER, "softmax, noisy", "softmax 200, noise 0.1", NOISE(0.1, SOFTMAX(200, 1.5, 20))),
    ROW(PAPER, "softmax, noisy", "softmax 256, noise 0.5", NOISE(0.5, SOFTMAX(256, 1.5, 100))),

    FUNCTIONS(FUNCTION_ROW)
    FUNCTIONS(NOISY_FUNCTION_ROW)

    ROW(PAPER, "mlp", "mlp 8-8-5", MLP(8, 10, 8, 5)),
    ROW(PAPER, "mlp", "mlp 12-8-5-3", MLP(12, 200, 8, 5, 3)),
    ROW(PAPER, "mlp", "mlp 5-4-4-4-4", MLP(5, 100, 4, 4, 4, 4)),
    ROW(PAPER, "mlp", "mlp 11-4-5-6", MLP(11, 64, 4, 5, 6)),
    ROW(PAPER, "mlp", "mlp 9-8", MLP(9, 128, 8)),
    ROW(PAPER, "mlp", "mlp 7-8-5", MLP(7, 16, 8, 5)),
    ROW(PAPER, "mlp", "mlp 8-32-64", MLP(8, 10, 32, 64)),
    ROW(PAPER, "mlp", "mlp 12-16-8-3", MLP(12, 200, 16, 8, 3)),
    ROW(PAPER, "mlp", "mlp 5-8-8-8-8", MLP(5, 100, 8, 8, 8, 8)),
    ROW(PAPER, "mlp", "mlp 11-10-12-12", MLP(11, 64, 10, 12, 12)),
    ROW(PAPER, "mlp", "mlp 9-32", MLP(9, 128, 32)),
    ROW(PAPER, "mlp", "mlp 7-32-64", MLP(7, 16, 32, 64)),

    ROW(PAPER, "matmul", "matmul 2 by 5", MATMUL(2, 5)),
    ROW(PAPER, "matmul", "matmul 2 by 6", MATMUL(2, 6)),
    ROW(PAPER, "matmul", "matmul 2 by 7", MATMUL(2, 7)),
    ROW(PAPER, "matmul", "matmul 2 by 8", MATMUL(2, 8)),
    ROW(PAPER, "matmul", "matmul 3 by 19", MATMUL(3, 19)),
    ROW(PAPER, "matmul", "matmul 3 by 20", MATMUL(3, 20)),
    ROW(PAPER, "matmul", "matmul 3 by 21", MATMUL(3, 21)),
    ROW(PAPER, "matmul", "matmul 3 by 22", MATMUL(3, 22)),
    ROW(PAPER, "matmul", "matmul 3 by 23", MATMUL(3, 23)),
    ROW(PAPER, "matmul", "matmul 3 by 24", MATMUL(3, 24)),

    ROW(PAPER, "log", "log quadratic 20", LOG(QUADRATIC(20))),
    ROW(PAPER, "log", "log quadratic 50", LOG(QUADRATIC(50))),
    ROW(PAPER, "log", "log quadratic 100", LOG(QUADRATIC(100))),
    ROW(PAPER, "log", "log bowl 0.1", LOG(BOWL(0.1, 0))),
    ROW(PAPER, "log", "log bowl 1", LOG(BOWL(1, 0))),
    ROW(PAPER, "log", "log bowl 5", LOG(BOWL(5, 0))),

    ROW(PAPER, "rescale", "norm 2.5 by 0.123", RESCALE(0.123, NORM(18, 2.5))),
    ROW(PAPER, "rescale", "norm 1.5 by 8", RESCALE(8, NORM(18, 1.5))),
    ROW(PAPER, "rescale", "norm 2 by 50", RESCALE(50, NORM(18, 2))),
    ROW(PAPER, "rescale", "norm 3 by 200", RESCALE(200, NORM(18, 3))),
    ROW(PAPER, "rescale", "norm 1 by 1000", RESCALE(1000, NORM(18, 1))),
    ROW(PAPER, "rescale", "quadratic 20 by 0.1", RESCALE(0.1, QUADRATIC(20))),
    ROW(PAPER, "rescale", "quadratic 25 by 10", RESCALE(10, QUADRATIC(25))),
    ROW(PAPER, "rescale", "quadratic 50 by 350", RESCALE(350, QUADRATIC(50))),
    ROW(PAPER, "rescale", "quadratic 100 by 132", RESCALE(132, QUADRATIC(100))),

    ROW(PAPER, "norm", "norm 1 of 27", NORM(27, 1)),
    ROW(PAPER, "norm", "norm 2 of 25", NORM(25, 2)),
    ROW(PAPER, "norm", "norm 3 of 22", NORM(22, 3)),
    ROW(PAPER, "norm, noisy", "norm 1 of 19, noise 0.1", NOISE(0.1, NORM(19, 1))),
    ROW(PAPER, "norm, noisy", "norm 2 of 26, noise 0.1", NOISE(0.1, NORM(26, 2))),
    ROW(PAPER, "norm, noisy", "norm 3 of 23, noise 0.1", NOISE(0.1, NORM(23, 3))),

    ROW(PAPER, "sum", "sum of 7 quadratics",
        SUM(QUADRATIC(11), QUADRATIC(3), QUADRATIC(9), QUADRATIC(7), QUADRATIC(5), QUADRATIC(13),
            QUADRATIC(12))),
    ROW(PAPER, "sum", "sum of norm, quadratic, rosenbrock",
        SUM(NORM(18, 3), QUADRATIC(25), FUNCTION(rosenbrock))),
    ROW(PAPER, "sum", "sum of 9 functions", SUM(NINE_FUNCTIONS)),
    ROW(PAPER, "sum", "sum of 9 functions and 2 quadratics",
        SUM(NINE_FUNCTIONS, QUADRATIC(5), QUADRATIC(13))),
    ROW(PAPER, "sum", "sum of 2 quadratics", SUM(QUADRATIC(11), QUADRATIC(3))),
    ROW(PAPER, "sum", "sum of 3 functions",
        SUM(FUNCTION(rosenbrock), FUNCTION(log_sum_exp), FUNCTION(ackley))),
    ROW(PAPER, "sum, noisy", "sum of 7 quadratics, noise 0.1",
        SUM(NOISE(0.1, QUADRATIC(11)), NOISE(0.1, QUADRATIC(3)), NOISE(0.1, QUADRATIC(9)),
            NOISE(0.1, QUADRATIC(7)), NOISE(0.1, QUADRATIC(5)), NOISE(0.1, QUADRATIC(13)),
            NOISE(0.1, QUADRATIC(12)))),
    ROW(PAPER, "sum, noisy", "sum of 9 functions and 2 quadratics, noise 0.5",
        SUM(NINE_FUNCTIONS, QUADRATIC(5), NOISE(0.5, QUADRATIC(13)))),

    ROW(PAPER, "sparse", "quadratic 20, sparse", SPARSE(QUADRATIC(20))),
    ROW(PAPER, "sparse", "quadratic 50, sparse", SPARSE(QUADRATIC(50))),
    ROW(PAPER, "sparse", "quadratic 100, sparse", SPARSE(QUADRATIC(100))),
    ROW(PAPER, "sparse", "bowl 0.1, sparse", SPARSE(BOWL(0.1, 0))),
    ROW(PAPER, "sparse", "bowl 1, sparse", SPARSE(BOWL(1, 0))),
    ROW(PAPER, "sparse", "bowl 5, sparse", SPARSE(BOWL(5, 0))),
    ROW(PAPER, "sparse", "mlp 8-8-5, sparse", SPARSE(MLP(8, 10, 8, 5))),
    ROW(PAPER, "sparse", "mlp 12-8-5-3, sparse", SPARSE(MLP(12, 200, 8, 5, 3))),
    ROW(PAPER, "sparse", "mlp 5-4-4-4-4, sparse", SPARSE(MLP(5, 100, 4, 4, 4, 4))),

    /* The reference's two forms of one objective: its gradient by id, or dense as here. */
    ROW(FULL, "embedding", "embedding of parity, by id", EMBEDDING),
    ROW(FULL, "embedding", "embedding of parity, one-hot", EMBEDDING),

    ROW(FULL, "chain", "chain 20", CHAIN(20)),
    ROW(FULL, "chain", "chain 12", CHAIN(12)),
    ROW(FULL, "chain", "chain 56", CHAIN(56)),
    ROW(FULL, "chain", "chain 64", CHAIN(64)),
    ROW(FULL, "chain", "chain 13", CHAIN(13)),
    ROW(FULL, "well", "well 20", WELL(20)),
    ROW(FULL, "well", "well 12", WELL(12)),
    ROW(FULL, "well", "well 56", WELL(56)),
    ROW(FULL, "well", "well 64", WELL(64)),
    ROW(FULL, "well", "well 13", WELL(13)),
    ROW(FULL, "snake", "snake 20", ON_ROWS(snake, 20, 1000, 100)),
    ROW(FULL, "snake", "snake 12", ON_ROWS(snake, 12, 200, 10)),
    ROW(FULL, "snake", "snake 56", ON_ROWS(snake, 56, 5000, 100)),
    ROW(FULL, "snake", "snake 64", ON_ROWS(snake, 64, 1000, 50)),
    ROW(FULL, "snake", "snake 13", ON_ROWS(snake, 13, 10000, 50)),
    ROW(FULL, "quadratics", "quadratics 20", ON_ROWS(quadratics, 20, 1000, 100)),
    ROW(FULL, "quadratics", "quadratics 12", ON_ROWS(quadratics, 12, 200, 10)),
    ROW(FULL, "quadratics", "quadratics 56", ON_ROWS(quadratics, 56, 5000, 100)),
    ROW(FULL, "quadratics", "quadratics 64", ON_ROWS(quadratics, 64, 1000, 50)),
    ROW(FULL, "quadratics", "quadratics 13", ON_ROWS(quadratics, 13, 10000, 50)),
    ROW(FULL, "projection", "projection 20", ON_ROWS(projection, 20, 1000, 100)),
    ROW(FULL, "projection", "projection 12", ON_ROWS(projection, 12, 200, 10)),
    ROW(FULL, "projection", "projection 56", ON_ROWS(projection, 56, 5000, 100)),
    ROW(FULL, "projection", "projection 64", ON_ROWS(projection, 64, 1000, 50)),
    ROW(FULL, "projection", "projection 13", ON_ROWS(projection, 13, 10000, 50)),

    {"mlp on 8x8", "images, mlp", CORPUS_WIDE, 3, ANY_SCALE(IMAGES(NETWORK_MLP, 8, 4000, 4e5))},
    {"mlp on 14x14", "images, mlp", CORPUS_WIDE, 1, ANY_SCALE(IMAGES(NETWORK_MLP, 14, 4000, 4e5))},
    {"conv on 8x8", "images, conv", CORPUS_WIDE, 3, ANY_SCALE(IMAGES(NETWORK_CONV, 8, 4000, 1e6))},
    {"conv on 14x14", "images, conv", CORPUS_WIDE, 1,
     ANY_SCALE(IMAGES(NETWORK_CONV, 14, 4000, 1e6))},
    {"residual on 8x8", "images, residual", CORPUS_WIDE, 2,
     ANY_SCALE(IMAGES(NETWORK_RESIDUAL, 8, 4000, 1e6))},
    {"sigmoid on 8x8", "images, sigmoid", CORPUS_WIDE, 3,
     ANY_SCALE(IMAGES(NETWORK_SIGMOID, 8, 4000, 1e6))},
    {"sigmoid on 14x14", "images, sigmoid", CORPUS_WIDE, 1,
     ANY_SCALE(IMAGES(NETWORK_SIGMOID, 14, 4000, 1e6))},
    {"quadratics", "quadratic", CORPUS_WIDE, 1,
     ANY_SCALE(MIXTURE(QUADRATIC(10), QUADRATIC(20), QUADRATIC(50), QUADRATIC(100)))},
    {"quadratics, noisy", "quadratic", CORPUS_WIDE, 1,
     ANY_SCALE(MIXTURE(NOISE(0.1, QUADRATIC(10)), NOISE(0.5, QUADRATIC(20)),
                       NOISE(1, QUADRATIC(50)), NOISE(2, QUADRATIC(100))))},

    /* A gradient takes, on one core: pretrained 0.02 to 0.6 ms (and 15 to 150 to make an instance),
     * deep 0.9 ms (at most 3), plain 0.3, detector 0.5 (at most 1.3), the others 6 to 30 us. With
     * these weights the mean is 0.2 ms, of which the deep ones are 4 parts in 10. */
    {"conv on 8x8, pretrained", "pretrained", CORPUS_USERS, 1,
     PRETRAINED(NETWORK_CONV, 8, 0, 4000, 6e5, 400)},
    {"residual on 14x14, pretrained", "pretrained", CORPUS_USERS, 1,
     PRETRAINED(NETWORK_RESIDUAL, 14, 0, 4000, 1e6, 400)},
    {"plain with maxima, pretrained", "pretrained", CORPUS_USERS, 1,
     PRETRAINED(NETWORK_PLAIN, 16, 1, 12000, 2e6, 400)},
    {"deep residual, pretrained", "pretrained", CORPUS_USERS, 0.5,
     PRETRAINED(NETWORK_DEEP, 16, 1, 12000, 4e6, 200)},

    {"deep residual, normalised", "deep", CORPUS_USERS, 1.5,
     COLOURED(NETWORK_DEEP, 20000, 1.2e7, 0.2, 4)},
    /* The host starts at 1, which is √(2/inputs) with ReLU. */
    {"plain with maxima", "plain", CORPUS_USERS, 1, COLOURED(NETWORK_PLAIN, 12000, 4e6, 1, 1)},
    {"plain with maxima, other starts", "plain", CORPUS_USERS, 1,
     COLOURED(NETWORK_PLAIN, 12000, 4e6, 0.6, 1.25)},

    {"detector", "detector", CORPUS_USERS, 1.5, SCENES(12000, 4e6, 0.5, 2)},

    {"quadratics, zeros", "sparse", CORPUS_USERS, 0.75,
     MIXTURE(MANY_ZEROS(QUADRATIC(20)), MANY_ZEROS(QUADRATIC(50)), MANY_ZEROS(QUADRATIC(100)))},
    {"mlps, zeros", "sparse", CORPUS_USERS, 0.75,
     MIXTURE(MANY_ZEROS(MLP(8, 10, 8, 5)), MANY_ZEROS(MLP(12, 200, 8, 5, 3)),
             MANY_ZEROS(MLP(8, 10, 32, 64)))},
    {"mlp on 8x8, zeros", "sparse", CORPUS_USERS, 0.75,
     MANY_ZEROS(IMAGES(NETWORK_MLP, 8, 4000, 4e5))},
    {"conv on 8x8, zeros", "sparse", CORPUS_USERS, 0.75,
     MANY_ZEROS(IMAGES(NETWORK_CONV, 8, 4000, 4e5))},

    {"quadratics, mostly noise", "noisy", CORPUS_USERS, 0.75,
     MIXTURE(MUCH_NOISE(10, QUADRATIC(20)), MUCH_NOISE(20, QUADRATIC(50)),
             MUCH_NOISE(30, QUADRATIC(100)))},
    {"softmax, mostly noise", "noisy", CORPUS_USERS, 0.75,
     MIXTURE(MUCH_NOISE(0.1, SOFTMAX_OF(10, 2, 100)), MUCH_NOISE(0.1, SOFTMAX_OF(50, 1, 50)),
             MUCH_NOISE(0.05, SOFTMAX_OF(200, 1.5, 20)))},
    {"mlp on 8x8, mostly noise", "noisy", CORPUS_USERS, 0.75,
     MUCH_NOISE(0.02, IMAGES(NETWORK_MLP, 8, 4000, 4e5))},
    {"conv on 8x8, mostly noise", "noisy", CORPUS_USERS, 0.75,
     MUCH_NOISE(0.02, IMAGES(NETWORK_CONV, 8, 4000, 4e5))},
};
/* clang-format on */
const size_t corpus_table_rows = sizeof corpus_table / sizeof *corpus_table;

unsigned corpus_find(const char *name, opt_error *error)
{
    static const struct {
        const char *name;
        unsigned corpus;
    } corpora[] = {{"paper", CORPUS_PAPER},
                   {"paper-all", CORPUS_PAPER_ALL},
                   {"wide", CORPUS_WIDE},
                   {"users", CORPUS_USERS}};
    for (size_t i = 0; i < sizeof corpora / sizeof *corpora; i++)
        if (strcmp(name, corpora[i].name) == 0) return corpora[i].corpus;
    opt_fail(error, OPT_BAD_OPTION, "no corpus \"%s\", expected paper, paper-all, wide or users",
             name);
    return 0;
}

static bool spec_needs_images(const problem_spec *spec)
{
    if (spec->family == images_problem || spec->family == detector_problem) return true;
    for (int i = 0; i < spec->n_parts; i++)
        if (spec_needs_images(&spec->parts[i])) return true;
    return false;
}

bool corpus_needs_images(unsigned corpus)
{
    for (size_t i = 0; i < corpus_table_rows; i++)
        if (corpus_table[i].corpora & corpus && spec_needs_images(&corpus_table[i].spec))
            return true;
    return false;
}
