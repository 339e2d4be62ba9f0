#include "heap/pages.h"

#include "heap/arena.h"
#include "heap/elsewhere.h"
#include "heap/home.h"
#include "heap/hooks.h"
#include "heap/misuse.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "heap/rescue.h"
#include "heap/thp.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/sys.h"

#define OS_PAGE 4096u
#define NEAR    64u /* blocks that a list has when a sample is near */
#define STRAYS  8u  /* pages of another node that are left at a time */
#define CALM    5u  /* how often in a row it counts that a page was found in use */

/* Batches are handed over often enough, and no oftener: each wakes its page's cache line. */
static void see_to_others(struct mp_heap *heap, uint64_t now) {
    if (heap->batched > 0 && heap->flushed_ms != (uint32_t)now) {
        heap->flushed_ms = (uint32_t)now;
        mp_elsewhere_flush(heap);
    }
    mp_elsewhere_read_mail(heap);
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
 * have is kept back in `rest`; what is put aside for a while (current_event) is charged with it. */

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
    for (;;) {
        for (; mp_block_is_free(block) && free < most; free++) {
            last = block;
            block = mp_page_next_block(block);
        }
        if (!bin->aside || block != mp_page_end(page))
            break;
        block = bin->aside;
        bin->aside = NULL;
        if (last)
            mp_page_link_block(last, block);
        else
            page->local_free = block;
    }
    bin->aside = NULL;
    bin->watched = false;
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

/* Charges the list of `free` blocks, and allows pushes: `looks` of them, or as many as there are
 * blocks left to the sample. One at least, since nothing forbids a push: that one is taken back by
 * mp_pages_event.
 *
 * Near a sample the list is cut short, so that pushes can be allowed, too: a thread that frees and
 * allocates in turns comes to the sample in a few such steps. To cut is to walk, and so is to count
 * what is left of the list; hence NEAR, whatever is left to the sample. */
static void lend(struct mp_bin *bin, struct mp_page *page, uint32_t free, uint32_t looks) {
    uint64_t left = bin->sample_at - bin->allocated;
    if (MP_UNLIKELY(left - left / 4 < free)) {
        uint32_t keep = left > 2 * NEAR ? NEAR : (uint32_t)(left - left / 2);
        if (keep > free)
            keep = free;
        if (keep == 0) {
            bin->rest = page->local_free;
            page->local_free = mp_page_end(page);
        } else if (keep < free) {
            bin->rest = cut(page, page->local_free, keep);
        }
        bin->rest_count = bin->rest ? free - keep : 0;
        free = keep;
    }
    bin->lent = free;
    bin->allocated += free;
    left = bin->sample_at - bin->allocated;
    set_window(bin, page, left > looks ? looks : left ? (uint32_t)left : 1);
}

void mp_pages_keep_back(struct mp_heap *heap, struct mp_page *page, struct mp_block *block) {
    struct mp_bin *bin = &heap->bins[page->class];
    mp_page_link_block(block, bin->rest ? bin->rest : mp_page_end(page));
    block->key = mp_block_key(block);
    bin->rest = block;
    bin->rest_count++;
}

/* See current_event. */
static void put_aside(struct mp_bin *bin, struct mp_page *page) {
    struct mp_block *first = page->local_free, *next;
    bin->watched = true; /* also where there is nothing behind the first */
    if (!mp_block_is_free(first) || mp_page_is_end(next = mp_page_next_block(first)))
        return;
    bin->aside = next;
    mp_page_link_block(first, mp_page_end(page));
}

/* After how many pushes to look at the page, of as many as may come: soon, or when the last looks
 * have found it in use, seldom. */
static uint32_t next_look(const struct mp_bin *bin, uint32_t pushes) {
    uint32_t least = bin->calm ? 8u << bin->calm : 1;
    return pushes / 2 > least ? pushes / 2 : least;
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
    uint32_t from = page->carved, to = mp_page_blocks(page);
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
    atomic_store_explicit(&page->carved, (uint16_t)to, memory_order_relaxed);
}

static struct mp_page *fresh_page(struct mp_heap *heap, unsigned node, unsigned class) {
    bool zero;
    struct mp_page *page = mp_pool_take_on(node, 1, 1, &zero);
    if (!page)
        return NULL;
    page->class = (uint8_t) class;
    page->inverse = mp_classes[class].inverse;
    page->local_free = mp_page_end(page);
    page->until = 0;
    page->held = 0;
    atomic_store_explicit(&page->carved, 0, memory_order_relaxed);
    atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&page->remote, MP_OWNED, memory_order_relaxed);
    mp_queue_own(heap, page);
    mp_page_set_kind(page, MP_KIND_SMALL);
    return page;
}

static struct mp_page *adopt(struct mp_heap *heap, unsigned node, unsigned class) {
    struct mp_page *page = mp_pool_adopt(node, class);
    if (page)
        mp_queue_own(heap, page);
    return page;
}

/* From the heap's queues. A thread that has come from another node leaves the pages that it had
 * there to others, as it comes by them, and not too many at a time. */
