#include "heap/pool.h"

#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/remote.h"
#include "heap/thp.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/sys.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define EXACT_BINS 32
#define BINS       112
#define FIT_TRIES  8

/* What may lie dirty regardless of time. Memory that a program has stopped using must go back even
 * if the program never calls us again, so freeing purges down to this at once: a sixteenth of what
 * is in use, or ALLOWANCE_MIN; more only where purging proved wrong lately, i.e. purged memory was
 * asked for again within REGRET_MS, up to a twelfth of the most that was in use or ALLOWANCE_MAX.
 */
#define ALLOWANCE_MIN 16u  /* slices: 1 MiB */
#define ALLOWANCE_MAX 512u /* slices: 32 MiB */
#define REGRET_MS     100u
#define RETRY_MS      1000u /* after memory that could not be purged */

struct bins {
    uint64_t filled[2];  /* bit b: bin b is not empty */
    uint32_t head[BINS]; /* page numbers */
};

struct pool {
    struct mp_lock lock;
    struct bins dirty, clean;
    uint32_t oldest, newest; /* dirty spans by age */
    uint32_t used_slices, peak_slices, dirty_slices, clean_slices;
    uint32_t regret_slices;
    uint64_t regret_decay_ms, last_purge_ms, retry_ms;
    uint64_t purges, purged_slices;
    uint32_t listed[MP_CLASSES]; /* ownerless pages with free blocks */
};

static struct pool pools[MP_NODES] = {{.lock = MP_LOCK_INIT(MP_RANK_POOL)}};

static unsigned bin_of(uint32_t slices) {
    if (slices <= EXACT_BINS)
        return slices - 1;
    unsigned log = 31 - (unsigned)__builtin_clz(slices);
    unsigned bin = EXACT_BINS + (log - 5) * 4 + ((slices >> (log - 2)) & 3);
    return bin < BINS ? bin : BINS - 1;
}

static void bin_add(struct bins *bins, struct mp_page *page, uint32_t number) {
    unsigned bin = bin_of(page->slices);
    page->prev = 0;
    page->next = bins->head[bin];
    if (page->next)
        mp_arena_page(page->next)->prev = number;
    bins->head[bin] = number;
    bins->filled[bin / 64] |= (uint64_t)1 << (bin % 64);
}

static void bin_remove(struct bins *bins, struct mp_page *page) {
    unsigned bin = bin_of(page->slices);
    if (page->next)
        mp_arena_page(page->next)->prev = page->prev;
    if (page->prev)
        mp_arena_page(page->prev)->next = page->next;
    else
        bins->head[bin] = page->next;
    if (!bins->head[bin])
        bins->filled[bin / 64] &= ~((uint64_t)1 << (bin % 64));
}

/* A span of at least `slices`: the smallest bin that surely fits, after a few tries in the bin
 * that may. */
static struct mp_page *bin_find(struct bins *bins, uint32_t slices) {
    unsigned bin = bin_of(slices);
    uint32_t number = bins->head[bin];
    for (unsigned i = 0; number && (i < FIT_TRIES || bin == BINS - 1); i++) {
        struct mp_page *page = mp_arena_page(number);
        if (page->slices >= slices)
            return page;
        number = page->next;
    }
    for (unsigned b = bin + 1; b < BINS; b = (b / 64 + 1) * 64) {
        uint64_t filled = bins->filled[b / 64] >> (b % 64);
        if (filled)
            return mp_arena_page(bins->head[b + (unsigned)__builtin_ctzll(filled)]);
    }
    return NULL;
}

static bool span_is_dirty(const struct mp_page *page) {
    return mp_page_flags(page) & MP_SPAN_DIRTY;
}

static void age_remove(struct pool *pool, struct mp_page *page) {
    if (page->older)
        mp_arena_page(page->older)->newer = page->newer;
    else
        pool->oldest = page->newer;
    if (page->newer)
        mp_arena_page(page->newer)->older = page->older;
    else
        pool->newest = page->older;
}

static void span_remove(struct pool *pool, struct mp_page *page) {
    if (span_is_dirty(page)) {
        bin_remove(&pool->dirty, page);
        age_remove(pool, page);
        pool->dirty_slices -= page->slices;
    } else {
        bin_remove(&pool->clean, page);
        pool->clean_slices -= page->slices;
    }
}

