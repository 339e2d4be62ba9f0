/* The heap's only call upwards: what a sampling profiler hangs in. All NULL until one does; the
 * heap then costs nothing for it. Set once, before other threads run; then mp_heap_arm (heap.h).
 *
 * Which blocks are samples is a matter of counts: each class of each thread has a countdown of
 * blocks, and the block that brings it to zero is a sample. The list that a thread allocates from
 * is cut in front of that block, so malloc's fast path finds it empty exactly then and knows
 * nothing of it.
 */
#ifndef MP_HEAP_HOOKS_H
#define MP_HEAP_HOOKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/arch.h"

struct mp_heap;

struct mp_hooks {
    /* How many blocks of this class the heap hands out up to and including the next sample: 1 or
     * more, MP_NO_SAMPLE for none. Under locks of the heap: takes none itself. */
    uint32_t (*countdown)(struct mp_heap *heap, unsigned class);
    /* Not 0: every block is a sample. None is counted down to, and small ones stand in pages of
     * samples alone, without a twin; of each of them this many bytes are kept for the profiler
     * (mp_shared_record). Set before mp_heap_arm, for good. */
    size_t every;
    /* A block above MP_MEDIUM_MAX is handed out, or has grown by this much: non-zero makes it a
     * sample. Whole pages. */
    int (*toss_large)(size_t bytes);
    /* `block` is a sample; `place` is where it would be without the profiler (a block in a page of
     * its class, which stays taken; `block` itself where it is not moved). `usable` is what its
     * chance depends on: the size of its class, or whole pages. Called before the program has it,
     * outside all locks, with the thread's slow section left; may allocate through the heap. */
    void (*sampled)(void *block, void *place, size_t size, size_t usable);
    /* A sample is about to be freed; any thread; outside all locks. A block of a small class may
     * turn out to be free already: it is no sample then. */
    void (*freed)(void *block);
    /* A sample is about to be resized in place, or moved by its pages: another block may stand at
     * its address before this thread is told the new one. */
    void (*resizing)(void *block);
    /* It has been, and is here now; NULL: it stayed as it was. 0: it is a sample no more. */
    int (*resized)(void *block, size_t size, size_t usable);
    /* What this thread frees now, if it is a sample, has been moved there by realloc; NULL: no more
     * of that. */
    void (*moving)(void *to);
    /* The system has no more addresses: whoever has some that are not in use gives them back. Under
     * locks of the heap. */
    void (*squeezed)(void);
    /* See mp_hooks_ask_sigsafe. Outside all locks and slow sections. */
    void (*asked)(void);
    /* The clock has gone on by a step or more. In a slow section: no more than to ask. */
    void (*tick)(uint64_t now_ms);
    /* The program has mapped a region, by a call of that return address; perhaps in a signal
     * handler. */
    void (*mapped)(uintptr_t start, size_t size, int prot, int flags, int fd, const void *caller);
    /* It is about to unmap one, or to move it: before, since another thread may map there at once.
     * What it was, for `remapped`. */
    uint32_t (*unmapping)(uintptr_t start, size_t size);
    void (*remapped)(uintptr_t start, size_t size, uint32_t what, const void *caller);
};

extern struct mp_hooks mp_hooks;

/* Have `asked` called at the end of some thread's next slow path: for a signal handler that finds
 * its own thread inside one. */
extern MP_HIDDEN _Atomic(bool) mp_hooks_wanted;
static inline void mp_hooks_ask_sigsafe(void) {
    atomic_store_explicit(&mp_hooks_wanted, true, memory_order_relaxed);
}

/* What a signal handler has left to the end of a slow path: outside slow sections. */
MP_INLINE void mp_hooks_do_what_is_asked(void) {
    if (MP_UNLIKELY(atomic_load_explicit(&mp_hooks_wanted, memory_order_relaxed)) &&
        atomic_exchange_explicit(&mp_hooks_wanted, false, memory_order_relaxed))
        mp_hooks.asked();
}

#endif
