/* Blocks between MP_SMALL_MAX and MP_MEDIUM_MAX: pages of eight blocks or more that no thread owns.
 * A few shards, each with a lock, stand in for ownership: such a block is long enough in use for a
 * lock not to matter, and a page that is empty goes back whoever freed last, with no owner who
 * might be asleep. Slow paths, any thread; lock rank MEDIUM, taken inside. */
#ifndef MP_HEAP_MEDIUM_H
#define MP_HEAP_MEDIUM_H

#include <stdbool.h>

#include "heap/page.h"
#include "heap/thread.h"

/* *fresh: the block reads zero throughout. NULL: no memory. */
struct mp_block *mp_medium_alloc(struct mp_heap *heap, unsigned class, bool *sample, bool *fresh);

/* False: the block is free already. */
bool mp_medium_free(struct mp_page *page, struct mp_block *block);

/* Gives the empty pages back that are kept for the next request. */
void mp_medium_trim(void);

void mp_medium_before_fork(void);
void mp_medium_after_fork(bool child);

#endif
