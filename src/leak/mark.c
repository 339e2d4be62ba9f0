#include "leak/mark.h"

#include <string.h>

#include "leak/present.h"
#include "record/memory.h"

/* How many blocks are on their way from memory at a time; a power of two. */
#define AHEAD 16u

/* Entries at most: a list or a tree needs few, a large array of pointers one for each. Without
 * memory for so many, fewer do, and what did not fit is found again. */
#define STACK_MOST  ((size_t)1 << 26)
#define STACK_LEAST ((size_t)256)

static size_t words_of(uint32_t blocks) {
    return (blocks + (size_t)63) / 64;
}

bool mp_marks_begin(struct mp_marks *marks, const struct mp_marks *apart) {
    size_t count = mp_blocks_count(), room = count < STACK_MOST ? count : STACK_MOST;
    if (room < STACK_LEAST)
        room = STACK_LEAST;
    *marks = (struct mp_marks){
        .reached = mp_record_alloc(words_of((uint32_t)count) * sizeof(uint64_t) + 8),
        .apart = apart ? apart->reached : NULL,
    };
    for (; marks->reached && !marks->stack && room >= STACK_LEAST; room /= 2) {
        marks->stack = mp_record_alloc(room * sizeof *marks->stack);
        marks->stack_room = room;
    }
    if (marks->stack)
        return true;
    mp_marks_end(marks);
    return false;
}

void mp_marks_end(struct mp_marks *marks) {
    if (marks->reached)
        mp_record_free(marks->reached, words_of(mp_blocks_count()) * sizeof(uint64_t) + 8);
    if (marks->stack)
        mp_record_free(marks->stack, marks->stack_room * sizeof *marks->stack);
    *marks = (struct mp_marks){0};
}

void mp_marks_clear(struct mp_marks *marks) {
    memset(marks->reached, 0, words_of(mp_blocks_count()) * sizeof(uint64_t));
    marks->stack_used = 0;
    marks->overflowed = false;
}

MP_INLINE void push(struct mp_marks *marks, const struct mp_block_found *block) {
    if (MP_UNLIKELY(marks->stack_used == marks->stack_room)) {
        marks->overflowed = true;
        return;
    }
    marks->stack[marks->stack_used++] = *block;
}

MP_INLINE void look(struct mp_marks *marks, uintptr_t word) {
    struct mp_block_found block;
    if (MP_LIKELY(!mp_blocks_find(word, &block)))
        return;
    uint64_t bit = (uint64_t)1 << block.number % 64;
    uint64_t *reached = &marks->reached[block.number / 64];
    if ((*reached & bit) || (marks->apart && (marks->apart[block.number / 64] & bit)))
        return;
    *reached |= bit;
    push(marks, &block);
}

void mp_mark_word(struct mp_marks *marks, uintptr_t word) {
    look(marks, word);
}

void mp_mark_alone(struct mp_marks *marks, uintptr_t word) {
    struct mp_block_found block;
    if (mp_blocks_find(word, &block))
        marks->reached[block.number / 64] |= (uint64_t)1 << block.number % 64;
}

/* Whatever the words are: the address sanitizer marks parts of stacks, and blocks' ends. */
__attribute__((no_sanitize("address"))) void mp_mark_range(struct mp_marks *marks, uintptr_t low,
                                                           uintptr_t high) {
    uintptr_t at = (low + sizeof at - 1) & ~(sizeof at - 1);
    for (; at + sizeof at <= high; at += sizeof at)
        look(marks, *(const volatile uintptr_t *)at);
}

static void mark_part(uintptr_t start, uintptr_t end, void *marks) {
    mp_mark_range(marks, start, end);
}

/* Large ones may have been touched in part only. */
void mp_mark_block(struct mp_marks *marks, const struct mp_block_found *block) {
    if (block->size > MP_MEDIUM_MAX)
        mp_present_each(block->start, block->start + block->size, false, mark_part, marks);
    else
        mp_mark_range(marks, block->start, block->start + block->size);
}

static void go_through(struct mp_marks *marks, const struct mp_block_found *block) {
    if (mp_blocks_is_live(block))
        mp_mark_block(marks, block);
}

/* From the stack through a short queue, in which they wait for their memory. */
static void empty_stack(struct mp_marks *marks) {
    struct mp_block_found coming[AHEAD];
    size_t in = 0, out = 0;
    for (;;) {
        while (marks->stack_used && in - out < AHEAD) {
            const struct mp_block_found *next = &marks->stack[--marks->stack_used];
            __builtin_prefetch((const void *)next->start);
            coming[in++ % AHEAD] = *next;
        }
        if (in == out)
            return;
        struct mp_block_found block = coming[out++ % AHEAD];
        go_through(marks, &block);
    }
}

static void push_again(const struct mp_block_found *block, void *context) {
    struct mp_marks *marks = context;
    if (!mp_marks_has(marks, block->number))
        return;
    mp_mark_block(marks, block);
    empty_stack(marks);
}

void mp_mark_through(struct mp_marks *marks) {
    empty_stack(marks);
    while (marks->overflowed) {
        marks->overflowed = false;
        mp_blocks_each(push_again, marks);
    }
}
