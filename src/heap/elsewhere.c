#include "heap/elsewhere.h"

#include "heap/arena.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "platform/lock.h"

#define RESCUE 16u /* pages that are all back, or a sixteenth of all, for a look at them */

/* The page has just become this thread's by a push. */
static void claimed(struct mp_heap *heap, struct mp_page *page) {
    if (mp_page_flags(page) & MP_PAGE_LISTED)
        mp_pool_unlist(page);
    if (heap) {
        mp_queue_own(heap, page);
        mp_queue_settle(heap, page);
    } else { /* a thread past its exit keeps nothing */
        mp_queue_leave(page);
    }
}

/* The last block of a page may be freed by its owner, on the fast path, while others wait in
 * `remote`: then its event does not come. So who pushes to another's page tells the owner, who sets
 * `until` anew by what is still out. */
static void tell_owner(uint32_t heap, uint32_t number) {
    struct mp_heap *owner = mp_heap_by_number(heap);
    if (!owner)
        return;
    uint32_t i = atomic_fetch_add_explicit(&owner->mails, 1, memory_order_relaxed);
    /* with its number, by which the reader knows that it is there */
    atomic_store_explicit(&owner->mail[i % MP_MAILS], (uint64_t)(i + 1) << 32 | number,
                          memory_order_release);
}

void mp_elsewhere_read_mail(struct mp_heap *heap) {
    uint32_t sent = atomic_load_explicit(&heap->mails, memory_order_acquire);
    if (sent - heap->mails_read > MP_MAILS) { /* some were lost */
        for (unsigned c = 0; c < MP_SMALL_CLASSES; c++)
            mp_queue_resettle_all(heap, c);
        heap->mails_read = sent;
    }
    for (; heap->mails_read != sent; heap->mails_read++) {
        uint64_t mail =
            atomic_load_explicit(&heap->mail[heap->mails_read % MP_MAILS], memory_order_acquire);
        if ((uint32_t)(mail >> 32) != heap->mails_read + 1)
            return; /* not written yet */
        struct mp_page *page = mp_arena_page_or_null((uint32_t)mail);
        /* It may have become anything since. */
        if (page && mp_page_kind(page) == MP_KIND_SMALL &&
            (mp_page_owner(page) & ~MP_OWNER_CHECKED) == heap->owner &&
            (mp_page_flags(page) & MP_PAGE_QUEUED) && page->heap == heap->number)
            mp_queue_look_again(heap, page);
    }
}

/* All blocks of a page in a queue are free, and its owner is not about to see it. */
static bool is_all_back(const struct mp_page *page) {
    uint32_t until = __atomic_load_n(&page->until, __ATOMIC_ACQUIRE); /* mp_page_count_free */
    return (mp_page_flags(page) & MP_PAGE_QUEUED) && until > 0 &&
           until + page->held == mp_remote_count(page);
}

/* What its owner may be changing: a guess. */
MP_RACY static uint32_t glance(const struct mp_page *page) {
    return page->until + page->held;
}

/* The heap that has the page in a queue, 0: none. After a push the page may be anything, and this
 * any number; a mail too many does no harm. */
MP_RACY static uint32_t queued_by(const struct mp_page *page) {
    uint32_t heap = page->heap;
    bool queued = mp_page_kind(page) == MP_KIND_SMALL && (mp_page_flags(page) & MP_PAGE_QUEUED);
    return queued && heap <= mp_heap_count() ? heap : 0;
}

static void hand_over(struct mp_heap *heap, struct mp_batch *batch) {
    struct mp_page *page = batch->page;
    uint32_t used = glance(page), back; /* before the push, while the page is one for certain */
    bool mine = mp_remote_push(page, batch->first, batch->last, batch->count, &back);
    /* Pushed before it is no longer in the batch: to a copy in between the blocks are somewhere. */
    batch->page = NULL;
    if (heap)
        heap->batched--;
    if (mine) {
        claimed(heap, page);
        return;
    }
    /* With the fence in mp_queue_settle: an owner that queues the page now sees the push, or we the
     * queue. */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t owner = queued_by(page);
    if (owner)
        tell_owner(owner, mp_arena_number(page));
    if (owner && back >= used)
        atomic_fetch_add_explicit(&mp_queue_all_back, 1, memory_order_relaxed);
}

