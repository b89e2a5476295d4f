/* What is perturbed and what a pair of losses adds to the gradient; running the episodes is
 * population.c's. */
#include "meta/estimator_es.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "meta/meta_random.h"

opt_status es_init(es_estimator *es, es_kind kind, int pairs, double sigma, size_t n, uint64_t seed,
                   const unsigned char *used, opt_error *error)
{
    *es = (es_estimator){.kind = kind, .pairs = pairs, .sigma = sigma, .n = n, .seed = seed};
    const size_t all = (size_t)pairs * n;
    es->used = malloc(n + 1);
    es->direction = calloc(all + 1, sizeof *es->direction);
    if (kind == ES_PES) es->sum = calloc(all + 1, sizeof *es->sum);
    if (!es->used || !es->direction || (kind == ES_PES && !es->sum)) {
        es_release(es);
        return opt_fail(error, OPT_NO_MEMORY, "no memory for the directions of %d pairs", pairs);
    }
    for (size_t i = 0; i < n; i++) es->used[i] = !used || used[i];
    return OPT_OK;
}

void es_release(es_estimator *es)
{
    free(es->used);
    free(es->direction);
    free(es->sum);
    *es = (es_estimator){0};
}

static void draw_pair(es_estimator *es, int pair, uint64_t index, int starts)
{
    float *direction = es->direction + (size_t)pair * es->n;
    random_stream stream = meta_stream(es->seed, META_PERTURBATION, (uint64_t)pair, index);
    draw_normals(&stream, direction, es->n, 1);
    for (size_t i = 0; i < es->n; i++)
        if (!es->used[i]) direction[i] = 0;
    if (es->kind != ES_PES) return;
    double *sum = es->sum + (size_t)pair * es->n;
    if (starts) memset(sum, 0, es->n * sizeof *sum);
    for (size_t i = 0; i < es->n; i++) sum[i] += (double)direction[i];
}

void es_draw(es_estimator *es, uint64_t step, const uint64_t *episode, const unsigned char *starts)
{
#pragma omp parallel for schedule(static)
    for (int p = 0; p < es->pairs; p++)
        draw_pair(es, p, es->kind == ES_PES ? step : episode[p], starts[p]);
}

void es_perturb(const es_estimator *es, const double *theta, int pair, int sign, float *out)
{
    const float *direction = es->direction + (size_t)pair * es->n;
    const double sigma = sign * es->sigma;
    for (size_t i = 0; i < es->n; i++) out[i] = (float)(theta[i] + sigma * (double)direction[i]);
}

void es_gradient(const es_estimator *es, const double *plus, const double *minus, double *gradient)
{
    enum { PIECE = 512 };
    const size_t n = es->n, pieces = (n + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < pieces; piece++) {
        const size_t first = piece * PIECE, end = first + PIECE < n ? first + PIECE : n;
        for (size_t i = first; i < end; i++) gradient[i] = 0;
        for (int p = 0; p < es->pairs; p++) {
            const double weight = (plus[p] - minus[p]) / (2 * es->sigma * es->pairs);
            if (!isfinite(weight)) continue;
            if (es->sum) {
                const double *sum = es->sum + (size_t)p * n;
                for (size_t i = first; i < end; i++) gradient[i] += weight * sum[i];
            } else {
                const float *direction = es->direction + (size_t)p * n;
                for (size_t i = first; i < end; i++) gradient[i] += weight * (double)direction[i];
            }
        }
    }
}
