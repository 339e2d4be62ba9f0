/* What the heap holds, counted two ways.
 *
 * mp_census is exact: it looks at every block and takes it for free exactly when it has its key. In
 * a process that stands still (stopped at any instruction, or a forked copy of one) it counts every
 * block once; in a copy that fork made of a running process, through the gate, each thread may have
 * moved some single blocks while the kernel copied. It writes nothing and takes no lock.
 *
 * mp_stats_get is for the running process: it reads counts, and no memory of other threads' pages.
 * Of their current pages it knows how many blocks may be free, so live bytes lie in [live_bytes -
 * cached_max_bytes, live_bytes]. */
#ifndef MP_HEAP_CENSUS_H
#define MP_HEAP_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/class.h"
#include "platform/numa.h"

struct mp_census_class {
    uint64_t pages;
    uint64_t live; /* blocks that a program holds */
    uint64_t free; /* blocks made and free, in whatever list */
};

struct mp_census {
    struct mp_census_class classes[MP_CLASSES];
    uint64_t large_blocks, large_bytes;
    uint64_t huge_blocks, huge_bytes;
    uint64_t live_blocks, live_bytes; /* of all of these */
    struct {
        uint64_t live_blocks, live_bytes;
    } nodes[MP_NODES]; /* but the huge ones */
};

void mp_census(struct mp_census *census);

/* Is this the start of a live block? In the same sense. */
int mp_census_is_live(const void *pointer);

/* Does the address lie in a live block? */
bool mp_census_is_in_live(uintptr_t pointer);

/* Is a block live that is known to have been made there? */
bool mp_census_is_live_block(const void *block, uint32_t size);

struct mp_stats_class {
    uint64_t pages;
    uint64_t blocks;    /* made */
    uint64_t used;      /* by programs, or at the hands of other threads */
    uint64_t cached;    /* of these free, at most: in current pages or in batches */
    uint64_t allocated; /* ever */
};

struct mp_stats {
    struct mp_stats_class classes[MP_CLASSES];
    uint64_t live_bytes, live_blocks;
    uint64_t cached_max_bytes;
    uint64_t fragmented_bytes; /* free blocks, and page ends too short for one, in pages in use */
    uint64_t virgin_bytes;     /* in pages in use, never touched */
    uint64_t purgeable_bytes;
    uint64_t metadata_bytes;
    uint64_t large_blocks, large_bytes;
    uint64_t mapped_blocks, mapped_bytes; /* blocks with a mapping of their own */
    uint64_t arena_bytes;                 /* the ranges' extent, resident or not */
    uint64_t allocated_blocks;
    uint64_t threads;
    uint64_t purges, purged_bytes, fetched_bytes; /* see pool.h */
};

void mp_stats_get(struct mp_stats *stats);

/* What pages, spans and blocks with a mapping of their own take. Cheap. */
uint64_t mp_stats_heap_bytes(void);

#endif
