/* From roots to all that they lead to, in a process that stands still. What has been reached is a
 * bit for each block (blocks.h), and nothing else: what that means for a block is said elsewhere
 * (verdict.h).
 *
 * Words count as pointers by their value alone, if they are aligned as pointers are. What a block
 * that has been reached holds is looked at when it has come: blocks are asked for some steps ahead,
 * since in a large heap each one is in no cache. */
#ifndef MP_LEAK_MARK_H
#define MP_LEAK_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leak/blocks.h"

struct mp_marks {
    uint64_t *reached;
    const uint64_t *apart; /* blocks that are neither reached nor gone through; NULL: none */
    struct mp_block_found *stack;
    size_t stack_used, stack_room;
    bool overflowed; /* some have been reached, and not been gone through */
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
