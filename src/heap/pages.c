#include "heap/pages.h"

#include "heap/arena.h"
#include "heap/hooks.h"
#include "heap/misuse.h"
#include "heap/pool.h"
#include "heap/remote.h"
#include "heap/thp.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/sys.h"

#define OS_PAGE 4096u
#define KEEP_MS 50u /* a current page that was refilled, or found in use, since is kept */
#define NEAR    4u  /* blocks that a list has when a sample is near */
#define RESCUE  16u /* pages that are all back, or a sixteenth of all, for a look at them */
#define CADENCE                                                                                    \
    256u /* frees into a current page until it is looked at, at most, while it is in use */

static _Atomic(uint32_t) all_back; /* see mp_pages_rescue */

static void read_mail(struct mp_heap *heap);

static uint32_t block_count(const struct mp_page *page) {
    return mp_classes[page->class].blocks;
}

static uint32_t cadence(const struct mp_page *page) {
    uint32_t twice = 2 * block_count(page);
    return twice < CADENCE ? twice : CADENCE;
}

static struct mp_page *page_or_null(uint32_t number) {
    return number ? mp_arena_page(number) : NULL;
}

/* ---- the count of used blocks, and when to look at a page again ---- */

/* `until` counts the owner's frees down to the next event: a dense page is looked at when it has
 * become sparse, any page when it is empty. Of the `used` blocks `out` are not back yet; the others
 * wait in `remote`. */
static void arm(struct mp_page *page, uint32_t used, uint32_t out) {
    uint8_t flags = mp_page_flags(page);
    if ((flags & MP_PAGE_QUEUED) && !(flags & MP_PAGE_SPARSE)) {
        uint32_t quarter = block_count(page) / 4;
        out -= out > quarter ? quarter : 0;
    }
    page->until = out;
    page->held = (uint16_t)(used - out);
}

static void set_owner(struct mp_heap *heap, struct mp_page *page) {
    bool checked = mp_options.check == MP_CHECK_FULL;
    page->heap = heap->number;
    mp_page_set_owner(page, heap->owner + (checked ? MP_OWNER_CHECKED : 0));
}

/* ---- queues ---- */

