/* Pages that go home. A full page has no owner, and whoever frees into it first takes it over
 * (remote.h). That is right where one thread allocates and another frees. But where threads free
 * most of their blocks themselves and a few of others', pages would change hands at random: after a
 * while each thread's pages hold everybody's blocks, most frees are another's, and one thread has
 * to ask for new memory while another has room to spare. So a page that a thread takes over goes
 * back to the one that filled it, if that one allocates from such pages still, and often comes
 * first itself.
 *
 * The protocol. Each heap has a stack of page numbers, linked by `next`, onto which others push by
 * CAS and from which its thread takes all at once. A page on it is OWNED, `owner` is 0 and its flag
 * is HOMING; its entry was the sender's until the push, and is the taker's after the exchange. In
 * between others push blocks to it as to any page, and nobody is told: they are seen when it
 * arrives. But if all come back before, it is counted for a rescue (rescue.h): by who pushes the
 * last one, if that one sees the flag then, and by the sender, who looks again when the page is on
 * the stack. The visitor takes the stack, retires what is empty, and puts back the rest. A thread
 * that ends shuts its heap's stack, and then senders keep what they took over.
 *
 * tests/model/home.pml has this.
 *
 * All inside a slow section. */
#ifndef MP_HEAP_HOME_H
#define MP_HEAP_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "heap/thread.h"

/* A page, in no queue, that the heap has just taken over by freeing into it. True: it is on its way
 * to another heap, and no longer this one's to touch. */
bool mp_home_send(struct mp_heap *from, struct mp_page *page);

/* The bin's thread has filled a page and let go of it. */
void mp_home_note_left(struct mp_bin *bin);

/* Takes in what has been sent, by the heap's thread. */
void mp_home_arrive(struct mp_heap *heap);
#define MP_HOME_SHUT UINT32_MAX
MP_INLINE bool mp_home_has_any(const struct mp_heap *heap) {
    uint32_t first = atomic_load_explicit(&heap->homing, memory_order_relaxed);
    return first != 0 && first != MP_HOME_SHUT;
}

/* Retires what is empty, during a visit. Returns how many pages were looked at. */
uint32_t mp_home_visit(struct mp_heap *heap);

/* At the thread's end: what has been sent finds another owner, and nothing can be sent any more. */
void mp_home_shut(struct mp_heap *heap);
/* A thread begins to use the heap. */
void mp_home_open(struct mp_heap *heap);

/* The same in a forked child, of a heap other than the survivor's: what is on its way there is lost
 * (pages.h). */
void mp_home_forget(struct mp_heap *heap);

#endif
