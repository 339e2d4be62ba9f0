#include "heap/rescue.h"

#include "heap/arena.h"
#include "heap/home.h"
#include "heap/hooks.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/sys.h"

#include <sys/mman.h>

#define OS_PAGE    ((uintptr_t)4096)
#define LEAST      16u   /* pages that may be empty, */
#define SHARE      32u   /* or so much of all, for a round */
#define AT_A_TIME  64u   /* pages to look at before others may go on: a call of free pays for it */
#define SETTLE     4000u /* locked operations */
#define PER_MS     256u /* pages looked at in vain, for a millisecond without a look at such pages */
#define REGRET_MAX 1000u /* ms */

_Atomic(uint32_t) mp_rescue_current;
static _Atomic(uint32_t) pages_returned;
static _Atomic(uint64_t) not_before; /* to look at current pages */

/* What is popped and pushed by others meanwhile. */
MP_RACY static struct mp_block *first_of(const struct mp_page *page) {
    return __atomic_load_n(&page->local_free, __ATOMIC_RELAXED);
}

MP_RACY static struct mp_block *next_of(const struct mp_block *block) {
    return mp_page_next_block(block);
}

MP_RACY static bool has_key(const struct mp_block *block) {
    return !mp_page_is_end(block) &&
           __atomic_load_n(&block->key, __ATOMIC_RELAXED) == mp_block_key(block);
}

MP_RACY static bool has_mark(const struct mp_block *block) {
    return __atomic_load_n(&block->key, __ATOMIC_RELAXED) == mp_block_mark(block);
}

