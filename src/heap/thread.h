/* What a thread has: its current pages in thread-local storage, its heap, and the gate at which
 * slow paths wait while a copy of the process is made.
 *
 * The gate. A slow section (mp_slow_enter .. mp_slow_leave) is where anything changes but
 * local_free and until of a thread's own pages, its batches, and with check=full `rest`. It sets
 * the heap's `busy`, then looks at the gate; the copier closes the gate, then waits until nobody is
 * busy. Both are sequentially consistent, so one of the two sees the other. While the gate is
 * closed, what still runs are pops and pushes of single blocks.
 *
 * A visit is the same for one heap: who finds it not busy makes it so, changes its bins and pages
 * in its thread's stead, which waits at its next slow section (rescue.h). Visitors never wait.
 *
 * Heaps are never freed, so that a page's number of its last heap always means something; a heap is
 * used again by the next thread. */
#ifndef MP_HEAP_THREAD_H
#define MP_HEAP_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"
#include "platform/numa.h"

#define MP_BATCHES     8u  /* destinations a thread may have blocks for at a time */
#define MP_BATCH_COUNT 32u /* blocks in one at most */
#define MP_MAILS       64u /* that can wait for a thread; if there are more, it looks everywhere */
#define MP_BATCH_BYTES 4096u /* bytes with which one is full */

/* Blocks of one page, freed by this thread and not handed over yet; linked first to last. */
struct mp_batch {
    struct mp_page *page;
    struct mp_block *first, *last;
    uint32_t count, most;
};

/* A heap's pages of one class; page numbers, 0: none. */
struct mp_bin {
    uint32_t current;                 /* allocated from */
    uint32_t dense_first, dense_last; /* more than a quarter used: taken first, in this order */
    uint32_t sparse;                  /* the others: taken last, so that they may empty */
    uint32_t window;                  /* the current page's `until` when it was last set */
    uint32_t lent;                    /* blocks that the current page's list can have, at most */
    uint32_t rest_count;
    uint32_t left_ms; /* when a current page was last left because only frees came */
    uint8_t calm;     /* how often in a row that was looked for in vain */
    bool watched;     /* that is looked for */
    bool astray;      /* the current page is another node's: this one had no more */
    /* For the hooks: how much coarser than others the next sample was drawn, and the last one. */
    uint8_t coarse, last_coarse;
    /* See home.h. Pages that were filled, and those of them that this thread was the first to free
     * into, lately; and when it last needed blocks. */
    _Atomic(uint16_t) left, regained;
    _Atomic(uint32_t) refilled_ms;
    struct mp_block *aside; /* of the current page's list, what waits behind it: see pages.c */
    struct mp_block *rest;  /* free blocks of the current page that are kept back */
    uint64_t allocated;     /* blocks ever charged */
    uint64_t sample_at;     /* when so many are, the next is one; UINT64_MAX: never */
};

#define MP_NO_SAMPLE UINT32_MAX

/* The `countdown`th block from now is a sample. */
static inline void mp_bin_sample_in(struct mp_bin *bin, uint32_t countdown) {
    bin->sample_at = countdown == MP_NO_SAMPLE ? UINT64_MAX : bin->allocated + countdown - 1;
}

enum mp_heap_state {
    MP_HEAP_FREE, /* waits for a thread */
    MP_HEAP_LIVE,
    MP_HEAP_DEAD, /* its thread does not exist in this forked process */
};

enum mp_busy {
    MP_BUSY_NOT,
    MP_BUSY_OWN,     /* its thread is in a slow section */
    MP_BUSY_VISITED, /* another thread is */
    MP_BUSY_AWAITED, /* ... and its own sleeps until it has gone */
};