static void enqueue(struct mp_heap *heap, struct mp_page *page, uint32_t used, uint32_t out) {
    struct mp_bin *bin = &heap->bins[page->class];
    uint32_t number = mp_arena_number(page);
    mp_page_set_flag(page, MP_PAGE_QUEUED);
    if (out <= block_count(page) / 4) {
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
    arm(page, used, out);
}

static void dequeue(struct mp_heap *heap, struct mp_page *page) {
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

/* However its count came about. */
static bool has_all_keys(const struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    for (uint32_t i = 0; i < page->carved; i++)
        if (!mp_block_is_free((const struct mp_block *)(page->start + (uintptr_t)i * size)))
            return false;
    return true;
}

/* check=full: a page whose count says that it is empty has nothing but free blocks. A block that
 * was freed, overwritten and freed again was counted twice. */
static bool verify_empty(const struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    for (uint32_t i = 0; i < page->carved; i++) {
        const struct mp_block *block = (const struct mp_block *)(page->start + (uintptr_t)i * size);
        if (!mp_block_is_free(block)) {
            mp_misuse_overwritten(block, page);
            return false;
        }
    }
    return true;
}

/* An empty page, out of all queues, goes back to the pool. */
static void retire(struct mp_page *page) {
    if (MP_UNLIKELY(mp_options.check == MP_CHECK_FULL) && !verify_empty(page)) {
        mp_page_set_owner(page, 0); /* nobody's for good: lost, not shared */
        return;
    }
    mp_page_set_owner(page, 0);
    /* last_pages is 0 already: it is where `remote`, in which no blocks wait, has their count. An
     * adopter that came too late may still be reading that word, so it is not written to here. */
    mp_pool_give(page, 1);
}

/* Takes over what others freed; returns the blocks still used. */
static uint32_t collect(struct mp_page *page) {
    uint32_t used = mp_page_used(page);
    uint32_t count = mp_remote_collect(page);
    return used > count ? used - count : 0;
}

static void look_again(struct mp_heap *heap, struct mp_page *page);

/* A page that is no longer current, or new to its owner, or has had its event. What others freed
 * stays in `remote` until it is wanted: it is in their caches. */
static void settle(struct mp_heap *heap, struct mp_page *page) {
    uint32_t used = mp_page_used(page), back = mp_remote_count(page);
    if (back < used) {
        enqueue(heap, page, used, used - back);
        atomic_thread_fence(memory_order_seq_cst); /* see hand_over */
        if (mp_remote_count(page) != back)
            look_again(heap, page);
        return;
    }
    uint32_t counted = atomic_load_explicit(&all_back, memory_order_relaxed);
    if (back && counted)
        atomic_compare_exchange_strong_explicit(&all_back, &counted, counted - 1,
                                                memory_order_relaxed, memory_order_relaxed);
    collect(page);
    retire(page);
}

/* ---- the current page's list ----
 *
 * malloc pops the current page's local_free and free pushes onto it, so a thread that frees and
 * allocates in turns gets the same block again and again, and nothing else happens. The slow path
 * is in control nevertheless, by two means: local_free runs out, and so does `until`, which counts
 * pushes.
 *
 * The bin counts the blocks that it has handed out (`allocated`), because the next sample is one of
 * them. Popping counts nothing. So a list is charged beforehand, as if all of it had been handed
 * out, and pushes afterwards, as many as `until` says there were. What has been charged is then
 * never less than what was handed out, and as long as the list and the pushes that are allowed are
 * together no more than the blocks before the sample, it cannot be missed. What the list may not
 * have is kept back in `rest`. */

static void set_window(struct mp_bin *bin, struct mp_page *page, uint32_t pushes) {
    page->until = pushes;
    page->held = 0;
    bin->window = pushes;
}

/* The list's first block is one that can be handed out, or there is none. What a program has
 * written over is lost, not dangerous. */
static bool has_list(struct mp_page *page) {
    struct mp_block *first = page->local_free;
    if (mp_block_is_free(first))
        return true;
    if (first != mp_page_end(page))
        mp_misuse_overwritten(first, page);
    page->local_free = mp_page_end(page);
    return false;
}

/* Ends the loan: all free blocks of the page are in local_free, and none is charged. A list that
 * does not end where it should is the program's doing; what is behind that place is lost. */
static void take_back(struct mp_bin *bin, struct mp_page *page) {
    uint32_t carved = page->carved, kept = bin->rest_count < carved ? bin->rest_count : carved;
    uint32_t free = 0, most = carved - kept;
    struct mp_block *block = page->local_free, *last = NULL;
    for (; !mp_page_is_end(block) && mp_block_is_free(block) && free < most; free++) {
        last = block;
        block = mp_page_next_block(block);
    }
    if (MP_UNLIKELY(block != mp_page_end(page))) {
        mp_misuse_overwritten(block, page);
        if (free == most) { /* a circle: what it leaves out is not known */
            free = 0;
            last = NULL;
        }
        if (last)
            mp_page_link_block(last, mp_page_end(page));
        else
            page->local_free = mp_page_end(page);
    }
    bin->allocated += bin->window - page->until;
    bin->allocated -= free;
    if (bin->rest) {
        if (last)
            mp_page_link_block(last, bin->rest);
        else
            page->local_free = bin->rest;
        free += kept;
        bin->rest = NULL;
        bin->rest_count = 0;
    }
    /* A damaged list may hold blocks twice. They are not all free unless they have their keys. */
    if (free == carved && MP_UNLIKELY(!has_all_keys(page)))
        free = 0;
    set_window(bin, page, carved - free);
}

/* Cuts a list after `count` blocks, at least one; returns what is left of it. NULL: the program has
 * written to it, and it is as it was. */
static struct mp_block *cut(struct mp_page *page, struct mp_block *first, uint32_t count) {
    struct mp_block *last = NULL, *next = first;
    for (uint32_t i = 0; i <= count; i++) {
        if (mp_page_is_end(next) || !mp_block_is_free(next))
            return NULL;
        if (i < count) {
            last = next;
            next = mp_page_next_block(last);
        }
    }
    mp_page_link_block(last, mp_page_end(page));
    return next;
}

/* Charges the list, `most` blocks of the `free` ones at most, and allows pushes: `looks` of them,
 * or as many as there are blocks left to the sample. One at least, since nothing forbids a push:
 * that one is taken back by mp_pages_event. */
static void lend(struct mp_bin *bin, struct mp_page *page, uint32_t free, uint64_t most,
                 uint32_t looks) {
    if (MP_UNLIKELY(free > most)) {
        uint32_t keep = (uint32_t)most;
        if (keep) {
            bin->rest = cut(page, page->local_free, keep);
        } else {
            bin->rest = page->local_free;
            page->local_free = mp_page_end(page);
        }
        bin->rest_count = bin->rest ? free - keep : 0;
        free = keep;
    }
    bin->lent = free;
    bin->allocated += free;
    uint64_t left = bin->sample_at - bin->allocated;
    set_window(bin, page, left > looks ? looks : left ? (uint32_t)left : 1);
}

void mp_pages_keep_back(struct mp_heap *heap, struct mp_page *page, struct mp_block *block) {
    struct mp_bin *bin = &heap->bins[page->class];
    mp_page_link_block(block, bin->rest ? bin->rest : mp_page_end(page));
    block->key = mp_block_key(block);
    bin->rest = block;
    bin->rest_count++;
}

/* The thread allocates from no page of this class. */
static void no_current(struct mp_bin *bin, unsigned class) {
    bin->current = 0;
    mp_tls.page[class] = &mp_no_page;
}

/* ---- where blocks come from ---- */

/* Makes the blocks of the page's next stretch, at most one OS page of it: what a program does not
 * use yet is not touched. The keys stand before the count says that the blocks exist, so a census
 * at any moment in between is right. */
static void carve(struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    uint32_t from = page->carved, to = block_count(page);
    uint32_t stretch = ((from * size) / OS_PAGE + 1) * OS_PAGE / size;
    if (stretch <= from)
        stretch = from + 1;
    if (to > stretch)
        to = stretch;
    struct mp_block *next = page->local_free;
    for (uint32_t i = to; i-- > from;) {
        struct mp_block *block = (struct mp_block *)(page->start + (uintptr_t)i * size);
        mp_page_link_block(block, next);
        block->key = mp_block_key(block);
        next = block;
    }
    page->local_free = next;
    atomic_signal_fence(memory_order_release);
    page->carved = (uint16_t)to;
}

static struct mp_page *fresh_page(struct mp_heap *heap, unsigned class) {
    bool zero;
    struct mp_page *page = mp_pool_take(heap->node, 1, 1, &zero);
    if (!page)
        return NULL;
    page->class = (uint8_t) class;
    page->inverse = mp_classes[class].inverse;
    page->local_free = mp_page_end(page);
    page->until = 0;
    page->held = 0;
    page->carved = 0;
    atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&page->remote, MP_OWNED, memory_order_relaxed);
    set_owner(heap, page);
    mp_page_set_kind(page, MP_KIND_SMALL);
    return page;
}

/* The next page to allocate from: one that is in use already before one that would empty soon,
 * and both before new memory. */
static struct mp_page *next_page(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page = page_or_null(bin->dense_first);
    if (!page)
        page = page_or_null(bin->sparse);
    if (page) {
        dequeue(heap, page);
        return page;
    }
    page = mp_pool_adopt(heap->node, class);
    if (page) {
        set_owner(heap, page);
        return page;
    }
    return fresh_page(heap, class);
}

/* The current page is full. Its thread lets go of it, unless others have freed into it meanwhile.
 */
static bool leave_current(struct mp_heap *heap, struct mp_page *page) {
    mp_page_clear_flag(page, MP_PAGE_CURRENT);
    mp_page_set_owner(page, 0);
    if (mp_remote_disown(page)) {
        mp_thp_note_full(page, mp_sys_now_ms());
        return true;
    }
    set_owner(heap, page);
    mp_page_set_flag(page, MP_PAGE_CURRENT);
    return false;
}

/* Collects and carves; returns how many free blocks the current page has, none of them charged. */
static uint32_t replenish(struct mp_bin *bin, struct mp_page *page) {
    uint32_t used = collect(page);
    if (used < page->carved && MP_UNLIKELY(!has_list(page)))
        used = page->carved;
    if (used == page->carved && page->carved < block_count(page))
        carve(page);
    set_window(bin, page, used);
    return page->carved - used;
}

/* Sees to a current page with free blocks, none of them charged; returns how many, 0 for no memory.
 */
static uint32_t ready_current(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page = page_or_null(bin->current);
    if (page)
        take_back(bin, page);
    for (;;) {
        uint32_t free = page ? replenish(bin, page) : 0;
        if (free)
            return free;
        if (page && !leave_current(heap, page))
            continue;
        no_current(bin, class);
        page = next_page(heap, class);
        if (!page)
            return 0;
        mp_page_set_flag(page, MP_PAGE_CURRENT);
        bin->current = mp_arena_number(page);
        mp_tls.page[class] = page;
    }
}

/* check=full: every free block of the page must have its key and a link to another. */
static void verify_free(const struct mp_page *page) {
    uint32_t left = page->carved;
    for (struct mp_block *block = page->local_free; !mp_page_is_end(block) && left > 0; left--) {
        if (((uintptr_t)block - page->start) % mp_classes[page->class].size != 0 ||
            !mp_block_is_free(block)) {
            mp_misuse_overwritten(block, page);
            return;
        }
        block = mp_page_next_block(block);
    }
}

enum mp_refill mp_pages_refill(struct mp_heap *heap, unsigned class, uint64_t now,
                               struct mp_block **block) {
    struct mp_bin *bin = &heap->bins[class];
    mp_pages_flush(heap);
    read_mail(heap);
    uint32_t free = ready_current(heap, class);
    if (!free)
        return MP_REFILL_NONE;
    struct mp_page *page = mp_tls.page[class];
    if (MP_UNLIKELY(mp_options.check == MP_CHECK_FULL))
        verify_free(page);
    bin->looked_ms = (uint32_t)now;
    bin->idle_at = UINT64_MAX;
    uint32_t looks = page->carved - free;
    if (looks == 0)
        looks = free;
    if (looks > cadence(page))
        looks = cadence(page);
    if (MP_UNLIKELY(bin->sample_at == bin->allocated)) {
        *block = page->local_free;
        page->local_free = mp_page_next_block(*block);
        bin->allocated++;
        mp_bin_sample_in(bin, mp_hooks.countdown(heap, class));
        lend(bin, page, free - 1, bin->sample_at - bin->allocated, looks);
        return MP_REFILL_SAMPLE;
    }
    lend(bin, page, free, bin->sample_at - bin->allocated, looks);
    return MP_REFILL_LIST;
}

/* ---- where blocks go to ---- */

static void resettle(struct mp_heap *heap, struct mp_page *page) {
    dequeue(heap, page);
    settle(heap, page);
}

/* The same, less the work where it stays in its queue. */
static void look_again(struct mp_heap *heap, struct mp_page *page) {
    for (;;) {
        uint32_t used = mp_page_used(page), back = mp_remote_count(page);
        uint32_t least = mp_page_flags(page) & MP_PAGE_SPARSE ? 0 : block_count(page) / 4;
        if (used <= back || used - back <= least) {
            resettle(heap, page);
            return;
        }
        arm(page, used, used - back);
        atomic_thread_fence(memory_order_seq_cst); /* see hand_over */
        if (mp_remote_count(page) == back)
            return;
    }
}

static void resettle_all(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    /* A page that stays goes to its queue's end: stop at the one that was last. */
    for (uint32_t number = bin->dense_first, last = bin->dense_last, next; number;
         number = number == last ? 0 : next) {
        next = mp_arena_page(number)->next;
        resettle(heap, mp_arena_page(number));
    }
    for (uint32_t number = bin->sparse, next; number; number = next) {
        next = mp_arena_page(number)->next;
        resettle(heap, mp_arena_page(number));
    }
}

/* The pushes that were allowed have come. For a while after blocks were asked of it the page is
 * left alone. Then the thread has perhaps turned to other things: the page is looked at again when
 * all that is out may be back, and goes if it is, unless blocks were handed out in between.
 *
 * Near a sample the list is cut short, so that pushes can be allowed again: a thread that frees and
 * allocates in turns comes to the sample in a few such steps. */
static void current_event(struct mp_heap *heap, struct mp_page *page, uint64_t now) {
    unsigned class = page->class;
    struct mp_bin *bin = &heap->bins[class];
    bool in_use = (uint32_t)now - bin->looked_ms < KEEP_MS;
    mp_pages_flush(heap);
    read_mail(heap);
    if (in_use && MP_LIKELY(bin->sample_at - bin->allocated > bin->window)) {
        bin->allocated += bin->window;
        uint64_t left = bin->sample_at - bin->allocated;
        bin->lent += bin->window;
        uint32_t looks = cadence(page);
        set_window(bin, page, left > looks ? looks : (uint32_t)left);
        return;
    }
    take_back(bin, page);
    uint32_t used = collect(page);
    if (!in_use) {
        if (used == 0) {
            mp_page_clear_flag(page, MP_PAGE_CURRENT);
            no_current(bin, class);
            retire(page);
            return;
        }
        in_use = bin->idle_at != UINT64_MAX && bin->idle_at != bin->allocated;
        bin->idle_at = in_use ? UINT64_MAX : bin->allocated;
        if (in_use)
            bin->looked_ms = (uint32_t)now;
    }
    set_window(bin, page, used);
    uint32_t free = page->carved - used;
    uint64_t left = bin->sample_at - bin->allocated, most = left;
    if (left / 2 < free)
        most = left > 2 * NEAR ? NEAR : left - left / 2;
    lend(bin, page, free, most, in_use ? cadence(page) : used);
}

void mp_pages_event(struct mp_heap *heap, struct mp_page *page, uint64_t now) {
    if (mp_page_flags(page) & MP_PAGE_CURRENT)
        current_event(heap, page, now);
    else
        resettle(heap, page);
}

/* The page has just become this thread's by a push. */
static void claimed(struct mp_heap *heap, struct mp_page *page) {
    if (mp_page_flags(page) & MP_PAGE_LISTED)
        mp_pool_unlist(page);
    if (heap) {
        set_owner(heap, page);
        settle(heap, page);
        return;
    }
    /* A thread past its exit keeps nothing. */
    do {
        uint32_t used = collect(page);
        if (used == 0) {
            retire(page);
            return;
        }
        arm(page, used, used);
    } while (!mp_pool_list_and_disown(page));
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

static void read_mail(struct mp_heap *heap) {
    uint32_t sent = atomic_load_explicit(&heap->mails, memory_order_acquire);
    if (sent - heap->mails_read > MP_MAILS) { /* some were lost */
        for (unsigned c = 0; c < MP_SMALL_CLASSES; c++)
            resettle_all(heap, c);
        heap->mails_read = sent;
    }
    for (; heap->mails_read != sent; heap->mails_read++) {
        uint64_t mail =
            atomic_load_explicit(&heap->mail[heap->mails_read % MP_MAILS], memory_order_acquire);
        if ((uint32_t)(mail >> 32) != heap->mails_read + 1)
            return; /* not written yet */
        struct mp_page *page = page_or_null((uint32_t)mail);
        /* It may have become anything since. */
        if (page && mp_page_kind(page) == MP_KIND_SMALL &&
            (mp_page_owner(page) & ~MP_OWNER_CHECKED) == heap->owner &&
            (mp_page_flags(page) & MP_PAGE_QUEUED) && page->heap == heap->number)
            look_again(heap, page);
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
    if (mine) {
        claimed(heap, page);
        return;
    }
    /* With the fence in settle: an owner that queues the page now sees the push, or we the queue.
     */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t owner = queued_by(page);
    if (owner)
        tell_owner(owner, mp_arena_number(page));
    if (owner && back >= used)
        atomic_fetch_add_explicit(&all_back, 1, memory_order_relaxed);
}

/* Retires what is all back in a queue, with the gate closed and the owner in no slow section. The
 * owner may be anywhere on the fast paths, but nowhere near such a page: it has no block to free
 * there, and allocates from its current pages alone. What it has freed last is in the page's list
 * by the time that it is in the count. At `until` 0 its own event is to come. */
static void rescue_from(struct mp_heap *heap, uint32_t number) {
    while (number) {
        struct mp_page *page = mp_arena_page(number);
        number = page->next;
        if (is_all_back(page) && has_all_keys(page)) {
            dequeue(heap, page);
            collect(page);
            retire(page);
        }
    }
}

void mp_pages_rescue(void) {
    uint32_t least = mp_pool_used() / 16;
    uint32_t counted = atomic_load_explicit(&all_back, memory_order_relaxed);
    if (counted < (least > RESCUE ? least : RESCUE) || mp_lock_all_mine ||
        !atomic_compare_exchange_strong_explicit(&all_back, &counted, 0, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    if (!mp_gate_try_close()) { /* another time: this is a free, which shall not wait */
        atomic_fetch_add_explicit(&all_back, counted, memory_order_relaxed);
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

void mp_pages_flush(struct mp_heap *heap) {
    for (unsigned i = 0; i < MP_BATCHES; i++) {
        if (heap->batches[i].page)
            hand_over(heap, &heap->batches[i]);
    }
}

static void send(struct mp_heap *heap, struct mp_batch *batch) {
    mp_slow_enter();
    read_mail(heap);
    hand_over(heap, batch);
    mp_slow_leave();
    mp_pages_rescue();
}

void mp_pages_free_elsewhere(struct mp_heap *heap, struct mp_page *page, struct mp_block *block) {
    if (MP_UNLIKELY(!heap)) {
        struct mp_batch single = {page, block, block, 1};
        mp_slow_enter();
        hand_over(NULL, &single);
        mp_slow_leave();
        return;
    }
    struct mp_batch *batch = &heap->batches[((uintptr_t)page / sizeof *page) % MP_BATCHES];
    if (batch->page && batch->page != page)
        send(heap, batch);
    if (!batch->page) {
        batch->page = page;
        batch->first = batch->last = block;
        batch->count = 1;
    } else {
        mp_page_link_block(block, batch->first);
        batch->first = block;
        batch->count++;
    }
    if (batch->count == MP_BATCH_COUNT ||
        batch->count * mp_classes[page->class].size >= MP_BATCH_BYTES)
        send(heap, batch);
}

/* ---- everything given back; a thread's end ---- */

/* The current page becomes one like others. */
static struct mp_page *end_current(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page = page_or_null(bin->current);
    if (page) {
        take_back(bin, page);
        mp_page_clear_flag(page, MP_PAGE_CURRENT);
        no_current(bin, class);
    }
    return page;
}

static void leave_page(struct mp_page *page) {
    for (;;) {
        uint32_t used = collect(page);
        if (used == 0) {
            retire(page);
            return;
        }
        arm(page, used, used);
        mp_page_set_owner(page, 0);
        bool room = used < block_count(page);
        if (room ? mp_pool_list_and_disown(page) : mp_remote_disown(page))
            return;
    }
}

void mp_pages_leave(struct mp_heap *heap) {
    mp_pages_flush(heap);
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        struct mp_bin *bin = &heap->bins[c];
        struct mp_page *page;
        while ((page = page_or_null(bin->dense_first)) || (page = page_or_null(bin->sparse))) {
            dequeue(heap, page);
            leave_page(page);
        }
        page = end_current(heap, c);
        if (page)
            leave_page(page);
    }
}

void mp_pages_trim(struct mp_heap *heap) {
    mp_pages_flush(heap);
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        resettle_all(heap, c);
        struct mp_page *page = end_current(heap, c);
        if (page)
            settle(heap, page);
    }
}

/* ---- after a fork ---- */

static struct mp_lock revive_lock = MP_LOCK_INIT(MP_RANK_REVIVE);

bool mp_pages_is_lost(const struct mp_page *page) {
    return mp_page_flags(page) & MP_PAGE_LOST;
}

/* One pass over the entries, a cache line per slice: little beside the fork itself. Their blocks
 * are looked at when somebody frees into the page (mp_pages_revive), for a copy's lists may have
 * been in motion. */
void mp_pages_orphan_lost(void) {
    uintptr_t survivor = mp_tls.heap ? mp_tls.heap->owner : 0;
    for (uint32_t r = 0; r < mp_range_count; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++) {
            struct mp_page *page = &mp_ranges[r].meta[i];
            enum mp_kind kind = mp_page_kind(page);
            if (kind == MP_KIND_SMALL &&
                (atomic_load_explicit(&page->remote, memory_order_relaxed) & MP_OWNED) &&
                (mp_page_owner(page) & ~MP_OWNER_CHECKED) != survivor) {
                mp_page_set_owner(page, 0);
                mp_page_set_flag(page, MP_PAGE_LOST);
            }
        }
    }
}

void mp_pages_revive(struct mp_heap *heap, struct mp_page *page) {
    mp_lock_take(&revive_lock);
    if (!mp_pages_is_lost(page)) {
        mp_lock_drop(&revive_lock);
        return;
    }
    uint32_t size = mp_classes[page->class].size, used = 0;
    page->local_free = mp_page_end(page);
    for (uint32_t i = page->carved; i-- > 0;) {
        struct mp_block *block = (struct mp_block *)(page->start + (uintptr_t)i * size);
        if (mp_block_is_free(block)) {
            mp_page_link_block(block, page->local_free);
            page->local_free = block;
        } else {
            used++;
        }
    }
    atomic_store_explicit(&page->remote, MP_OWNED, memory_order_relaxed);
    mp_page_clear_flag(page, MP_PAGE_CURRENT | MP_PAGE_QUEUED | MP_PAGE_SPARSE | MP_PAGE_LOST);
    set_owner(heap, page);
    enqueue(heap, page, used, used);
    mp_lock_drop(&revive_lock);
}
