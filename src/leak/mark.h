/* From roots to all that they lead to, in a process that stands still. What has been reached is a
 * bit for each block (blocks.h), and nothing else: what that means for a block is said elsewhere
 * (verdict.h).
 *
 * Words count as pointers by their value alone, if they are aligned as pointers are.
 *
 * What has been reached and not gone through yet is another bit. Blocks of neighbouring numbers,
 * which are neighbours in memory, are a chunk; chunks with such bits stand in a ring, and each in
 * its turn is gone through in the order of addresses. In a large heap nearly each step from block
 * to block is one that no cache and no table of translations knows; so many of them wait until they
 * can be taken together, and are asked for some steps ahead. Nothing can overflow. Where next to
 * nothing waits, as along a list, a few are kept at hand, and are next. */
#ifndef MP_LEAK_MARK_H
#define MP_LEAK_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leak/blocks.h"

struct mp_marks_chunk {
    uint32_t waiting;   /* bits */
    uint32_t low, high; /* the words that they are in, of `waiting` */
    bool queued;        /* in the ring, or its turn is now */
};

#define MP_MARKS_HAND 8u

struct mp_marks {
    uint64_t *reached;
    uint64_t *waiting;     /* of these, not gone through */
    const uint64_t *apart; /* blocks that are neither reached nor gone through; NULL: none */
    struct mp_marks_chunk *chunks;
    uint32_t *ring; /* numbers of chunks */
    uint32_t chunk_count, ring_first, ring_used;
    uint32_t hand_used;
    struct mp_block_found hand[MP_MARKS_HAND];
};

/* False: no memory. After mp_blocks_begin. */
bool mp_marks_begin(struct mp_marks *marks, const struct mp_marks *apart);
void mp_marks_end(struct mp_marks *marks);

/* Nothing has been reached. */
void mp_marks_clear(struct mp_marks *marks);

MP_INLINE bool mp_marks_has(const struct mp_marks *marks, uint32_t number) {
    return marks->reached[number / 64] >> number % 64 & 1;
}

/* The words of [low, high); a single one. Both only note what they point to. */
void mp_mark_range(struct mp_marks *marks, uintptr_t low, uintptr_t high);
void mp_mark_word(struct mp_marks *marks, uintptr_t word);
/* All of a live block. */
void mp_mark_block(struct mp_marks *marks, const struct mp_block_found *block);

/* The block that the word points into has been reached, and is not to be gone through. */
void mp_mark_alone(struct mp_marks *marks, uintptr_t word);

/* Goes through what has been noted, and what that leads to, to the end. */
void mp_mark_through(struct mp_marks *marks);

#endif