MP_RACY static bool replace(struct mp_block *block, uintptr_t old, uintptr_t new) {
    return __atomic_compare_exchange_n(&block->key, &old, new, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

/* ---- by another than the owner ---- */

struct cut {
    struct mp_bin *bin;
    struct mp_page *page;
    struct mp_block *first, *second; /* the list's, or its end */
};

static void uncut(const struct cut *cut) {
    struct mp_block *blocks[2] = {cut->first, cut->second};
    for (unsigned i = 0; i < 2; i++) {
        if (!mp_page_is_end(blocks[i]))
            replace(blocks[i], mp_block_mark(blocks[i]), mp_block_key(blocks[i]));
    }
}

/* False: the list is in use. */
static bool begin(struct cut *cut) {
    cut->first = first_of(cut->page);
    cut->second = mp_page_end(cut->page);
    if (mp_page_is_end(cut->first))
        return true; /* no pop can begin, and none can be under way */
    if (!replace(cut->first, mp_block_key(cut->first), mp_block_mark(cut->first)))
        return false;
    cut->second = next_of(cut->first);
    if (mp_page_is_end(cut->second) ||
        replace(cut->second, mp_block_key(cut->second), mp_block_mark(cut->second)))
        return true;
    uncut(cut);
    return false;
}

/* Each takes a core some 20 cycles, so 20 us in all: a store buffer has some hundred entries. */
static void settle(void) {
    volatile uint32_t word = 0;
    for (unsigned i = 0; i < SETTLE; i++)
        __atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
}

static uint32_t length(const struct mp_page *page, const struct mp_block *block) {
    uint32_t count = 0;
    for (; count <= page->carved && block && has_key(block); block = next_of(block))
        count++;
    return count;
}

/* The owner has popped nothing since the cut, but for a pop that is stopped. */
static bool is_still(const struct cut *cut) {
    if (first_of(cut->page) != cut->first)
        return false;
    if (mp_page_is_end(cut->first))
        return true;
    return has_mark(cut->first) && next_of(cut->first) == cut->second &&
           (mp_page_is_end(cut->second) || has_mark(cut->second));
}

/* Blocks in the two lists that malloc may be given. */
static uint32_t lent(const struct cut *cut) {
    uint32_t count = length(cut->page, cut->bin->aside);
    if (mp_page_is_end(cut->first))
        return count;
    if (mp_page_is_end(cut->second))
        return count + 1;
    return count + 2 + length(cut->page, next_of(cut->second));
}

/* All but the OS pages that the block touches. Where it cannot be purged it stays as it is: nobody
 * looks at it any more. */
static void purge_around(const struct mp_page *page, const struct mp_block *block) {
    uintptr_t start = page->start, end = start + MP_SLICE_SIZE;
    uintptr_t from = end, to = end;
    if (mp_sys_madvise(start + OS_PAGE, 0, MADV_DONTNEED) != 0)
        return; /* OS pages are larger here, and the block could be in one that goes */
    if (block) {
        from = (uintptr_t)block & -OS_PAGE;
        to = ((uintptr_t)block + mp_classes[page->class].size + OS_PAGE - 1) & -OS_PAGE;
    }
    if (from > start)
        mp_sys_madvise(start, from - start, MADV_DONTNEED);
    if (end > to)
        mp_sys_madvise(to, end - to, MADV_DONTNEED);
}

static void empty(const struct cut *cut) {
    struct mp_bin *bin = cut->bin;
    struct mp_page *page = cut->page;
    uint32_t carved = 0;
    page->next = (uint16_t)(uintptr_t)cut->first;
    mp_page_set_owner(page, mp_page_owner(page) | MP_OWNER_CHECKED);
    mp_page_set_flag(page, MP_PAGE_EMPTIED); /* before keys go: a census is right at any moment */
    bin->lent = 0;
    if (!mp_page_is_end(cut->first)) {
        bin->lent = 1;
        carved = (uint32_t)((uintptr_t)cut->first - page->start) / mp_classes[page->class].size + 1;
        if (!mp_page_is_end(cut->second))
            replace(cut->second, mp_block_mark(cut->second), 0);
        replace(cut->first, mp_block_mark(cut->first), mp_block_key(cut->first));
    }
    purge_around(page, mp_rescue_left(page));
    atomic_store_explicit(&page->carved, (uint16_t)carved, memory_order_relaxed);
    bin->aside = bin->rest = NULL;
    bin->rest_count = 0;
    bin->watched = false;
    mp_pool_note_hollow(page, true);
}

/* True: the page has been emptied. */
static bool end(const struct cut *cut) {
    struct mp_bin *bin = cut->bin;
    struct mp_page *page = cut->page;
    uintptr_t remote = atomic_load_explicit(&page->remote, memory_order_relaxed);
    uint32_t listed = lent(cut), others = length(page, bin->rest);
    others += (uint32_t)(remote >> MP_REMOTE_COUNT_SHIFT);
    /* Blocks may wait in batches. And the one that a stopped pop has taken may be freed elsewhere
     * by now. */
    if (listed + others != page->carved || !is_still(cut) || !mp_remote_forget(page, remote)) {
        uncut(cut);
        return false;
    }
    /* What malloc may take yet stays charged. Pushes the owner counts, who may be in one. */
    bin->allocated -= listed - !mp_page_is_end(cut->first);
    empty(cut);
    return true;
}

/* A round over all heaps, a few at a time, by whoever comes; one thread at a time. */
static struct {
    _Atomic(bool) somebody; /* is at it */
    _Atomic(uint32_t) heap; /* the next one; 0: no round is under way */
    bool current_too;
    uint32_t current;       /* pages that it was for, of those that are current */
    uint32_t seen, emptied; /* pages */
} the_round;

/* Most pages are not, by their counts, and then none of their memory is looked at. Those with
 * blocks that a program may protect never are: the counts do not tell for sure that it has none.
 * And a page that hardly has any memory is not worth it. */
MP_RACY static bool looks_empty(const struct mp_bin *bin, const struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    uint32_t free = bin->lent + (bin->window - page->until) + bin->rest_count;
    return free + mp_remote_count(page) >= page->carved && page->carved * size >= 2 * OS_PAGE &&
           size < MP_PROTECTED_MIN && mp_queue_has_all_keys(page);
}

static bool look_at_current(struct cut *cut, struct mp_bin *bin) {
    cut->bin = bin;
    cut->page = mp_arena_page(bin->current);
    the_round.seen++;
    return !mp_rescue_has_emptied(cut->page) && looks_empty(bin, cut->page) && begin(cut);
}

/* All blocks of a page in a queue are free, and its owner is not about to see it. What it has freed
 * last is in the page's list by the time that it is in the count. At `until` 0 its own event is to
 * come. */
static bool is_all_back(const struct mp_page *page) {
    uint32_t until = __atomic_load_n(&page->until, __ATOMIC_ACQUIRE); /* mp_page_count_free */
    return (mp_page_flags(page) & MP_PAGE_QUEUED) && until > 0 &&
           until + page->held == mp_remote_count(page);
}

static void look_at_queue(struct mp_heap *heap, uint32_t number) {
    while (number) {
        struct mp_page *page = mp_arena_page(number);
        number = page->next;
        the_round.seen++;
        if (is_all_back(page) && mp_queue_has_all_keys(page)) {
            mp_queue_remove(heap, page);
            mp_queue_collect(page);
            mp_queue_retire(page);
        }
    }
}

/* During a visit. */
static void look_at_heap(struct mp_heap *heap) {
    struct cut cuts[MP_SMALL_CLASSES];
    uint32_t count = 0;
    the_round.seen += mp_home_visit(heap);
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        look_at_queue(heap, heap->bins[c].dense_first);
        look_at_queue(heap, heap->bins[c].sparse);
    }
    if (!the_round.current_too || mp_options.check == MP_CHECK_FULL)
        return;
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        if (heap->bins[c].current)
            count += look_at_current(&cuts[count], &heap->bins[c]);
    }
    if (count > 0)
        settle();
    while (count-- > 0)
        the_round.emptied += end(&cuts[count]);
}

