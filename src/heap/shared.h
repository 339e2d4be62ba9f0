/* Pages that no thread owns: those of medium blocks, and those of samples of small classes. A few
 * shards for each node, each with a lock, stand in for ownership: a medium block is long enough in
 * use for a lock not to matter, a sample is rare, and a page that is empty goes back whoever freed
 * last, with no owner who might be asleep. Their owner word is 0, so every free in them takes the
 * slow path. Slow paths, any thread; lock rank SHARED, taken inside. */
#ifndef MP_HEAP_SHARED_H
#define MP_HEAP_SHARED_H

#include <stdbool.h>

#include "heap/page.h"
#include "heap/thread.h"

/* At start-up, before mp_numa_use: there will be so many nodes. False: no memory. */
bool mp_shared_add_nodes(unsigned count);

/* A block of a medium class. *sample: its countdown says so, and it is marked. *fresh: it reads
 * zero throughout. NULL: no memory. */
struct mp_block *mp_shared_alloc(struct mp_heap *heap, unsigned class, bool *sample, bool *fresh);

/* The block that is handed out in place of `twin`, a block of a small page that a countdown has
 * chosen. The twin stays used, so that its page is as full as it would be without the profiler, and
 * has a mark of its own, so that a census counts one block and not two. NULL: no memory, no sample.
 */
struct mp_block *mp_shared_sample(struct mp_heap *heap, unsigned class, struct mp_block *twin);

/* Is this block of any page a sample? Stays one. */
bool mp_shared_has_sample(const struct mp_page *page, const struct mp_block *block);

/* Of a block in a page of samples: what is to be freed with it, or NULL. */
struct mp_block *mp_shared_twin(const struct mp_page *page, const struct mp_block *block);

/* Before the free of a block in a medium page: was it a sample? */
bool mp_shared_end_sample(struct mp_page *page, const struct mp_block *block);

/* With mp_hooks.every, what is kept for the profiler of a block that the caller holds; it reads
 * zero before it is first used. NULL: nothing is, by lack of memory or because it is in no page of
 * samples. */
void *mp_shared_record(const void *block, size_t *usable);
/* If there is one, it will be wanted in a moment: it is fetched meanwhile. */
void mp_shared_expect_record(const struct mp_page *page, const struct mp_block *block);
/* Of all blocks that have ever been made there, live or not; in a copy. */
void mp_shared_each_record(void (*visit)(void *record, uintptr_t block, size_t size, void *context),
                           void *context);

/* False: the block is free already. */
bool mp_shared_free(struct mp_page *page, struct mp_block *block);

/* Gives the empty pages back that are kept for the next request. */
void mp_shared_trim(void);

void mp_shared_before_fork(void);
void mp_shared_after_fork(bool child);

#endif
