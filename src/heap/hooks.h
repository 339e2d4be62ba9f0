/* The heap's only call upwards: what a sampling profiler hangs in. All NULL until one does; the
 * heap then costs nothing for it. Set once, before other threads run.
 *
 * Which blocks are samples is a matter of counts: each class of each thread has a countdown of
 * blocks, and the block that brings it to zero is a sample. The list handed to a thread is cut in
 * front of that block, so malloc's fast path finds it empty exactly then and knows nothing of it.
 */
#ifndef MP_HEAP_HOOKS_H
#define MP_HEAP_HOOKS_H

#include <stddef.h>
#include <stdint.h>

struct mp_hooks {
    /* How many blocks of this class the calling thread hands out up to and including the next
     * sample: 1 or more, MP_NO_SAMPLE for none. */
    uint32_t (*countdown)(unsigned class);
    /* A block above MP_MEDIUM_MAX is handed out: non-zero makes it a sample. */
    int (*toss_large)(size_t size);
    /* `block` is a sample; `place` is where it would be without the profiler (a block in a page of
     * its class, which stays taken; `block` itself where it is not moved). Called before the
     * program has it, outside all locks, with the thread's slow section left; may allocate through
     * the heap. */
    void (*sampled)(void *block, void *place, size_t size, size_t usable);
    /* A sample is about to be freed; any thread; outside all locks. */
    void (*freed)(void *block);
    /* The sample `from` has become `to` by realloc in place or by a move of its pages. */
    void (*resized)(void *from, void *to, size_t size);
    /* The program has mapped or unmapped a region; perhaps in a signal handler. */
    void (*mapped)(uintptr_t start, size_t size, int prot, int flags, int fd);
    void (*unmapped)(uintptr_t start, size_t size);
};

extern struct mp_hooks mp_hooks;

#endif
