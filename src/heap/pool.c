#include "heap/pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/chunk.h"
#include "heap/hooks.h"
#include "heap/remote.h"
#include "heap/spans.h"
#include "heap/thp.h"
#include "platform/lock.h"
#include "platform/options.h"
#include "platform/sys.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define JOIN_MIN 16u /* slices */

/* What may lie dirty regardless of time. Memory that a program has stopped using must go back even
 * if the program never calls us again, so freeing purges down to this at once: a sixteenth of what
 * is in use, or ALLOWANCE_MIN. Where purging proved wrong lately, i.e. purged memory was asked for
 * again within REGRET_MS, it is as much as was, but no more than what is in use, than a
 * sixteenth of the most that ever was, or than REGRET_MIN, whichever is most: a page that is purged
 * and touched again costs as much as a hundred calls of malloc. A program that frees everything
 * keeps little, whatever it did before. */
#define ALLOWANCE_MIN 16u /* slices: 1 MiB */
#define REGRET_MIN    64u /* slices: 4 MiB */
#define REGRET_MS     100u
#define RETRY_MS      1000u /* after memory that could not be purged */
#define SLICE_US      20u   /* that a slice's page faults take: a huge page must not take longer, */
#define PATIENCE      8u    /* and no more than a ninth of all time can go into such that do */

struct pool {
    struct mp_lock lock;
    struct mp_spans spans;
    uint32_t used_slices, peak_slices;
    uint32_t recent_slices; /* purged within the last REGRET_MS */
    uint32_t regret_slices;
    bool locked; /* memory has been found to be: see note_locked */
    uint64_t regret_decay_ms, last_purge_ms, retry_ms;
    bool fetching; /* somebody is at it: see fetch */
    uint64_t fetch_after_ms, hasty_ms;
    uint64_t purges, purged_slices, fetched_slices;
    _Atomic(uint64_t) remote_blocks, remote_bytes;
    _Atomic(uint32_t) hollow;                   /* used slices that hold hardly any memory */
    _Atomic(uint32_t) listed[MP_SMALL_CLASSES]; /* ownerless pages with free blocks */
};

static struct pool first_pool = {.lock = MP_LOCK_INIT(MP_RANK_POOL)};
static struct pool *pools[MP_NODES] = {&first_pool};

bool mp_pool_add_nodes(unsigned count) {
    for (unsigned node = 1; node < count; node++) {
        pools[node] = mp_meta_alloc(sizeof(struct pool));
        if (!pools[node])
            return false;
        pools[node]->lock.rank = MP_RANK_POOL;
    }
    return true;
}

/* ---- purging ---- */

/* A quarter is forgotten in each REGRET_MS, whether or not anybody was here meanwhile. */
static void forget_regret(struct pool *pool, uint64_t now) {
    uint64_t times = mp_sys_ms_since(pool->regret_decay_ms, now) / REGRET_MS;
    if (times)
        pool->regret_decay_ms = now;
    for (; times > 0 && pool->regret_slices > 0; times--)
        pool->regret_slices -= (pool->regret_slices + 3) / 4;
}

/* Slices in use that hold memory, at a glance. */
MP_RACY static uint32_t filled(const struct pool *pool) {
    uint32_t used = pool->used_slices;
    uint32_t hollow = atomic_load_explicit(&pool->hollow, memory_order_relaxed);
    return used > hollow ? used - hollow : 0;
}

static uint32_t allowance(struct pool *pool, uint64_t now) {
    if (mp_options.purge == MP_TIME_OFF)
        return UINT32_MAX;
    if (mp_options.purge == 0)
        return 0;
    forget_regret(pool, now);
    uint32_t used = filled(pool), regret = pool->regret_slices, cap = used;
    if (cap < pool->peak_slices / 16)
        cap = pool->peak_slices / 16;
    if (cap < REGRET_MIN)
        cap = REGRET_MIN;
    if (regret > cap)
        regret = cap;
    uint32_t most = used / 16;
    if (most < ALLOWANCE_MIN)
        most = ALLOWANCE_MIN;
    return most > regret ? most : regret;
}

