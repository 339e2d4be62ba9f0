/* Chunks: aligned pieces of the arena that may be one huge page each.
 *
 * What is purged and then wanted again is expensive: every 4 KiB cost 1.5 us. Had at once, as one
 * huge page, the same memory costs a sixth of that. So where purging proved wrong, the free parts
 * of a chunk that have no memory get it together, if they will be used as densely as they were: the
 * entries of free slices still tell. They are in no list meanwhile, and their kind lets no
 * neighbour merge with them; the rest of the chunk may be in use and is not disturbed.
 *
 * Under the pool's lock, but for the system call itself. */
#ifndef MP_HEAP_CHUNK_H
#define MP_HEAP_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "heap/spans.h"

#define MP_CHUNK_SLICES 32u /* 2 MiB */

struct mp_chunk {
    struct mp_page *first;
    uint32_t count, slices; /* of parts; of their slices in all */
    struct {
        struct mp_page *page;
        uint32_t slices;
    } parts[MP_CHUNK_SLICES / 2];
};

/* Takes out what is clean of the chunk in which this clean span begins; false: that is not worth a
 * huge page, and nothing has happened. */
bool mp_chunk_take(struct mp_chunk *chunk, struct mp_spans *spans, struct mp_page *page);
void mp_chunk_put(const struct mp_chunk *chunk, struct mp_spans *spans, enum mp_spans_state state);

#endif