static bool span_neighbour(const struct mp_page *page, const struct mp_page *self, bool dirty) {
    return mp_page_kind(page) == MP_KIND_FREE && page->node == self->node &&
           span_is_dirty(page) == dirty;
}

/* Inserts a free span, merged with its neighbours of the same state. */
static void span_insert(struct pool *pool, struct mp_page *page, uint32_t slices, bool dirty) {
    uint32_t number = mp_arena_number(page);
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);

    /* Even where it becomes an inner slice of a longer span: its old kind must not survive. */
    mp_page_set_owner(page, 0);
    mp_page_set_kind(page, MP_KIND_FREE);
    if (index + slices < range->limit && span_neighbour(page + slices, page, dirty)) {
        struct mp_page *after = page + slices;
        span_remove(pool, after);
        slices += after->slices;
    }
    if (index > range->first && span_neighbour(page - 1, page, dirty)) {
        struct mp_page *before = mp_arena_page((page - 1)->head);
        span_remove(pool, before);
        slices += before->slices;
        page = before;
        number = mp_arena_number(page);
    }
    struct mp_page *last = page + slices - 1;
    uint8_t flags = dirty ? MP_SPAN_DIRTY : 0;
    mp_page_set_owner(last, 0);
    mp_page_set_kind(last, MP_KIND_FREE);
    atomic_store_explicit(&last->flags, flags, memory_order_relaxed);
    last->head = number;
    if (last != page)
        last->last_pages = 0;
    mp_page_set_kind(page, MP_KIND_FREE);
    atomic_store_explicit(&page->flags, flags, memory_order_relaxed);
    page->slices = slices;
    if (dirty) {
        bin_add(&pool->dirty, page, number);
        page->freed_ms = mp_sys_now_ms();
        page->newer = 0;
        page->older = pool->newest;
        if (page->older)
            mp_arena_page(page->older)->newer = number;
        else
            pool->oldest = number;
        pool->newest = number;
        pool->dirty_slices += slices;
    } else {
        bin_add(&pool->clean, page, number);
        pool->clean_slices += slices;
    }
}

/* ---- purging ---- */

static uint32_t allowance(const struct pool *pool) {
    if (mp_options.purge == MP_TIME_OFF)
        return UINT32_MAX;
    if (mp_options.purge == 0)
        return 0;
    uint32_t most = pool->used_slices / 16;
    if (most < pool->regret_slices)
        most = pool->regret_slices;
    return most < ALLOWANCE_MIN ? ALLOWANCE_MIN : most;
}

static bool give_back(const struct mp_page *page, uint32_t slices) {
    size_t size = (size_t)slices << MP_SLICE_SHIFT;
    return mp_sys_madvise(page->start, size, MADV_DONTNEED) == 0 ||
           mp_sys_madvise(page->start, size, MADV_DONTNEED_LOCKED) == 0;
}

/* Purges the oldest dirty span. The lock is dropped for the system call; meanwhile the span is in
 * no list and its kind lets no neighbour merge with it. */
static bool purge_oldest(struct pool *pool, uint64_t now) {
    struct mp_page *page = mp_arena_page(pool->oldest);
    uint32_t slices = page->slices;
    span_remove(pool, page);
    mp_page_set_kind(page, MP_KIND_NONE);
    mp_page_set_kind(page + slices - 1, MP_KIND_NONE);
    mp_lock_drop(&pool->lock);
    bool done = give_back(page, slices);
    mp_lock_take(&pool->lock);
    span_insert(pool, page, slices, !done);
    if (done) {
        pool->purges++;
        pool->purged_slices += slices;
        pool->last_purge_ms = now;
    } else {
        pool->retry_ms = now + RETRY_MS; /* locked memory on an old kernel: not soon again */
    }
    return done;
}

static void purge_down(struct pool *pool, uint64_t now, uint32_t keep) {
    while (pool->dirty_slices > keep && pool->oldest && now >= pool->retry_ms &&
           purge_oldest(pool, now))
        ;
}

static void purge_aged(struct pool *pool, uint64_t now) {
    while (pool->oldest && now >= pool->retry_ms &&
           now - mp_arena_page(pool->oldest)->freed_ms >= mp_options.purge &&
           purge_oldest(pool, now))
        ;
}