static bool give_back(const struct mp_page *page, uint32_t slices, bool *locked) {
    size_t size = (size_t)slices << MP_SLICE_SHIFT;
    *locked = mp_sys_madvise(page->start, size, MADV_DONTNEED) != 0;
    return !*locked || mp_sys_madvise(page->start, size, MADV_DONTNEED_LOCKED) == 0;
}

/* What is mapped while memory is locked (mlockall) is resident from the first, touched or not: so
 * is what counts as clean, then. */
static void note_locked(struct pool *pool) {
    struct mp_page *page;
    pool->locked = true;
    while ((page = mp_spans_find(&pool->spans, MP_CLEAN, 1))) {
        mp_spans_remove(&pool->spans, page);
        mp_spans_insert(&pool->spans, page, page->slices, MP_DIRTY);
    }
}

/* Purges the oldest dirty span. The lock is dropped for the system call. */
static bool purge_oldest(struct pool *pool, uint64_t now) {
    struct mp_page *page = mp_arena_page(pool->spans.oldest);
    uint32_t slices = page->slices;
    mp_spans_cut(&pool->spans, page, 0, slices);
    mp_lock_drop(&pool->lock);
    bool locked, done = give_back(page, slices, &locked);
    mp_lock_take(&pool->lock);
    if (MP_UNLIKELY(locked && !pool->locked))
        note_locked(pool);
    mp_spans_insert(&pool->spans, page, slices, done ? MP_CLEAN : MP_DIRTY);
    if (done) {
        pool->purges++;
        pool->purged_slices += slices;
        if (mp_sys_ms_since(pool->last_purge_ms, now) > REGRET_MS)
            pool->recent_slices = 0;
        pool->recent_slices += slices;
        pool->last_purge_ms = now;
    } else {
        pool->retry_ms = now + RETRY_MS; /* locked memory on an old kernel: not soon again */
    }
    return done;
}

static void purge_down(struct pool *pool, uint64_t now, uint32_t keep) {
    while (pool->spans.slices[MP_DIRTY] > keep && pool->spans.oldest && now >= pool->retry_ms &&
           purge_oldest(pool, now))
        ;
}

static void purge_to_allowance(struct pool *pool) {
    uint64_t now = mp_sys_now_ms(), before = pool->purges;
    purge_down(pool, now, allowance(pool, now));
    if (pool->purges != before)
        pool->hasty_ms = now;
}

static void purge_aged(struct pool *pool, uint64_t now) {
    while (pool->spans.oldest && now >= pool->retry_ms &&
           now >= mp_arena_page(pool->spans.oldest)->freed_ms + mp_options.purge &&
           purge_oldest(pool, now))
        ;
}

static void note_regret(struct pool *pool, uint32_t slices, uint64_t now) {
    if (mp_sys_ms_since(pool->last_purge_ms, now) > REGRET_MS)
        return;
    if (slices > pool->recent_slices)
        slices = pool->recent_slices; /* the rest was never used */
    pool->recent_slices -= slices;
    pool->regret_slices += slices;
    if (pool->regret_slices > pool->peak_slices)
        pool->regret_slices = pool->peak_slices;
    pool->regret_decay_ms = now;
}

void mp_pool_tick(uint64_t now) {
    /* Once per step of the clock, by whoever comes first: the lock's line is not sent round for it,
     * and this one, which it has to itself, seldom. */
    static struct {
        _Atomic(uint64_t) ms;
        char alone[MP_CACHE_LINE - sizeof(uint64_t)];
    } last MP_FIRST;
    if (atomic_load_explicit(&last.ms, memory_order_relaxed) == now && mp_options.purge > 0)
        return;
    atomic_store_explicit(&last.ms, now, memory_order_relaxed);
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct pool *pool = pools[node];
        if (!pool->spans.oldest ||
            mp_options.purge == MP_TIME_OFF) /* a racy look: the next one will do */
            continue;
        if (!mp_lock_try(&pool->lock))
            continue;
        purge_aged(pool, now);
        mp_lock_drop(&pool->lock);
    }
    mp_thp_tick(now);
    if (mp_hooks.tick)
        mp_hooks.tick(now);
}