struct mp_heap {
    uint32_t number; /* 1 .. ; 0 is no heap */
    _Atomic(uint32_t) state;
    uintptr_t owner;        /* its thread's owner word, see page.h */
    _Atomic(uint32_t) busy; /* enum mp_busy */
    struct mp_tls *tls;     /* its thread's; dangles when a thread has died without an exit */
    unsigned node;          /* where its thread was last seen */
    struct mp_heap *next_free;
    bool reborn;       /* made after its thread's exit handler ran: see thread.c */
    uint64_t random;   /* for the hooks' draws; 0 at first */
    uint64_t paced_us; /* for the hooks: until when samples have used up this thread's time, */
    int64_t unsettled; /* and what it has come to since it last said: see profile/peak.h */
    _Atomic(uint64_t) samples;              /* for the hooks: those that it has numbered */
    uint64_t drawn[(MP_CLASSES + 63) / 64]; /* bit c: bins[c].sample_at is set */
#ifdef MP_SAMPLE_BYTES
    uint32_t distance; /* see oracle.h; 0 at first */
#endif
    uint64_t large_allocated, large_bytes;
    _Atomic(uint32_t) mails; /* ever sent */
    uint32_t mails_read;
    _Atomic(uint64_t) mail[MP_MAILS]; /* page numbers, behind the mail's own; see elsewhere.c */
    uint32_t flushed_ms;              /* when batches were last handed over for no other reason */
    uint32_t waited;                  /* see mp_rescue */
    _Atomic(uint32_t) homing;         /* pages sent to it: see home.h */
    uint32_t batched;                 /* batches with blocks */
    uint32_t singles;                 /* see note_evicted in elsewhere.c */
    struct mp_batch batches[MP_BATCHES];
    struct mp_bin bins[MP_CLASSES];
};

/* The node on which the heap's thread, which is this one, runs now: what memory it needs is to be
 * from there. */
MP_INLINE unsigned mp_heap_here(struct mp_heap *heap) {
    if (MP_UNLIKELY(mp_numa_count() > 1))
        heap->node = mp_numa_look();
    return heap->node;
}

struct mp_tls {
    struct mp_page *page[MP_SMALL_CLASSES]; /* the classes' current pages; mp_no_page: none */
    struct mp_heap *heap;
    bool exited;
};

extern MP_HIDDEN __thread struct mp_tls mp_tls __attribute__((tls_model("initial-exec")));

/* For classes without a current page: its list begins with a block whose key is wrong, so that
 * malloc needs one compare for that, for empty and for damaged. */
extern MP_HIDDEN struct mp_page mp_no_page;

/* The thread's heap, made if need be. NULL: no memory, or the thread is past its exit. */
struct mp_heap *mp_thread_heap(void);
/* The same, but also for a thread past its exit that allocates again. */
struct mp_heap *mp_thread_heap_for_malloc(void);

struct mp_heap *mp_heap_by_number(uint32_t number);
uint32_t mp_heap_count(void);

extern MP_HIDDEN _Atomic(uint32_t) mp_gate;
void mp_slow_wait(void);
void mp_slow_wait_for_visitor(struct mp_heap *heap);

/* For a thread without a heap (it has not allocated yet, or is past its exit): a lock, which the
 * copier holds, instead of `busy`. */
void mp_heapless_enter(void);
void mp_heapless_leave(void);

/* Not nested; the thread's heap does not come or go in between. `busy` is in the heap and not in
 * the thread's storage, which may be gone when the copier looks. */
MP_INLINE void mp_slow_enter(void) {
    struct mp_heap *heap = mp_tls.heap;
    if (MP_UNLIKELY(!heap)) {
        mp_heapless_enter();
        return;
    }
    uint32_t not = MP_BUSY_NOT;
    if (MP_UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &heap->busy, &not, MP_BUSY_OWN, memory_order_seq_cst, memory_order_relaxed)))
        mp_slow_wait_for_visitor(heap);
    if (MP_UNLIKELY(atomic_load_explicit(&mp_gate, memory_order_seq_cst)))
        mp_slow_wait();
}

MP_INLINE void mp_slow_leave(void) {
    struct mp_heap *heap = mp_tls.heap;
    if (MP_UNLIKELY(!heap))
        mp_heapless_leave();
    else /* release: the copier that sees us out sees what we did */
        atomic_store_explicit(&heap->busy, MP_BUSY_NOT, memory_order_release);
}

MP_INLINE bool mp_slow_inside(void) {
    return mp_tls.heap &&
           atomic_load_explicit(&mp_tls.heap->busy, memory_order_relaxed) == MP_BUSY_OWN;
}

/* By a thread in a slow section of its own; false: the heap is busy. */
bool mp_visit_begin(struct mp_heap *heap);
void mp_visit_end(struct mp_heap *heap);
/* In a child that was forked without the gate (from a signal handler, in the middle of anything):
 * who visited this thread's heap does not exist. */
void mp_visit_forget(void);

/* Closes the gate and takes every lock of the heap; mp_gate_open undoes it. Not reentrant. */
void mp_gate_close(void);
void mp_gate_open(bool child);

/* True in a forked process that has lost threads: their pages need mp_pages_revive. */
extern bool mp_threads_lost;

#endif
