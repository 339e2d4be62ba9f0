/* Blocks freed by threads that do not own their page, and how ownership passes.
 *
 * The protocol. Everything turns on one atomic word per page, `remote`:
 *
 *     63        48 47                              1   0
 *    +------------+--------------------------------+-----+
 *    |   count    |  first block, 0: none          |OWNED|
 *    +------------+--------------------------------+-----+
 *
 * - A page is OWNED by exactly one thread's heap, or ownerless. Only the owner touches the entry's
 *   plain fields (local_free, until, held, queue links), or who visits its heap in its stead.
 * - push: a chain of blocks goes in front of the list by CAS, and the new word always has OWNED. If
 *   the old one did not, the pusher has thereby become the owner (it has "claimed" the page) and
 *   must settle it: keep it in a queue, retire it, disown it again, or send it home (home.h).
 * - collect: the owner exchanges the list for none and moves it to local_free. Until then the
 *   blocks count as used, so a page with used == 0 has no block outside and may be retired.
 * - disown: the owner clears `owner`, then CASes {no blocks, OWNED} to 0. It fails when a push came
 *   in between; then the owner collects and decides again. A full page is disowned when its thread
 *   turns to another, so that whoever frees into it first takes it over: memory that a sleeping
 *   thread allocated and others free is not stuck with the sleeper. At thread exit all pages are
 *   disowned; those with room are put in the pool's list (MP_PAGE_LISTED) before the CAS, under the
 *   pool's lock.
 * - adopt: a thread that needs a page unlinks one from that list under the lock and claims it by
 *   CAS; when that fails a pusher was faster and owns it. A claimer by push that finds LISTED takes
 *   the lock to unlink the page; seeing it not set is enough, since it was set before the page was
 *   disowned.
 *
 * tests/model has this protocol in Promela.
 * Any thread, inside a slow section (thread.h); no lock needed. */
#ifndef MP_HEAP_REMOTE_H
#define MP_HEAP_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"

#define MP_REMOTE_COUNT_SHIFT 48

/* Hands over a chain of `count` blocks of `page`, linked first to last, keys set. True: the caller
 * owns the page now. *waiting: how many blocks wait to be collected with these. */
bool mp_remote_push(struct mp_page *page, struct mp_block *first, struct mp_block *last,
                    uint32_t count, uint32_t *waiting);

/* By the owner: takes over what others freed; returns how many blocks came to local_free. The
 * caller adjusts the count of used blocks. */
uint32_t mp_remote_collect(struct mp_page *page);

/* In the owner's stead (rescue.h): forgets the blocks that wait if they are those of this word
 * still, and does not touch them. */
bool mp_remote_forget(struct mp_page *page, uintptr_t word);

/* How many blocks wait to be collected. */
MP_INLINE uint32_t mp_remote_count(const struct mp_page *page) {
    return (uint32_t)(atomic_load_explicit(&page->remote, memory_order_relaxed) >>
                      MP_REMOTE_COUNT_SHIFT);
}

/* The same by anyone, for statistics: the page may be becoming something else meanwhile. */
MP_RACY_INLINE uint32_t mp_remote_count_guess(const struct mp_page *page) {
    return (uint32_t)(*(const uintptr_t *)(const void *)&page->remote >> MP_REMOTE_COUNT_SHIFT);
}

/* By the owner, `owner` cleared: true when the page is ownerless now, false when blocks came in. */
bool mp_remote_disown(struct mp_page *page);

/* Takes an ownerless page; false when it has an owner. */
bool mp_remote_claim(struct mp_page *page);

#endif