size_t mp_pool_trim(void) {
    uint64_t before = 0, after = 0;
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct pool *pool = pools[node];
        mp_lock_take(&pool->lock);
        before += pool->purged_slices;
        pool->retry_ms = 0;
        purge_down(pool, mp_sys_now_ms(), 0);
        after += pool->purged_slices;
        mp_lock_drop(&pool->lock);
    }
    return (size_t)(after - before) << MP_SLICE_SHIFT;
}

void mp_pool_note_hollow(const struct mp_page *page, bool hollow) {
    atomic_fetch_add_explicit(&pools[page->node]->hollow, hollow ? 1u : -1u, memory_order_relaxed);
}

void mp_pool_count_remote(const struct mp_page *page, uint32_t blocks, size_t bytes) {
    if (mp_numa_look() == page->node)
        return;
    atomic_fetch_add_explicit(&pools[page->node]->remote_blocks, blocks, memory_order_relaxed);
    atomic_fetch_add_explicit(&pools[page->node]->remote_bytes, bytes, memory_order_relaxed);
}

uint32_t mp_pool_filled(void) {
    uint32_t used = 0;
    for (unsigned node = 0; node < mp_numa_count(); node++)
        used += filled(pools[node]);
    return used;
}

/* ---- taking and giving spans ---- */

/* Unmaps all that is clean: a limit on addresses has been met, and others need them more. */
static void let_go(struct pool *pool) {
    struct mp_page *page = mp_spans_next(&pool->spans, MP_CLEAN, NULL), *next;
    for (; page; page = next) {
        uint32_t slices = page->slices;
        next = mp_spans_next(&pool->spans, MP_CLEAN, page);
        if (mp_arena_unmap(page, slices) == 0) {
            mp_spans_remove(&pool->spans, page);
            mp_spans_insert(&pool->spans, page, slices, MP_GONE);
        }
    }
}

static struct mp_page *grow(struct pool *pool, unsigned node, uint32_t slices) {
    uint32_t count;
    uint32_t number = mp_arena_grow(node, slices, &count);
    if (!number)
        return NULL;
    struct mp_page *page = mp_arena_page(number);
    enum mp_spans_state state = pool->locked ? MP_DIRTY : MP_CLEAN;
    mp_spans_insert(&pool->spans, page, count, state);
    return mp_spans_find(&pool->spans, state, slices);
}

/* What was purged in haste is wanted again: with what is about it, if that makes a huge page. Not
 * what has rested for long enough, or a program that wants little would be given much, and again
 * and again. One thread at a time: each would have a chunk of its own. True: the lock was dropped
 * for the system call, and spans are others now. */
static bool fetch(struct pool *pool, struct mp_page *page, uint64_t now) {
    struct mp_chunk chunk;
    if (pool->recent_slices == 0 || pool->regret_slices < MP_CHUNK_SLICES ||
        mp_sys_ms_since(pool->hasty_ms, now) > REGRET_MS || pool->fetching ||
        now < pool->fetch_after_ms || mp_options.purge == 0 || !mp_thp_may_fetch() ||
        mp_numa_is_anywhere(page->node) || !mp_chunk_take(&chunk, &pool->spans, page))
        return false;
    pool->fetching = true;
    mp_lock_drop(&pool->lock);
    uint64_t start_ns = mp_sys_precise_ns();
    bool done = mp_thp_fetch(&chunk);
    uint64_t us = (mp_sys_precise_ns() - start_ns) / 1000;
    mp_lock_take(&pool->lock);
    pool->fetching = false;
    if (!done)
        pool->fetch_after_ms = now + RETRY_MS;
    else if (us > SLICE_US * chunk.slices)
        pool->fetch_after_ms = now + PATIENCE * us / 1000;
    if (done) {
        pool->fetched_slices += chunk.slices;
        note_regret(pool, chunk.slices, now);
    }
    mp_chunk_put(&chunk, &pool->spans, done || pool->locked ? MP_DIRTY : MP_CLEAN);
    return true;
}