/* Retires what is all back in a queue, with the gate closed and the owner in no slow section. The
 * owner may be anywhere on the fast paths, but nowhere near such a page: it has no block to free
 * there, and allocates from its current pages alone. What it has freed last is in the page's list
 * by the time that it is in the count. At `until` 0 its own event is to come. */
static void rescue_from(struct mp_heap *heap, uint32_t number) {
    while (number) {
        struct mp_page *page = mp_arena_page(number);
        number = page->next;
        if (is_all_back(page) && mp_queue_has_all_keys(page)) {
            mp_queue_remove(heap, page);
            mp_queue_collect(page);
            mp_queue_retire(page);
        }
    }
}

void mp_elsewhere_rescue(void) {
    uint32_t least = mp_pool_used() / 16;
    uint32_t counted = atomic_load_explicit(&mp_queue_all_back, memory_order_relaxed);
    if (counted < (least > RESCUE ? least : RESCUE) || mp_lock_all_mine ||
        !atomic_compare_exchange_strong_explicit(&mp_queue_all_back, &counted, 0,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    if (!mp_gate_try_close()) { /* another time: this is a free, which shall not wait */
        atomic_fetch_add_explicit(&mp_queue_all_back, counted, memory_order_relaxed);
        return;
    }
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        struct mp_heap *heap = mp_heap_by_number(n);
        for (unsigned c = 0; c < MP_SMALL_CLASSES && heap->state == MP_HEAP_LIVE; c++) {
            rescue_from(heap, heap->bins[c].dense_first);
            rescue_from(heap, heap->bins[c].sparse);
        }
    }
    mp_gate_open(false);
    mp_slow_enter();
    mp_pool_settle();
    mp_slow_leave();
}

/* A signal handler that forks comes here in the middle of whatever stands outside slow sections
 * below. It may lose a block that its thread was about to add, and must lose no more: a batch has
 * its page when the rest of it is there, and is counted last. */
void mp_elsewhere_flush(struct mp_heap *heap) {
    for (unsigned i = 0; i < MP_BATCHES && heap->batched > 0; i++) {
        if (heap->batches[i].page)
            hand_over(heap, &heap->batches[i]);
    }
}

static void begin(struct mp_heap *heap, struct mp_batch *batch, struct mp_page *page,
                  struct mp_block *block) {
    uint32_t size = mp_classes[page->class].size, most = (MP_BATCH_BYTES + size - 1) / size;
    batch->first = batch->last = block;
    batch->count = 1;
    batch->most = most < MP_BATCH_COUNT ? most : MP_BATCH_COUNT;
    atomic_signal_fence(memory_order_seq_cst);
    batch->page = page;
    atomic_signal_fence(memory_order_seq_cst);
    heap->batched++;
}

static void send(struct mp_heap *heap, struct mp_batch *batch) {
    mp_slow_enter();
    mp_elsewhere_read_mail(heap);
    if (MP_LIKELY(batch->page != NULL))
        hand_over(heap, batch);
    mp_slow_leave();
    mp_elsewhere_rescue();
}

void mp_elsewhere_free(struct mp_heap *heap, struct mp_page *page, struct mp_block *block) {
    if (MP_UNLIKELY(!heap)) {
        struct mp_batch single = {page, block, block, 1, 1};
        mp_slow_enter();
        hand_over(NULL, &single);
        mp_slow_leave();
        return;
    }
    if (mp_elsewhere_add(heap, page, block))
        return;
    struct mp_batch *batch = mp_elsewhere_batch(heap, page);
    if (batch->page == page) { /* the last that it has room for */
        mp_page_link_block(block, batch->first);
        batch->first = block;
        batch->count++;
        send(heap, batch);
        return;
    }
    if (batch->page)
        send(heap, batch);
    begin(heap, batch, page, block);
    if (batch->most == 1)
        send(heap, batch);
}
