/* Blocks of four numbers from Random123; where seed, purpose and index stand in its key and
 * counter. */
#include "base/random_stream.h"

#include <Random123/philox.h>

/* Key: the seed. Counter: the index in words 0 and 1, the blocks drawn so far in word 2 (carrying
 * into the low 24 bits of word 3), the purpose in the top 8 bits of word 3. So no two streams share
 * a block before one of them has drawn 2^58 numbers. */
enum { PURPOSE_SHIFT = 24 };

void random_stream_start(random_stream *stream, uint64_t seed, stream_purpose purpose,
                         uint64_t index)
{
    *stream = (random_stream){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {(uint32_t)index, (uint32_t)(index >> 32), 0,
                    (uint32_t)purpose << PURPOSE_SHIFT},
        .used = 4,
    };
}

static void draw_block(random_stream *stream)
{
    philox4x32_ctr_t counter;
    philox4x32_key_t key = {{stream->key[0], stream->key[1]}};
    for (int i = 0; i < 4; ++i) counter.v[i] = stream->counter[i];
    philox4x32_ctr_t block = philox4x32_R(10, counter, key);
    for (int i = 0; i < 4; ++i) stream->block[i] = block.v[i];
    if (++stream->counter[2] == 0) ++stream->counter[3];
    stream->used = 0;
}

uint32_t random_stream_u32(random_stream *stream)
{
    if (stream->used >= 4) draw_block(stream);
    return stream->block[stream->used++];
}

static _Thread_local random_stream current = {
    .counter = {0, 0, 0, (uint32_t)STREAM_OTHER << PURPOSE_SHIFT},
    .used = 4,
};

void random_use(uint64_t seed, stream_purpose purpose, uint64_t index)
{
    random_stream_start(&current, seed, purpose, index);
}

int random_next(void) { return (int)(random_stream_u32(&current) >> 1); }