static void note_regret(struct pool *pool, uint32_t slices, uint64_t now) {
    if (!pool->purges || now - pool->last_purge_ms > REGRET_MS)
        return;
    uint32_t most = pool->peak_slices / 12;
    if (most < ALLOWANCE_MAX)
        most = ALLOWANCE_MAX;
    pool->regret_slices += slices;
    if (pool->regret_slices > most)
        pool->regret_slices = most;
    pool->regret_decay_ms = now;
}

void mp_pool_tick(uint64_t now) {
    for (unsigned node = 0; node < MP_NODES; node++) {
        struct pool *pool = &pools[node];
        if (!pool->oldest ||
            mp_options.purge == MP_TIME_OFF) /* a racy look: the next one will do */
            continue;
        if (!mp_lock_try(&pool->lock))
            continue;
        if (now - pool->regret_decay_ms >= REGRET_MS) {
            pool->regret_slices -= (pool->regret_slices + 3) / 4;
            pool->regret_decay_ms = now;
        }
        purge_aged(pool, now);
        mp_lock_drop(&pool->lock);
    }
    mp_thp_tick(now);
}

size_t mp_pool_trim(void) {
    uint64_t before = 0, after = 0;
    for (unsigned node = 0; node < MP_NODES; node++) {
        struct pool *pool = &pools[node];
        mp_lock_take(&pool->lock);
        before += pool->purged_slices;
        pool->retry_ms = 0;
        purge_down(pool, mp_sys_now_ms(), 0);
        after += pool->purged_slices;
        mp_lock_drop(&pool->lock);
    }
    return (size_t)(after - before) << MP_SLICE_SHIFT;
}

/* ---- taking and giving spans ---- */

static struct mp_page *find_span(struct pool *pool, unsigned node, uint32_t slices, uint64_t now) {
    struct mp_page *page = bin_find(&pool->dirty, slices);
    if (page)
        return page;
    page = bin_find(&pool->clean, slices);
    if (page) {
        note_regret(pool, slices, now);
        return page;
    }
    uint32_t count;
    uint32_t number = mp_arena_grow(slices, &count);
    if (!number) {
        /* The last resort: what is dirty and clean side by side becomes one when purged. */
        pool->retry_ms = 0;
        purge_down(pool, now, 0);
        return bin_find(&pool->clean, slices);
    }
    page = mp_arena_page(number);
    for (uint32_t i = 0; i < count; i++)
        page[i].node = (uint8_t)node;
    span_insert(pool, page, count, false);
    return bin_find(&pool->clean, slices);
}

static void mark_further(struct mp_page *page, uint32_t slices, uint32_t head) {
    for (uint32_t i = 0; i < slices; i++) {
        page[i].head = head;
        mp_page_set_kind(&page[i], MP_KIND_CONT);
    }
}

struct mp_page *mp_pool_take(unsigned node, uint32_t slices, uint32_t align, bool *zero) {
    struct pool *pool = &pools[node];
    uint64_t now = mp_sys_now_ms();
    uint32_t padded = slices + align - 1;
    mp_lock_take(&pool->lock);
    struct mp_page *page = find_span(pool, node, padded, now);
    if (!page) {
        mp_lock_drop(&pool->lock);
        return NULL;
    }
    bool dirty = span_is_dirty(page);
    uint32_t have = page->slices;
    span_remove(pool, page);
    uint32_t skip = (uint32_t)(-(page->start >> MP_SLICE_SHIFT) & (align - 1));
    /* Marked before its neighbours are inserted, so that they do not merge with it. */
    mp_page_set_kind(page + skip, MP_KIND_NONE);
    atomic_store_explicit(&page[skip].flags, 0, memory_order_relaxed);
    mark_further(page + skip + 1, slices - 1, mp_arena_number(page + skip));
    if (skip)
        span_insert(pool, page, skip, dirty);
    if (have > skip + slices)
        span_insert(pool, page + skip + slices, have - skip - slices, dirty);
    page += skip;
    page->slices = slices;
    pool->used_slices += slices;
    if (pool->peak_slices < pool->used_slices)
        pool->peak_slices = pool->used_slices;
    mp_lock_drop(&pool->lock);
    *zero = !dirty;
    return page;
}

void mp_pool_give(struct mp_page *page, uint32_t slices) {
    struct pool *pool = &pools[page->node];
    mp_lock_take(&pool->lock);
    pool->used_slices -= slices;
    span_insert(pool, page, slices, true);
    purge_down(pool, mp_sys_now_ms(), allowance(pool));
    mp_lock_drop(&pool->lock);
}

