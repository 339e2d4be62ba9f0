#include "heap/queue.h"

#include "heap/arena.h"
#include "heap/misuse.h"
#include "heap/pool.h"
#include "heap/remote.h"
#include "platform/options.h"

_Atomic(uint32_t) mp_queue_all_back;

void mp_queue_arm(struct mp_page *page, uint32_t used, uint32_t out) {
    uint8_t flags = mp_page_flags(page);
    if ((flags & MP_PAGE_QUEUED) && !(flags & MP_PAGE_SPARSE)) {
        uint32_t quarter = mp_page_blocks(page) / 4;
        out -= out > quarter ? quarter : 0;
    }
    page->until = out;
    page->held = (uint16_t)(used - out);
}

void mp_queue_own(struct mp_heap *heap, struct mp_page *page) {
    bool checked = mp_options.check == MP_CHECK_FULL;
    page->heap = heap->number;
    mp_page_set_owner(page, heap->owner + (checked ? MP_OWNER_CHECKED : 0));
}

void mp_queue_add(struct mp_heap *heap, struct mp_page *page, uint32_t used, uint32_t out) {
    struct mp_bin *bin = &heap->bins[page->class];
    uint32_t number = mp_arena_number(page);
    mp_page_set_flag(page, MP_PAGE_QUEUED);
    if (out <= mp_page_blocks(page) / 4) {
        mp_page_set_flag(page, MP_PAGE_SPARSE);
        page->prev = 0;
        page->next = bin->sparse;
        if (page->next)
            mp_arena_page(page->next)->prev = number;
        bin->sparse = number;
    } else {
        page->next = 0;
        page->prev = bin->dense_last;
        if (page->prev)
            mp_arena_page(page->prev)->next = number;
        else
            bin->dense_first = number;
        bin->dense_last = number;
    }
    mp_queue_arm(page, used, out);
}

void mp_queue_remove(struct mp_heap *heap, struct mp_page *page) {
    struct mp_bin *bin = &heap->bins[page->class];
    bool sparse = mp_page_flags(page) & MP_PAGE_SPARSE;
    if (page->next)
        mp_arena_page(page->next)->prev = page->prev;
    else if (!sparse)
        bin->dense_last = page->prev;
    if (page->prev)
        mp_arena_page(page->prev)->next = page->next;
    else if (sparse)
        bin->sparse = page->next;
    else
        bin->dense_first = page->next;
    mp_page_clear_flag(page, MP_PAGE_QUEUED | MP_PAGE_SPARSE);
}

/* The first block that is not free by its key; NULL: all are. */
static const struct mp_block *first_used(const struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    for (uint32_t i = 0; i < page->carved; i++) {
        const struct mp_block *block = (const struct mp_block *)(page->start + (uintptr_t)i * size);
        if (!mp_block_is_free(block))
            return block;
    }
    return NULL;
}

bool mp_queue_has_all_keys(const struct mp_page *page) {
    return !first_used(page);
}

/* check=full: a page whose count says that it is empty has nothing but free blocks. A block that
 * was freed, overwritten and freed again was counted twice. */
static bool verify_empty(const struct mp_page *page) {
    const struct mp_block *block = first_used(page);
    if (block)
        mp_misuse_overwritten(block, page);
    return !block;
}

void mp_queue_retire(struct mp_page *page) {
    if (MP_UNLIKELY(mp_options.check == MP_CHECK_FULL) && !verify_empty(page)) {
        mp_page_set_owner(page, 0); /* nobody's for good: lost, not shared */
        return;
    }
    mp_page_set_owner(page, 0);
    /* last_pages is 0 already: it is where `remote`, in which no blocks wait, has their count. An
     * adopter that came too late may still be reading that word, so it is not written to here. */
    mp_pool_give(page, 1);
}

uint32_t mp_queue_collect(struct mp_page *page) {
    uint32_t used = mp_page_used(page);
    uint32_t count = mp_remote_collect(page);
    return used > count ? used - count : 0;
}

/* What others freed stays in `remote` until it is wanted: it is in their caches. */
void mp_queue_settle(struct mp_heap *heap, struct mp_page *page) {
    uint32_t used = mp_page_used(page), back = mp_remote_count(page);
    if (back < used) {
        if (MP_UNLIKELY(page->node != heap->node)) {
            mp_queue_leave(page);
            return;
        }
        mp_queue_add(heap, page, used, used - back);
        atomic_thread_fence(memory_order_seq_cst); /* see hand_over in elsewhere.c */
        if (mp_remote_count(page) != back)
            mp_queue_look_again(heap, page);
        return;
    }
    uint32_t counted = atomic_load_explicit(&mp_queue_all_back, memory_order_relaxed);
    if (back && counted)
        atomic_compare_exchange_strong_explicit(&mp_queue_all_back, &counted, counted - 1,
                                                memory_order_relaxed, memory_order_relaxed);
    mp_queue_collect(page);
    mp_queue_retire(page);
}

void mp_queue_leave(struct mp_page *page) {
    for (;;) {
        uint32_t used = mp_queue_collect(page);
        if (used == 0) {
            mp_queue_retire(page);
            return;
        }
        mp_queue_arm(page, used, used);
        mp_page_set_owner(page, 0);
        bool room = used < mp_page_blocks(page);
        if (room ? mp_pool_list_and_disown(page) : mp_remote_disown(page))
            return;
    }
}

void mp_queue_resettle(struct mp_heap *heap, struct mp_page *page) {
    mp_queue_remove(heap, page);
    mp_queue_settle(heap, page);
}

void mp_queue_look_again(struct mp_heap *heap, struct mp_page *page) {
    for (;;) {
        uint32_t used = mp_page_used(page), back = mp_remote_count(page);
        uint32_t least = mp_page_flags(page) & MP_PAGE_SPARSE ? 0 : mp_page_blocks(page) / 4;
        if (used <= back || used - back <= least) {
            mp_queue_resettle(heap, page);
            return;
        }
        mp_queue_arm(page, used, used - back);
        atomic_thread_fence(memory_order_seq_cst); /* see hand_over in elsewhere.c */
        if (mp_remote_count(page) == back)
            return;
    }
}

void mp_queue_resettle_all(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    /* A page that stays goes to its queue's end: stop at the one that was last. */
    for (uint32_t number = bin->dense_first, last = bin->dense_last, next; number;
         number = number == last ? 0 : next) {
        next = mp_arena_page(number)->next;
        mp_queue_resettle(heap, mp_arena_page(number));
    }
    for (uint32_t number = bin->sparse, next; number; number = next) {
        next = mp_arena_page(number)->next;
        mp_queue_resettle(heap, mp_arena_page(number));
    }
}
