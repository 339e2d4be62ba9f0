/* What a heap does with its small pages that are not current: those with room wait in its queues to
 * be allocated from, empty ones go back to the pool. Two queues per class (struct mp_bin): sparse
 * pages, of which a quarter at most is used, may soon be empty, so dense ones are taken first.
 *
 * By the page's owner, somebody who is becoming it, or who visits its heap, inside a slow section.
 */
#ifndef MP_HEAP_QUEUE_H
#define MP_HEAP_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "heap/thread.h"

/* How many pages in queues, or on their way home, have all their blocks back while their owner may
 * not have seen it: about so many, see rescue.h. */
extern MP_HIDDEN _Atomic(uint32_t) mp_queue_all_back;

/* Makes the page this heap's. */
void mp_queue_own(struct mp_heap *heap, struct mp_page *page);

/* Sets `until`, which counts the owner's frees down to the next event: a dense page is looked at
 * when it has become sparse (but for blocks that others push later), any page when it is empty. Of
 * the `used` blocks `out` are not back yet; the others wait in `remote`. */
void mp_queue_arm(struct mp_page *page, uint32_t used, uint32_t out);

void mp_queue_add(struct mp_heap *heap, struct mp_page *page, uint32_t used, uint32_t out);
void mp_queue_remove(struct mp_heap *heap, struct mp_page *page);

/* Takes over what others freed; returns the blocks still used. */
uint32_t mp_queue_collect(struct mp_page *page);

/* Every block of it is free by its key, however its count came about. */
bool mp_queue_has_all_keys(const struct mp_page *page);

/* An empty page, in no queue, goes back to the pool. */
void mp_queue_retire(struct mp_page *page);

/* Puts a page that is no longer current, or new to its owner, where it belongs: one that others use
 * and that is of another node than the heap's thread is left to those there. */
void mp_queue_settle(struct mp_heap *heap, struct mp_page *page);

/* The same for a page in a queue: after its event, */
void mp_queue_resettle(struct mp_heap *heap, struct mp_page *page);
/* with less work where it stays in its queue, */
void mp_queue_look_again(struct mp_heap *heap, struct mp_page *page);
/* or for all of a class. */
void mp_queue_resettle_all(struct mp_heap *heap, unsigned class);

/* Leaves a page, in no queue, to whoever wants it; an empty one goes back to the pool. */
void mp_queue_leave(struct mp_page *page);

#endif