/* Looking at current pages was in vain if few were empty: those that were counted may be soon, but
 * to look costs, too. It was worse than that if those of the last round were wanted again: then it
 * is not done for a while, and each time it is for longer. */
static void end_round(uint64_t now) {
    static uint32_t regret_ms, last_emptied, last_returned;
    if (!the_round.current_too)
        return;
    uint32_t returned = atomic_load_explicit(&pages_returned, memory_order_relaxed);
    uint32_t delay_ms = 0;
    if (the_round.emptied < the_round.current / 2) {
        atomic_fetch_add_explicit(&mp_rescue_current, the_round.current - the_round.emptied,
                                  memory_order_relaxed);
        delay_ms = 1 + the_round.seen / PER_MS;
    }
    if (returned - last_returned > last_emptied / 2) {
        regret_ms = 2 * regret_ms + 1 + the_round.seen / PER_MS;
        regret_ms = regret_ms > REGRET_MAX ? REGRET_MAX : regret_ms;
        delay_ms = regret_ms;
    } else if (the_round.emptied > 0) {
        regret_ms = 0;
    }
    last_emptied = the_round.emptied;
    last_returned = returned;
    atomic_store_explicit(&not_before, now + delay_ms, memory_order_relaxed);
}

static void visit(struct mp_heap *heap) {
    if (heap->state == MP_HEAP_LIVE && mp_visit_begin(heap)) { /* its own is busy */
        look_at_heap(heap);
        mp_visit_end(heap);
    }
}

static bool begin_turn(void) {
    mp_slow_enter();
    if (!atomic_exchange_explicit(&the_round.somebody, true, memory_order_acquire))
        return true;
    mp_slow_leave();
    return false;
}

static void end_turn(void) {
    atomic_store_explicit(&the_round.somebody, false, memory_order_release);
    mp_slow_leave();
    mp_hooks_do_what_is_asked();
}

static void go_round(uint64_t now, bool current_too) {
    uint32_t next = atomic_load_explicit(&the_round.heap, memory_order_relaxed),
             seen = the_round.seen;
    if (next == 0) {
        next = mp_heap_count();
        the_round.current_too = current_too;
        /* What is counted from now on is for the next. */
        atomic_store_explicit(&mp_queue_all_back, 0, memory_order_relaxed);
        if (current_too)
            the_round.current =
                atomic_exchange_explicit(&mp_rescue_current, 0, memory_order_relaxed);
        the_round.seen = the_round.emptied = seen = 0;
    }
    for (; next > 0 && the_round.seen - seen < AT_A_TIME; next--)
        visit(mp_heap_by_number(next));
    if (next == 0)
        end_round(now);
    atomic_store_explicit(&the_round.heap, next, memory_order_relaxed);
}