static struct mp_page *queued_page(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    for (unsigned strays = 0; strays < STRAYS; strays++) {
        struct mp_page *page = mp_arena_page_or_null(bin->dense_first);
        if (!page)
            page = mp_arena_page_or_null(bin->sparse);
        if (!page)
            return NULL;
        mp_queue_remove(heap, page);
        if (MP_LIKELY(page->node == heap->node))
            return page;
        mp_queue_leave(page);
    }
    return NULL;
}

/* The next page to allocate from: one that is in use already before one that would empty soon,
 * and both before new memory; and all of those before what is on another node. */
static struct mp_page *next_page(struct mp_heap *heap, unsigned class) {
    mp_heap_here(heap);
    struct mp_page *page = queued_page(heap, class);
    if (!page)
        page = adopt(heap, heap->node, class);
    if (!page)
        page = fresh_page(heap, heap->node, class);
    for (unsigned node = 0; !page && node < mp_numa_count(); node++)
        page = adopt(heap, node, class);
    for (unsigned node = 0; !page && node < mp_numa_count(); node++)
        page = node == heap->node ? NULL : fresh_page(heap, node, class);
    heap->bins[class].astray = page && page->node != heap->node;
    return page;
}

/* The current page is full. Its thread lets go of it, unless others have freed into it meanwhile.
 */
static bool leave_current(struct mp_heap *heap, struct mp_page *page) {
    mp_page_clear_flag(page, MP_PAGE_CURRENT);
    mp_page_set_owner(page, 0);
    if (mp_remote_disown(page)) {
        mp_home_note_left(&heap->bins[page->class]);
        mp_thp_note_full(page, mp_sys_now_ms());
        return true;
    }
    mp_queue_own(heap, page);
    mp_page_set_flag(page, MP_PAGE_CURRENT);
    return false;
}

/* Collects and carves; returns how many free blocks the current page has, none of them charged. */
static uint32_t replenish(struct mp_bin *bin, struct mp_page *page) {
    /* Not while there are others: to join the lists is to walk along one, which may be far away. */
    uint32_t used = mp_page_is_end(page->local_free) ? mp_queue_collect(page) : mp_page_used(page);
    if (used < page->carved && MP_UNLIKELY(!has_list(page)))
        used = page->carved;
    if (used == page->carved && page->carved < mp_page_blocks(page))
        carve(page);
    set_window(bin, page, used);
    return page->carved - used;
}

/* Sees to a current page with free blocks, none of them charged; returns how many, 0 for no memory.
 */
static uint32_t ready_current(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page = mp_arena_page_or_null(bin->current);
    if (page && MP_UNLIKELY(page->node != mp_heap_here(heap)) && !bin->astray) {
        mp_pages_end_current(heap, class); /* the thread has come from another node */
        page = NULL;
    }
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
    struct mp_page *page = mp_tls.page[class];
    if (bin->current && mp_rescue_has_emptied(page))
        mp_rescue_return(bin, page);
    else if (bin->current && has_list(page)) /* malloc was turned away for a moment: rescue.h */
        return MP_REFILL_LIST;
    if (bin->watched) {
        bin->watched = false;
        bin->calm += bin->calm < CALM;
        if (bin->aside) {
            page->local_free = bin->aside;
            bin->aside = NULL;
            if (has_list(page))
                return MP_REFILL_LIST;
        }
    } else if (bin->current && page->until == bin->window) {
        bin->calm = 0; /* nothing but malloc: what comes next may be nothing but free */
    }
    atomic_store_explicit(&bin->refilled_ms, (uint32_t)now, memory_order_relaxed);
    see_to_others(heap, now);
    uint32_t free = ready_current(heap, class);
    if (!free)
        return MP_REFILL_NONE;
    page = mp_tls.page[class];
    if (MP_UNLIKELY(mp_options.check == MP_CHECK_FULL))
        verify_free(page);
    uint32_t looks = mp_page_used(page) - mp_remote_count(page); /* pushes that may come */
    if (looks == 0 || looks > mp_page_blocks(page)) /* who asks again, or others just pushed */
        looks = free;
    looks = next_look(bin, looks);
    if (MP_UNLIKELY(bin->sample_at == bin->allocated)) {
        *block = page->local_free;
        page->local_free = mp_page_next_block(*block);
        bin->allocated++;
        mp_bin_sample_in(bin, mp_hooks.countdown(heap, class));
        lend(bin, page, free - 1, looks);
        return MP_REFILL_SAMPLE;
    }
    lend(bin, page, free, looks);
    return MP_REFILL_LIST;
}

/* ---- where blocks go to ---- */

static struct mp_page *end_current(struct mp_heap *heap, unsigned class) {
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page = mp_arena_page_or_null(bin->current);
    if (page) {
        if (MP_UNLIKELY(mp_rescue_has_emptied(page)))
            mp_rescue_return(bin, page);
        take_back(bin, page);
        /* A damaged list may hold blocks twice: not all are free unless they have their keys. */
        if (mp_page_used(page) == 0 && MP_UNLIKELY(!mp_queue_has_all_keys(page)))
            set_window(bin, page, page->carved);
        mp_page_clear_flag(page, MP_PAGE_CURRENT);
        no_current(bin, class);
    }
    return page;
}

