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

static bool is_lost(const struct work *work, uint32_t number) {
    return !mp_marks_has(work->verdicts->reached, number);
}

static void note_pointed(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    if (!is_lost(work, block->number))
        return;
    bool before = mp_marks_has(&work->pointed, block->number);
    mp_mark_block(&work->pointed, block);
    set(&work->pointed, block->number, before); /* by itself does not count */
    work->pointed.stack_used = 0;               /* one step only */
}

static void go_from(struct mp_marks *led, const struct mp_block_found *block) {
    mp_mark_block(led, block);
    mp_mark_through(led);
}

static void go_from_unpointed(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    if (!is_lost(work, block->number) || mp_marks_has(&work->pointed, block->number))
        return;
    set(&work->verdicts->direct, block->number, true);
    go_from(&work->led, block);
}

/* What is left hangs together in cycles, or from one. A block from which more is reached is a
 * candidate: no candidate before it leads to it, but one behind it may. */
static void go_from_candidate(const struct mp_block_found *block, void *context) {
    struct work *work = context;
    struct mp_marks *direct = &work->verdicts->direct;
    if (!is_lost(work, block->number) || mp_marks_has(direct, block->number) ||
        mp_marks_has(&work->led, block->number))
        return;
    set(direct, block->number, true);
    if (direct->stack_used < direct->stack_room)
        direct->stack[direct->stack_used++] = *block;
    go_from(&work->led, block);
}

/* From the last to the first: so those are struck out, and none that stays leads to another. */
static void strike_candidates(struct work *work) {
    struct mp_marks *direct = &work->verdicts->direct;
    struct mp_marks *led = &work->pointed; /* has been of use */
    mp_marks_clear(led);
    while (direct->stack_used) {
        const struct mp_block_found *block = &direct->stack[--direct->stack_used];
        if (mp_marks_has(led, block->number))
            set(direct, block->number, false);
        else
            go_from(led, block);
    }
}

bool mp_verdicts_begin(struct mp_verdicts *verdicts, const struct mp_marks *reached) {
    struct work work = {.verdicts = verdicts};
    *verdicts = (struct mp_verdicts){.reached = reached};
    bool good = mp_marks_begin(&verdicts->direct, reached) &&
                mp_marks_begin(&work.pointed, reached) && mp_marks_begin(&work.led, reached);
    if (good) {
        mp_blocks_each(note_pointed, &work);
        mp_blocks_each(go_from_unpointed, &work);
        mp_blocks_each(go_from_candidate, &work);
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
