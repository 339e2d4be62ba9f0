/* Memory whose owner may be asleep for good: pages that others have emptied, or helped to empty,
 * while their owner sees nothing of it.
 *
 * Once there are enough of them, threads that free visit all heaps (thread.h), so that their owners
 * are on the fast paths at most. An empty page in a queue is retired: no fast path leads there. An
 * empty current page is another matter, since malloc may be popping from it at that very
 * instruction. Its memory goes back, but the page stays its owner's:
 *
 *   1. cut     The keys of the list's first two blocks are replaced by a mark, each by CAS, so
 *              malloc's fast path ends there. A pop that had seen the first key may still go on,
 *              and takes the mark away; the next finds the second block and ends. A push puts a
 *              block before them, which can be popped again.
 *   2. settle  For as long as a core may need to write out what it has stored. By then every pop
 *              and push that began before the cut has ended and is seen, but for those of threads
 *              that have been stopped in the middle (preempted, or in a signal handler), one each.
 *   3. check   The list begins with the two and both have the mark, so none of it has been popped,
 *              but for the first block, perhaps, by a pop that is stopped right now. If all the
 *              page's blocks are in its lists, the program holds none, so no push is under way.
 *   4. empty   The first block is the program's, or will be the next that malloc takes, and gets
 *              its key back; it is all that the page has left. The memory around it is purged.
 *              Malloc comes from it to the second block, which has no key, and so to the slow path.
 *
 * Where the check fails, keys take the place of marks again, wherever the blocks may be by then:
 * whatever has a mark is free, or about to be taken by a pop that will clear it.
 *
 * The owner, when it comes to a slow section that has to do with an emptied page, makes its blocks
 * anew, but for that one (mp_rescue_return). Frees there take the slow path until then.
 *
 * tests/model/emptied.pml has this. */
#ifndef MP_HEAP_RESCUE_H
#define MP_HEAP_RESCUE_H

#include <stdbool.h>

#include "heap/page.h"
#include "heap/thread.h"

/* How many current pages have most of their blocks back: about so many. */
extern MP_HIDDEN _Atomic(uint32_t) mp_rescue_current;

/* After blocks were sent, by this thread's heap: outside a slow section and all locks, at the end
 * of a call. */
void mp_rescue(struct mp_heap *heap);
/* The same now, whether there are enough or not; true if memory of current pages went back. */
bool mp_rescue_all(void);

MP_INLINE bool mp_rescue_has_emptied(const struct mp_page *page) {
    return mp_page_flags(page) & MP_PAGE_EMPTIED;
}

/* By the owner, in a slow section, before it does anything with a current page that was emptied. */
void mp_rescue_return(struct mp_bin *bin, struct mp_page *page);
/* The same, of a page that was lost in a fork, as far as its blocks go. */
void mp_rescue_make_blocks(struct mp_page *page);

/* Of an emptied page: the one block that there still is, live or free; NULL: there is none. */
const struct mp_block *mp_rescue_left(const struct mp_page *page);

/* By anyone, of a block that the program holds, as it says: is it not one of this page, because
 * that has been emptied? The owner may be making the page's blocks again, and then all are. While
 * the program holds the block the page is not emptied around another. */
MP_INLINE bool mp_rescue_lacks(const struct mp_page *page, uintptr_t pointer) {
    if (MP_LIKELY(!mp_rescue_has_emptied(page)) || (uintptr_t)mp_rescue_left(page) == pointer)
        return false;
    atomic_thread_fence(memory_order_acquire);
    return mp_rescue_has_emptied(page);
}

#endif
