/* Another way to choose the samples of small classes, to hold the usual one against: the thread
 * counts bytes, over all these classes together, and the block in which the count runs out is a
 * sample. That is sampling as one would write it down, every byte with the same chance, and it is
 * slow: each malloc takes the slow path, to subtract and compare. The countdowns by class (hooks.h)
 * must come to the same. libmemprof-oracle.so is built so, with MP_SAMPLE_BYTES, for tests only;
 * everywhere else there is nothing of this. Slow paths, the heap's own thread, no locks. */
#ifndef MP_HEAP_ORACLE_H
#define MP_HEAP_ORACLE_H

#include <stdbool.h>

#include "heap/class.h"
#include "heap/hooks.h"
#include "heap/thread.h"

#ifdef MP_SAMPLE_BYTES

#define MP_ORACLE 1

/* Before the class's list is filled: its blocks are not counted there. */
static inline void mp_oracle_refill(struct mp_heap *heap, unsigned class) {
    heap->bins[class].sample_at = UINT64_MAX;
}

/* A block of the class is about to be handed out: is it a sample? Classes are multiples of the
 * smallest, so a distance that was drawn for that one, in its blocks, is one in bytes; and the next
 * is drawn from this block's end, for what is left of it cannot be sampled again. */
static inline bool mp_oracle_is_due(struct mp_heap *heap, unsigned class) {
    uint32_t units = (uint32_t)(mp_class_size(class) / mp_class_size(0));
    if (!mp_hooks.countdown)
        return false;
    if (!heap->distance)
        heap->distance = mp_hooks.countdown(heap, 0);
    bool due = heap->distance <= units;
    heap->distance = due ? mp_hooks.countdown(heap, 0) : heap->distance - units;
    return due;
}

#else

#define MP_ORACLE 0

static inline void mp_oracle_refill(struct mp_heap *heap, unsigned class) {
    (void)heap;
    (void)class;
}

static inline bool mp_oracle_is_due(struct mp_heap *heap, unsigned class) {
    (void)heap;
    (void)class;
    return false;
}

#endif

#endif
