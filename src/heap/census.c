#include "heap/census.h"

#include <string.h>

#include "heap/arena.h"
#include "heap/hooks.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/remote.h"
#include "heap/rescue.h"
#include "heap/thread.h"
#include "platform/lock.h"

MP_RACY static bool is_live(const struct mp_block *block, uint32_t size) {
    return mp_block_is_protected(block, size) ||
           (!mp_block_is_free(block) && !mp_block_is_twin(block) && !mp_block_is_marked(block));
}

MP_RACY static void count_page(const struct mp_page *page, enum mp_kind kind, void *context) {
    struct mp_census *census = context;
    if (kind == MP_KIND_LARGE) {
        census->large_blocks++;
        census->large_bytes += page->bytes;
        census->nodes[page->node].live_blocks++;
        census->nodes[page->node].live_bytes += page->bytes;
        return;
    }
    struct mp_census_class *class = &census->classes[page->class];
    uint32_t size = mp_classes[page->class].size, carved = page->carved;
    uint32_t live = 0;
    uint8_t flags = kind == MP_KIND_SMALL ? mp_page_flags(page) : 0;
    if (flags & MP_PAGE_EMPTIED) {
        const struct mp_block *left = mp_rescue_left(page);
        live = left && is_live(left, size);
        carved = 0;
    }
    for (uint32_t i = 0; i < carved; i++) {
        const struct mp_block *block = (const struct mp_block *)(page->start + (uintptr_t)i * size);
        live += is_live(block, size);
    }
    class->pages++;
    class->live += live;
    census->nodes[page->node].live_blocks += live;
    census->nodes[page->node].live_bytes += (uint64_t)live * size;
    class->free += carved > live ? carved - live : 0;
}

void mp_census(struct mp_census *census) {
    struct mp_huge_stats huge;
    memset(census, 0, sizeof *census);
    mp_arena_each_page(count_page, census);
    mp_huge_peek_stats(&huge);
    census->huge_blocks = huge.blocks;
    census->huge_bytes = huge.bytes;
    census->live_blocks = census->large_blocks + huge.blocks;
    census->live_bytes = census->large_bytes + huge.bytes;
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        census->live_blocks += census->classes[c].live;
        census->live_bytes += census->classes[c].live * mp_classes[c].size;
    }
}

MP_RACY bool mp_census_is_live_block(const void *block, uint32_t size) {
    return is_live(block, size);
}

MP_RACY int mp_census_is_live(const void *pointer) {
    const struct mp_page *page = mp_arena_find_head((uintptr_t)pointer);
    if (!page)
        return mp_huge_peek(pointer);
    enum mp_kind kind = mp_page_kind(page);
    size_t offset = (uintptr_t)pointer - page->start;
    if (kind == MP_KIND_LARGE)
        return offset == 0;
    if (kind == MP_KIND_NONE || kind == MP_KIND_FREE || kind == MP_KIND_CONT)
        return 0;
    uint32_t size = mp_classes[page->class].size;
    if (kind == MP_KIND_SMALL && mp_rescue_has_emptied(page))
        return pointer == mp_rescue_left(page) && is_live(pointer, size);
    return offset % size == 0 && offset / size < page->carved && is_live(pointer, size);
}

MP_RACY bool mp_census_is_in_live(uintptr_t pointer) {
    const struct mp_page *page = mp_arena_find_head(pointer);
    if (!page)
        return mp_huge_peek_overlap(pointer, pointer + 1);
    enum mp_kind kind = mp_page_kind(page);
    if (kind == MP_KIND_LARGE)
        return true;
    if (kind == MP_KIND_NONE || kind == MP_KIND_FREE || kind == MP_KIND_CONT)
        return false;
    uint32_t size = mp_classes[page->class].size;
    return mp_census_is_live((const void *)(pointer - (pointer - page->start) % size));
}

/* ---- the running process ---- */

MP_RACY static void add_page(const struct mp_page *page, enum mp_kind kind, void *context) {
    struct mp_stats *stats = context;
    if (kind == MP_KIND_LARGE) {
        stats->large_blocks++;
        stats->large_bytes += page->bytes;
        return;
    }
    const struct mp_class *info = &mp_classes[page->class];
    struct mp_stats_class *class = &stats->classes[page->class];
    uint32_t carved = page->carved;
    if (kind == MP_KIND_SAMPLES &&
        !mp_hooks.every) { /* their twins are counted, in their ordinary pages */
        stats->metadata_bytes += (uint64_t)carved * info->size;
        return;
    }
    uint32_t used = page->until;
    if (kind == MP_KIND_SMALL) {
        /* Of a current page only the free blocks are known, see add_heaps. Less those freed by
         * other threads and not collected yet. */
        uint32_t remote = mp_remote_count_guess(page);
        if (mp_page_flags(page) & MP_PAGE_EMPTIED)
            carved = mp_rescue_left(page) != NULL;
        used = mp_page_is_current(page) ? carved : mp_page_used(page);
        used = used > remote ? used - remote : 0;
        if (mp_page_is_current(page) && (mp_page_flags(page) & MP_PAGE_LOST))
            class->cached += used;
    }
    if (used > carved)
        used = carved; /* read in the middle of a change */
    class->pages++;
    class->blocks += carved;
    class->used += used;
    size_t page_bytes = info->slices * MP_SLICE_SIZE;
    size_t touched = (size_t)carved * info->size;
    if (carved == info->blocks)
        touched = page_bytes;
    stats->fragmented_bytes += touched - (size_t)used * info->size;
    stats->virgin_bytes += page_bytes - touched;
}

