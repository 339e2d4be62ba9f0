#include "heap/home.h"

#include "heap/arena.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "platform/sys.h"

#define PACE  32u  /* pages filled, after which half of what has been counted is forgotten */
#define SHARE 8u   /* one page of so many must have come to its own thread first */
#define AWAY  100u /* ms without a refill: the thread may be asleep, or do other things now */

static uint32_t get(const _Atomic(uint16_t) *count) {
    return atomic_load_explicit(count, memory_order_relaxed);
}

static void set(_Atomic(uint16_t) *count, uint32_t value) {
    atomic_store_explicit(count, (uint16_t)value, memory_order_relaxed);
}

void mp_home_note_left(struct mp_bin *bin) {
    uint32_t left = get(&bin->left) + 1;
    if (left >= 2 * PACE) {
        left /= 2;
        set(&bin->regained, get(&bin->regained) / 2);
    }
    set(&bin->left, left);
}

static void note_regained(struct mp_bin *bin) {
    if (get(&bin->regained) < 2 * PACE) /* what was filled long ago is not in `left` any more */
        set(&bin->regained, get(&bin->regained) + 1);
}

/* Is its thread there to take them, and does it want its pages back? Of another node's page that is
 * not asked: here it can only be left. */
static bool is_home(const struct mp_bin *bin, bool foreign) {
    uint32_t regained = get(&bin->regained);
    return (foreign || (regained > 0 && regained * SHARE >= get(&bin->left))) &&
           (uint32_t)mp_sys_now_ms() -
                   atomic_load_explicit(&bin->refilled_ms, memory_order_relaxed) <=
               AWAY;
}

/* Another thread's: a guess. */
MP_RACY static unsigned home_node(const struct mp_heap *heap) {
    return heap->node;
}

static bool push(struct mp_heap *heap, struct mp_page *page) {
    uint32_t first = atomic_load_explicit(&heap->homing, memory_order_relaxed);
    do {
        if (first == MP_HOME_SHUT)
            return false;
        page->next = first;
        /* release: who takes the page sees its entry */
    } while (!atomic_compare_exchange_weak_explicit(&heap->homing, &first, mp_arena_number(page),
                                                    memory_order_release, memory_order_relaxed));
    return true;
}

bool mp_home_send(struct mp_heap *from, struct mp_page *page) {
    struct mp_heap *home = mp_heap_by_number(page->heap);
    uint32_t used = mp_page_used(page);
    if (home == from) {
        note_regained(&from->bins[page->class]);
        return false;
    }
    bool foreign = page->node != from->node;
    if (!home || mp_remote_count(page) >= used || home_node(home) != page->node ||
        !is_home(&home->bins[page->class], foreign))
        return false;
    mp_page_set_flag(page, MP_PAGE_HOMING);
    if (!push(home, page)) {
        mp_page_clear_flag(page, MP_PAGE_HOMING);
        return false;
    }
    /* With the fence in hand_over (elsewhere.c): who pushes the page's last block now sees the
     * flag, and this the block, whoever has the page by now. */
    atomic_thread_fence(memory_order_seq_cst);
    if (mp_remote_count_guess(page) >= used)
        atomic_fetch_add_explicit(&mp_queue_all_back, 1, memory_order_relaxed);
    return true;
}

static uint32_t take_all(struct mp_heap *heap, uint32_t instead) {
    return atomic_exchange_explicit(&heap->homing, instead, memory_order_acquire);
}

void mp_home_arrive(struct mp_heap *heap) {
    for (uint32_t number = take_all(heap, 0), next; number; number = next) {
        struct mp_page *page = mp_arena_page(number);
        next = page->next;
        mp_page_clear_flag(page, MP_PAGE_HOMING);
        mp_queue_own(heap, page);
        mp_queue_settle(heap, page);
    }
}

uint32_t mp_home_visit(struct mp_heap *heap) {
    uint32_t seen = 0;
    if (!mp_home_has_any(heap)) /* its thread may have gone before this visit */
        return 0;
    for (uint32_t number = take_all(heap, 0), next; number; number = next, seen++) {
        struct mp_page *page = mp_arena_page(number);
        next = page->next;
        if (mp_page_used(page) == mp_remote_count(page) && mp_queue_has_all_keys(page)) {
            mp_queue_collect(page);
            mp_queue_retire(page);
        } else {
            push(heap, page); /* a heap that is visited is not shut */
        }
    }
    return seen;
}

void mp_home_shut(struct mp_heap *heap) {
    for (uint32_t number = take_all(heap, MP_HOME_SHUT), next; number; number = next) {
        struct mp_page *page = mp_arena_page(number);
        next = page->next;
        mp_page_clear_flag(page, MP_PAGE_HOMING);
        mp_queue_leave(page);
    }
}

void mp_home_open(struct mp_heap *heap) {
    atomic_store_explicit(&heap->homing, 0, memory_order_relaxed);
}

void mp_home_forget(struct mp_heap *heap) {
    atomic_store_explicit(&heap->homing, MP_HOME_SHUT, memory_order_relaxed);
}