static struct mp_page *find_span(struct pool *pool, unsigned node, uint32_t slices, bool padded,
                                 uint64_t now) {
    struct mp_page *page = mp_spans_find(&pool->spans, MP_DIRTY, slices);
    if (!page && slices >= JOIN_MIN && !padded)
        page = mp_spans_join(&pool->spans, slices);
    if (page)
        return page;
    page = mp_spans_find(&pool->spans, MP_CLEAN, slices);
    if (page && slices == 1 && fetch(pool, page, now)) {
        page = mp_spans_find(&pool->spans, MP_DIRTY, slices);
        if (page)
            return page;
        page = mp_spans_find(&pool->spans, MP_CLEAN, slices);
    }
    if (page) {
        note_regret(pool, slices, now);
        return page;
    }
    page = mp_spans_find(&pool->spans, MP_GONE, slices);
    if (!page)
        page = grow(pool, node, slices);
    if (page)
        return page;
    /* The last resort. What is dirty and clean side by side becomes one when purged; and what is
     * clean elsewhere is unmapped, so that the range may grow. */
    pool->retry_ms = 0;
    purge_down(pool, now, 0);
    page = mp_spans_find(&pool->spans, MP_CLEAN, slices);
    if (page)
        return page;
    let_go(pool);
    if (mp_hooks.squeezed)
        mp_hooks.squeezed();
    page = mp_spans_find(&pool->spans, MP_GONE, slices);
    return page ? page : grow(pool, node, slices);
}

static void mark_further(struct mp_page *page, uint32_t slices, uint32_t head) {
    for (uint32_t i = 0; i < slices; i++) {
        page[i].head = head;
        atomic_store_explicit(&page[i].carved, 0, memory_order_relaxed); /* was_full in chunk.c */
        mp_page_set_kind(&page[i], MP_KIND_CONT);
    }
}

struct mp_page *mp_pool_take_on(unsigned node, uint32_t slices, uint32_t align, bool *zero) {
    struct pool *pool = pools[node];
    uint64_t now = mp_sys_now_ms();
    uint32_t padded = slices + align - 1;
    mp_lock_take(&pool->lock);
    struct mp_page *page = find_span(pool, node, padded, align > 1, now);
    if (!page) {
        mp_lock_drop(&pool->lock);
        return NULL;
    }
    enum mp_spans_state state = mp_spans_state(page);
    uint32_t have = page->slices;
    uint32_t skip = (uint32_t)(-(page->start >> MP_SLICE_SHIFT) & (align - 1));
    if (state == MP_GONE) {
        int result = mp_arena_map_again(page + skip, slices);
        if (result == -EEXIST) {
            /* Somebody sits there now: these addresses are theirs, for good. */
            mp_spans_remove(&pool->spans, page);
            for (uint32_t i = 0; i < have; i++) {
                mp_page_set_kind(&page[i], MP_KIND_NONE);
                atomic_store_explicit(&page[i].flags, MP_SPAN_GONE, memory_order_relaxed);
            }
            mp_lock_drop(&pool->lock);
            return mp_pool_take_on(node, slices, align, zero);
        }
        if (result != 0) {
            mp_lock_drop(&pool->lock);
            return NULL;
        }
    }
    mp_spans_remove(&pool->spans, page);
    /* Marked before its neighbours are inserted, so that they do not merge with it. */
    mp_page_set_kind(page + skip, MP_KIND_NONE);
    atomic_store_explicit(&page[skip].flags, 0, memory_order_relaxed);
    mark_further(page + skip + 1, slices - 1, mp_arena_number(page + skip));
    if (skip)
        mp_spans_insert(&pool->spans, page, skip, state);
    if (have > skip + slices)
        mp_spans_insert(&pool->spans, page + skip + slices, have - skip - slices, state);
    page += skip;
    page->slices = slices;
    pool->used_slices += slices;
    if (pool->peak_slices < pool->used_slices)
        pool->peak_slices = pool->used_slices;
    mp_lock_drop(&pool->lock);
    *zero = state != MP_DIRTY;
    return page;
}

struct mp_page *mp_pool_take(unsigned node, uint32_t slices, uint32_t align, bool *zero) {
    struct mp_page *page = mp_pool_take_on(node, slices, align, zero);
    for (unsigned other = 0; !page && other < mp_numa_count(); other++) {
        if (other != node)
            page = mp_pool_take_on(other, slices, align, zero);
    }
    return page;
}