void mp_pages_end_current(struct mp_heap *heap, unsigned class) {
    struct mp_page *page = end_current(heap, class);
    if (page)
        mp_queue_settle(heap, page);
}

/* The pushes that were allowed have come. A current page is watched for a thread that frees all it
 * has, perhaps to sleep then: nobody else could take its pages away. So the list is put aside, all
 * but its last block; if malloc has not come for it (mp_pages_refill) by the next time, the page is
 * current no longer, but one that goes when it is empty (queue.h). To have it back costs little,
 * but to have another once it went some thousand instructions: so, once per step of the clock at
 * most.
 *
 * Nothing is walked along or counted until then, since the blocks may be far away. */
static void current_event(struct mp_heap *heap, struct mp_page *page, uint64_t now) {
    struct mp_bin *bin = &heap->bins[page->class];
    bool too_soon = bin->left_ms == (uint32_t)now;
    if (MP_UNLIKELY(mp_rescue_has_emptied(page))) {
        mp_pages_end_current(heap, page->class);
        return;
    }
    if (bin->watched && !too_soon) {
        bin->left_ms = (uint32_t)now;
        bin->calm = 0;
        mp_elsewhere_flush(heap);
        mp_pages_end_current(heap, page->class);
        return;
    }
    see_to_others(heap, now);
    uint64_t left = bin->sample_at - bin->allocated;
    uint32_t looks = too_soon ? 8u << CALM : next_look(bin, bin->window);
    if (MP_LIKELY(left > bin->window)) {
        bin->allocated += bin->window;
        if (bin->lent < page->carved) /* at most all */
            bin->lent += bin->window;
        left -= bin->window;
        set_window(bin, page, left > looks ? looks : (uint32_t)left);
    } else {
        take_back(bin, page);
        lend(bin, page, page->carved - mp_page_used(page), looks);
    }
    if (!too_soon)
        put_aside(bin, page);
}

void mp_pages_event(struct mp_heap *heap, struct mp_page *page, uint64_t now) {
    if (mp_page_flags(page) & MP_PAGE_CURRENT) {
        current_event(heap, page, now);
        return;
    }
    mp_elsewhere_flush(heap);
    mp_queue_resettle(heap, page);
}

/* ---- everything given back; a thread's end ---- */

void mp_pages_leave(struct mp_heap *heap) {
    mp_elsewhere_flush(heap);
    mp_home_shut(heap);
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        struct mp_bin *bin = &heap->bins[c];
        struct mp_page *page;
        while ((page = mp_arena_page_or_null(bin->dense_first)) ||
               (page = mp_arena_page_or_null(bin->sparse))) {
            mp_queue_remove(heap, page);
            mp_queue_leave(page);
        }
        page = end_current(heap, c);
        if (page)
            mp_queue_leave(page);
    }
}

void mp_pages_trim(struct mp_heap *heap) {
    mp_elsewhere_flush(heap);
    mp_elsewhere_read_mail(heap);
    for (unsigned c = 0; c < MP_SMALL_CLASSES; c++) {
        mp_queue_resettle_all(heap, c);
        mp_pages_end_current(heap, c);
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
    uint32_t home = mp_tls.heap ? mp_tls.heap->number : 0;
    for (uint32_t r = 0; r < mp_range_count; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++) {
            struct mp_page *page = &mp_ranges[r].meta[i];
            enum mp_kind kind = mp_page_kind(page);
            if (kind == MP_KIND_SMALL &&
                (atomic_load_explicit(&page->remote, memory_order_relaxed) & MP_OWNED) &&
                ((mp_page_flags(page) & MP_PAGE_HOMING)
                     ? page->heap != home
                     : (mp_page_owner(page) & ~MP_OWNER_CHECKED) != survivor)) {
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
    if (mp_rescue_has_emptied(page))
        mp_rescue_make_blocks(page);
    page->local_free = mp_page_end(page);
    for (uint32_t i = page->carved; i-- > 0;) {
        struct mp_block *block = (struct mp_block *)(page->start + (uintptr_t)i * size);
        if (!mp_block_is_protected(block, size) && mp_block_is_free(block)) {
            mp_page_link_block(block, page->local_free);
            page->local_free = block;
        } else {
            used++;
        }
    }
    atomic_store_explicit(&page->remote, MP_OWNED, memory_order_relaxed);
    mp_page_clear_flag(page, MP_PAGE_CURRENT | MP_PAGE_QUEUED | MP_PAGE_SPARSE | MP_PAGE_HOMING |
                                 MP_PAGE_LOST);
    mp_queue_own(heap, page);
    mp_queue_add(heap, page, used, used);
    mp_lock_drop(&revive_lock);
}