void mp_rescue(struct mp_heap *heap) {
    uint32_t all_back = atomic_load_explicit(&mp_queue_all_back, memory_order_relaxed);
    uint32_t empty_now = atomic_load_explicit(&mp_rescue_current, memory_order_relaxed);
    bool under_way = atomic_load_explicit(&the_round.heap, memory_order_relaxed) > 0;
    if (MP_LIKELY(all_back < LEAST && empty_now < LEAST && !under_way))
        return;
    uint32_t share = mp_pool_filled() / SHARE, least = share > LEAST ? share : LEAST;
    bool queued = all_back >= least, current = empty_now >= least;
    if (MP_LIKELY(!queued && !current && !under_way) || mp_lock_all_mine)
        return;
    uint64_t earliest = atomic_load_explicit(&not_before, memory_order_relaxed);
    if (earliest > 0 && !queued && !under_way && ++heap->waited % 32 != 0)
        return; /* the clock is not for every time */
    uint64_t now = mp_sys_now_ms();
    /* A round for pages in queues looks at the others as well, if that may be. */
    bool current_too = now >= earliest && mp_options.purge != MP_TIME_OFF;
    if ((!queued && !under_way && !current_too) || !begin_turn())
        return;
    /* Not if the round that was under way has come to its end meanwhile. */
    if (atomic_load_explicit(&the_round.heap, memory_order_relaxed) > 0 || !under_way)
        go_round(now, current_too);
    end_turn();
}

bool mp_rescue_all(void) {
    if (!begin_turn())
        return false;
    uint32_t emptied = the_round.emptied;
    bool current_too = the_round.current_too;
    the_round.current_too = true;
    for (uint32_t n = mp_heap_count(); n > 0; n--)
        visit(mp_heap_by_number(n));
    the_round.current_too = current_too;
    bool any = the_round.emptied != emptied;
    end_turn();
    return any;
}

/* ---- by the owner ---- */

MP_RACY const struct mp_block *mp_rescue_left(const struct mp_page *page) {
    const struct mp_block *left = (const struct mp_block *)(page->start + page->next);
    return mp_page_is_end(left) ? NULL : left;
}

/* The blocks before the one that is left get their keys again, and those of a page that was given
 * back are zero. */
void mp_rescue_make_blocks(struct mp_page *page) {
    uint32_t size = mp_classes[page->class].size;
    struct mp_block *next = mp_page_end(page);
    if (page->carved > 0 && page->local_free == mp_rescue_left(page)) {
        next = page->local_free;
        mp_page_link_block(next, mp_page_end(page));
    }
    for (uint32_t i = page->carved; i > 1; i--) {
        struct mp_block *block = (struct mp_block *)(page->start + (uintptr_t)(i - 2) * size);
        mp_page_link_block(block, next);
        block->key = mp_block_key(block);
        next = block;
    }
    page->local_free = next;
    mp_page_clear_flag(page, MP_PAGE_EMPTIED);
    /* Before what is left is overwritten: who reads that sees then that the flag has gone. */
    atomic_thread_fence(memory_order_release);
    mp_pool_note_hollow(page, false);
}

void mp_rescue_return(struct mp_bin *bin, struct mp_page *page) {
    atomic_fetch_add_explicit(&pages_returned, 1, memory_order_relaxed);
    mp_rescue_make_blocks(page);
    /* As if all had been handed out (pages.c); the caller takes the list back. */
    bin->allocated += bin->window - page->until + page->carved - (page->carved > 0);
    page->until = bin->window = 0;
    page->held = 0;
    mp_page_set_owner(page, mp_page_owner(page) & ~MP_OWNER_CHECKED);
}
