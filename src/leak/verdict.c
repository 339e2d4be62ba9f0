#include "leak/verdict.h"

struct work {
    struct mp_verdicts *verdicts;
    struct mp_marks pointed; /* to, by another block that is not reachable */
    struct mp_marks led;     /* to, from a direct one, or what may be one */
};

static void set(struct mp_marks *marks, uint32_t number, bool to) {
    uint64_t bit = (uint64_t)1 << number % 64;
    if (to)
        marks->reached[number / 64] |= bit;
    else
        marks->reached[number / 64] &= ~bit;
}

/* One step only: what then waits to be gone through in `pointed` is never gone through. */
static void note_pointed(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    bool before = mp_marks_has(&work->pointed, block->number);
    mp_mark_block(&work->pointed, block);
    set(&work->pointed, block->number, before); /* by itself does not count */
}

static void go_from(struct mp_marks *led, const struct mp_block_found *block) {
    mp_mark_block(led, block);
    mp_mark_through(led);
}

static void go_from_unpointed(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    if (mp_marks_has(&work->pointed, block->number))
        return;
    set(&work->verdicts->direct, block->number, true);
    go_from(&work->led, block);
}

/* What is left hangs together in cycles, or from one. A block from which more is reached is a
 * candidate: no candidate before it leads to it, but one behind it may. */
static void go_from_candidate(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    struct mp_marks *direct = &work->verdicts->direct;
    if (mp_marks_has(direct, block->number) || mp_marks_has(&work->led, block->number))
        return;
    set(direct, block->number, true);
    go_from(&work->led, block);
}

/* From the last to the first: so those are struck out, and none that stays leads to another. */
static void strike_candidates(struct work *work) {
    struct mp_marks *direct = &work->verdicts->direct, *led = &work->led;
    struct mp_block_found block;
    uint32_t page = 0;
    mp_marks_clear(led);
    for (uint32_t word = mp_blocks_count() / 64 + 1; word-- > 0;) {
        uint64_t candidates = direct->reached[word] & work->pointed.reached[word];
        while (candidates) {
            uint32_t bit = 63 - (uint32_t)__builtin_clzll(candidates);
            candidates ^= (uint64_t)1 << bit;
            mp_blocks_get(word * 64 + bit, &page, &block);
            if (mp_marks_has(led, block.number))
                set(direct, block.number, false);
            else
                go_from(led, &block);
        }
    }
}

bool mp_verdicts_begin(struct mp_verdicts *verdicts, const struct mp_marks *reached) {
    struct work work = {.verdicts = verdicts};
    *verdicts = (struct mp_verdicts){.reached = reached};
    bool good = mp_marks_begin(&verdicts->direct, reached) &&
                mp_marks_begin(&work.pointed, reached) && mp_marks_begin(&work.led, reached);
    if (good) {
        mp_blocks_each(reached->reached, note_pointed, &work);
        mp_blocks_each(reached->reached, go_from_unpointed, &work);
        mp_blocks_each(reached->reached, go_from_candidate, &work);
        strike_candidates(&work);
    }
    mp_marks_end(&work.pointed);
    mp_marks_end(&work.led);
    if (!good)
        mp_verdicts_end(verdicts);
    return good;
}

void mp_verdicts_end(struct mp_verdicts *verdicts) {
    mp_marks_end(&verdicts->direct);
}
