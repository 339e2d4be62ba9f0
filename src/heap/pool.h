/* The free slices of a NUMA node, and the pages that their threads left behind.
 * Freed spans rest dirty for a while (they are the first to be reused, warm), then go back to the
 * system and wait clean.
 * Slow paths, any thread; lock rank POOL, taken inside. */
#ifndef MP_HEAP_POOL_H
#define MP_HEAP_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "platform/numa.h"

/* At start-up, before mp_numa_use: there will be so many nodes. False: no memory. */
bool mp_pool_add_nodes(unsigned count);

/* A span of `slices`, aligned to `align` slices (a power of two). Its further slices are CONT; the
 * first is of no kind until the caller has filled its entry in and says what it is, so that nobody
 * reads an old life's fields. *zero: the memory reads zero. The node has it, or another if that one
 * can have no more. NULL: the system has no more. */
struct mp_page *mp_pool_take(unsigned node, uint32_t slices, uint32_t align, bool *zero);
/* The same of that node alone. */
struct mp_page *mp_pool_take_on(unsigned node, uint32_t slices, uint32_t align, bool *zero);

/* Gives a span back; its entry must not be reachable as a page any more. */
void mp_pool_give(struct mp_page *page, uint32_t slices);

/* Cuts a LARGE span to `keep` slices, or lengthens it in place to `want`; false: no room. */
void mp_pool_shrink(struct mp_page *page, uint32_t keep);
bool mp_pool_extend(struct mp_page *page, uint32_t want, bool *zero);

/* Purges what has rested long enough. Called on slow paths; cheap when nothing is due. */
void mp_pool_tick(uint64_t now_ms);

/* Purges everything; returns the bytes given back. */
size_t mp_pool_trim(void);

/* A page in use that has given its memory back, or has it again (rescue.h): what may lie dirty is a
 * share of what is in use. */
void mp_pool_note_hollow(const struct mp_page *page, bool hollow);

/* Blocks of the page's, or a span, have been freed by this thread: counted if it runs elsewhere. */
void mp_pool_count_remote(const struct mp_page *page, uint32_t blocks, size_t bytes);
MP_INLINE void mp_pool_note_freed(const struct mp_page *page, uint32_t blocks, size_t bytes) {
    if (MP_UNLIKELY(mp_numa_count() > 1))
        mp_pool_count_remote(page, blocks, bytes);
}

/* Slices in use on all nodes, without such, at a glance. */
uint32_t mp_pool_filled(void);

/* Gives back all that is free, and unmaps it: addresses have run out. */
void mp_pool_let_go(void);

/* The list of ownerless pages with free blocks, by class. Listing and the owner's last step (a CAS
 * of `remote`) happen under one lock: see remote.h. */
bool mp_pool_list_and_disown(struct mp_page *page);
void mp_pool_unlist(struct mp_page *page);
struct mp_page *mp_pool_adopt(unsigned node, unsigned class);

struct mp_pool_stats {
    size_t used_bytes;  /* slices in pages and spans */
    size_t dirty_bytes; /* free, to be purged */
    size_t clean_bytes; /* free, given back */
    uint64_t purges, purged_bytes;
    uint64_t remote_blocks, remote_bytes; /* freed by threads of other nodes */
    uint64_t fetched_bytes;               /* of these, had again as huge pages: see chunk.h */
};
void mp_pool_get_stats(unsigned node, struct mp_pool_stats *stats);

void mp_pool_before_fork(void);
void mp_pool_after_fork(bool child);

#endif