void mp_pool_give(struct mp_page *page, uint32_t slices) {
    struct pool *pool = pools[page->node];
    mp_lock_take(&pool->lock);
    pool->used_slices -= slices;
    mp_spans_insert(&pool->spans, page, slices, MP_DIRTY);
    purge_to_allowance(pool);
    mp_lock_drop(&pool->lock);
}

void mp_pool_shrink(struct mp_page *page, uint32_t keep) {
    struct pool *pool = pools[page->node];
    uint32_t excess = page->slices - keep;
    mp_lock_take(&pool->lock);
    page->slices = keep;
    pool->used_slices -= excess;
    mp_spans_insert(&pool->spans, page + keep, excess, MP_DIRTY);
    purge_to_allowance(pool);
    mp_lock_drop(&pool->lock);
}

bool mp_pool_extend(struct mp_page *page, uint32_t want, bool *zero) {
    struct pool *pool = pools[page->node];
    uint32_t number = mp_arena_number(page);
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);
    uint32_t have = page->slices, more = want - have;
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    bool done = false;
    mp_lock_take(&pool->lock);
    struct mp_page *after = page + have;
    if (index + have < range->limit &&
        atomic_load_explicit(&after->kind, memory_order_acquire) == MP_KIND_FREE &&
        after->node == page->node && after->slices >= more &&
        (mp_spans_state(after) != MP_GONE || mp_arena_map_again(after, more) == 0)) {
        enum mp_spans_state state = mp_spans_state(after);
        uint32_t rest = after->slices - more;
        mp_spans_remove(&pool->spans, after);
        mark_further(after, more, number);
        page->slices = want;
        if (rest)
            mp_spans_insert(&pool->spans, after + more, rest, state);
        pool->used_slices += more;
        if (pool->peak_slices < pool->used_slices)
            pool->peak_slices = pool->used_slices;
        *zero = state != MP_DIRTY;
        done = true;
    }
    mp_lock_drop(&pool->lock);
    return done;
}

void mp_pool_let_go(void) {
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct pool *pool = pools[node];
        mp_lock_take(&pool->lock);
        pool->retry_ms = 0;
        purge_down(pool, mp_sys_now_ms(), 0);
        let_go(pool);
        mp_lock_drop(&pool->lock);
    }
}

/* ---- ownerless pages ---- */

bool mp_pool_list_and_disown(struct mp_page *page) {
    struct pool *pool = pools[page->node];
    uint32_t number = mp_arena_number(page);
    _Atomic(uint32_t) *head = &pool->listed[page->class];
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
    struct pool *pool = pools[page->node];
    mp_lock_take(&pool->lock);
    unlist_locked(pool, page);
    mp_lock_drop(&pool->lock);
}

struct mp_page *mp_pool_adopt(unsigned node, unsigned class) {
    struct pool *pool = pools[node];
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
    struct pool *pool = pools[node];
    mp_lock_take(&pool->lock);
    stats->used_bytes = (size_t)pool->used_slices << MP_SLICE_SHIFT;
    stats->dirty_bytes = (size_t)pool->spans.slices[MP_DIRTY] << MP_SLICE_SHIFT;
    stats->clean_bytes = (size_t)pool->spans.slices[MP_CLEAN] << MP_SLICE_SHIFT;
    stats->remote_blocks = pool->remote_blocks;
    stats->remote_bytes = pool->remote_bytes;
    stats->purges = pool->purges;
    stats->purged_bytes = pool->purged_slices << MP_SLICE_SHIFT;
    stats->fetched_bytes = pool->fetched_slices << MP_SLICE_SHIFT;
    mp_lock_drop(&pool->lock);
}

void mp_pool_before_fork(void) {
    for (unsigned node = 0; node < mp_numa_count(); node++)
        mp_lock_take_same_rank(&pools[node]->lock);
}

void mp_pool_after_fork(bool child) {
    for (unsigned node = mp_numa_count(); node-- > 0;) {
        if (child)
            mp_lock_reset(&pools[node]->lock);
        else
            mp_lock_drop(&pools[node]->lock);
    }
}
