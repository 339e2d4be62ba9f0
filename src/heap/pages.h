/* A small page's life: fresh from the pool, current (its owner allocates from it), full and
 * ownerless, taken over by whoever frees into it or sent home by him, queued for reuse, empty and
 * back in the pool. All by the page's owner or somebody who is becoming it, inside a slow section.
 */
#ifndef MP_HEAP_PAGES_H
#define MP_HEAP_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "heap/thread.h"

/* What a refill came to. */
enum mp_refill {
    MP_REFILL_NONE,   /* the system has no memory */
    MP_REFILL_LIST,   /* the current page has free blocks again */
    MP_REFILL_SAMPLE, /* *block is to be handed out now, as a sample */
};

/* Fills the list of the current page of a small class, or makes another current. */
enum mp_refill mp_pages_refill(struct mp_heap *heap, unsigned class, uint64_t now_ms,
                               struct mp_block **block);

/* check=full: a block freed into a current page waits for the next refill, which looks at all of
 * them, rather than be handed out next. */
void mp_pages_keep_back(struct mp_heap *heap, struct mp_page *page, struct mp_block *block);

/* `until` of a page of this heap's has come to zero. */
void mp_pages_event(struct mp_heap *heap, struct mp_page *page, uint64_t now_ms);

/* The current page of a class becomes one like others. */
void mp_pages_end_current(struct mp_heap *heap, unsigned class);

/* Leaves no page current, and gives empty pages back. */
void mp_pages_trim(struct mp_heap *heap);

/* At the thread's end: every page of the heap finds another owner, or none, or the pool. */
void mp_pages_leave(struct mp_heap *heap);

/* In a forked child: pages of threads that were lost have no owner that could act. */
void mp_pages_orphan_lost(void);
/* Makes such a page this heap's, its lists rebuilt from the keys of its blocks. What a lost thread
 * had freed and not handed over (its batches, 256 blocks at most) has its key but may belong to a
 * page that was not lost: those stay unused. */
bool mp_pages_is_lost(const struct mp_page *page);
void mp_pages_revive(struct mp_heap *heap, struct mp_page *page);

#endif
