/* Counter-based random numbers (Philox4x32-10 of Random123). A stream is named by (seed, purpose,
 * index): its numbers depend on nothing else, so they are the same whichever thread draws them, and
 * to resume, it is enough to know the index (the batch, the image). */
#ifndef RANDOM_STREAM_H
#define RANDOM_STREAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    STREAM_INIT,    /* starting weights; index: 0 */
    STREAM_ORDER,   /* which images make a batch; index: batch */
    STREAM_AUGMENT, /* one image's crop, mirror, colours; index: batch << 32 | image in batch */
    STREAM_NETWORK, /* what layers draw while training (dropout, crop, noise); index: forward
                     * pass */
    STREAM_RESIZE,  /* multi-scale input sizes; index: resize period */
    STREAM_OTHER,   /* anything else */
} stream_purpose;

typedef struct {
    uint32_t key[2];     /* the seed */
    uint32_t counter[4]; /* from the index and the purpose, and the blocks drawn so far */
    uint32_t block[4];
    int used; /* of block; 4: draw the next one */
} random_stream;

void random_stream_start(random_stream *stream, uint64_t seed, stream_purpose purpose,
                         uint64_t index);
uint32_t random_stream_u32(random_stream *stream);

/* --- the calling thread's current stream, which stands in for rand() in the host --- */
void random_use(uint64_t seed, stream_purpose purpose, uint64_t index);
/* 0..2^31-1, as rand(); a thread that never called random_use draws from seed 0, STREAM_OTHER. */
int random_next(void);

#ifdef __cplusplus
}
#endif
#endif
