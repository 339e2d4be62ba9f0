#include "heap/elsewhere.h"

#include "heap/arena.h"
#include "heap/home.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "heap/rescue.h"

#define OS_PAGE   4096u
#define SCATTERED 16u /* see note_evicted */
#define TRY_AGAIN 80u /* after so many blocks sent singly, some wait for others again */

/* The page has just become this thread's by a push. */
static void claimed(struct mp_heap *heap, struct mp_page *page) {
    if (heap)
        mp_heap_here(heap);
    if (mp_page_flags(page) & MP_PAGE_LISTED)
        mp_pool_unlist(page);
    else if (heap && mp_home_send(heap, page))
        return;
    if (heap) {
        mp_queue_own(heap, page);
        mp_queue_settle(heap, page);
    } else { /* a thread past its exit keeps nothing */
        mp_queue_leave(page);
    }
}

/* The last block of a page may be freed by its owner, on the fast path, while others wait in
 * `remote`: then its event does not come. So who pushes to another's page more than the owner's
 * event leaves out (`held`) tells the owner, who sets `until` anew by what is still out. */
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
    if (mp_home_has_any(heap))
        mp_home_arrive(heap);
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

/* What its owner may be changing: a guess. */
MP_RACY static uint32_t glance(const struct mp_page *page) {
    return page->until + page->held;
}

MP_RACY static uint32_t glance_at_held(const struct mp_page *page) {
    return page->held;
}

/* What a page of somebody's is to him. After a push it may be anything, and this any answer; what
 * is done with it does no harm then. */
MP_RACY static uint8_t owned_as(const struct mp_page *page, uint32_t *heap) {
    *heap = page->heap;
    return mp_page_kind(page) == MP_KIND_SMALL && *heap <= mp_heap_count() ? mp_page_flags(page)
                                                                           : 0;
}

/* How many blocks of a current page are out only its owner could know; but what he has not handed
 * out yet is seldom more than what he made last. */
MP_RACY static bool may_be_empty_now(const struct mp_page *page, uint32_t back, uint32_t pushed) {
    uint32_t list = 1 + OS_PAGE / mp_classes[page->class].size;
    return back + list >= page->carved && back - pushed + list < page->carved;
}

static void hand_over(struct mp_heap *heap, struct mp_batch *batch) {
    struct mp_page *page = batch->page;
    uint32_t used = glance(page), back; /* before the push, while the page is one for certain */
    uint32_t pushed = batch->count, owner;
    mp_pool_note_freed(page, pushed, pushed * mp_classes[page->class].size);
    bool mine = mp_remote_push(page, batch->first, batch->last, pushed, &back);
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
    uint8_t flags = owned_as(page, &owner);
    if (flags & MP_PAGE_QUEUED) {
        if (back > glance_at_held(page))
            tell_owner(owner, mp_arena_number(page));
        if (back >= used)
            atomic_fetch_add_explicit(&mp_queue_all_back, 1, memory_order_relaxed);
    } else if ((flags & MP_PAGE_HOMING) && back >= used) {
        atomic_fetch_add_explicit(&mp_queue_all_back, 1, memory_order_relaxed);
    } else if ((flags & MP_PAGE_CURRENT) && may_be_empty_now(page, back, pushed)) {
        atomic_fetch_add_explicit(&mp_rescue_current, 1, memory_order_relaxed);
    }
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
    mp_rescue(heap);
}

/* A batch of `count` had to go because another needed its place. Those with one block are counted,
 * and each of the others takes three off: if more than three of four have one, the count climbs to
 * SCATTERED, and stays below it if fewer do. */
static void note_evicted(struct mp_heap *heap, uint32_t count) {
    if (count == 1)
        heap->singles++;
    else
        heap->singles -= heap->singles < 3 ? heap->singles : 3;
}

/* What is freed is scattered over so many pages that batches find no further block. Nothing is
 * gained by keeping them then, and a thread that falls asleep with them keeps their pages. */
static void send_all(struct mp_heap *heap) {
    mp_slow_enter();
    mp_elsewhere_read_mail(heap);
    mp_elsewhere_flush(heap);
    mp_slow_leave();
    mp_rescue(heap);
    if (++heap->singles >= TRY_AGAIN)
        heap->singles = SCATTERED - 1;
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
        heap->singles = 0;
        send(heap, batch);
        return;
    }
    if (batch->page) {
        note_evicted(heap, batch->count);
        send(heap, batch);
    }
    begin(heap, batch, page, block);
    if (batch->most == 1)
        send(heap, batch);
    else if (heap->singles >= SCATTERED)
        send_all(heap);
}
