#include "heap/thp.h"

#include <errno.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/remote.h"
#include "heap/rescue.h"
#include "platform/lock.h"
#include "platform/numa.h"
#include "platform/options.h"
#include "platform/sys.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define RIPE_MS    1000u
#define APART_MS   20u /* a collapse copies 2 MiB: some 0.2 ms, at most every so often */
#define CANDIDATES 64u

/* Chunks seen full, oldest overwritten first. Entries are hints; races lose a hint, no more. */
MP_FIRST static struct {
    _Atomic(uint32_t) number; /* of the chunk's first slice; 0: none */
    _Atomic(uint32_t) seen_ms;
} candidates[CANDIDATES];
static _Atomic(uint32_t) candidate_next;
static _Atomic(uint64_t) last_ms;
static _Atomic(bool) unsupported;

static bool wanted(void) {
    return mp_options.thp == MP_THP_AUTO && !mp_numa_is_ordered() &&
           !atomic_load_explicit(&unsupported, memory_order_relaxed);
}

/* EINVAL says many things: a piece of the chunk may be locked, or protected by the program. Of
 * nothing at all it says that the kernel does not know the advice. */
static bool collapse(const struct mp_page *first) {
    int result = mp_sys_madvise(first->start, MP_CHUNK_SLICES << MP_SLICE_SHIFT, MADV_COLLAPSE);
    if (result == -EINVAL && mp_sys_madvise(first->start, 0, MADV_COLLAPSE) == -EINVAL)
        atomic_store_explicit(&unsupported, true, memory_order_relaxed);
    return result == 0;
}

void mp_thp_note_full(const struct mp_page *page, uint64_t now) {
    if (!wanted() || mp_numa_is_anywhere(page->node)) /* a policy of the program's counts there */
        return;
    uint32_t chunk = mp_arena_number(page) & ~(MP_CHUNK_SLICES - 1);
    uint32_t newest = atomic_load_explicit(&candidate_next, memory_order_relaxed);
    if (atomic_load_explicit(&candidates[(newest - 1) % CANDIDATES].number, memory_order_relaxed) ==
        chunk)
        return;
    uint32_t i = atomic_fetch_add_explicit(&candidate_next, 1, memory_order_relaxed) % CANDIDATES;
    atomic_store_explicit(&candidates[i].seen_ms, (uint32_t)now, memory_order_relaxed);
    atomic_store_explicit(&candidates[i].number, chunk, memory_order_relaxed);
}

/* Every slice in use, small pages carved to the end, and at least 15/16 of their blocks used. The
 * counts of other threads' pages are read without their leave: an estimate is enough. */
MP_RACY static bool is_dense(uint32_t number) {
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);
    if (index < range->first || index + MP_CHUNK_SLICES > range->limit)
        return false;
    uint32_t blocks = 0, used = 0;
    for (uint32_t i = 0; i < MP_CHUNK_SLICES; i++) {
        const struct mp_page *page = mp_arena_page(number + i);
        enum mp_kind kind = mp_page_kind(page);
        if (kind == MP_KIND_NONE || kind == MP_KIND_FREE)
            return false;
        if (kind == MP_KIND_SMALL || kind == MP_KIND_MEDIUM) {
            blocks += mp_classes[page->class].blocks;
            if (mp_page_is_current(page))
                used += mp_rescue_has_emptied(page) ? 0 : page->carved; /* or soon will be */
            else if (kind == MP_KIND_SMALL)
                used += mp_page_used(page) - mp_remote_count_guess(page);
            else
                used += page->until;
        }
    }
    return used >= blocks - blocks / 16;
}

void mp_thp_tick(uint64_t now) {
    uint64_t last = atomic_load_explicit(&last_ms, memory_order_relaxed);
    if (mp_sys_ms_since(last, now) < APART_MS || !wanted() ||
        !atomic_compare_exchange_strong_explicit(&last_ms, &last, now, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    uint32_t newest = atomic_load_explicit(&candidate_next, memory_order_relaxed);
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        uint32_t slot = (newest + i) % CANDIDATES; /* oldest first */
        uint32_t number = atomic_load_explicit(&candidates[slot].number, memory_order_relaxed);
        if (!number)
            continue;
        uint32_t seen = atomic_load_explicit(&candidates[slot].seen_ms, memory_order_relaxed);
        if ((uint32_t)now - seen < RIPE_MS)
            return;
        atomic_store_explicit(&candidates[slot].number, 0, memory_order_relaxed);
        if (!is_dense(number))
            continue;
        /* A chunk that is huge already answers at once, so nobody keeps count of them. */
        collapse(mp_arena_page(number));
        return;
    }
}

bool mp_thp_may_fetch(void) {
    return wanted();
}

bool mp_thp_fetch(const struct mp_chunk *chunk) {
    *(volatile char *)chunk->parts[0].page->start = 0; /* of nothing at all the kernel makes none */
    return collapse(chunk->first);
}