/* How many frees the current page has seen since they were last counted. Another thread's may be
 * changing. */
MP_RACY static uint32_t pushes(const struct mp_bin *bin, const struct mp_page *page) {
    uint32_t window = bin->window, until = page->until;
    return until < window ? window - until : 0;
}

/* Of a list of the calling thread: its memory is there, which that of others need not be. */
static uint32_t own_list_length(const struct mp_page *page, const struct mp_block *block) {
    uint32_t length = 0;
    for (; mp_block_is_free(block) && length < page->carved; block = mp_page_next_block(block))
        length++;
    return length;
}

/* The free blocks of a current page, exactly or at most; and what was handed out of it: see
 * pages.c. */
MP_RACY static void add_current(struct mp_stats *stats, const struct mp_bin *bin, bool own) {
    const struct mp_page *page = mp_arena_page(bin->current);
    struct mp_stats_class *class = &stats->classes[page->class];
    uint32_t frees = pushes(bin, page), free;
    class->allocated += frees;
    if (own) {
        uint32_t listed = own_list_length(page, page->local_free);
        if (bin->aside)
            listed += own_list_length(page, bin->aside);
        class->allocated -= listed;
        free = listed + bin->rest_count;
        class->used -= free <= class->used ? free : class->used;
        stats->fragmented_bytes += (uint64_t)free * mp_classes[page->class].size;
    } else {
        free = bin->lent + frees + bin->rest_count;
        uint32_t remote = mp_remote_count_guess(page), most = page->carved;
        if (mp_rescue_has_emptied(page))
            most = mp_rescue_left(page) != NULL;
        most = most > remote ? most - remote : 0;
        class->cached += free < most ? free : most;
    }
}

/* Blocks that a thread has freed and not handed over yet count as used in their pages. */
MP_RACY static void add_batches(struct mp_stats *stats, const struct mp_heap *heap, bool own) {
    for (unsigned i = 0; i < MP_BATCHES; i++) {
        const struct mp_page *page = heap->batches[i].page;
        if (!page)
            continue;
        struct mp_stats_class *class = &stats->classes[page->class];
        uint32_t count = heap->batches[i].count;
        if (!own) {
            class->cached += count;
        } else {
            class->used -= count <= class->used ? count : class->used;
            stats->fragmented_bytes += (uint64_t)count * mp_classes[page->class].size;
        }
    }
}

MP_RACY static void add_heaps(struct mp_stats *stats) {
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        const struct mp_heap *heap = mp_heap_by_number(n);
        bool own = heap == mp_tls.heap;
        stats->threads += heap->state == MP_HEAP_LIVE;
        stats->allocated_blocks += heap->large_allocated;
        add_batches(stats, heap, own);
        for (unsigned c = 0; c < MP_CLASSES; c++) {
            struct mp_stats_class *class = &stats->classes[c];
            class->allocated += heap->bins[c].allocated;
            if (heap->bins[c].current)
                add_current(stats, &heap->bins[c], own);
        }
    }
}

void mp_stats_get(struct mp_stats *stats) {
    struct mp_huge_stats huge;
    memset(stats, 0, sizeof *stats);
    mp_slow_enter(); /* nobody visits this thread's heap, so its own figures are exact */
    mp_arena_each_page(add_page, stats);
    add_heaps(stats);
    mp_slow_leave();
    if (!mp_lock_all_mine) /* not in a copy */
        mp_hooks_do_what_is_asked();
    mp_huge_get_stats(&huge);
    stats->mapped_blocks = huge.blocks;
    stats->mapped_bytes = huge.bytes;
    stats->allocated_blocks += huge.allocated_blocks;
    stats->live_blocks = stats->large_blocks + huge.blocks;
    stats->live_bytes = stats->large_bytes + huge.bytes;
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        const struct mp_stats_class *class = &stats->classes[c];
        stats->live_blocks += class->used;
        stats->live_bytes += class->used * mp_classes[c].size;
        stats->cached_max_bytes += class->cached * mp_classes[c].size;
        stats->allocated_blocks += class->allocated;
    }
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct mp_pool_stats pool;
        mp_pool_get_stats(node, &pool);
        stats->purgeable_bytes += pool.dirty_bytes;
        stats->arena_bytes += pool.used_bytes + pool.dirty_bytes + pool.clean_bytes;
        stats->purges += pool.purges;
        stats->purged_bytes += pool.purged_bytes;
        stats->fetched_bytes += pool.fetched_bytes;
    }
    stats->metadata_bytes += mp_meta_bytes();
}

uint64_t mp_stats_heap_bytes(void) {
    struct mp_huge_stats huge;
    mp_huge_get_stats(&huge);
    return ((uint64_t)mp_pool_filled() << MP_SLICE_SHIFT) + huge.bytes;
}
