#include "leak/mark.h"

#include <string.h>

#include "leak/present.h"
#include "record/memory.h"

/* How many blocks are on their way from memory at a time; a power of two. */
#define AHEAD 16u

/* Blocks of a chunk: as many as of the smallest usual size have their pages' translations at hand.
 */
#define CHUNK_SHIFT 14u
#define CHUNK_WORDS (1u << CHUNK_SHIFT >> 6)

/* ---- tables ---- */

static size_t bit_bytes(void) {
    return (mp_blocks_count() / 64 + (size_t)1) * sizeof(uint64_t);
}

bool mp_marks_begin(struct mp_marks *marks, const struct mp_marks *apart) {
    uint32_t chunks = (mp_blocks_count() >> CHUNK_SHIFT) + 1;
    *marks = (struct mp_marks){
        .reached = mp_record_alloc(bit_bytes()),
        .waiting = mp_record_alloc(bit_bytes()),
        .apart = apart ? apart->reached : NULL,
        .chunks = mp_record_alloc(chunks * sizeof *marks->chunks),
        .ring = mp_record_alloc(chunks * sizeof *marks->ring),
        .chunk_count = chunks,
    };
    if (marks->reached && marks->waiting && marks->chunks && marks->ring)
        return true;
    mp_marks_end(marks);
    return false;
}

void mp_marks_end(struct mp_marks *marks) {
    mp_record_free(marks->reached, bit_bytes());
    mp_record_free(marks->waiting, bit_bytes());
    mp_record_free(marks->chunks, marks->chunk_count * sizeof *marks->chunks);
    mp_record_free(marks->ring, marks->chunk_count * sizeof *marks->ring);
    *marks = (struct mp_marks){0};
}

void mp_marks_clear(struct mp_marks *marks) {
    memset(marks->reached, 0, bit_bytes());
    memset(marks->waiting, 0, bit_bytes());
    memset(marks->chunks, 0, marks->chunk_count * sizeof *marks->chunks);
    marks->ring_first = marks->ring_used = marks->hand_used = 0;
}

/* ---- the ring ---- */

static void enqueue(struct mp_marks *marks, uint32_t chunk) {
    uint32_t at = marks->ring_first + marks->ring_used++;
    marks->ring[at < marks->chunk_count ? at : at - marks->chunk_count] = chunk;
    marks->chunks[chunk].queued = true;
}

static uint32_t dequeue(struct mp_marks *marks) {
    uint32_t chunk = marks->ring[marks->ring_first];
    marks->ring_used--;
    if (++marks->ring_first == marks->chunk_count)
        marks->ring_first = 0;
    return chunk;
}

/* ---- noting ---- */

/* Whether a block has been reached before is as good as random: hardly a branch depends on it. */
MP_INLINE void look(struct mp_marks *marks, uintptr_t word) {
    struct mp_block_found block;
    if (MP_LIKELY(!mp_blocks_find(word, &block)))
        return;
    uint32_t at = block.number / 64, bit = block.number % 64;
    uint64_t bits = marks->reached[at], fresh = ~bits >> bit & 1;
    if (marks->apart)
        fresh &= ~marks->apart[at] >> bit;
    marks->reached[at] = bits | fresh << bit;
    if (!marks->ring_used && marks->hand_used < MP_MARKS_HAND) {
        marks->hand[marks->hand_used] = block;
        marks->hand_used += (uint32_t)fresh;
        return;
    }
    marks->waiting[at] |= fresh << bit;
    uint32_t number = block.number >> CHUNK_SHIFT;
    struct mp_marks_chunk *chunk = &marks->chunks[number];
    chunk->waiting += (uint32_t)fresh;
    chunk->low = fresh && at < chunk->low ? at : chunk->low;
    chunk->high = fresh && at > chunk->high ? at : chunk->high;
    if (MP_UNLIKELY(fresh && !chunk->queued)) {
        chunk->low = chunk->high = at;
        enqueue(marks, number);
    }
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
    if (block->whole)
        mp_present_each(block->start, block->start + block->size, false, mark_part, marks);
    else
        mp_mark_range(marks, block->start, block->start + block->size);
}

/* ---- going through ---- */

static void go_through(struct mp_marks *marks, const struct mp_block_found *block) {
    if (mp_blocks_is_live(block))
        mp_mark_block(marks, block);
}

/* Blocks that wait for their memory to come. */
struct coming {
    struct mp_block_found blocks[AHEAD];
    uint32_t in, out;
};

static void go_through_next(struct mp_marks *marks, struct coming *coming) {
    struct mp_block_found block = coming->blocks[coming->out++ % AHEAD];
    go_through(marks, &block);
}

static void ask_for(struct mp_marks *marks, struct coming *coming,
                    const struct mp_block_found *block) {
    coming->blocks[coming->in++ % AHEAD] = *block;
    __builtin_prefetch((const void *)block->start);
    if (block->size > MP_CACHE_LINE) /* a tenth of the marking, in redis */
        __builtin_prefetch((const void *)(block->start + MP_CACHE_LINE));
    if (coming->in - coming->out == AHEAD)
        go_through_next(marks, coming);
}

/* What comes to wait there meanwhile may be behind: then the chunk has another turn. */
static void sweep(struct mp_marks *marks, struct coming *coming, uint32_t number) {
    struct mp_marks_chunk *chunk = &marks->chunks[number];
    uint32_t low = chunk->low, high = chunk->high, page = 0;
    struct mp_block_found block;
    chunk->low = UINT32_MAX;
    chunk->high = 0;
    for (uint32_t at = low; at <= high; at++) {
        while (marks->waiting[at]) {
            uint32_t bit = (uint32_t)__builtin_ctzll(marks->waiting[at]);
            marks->waiting[at] &= marks->waiting[at] - 1;
            chunk->waiting--;
            mp_blocks_get(at * 64 + bit, &page, &block);
            ask_for(marks, coming, &block);
        }
    }
    chunk->queued = false;
    if (chunk->waiting)
        enqueue(marks, number);
}

void mp_mark_through(struct mp_marks *marks) {
    struct coming coming = {.in = 0};
    while (marks->hand_used || marks->ring_used || coming.in != coming.out) {
        if (marks->hand_used)
            ask_for(marks, &coming, &marks->hand[--marks->hand_used]);
        else if (marks->ring_used)
            sweep(marks, &coming, dequeue(marks));
        else
            go_through_next(marks, &coming);
    }
}
