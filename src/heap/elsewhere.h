/* Blocks of small pages freed by threads that do not own the page: gathered in batches, handed over
 * (remote.h has the protocol), and the owner told. */
#ifndef MP_HEAP_ELSEWHERE_H
#define MP_HEAP_ELSEWHERE_H

#include "heap/page.h"
#include "heap/thread.h"

MP_INLINE struct mp_batch *mp_elsewhere_batch(struct mp_heap *heap, const struct mp_page *page) {
    return &heap->batches[((uintptr_t)page / sizeof *page) % MP_BATCHES];
}

/* A block of a page that this thread does not own has been freed; its key is set. Called outside a
 * slow section, which it enters when a batch is full. `heap` NULL: the thread has none, and
 * everything is settled at once. */
void mp_elsewhere_free(struct mp_heap *heap, struct mp_page *page, struct mp_block *block);

/* The same as far as it is a matter of adding to a batch. False: it has to be begun or sent. */
MP_INLINE bool mp_elsewhere_add(struct mp_heap *heap, struct mp_page *page,
                                struct mp_block *block) {
    struct mp_batch *batch = mp_elsewhere_batch(heap, page);
    if (batch->page != page || batch->count + 1 >= batch->most)
        return false;
    mp_page_link_block(block, batch->first);
    batch->first = block;
    batch->count++;
    return true;
}

/* Hands over all batches. Inside a slow section. */
void mp_elsewhere_flush(struct mp_heap *heap);

/* Takes in the pages that others have sent home, and looks again at those of this heap's that
 * others say they have freed into. Inside a slow section. */
void mp_elsewhere_read_mail(struct mp_heap *heap);

#endif