void mp_pool_shrink(struct mp_page *page, uint32_t keep) {
    struct pool *pool = &pools[page->node];
    uint32_t excess = page->slices - keep;
    mp_lock_take(&pool->lock);
    page->slices = keep;
    pool->used_slices -= excess;
    span_insert(pool, page + keep, excess, true);
    purge_down(pool, mp_sys_now_ms(), allowance(pool));
    mp_lock_drop(&pool->lock);
}

bool mp_pool_extend(struct mp_page *page, uint32_t want, bool *zero) {
    struct pool *pool = &pools[page->node];
    uint32_t number = mp_arena_number(page);
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);
    uint32_t have = page->slices, more = want - have;
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    bool done = false;
    mp_lock_take(&pool->lock);
    struct mp_page *after = page + have;
    if (index + have < range->limit && mp_page_kind(after) == MP_KIND_FREE &&
        after->node == page->node && after->slices >= more) {
        bool dirty = span_is_dirty(after);
        uint32_t rest = after->slices - more;
        span_remove(pool, after);
        mark_further(after, more, number);
        page->slices = want;
        if (rest)
            span_insert(pool, after + more, rest, dirty);
        pool->used_slices += more;
        if (pool->peak_slices < pool->used_slices)
            pool->peak_slices = pool->used_slices;
        *zero = !dirty;
        done = true;
    }
    mp_lock_drop(&pool->lock);
    return done;
}

/* ---- ownerless pages ---- */

bool mp_pool_list_and_disown(struct mp_page *page) {
    struct pool *pool = &pools[page->node];
    uint32_t number = mp_arena_number(page);
    uint32_t *head = &pool->listed[page->class];
    mp_lock_take(&pool->lock);
    mp_page_set_flag(page, MP_PAGE_LISTED);
    page->prev = 0;
    page->next = *head;
    if (*head)
        mp_arena_page(*head)->prev = number;
    *head = number;
    bool disowned = mp_remote_disown(page);
    mp_lock_drop(&pool->lock);
    if (!disowned)
        mp_pool_unlist(page);
    return disowned;
}

static void unlist_locked(struct pool *pool, struct mp_page *page) {
    if (!(mp_page_flags(page) & MP_PAGE_LISTED))
        return;
    if (page->next)
        mp_arena_page(page->next)->prev = page->prev;
    if (page->prev)
        mp_arena_page(page->prev)->next = page->next;
    else
        pool->listed[page->class] = page->next;
    mp_page_clear_flag(page, MP_PAGE_LISTED);
}

void mp_pool_unlist(struct mp_page *page) {
    struct pool *pool = &pools[page->node];
    mp_lock_take(&pool->lock);
    unlist_locked(pool, page);
    mp_lock_drop(&pool->lock);
}

struct mp_page *mp_pool_adopt(unsigned node, unsigned class) {
    struct pool *pool = &pools[node];
    struct mp_page *adopted = NULL;
    if (!pool->listed[class]) /* a racy look: a fresh page will do */
        return NULL;
    mp_lock_take(&pool->lock);
    while (!adopted && pool->listed[class]) {
        struct mp_page *page = mp_arena_page(pool->listed[class]);
        unlist_locked(pool, page);
        if (mp_remote_claim(page))
            adopted = page;
        /* else a thread that freed into it was faster, and it is that thread's */
    }
    mp_lock_drop(&pool->lock);
    return adopted;
}

void mp_pool_get_stats(unsigned node, struct mp_pool_stats *stats) {
    struct pool *pool = &pools[node];
    mp_lock_take(&pool->lock);
    stats->used_bytes = (size_t)pool->used_slices << MP_SLICE_SHIFT;
    stats->dirty_bytes = (size_t)pool->dirty_slices << MP_SLICE_SHIFT;
    stats->clean_bytes = (size_t)pool->clean_slices << MP_SLICE_SHIFT;
    stats->purges = pool->purges;
    stats->purged_bytes = pool->purged_slices << MP_SLICE_SHIFT;
    mp_lock_drop(&pool->lock);
}

void mp_pool_before_fork(void) {
    for (unsigned node = 0; node < MP_NODES; node++)
        mp_lock_take(&pools[node].lock);
}

void mp_pool_after_fork(bool child) {
    for (unsigned node = MP_NODES; node-- > 0;) {
        if (child)
            mp_lock_reset(&pools[node].lock);
        else
            mp_lock_drop(&pools[node].lock);
    }
}
