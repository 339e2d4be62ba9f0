/* The stacks that have allocated samples, each once, with what its samples add up to. A stack is
 * its frames (include/memprof/dump.h: address and module), so the same addresses in another module
 * are another stack. Stacks are never removed. Any thread; a known stack is found without a lock, a
 * new one is added under one (rank STACKS); totals are atomic sums. */
#ifndef MP_PROFILE_STACKS_H
#define MP_PROFILE_STACKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <memprof/box.h>

#define MP_DEPTH_MAX 256u

/* Weighted sums in fixed point, so that adding is one atomic instruction and the order of additions
 * does not matter: 2^-16 of a block, 2^-8 of a byte. A weight of 1 adds up exactly. */
#define MP_OBJECTS_ONE MEMPROF_BOX_OBJECTS_ONE
#define MP_BYTES_ONE   MEMPROF_BOX_BYTES_ONE

/* libc's word for it; an atomic addition costs some 5 ns, of which with rate=1 a block that comes
 * and goes has a dozen. */
extern char __libc_single_threaded;

static inline void mp_stack_sum_add(_Atomic(uint64_t) *sum, uint64_t by) {
    if (__libc_single_threaded)
        atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + by,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(sum, by, memory_order_relaxed);
}

struct mp_stack_sums {
    _Atomic(uint64_t) samples;
    _Atomic(uint64_t) objects;
    _Atomic(uint64_t) bytes;
};

/* What the frees of a stack's blocks can have in common, in one number: whose memory it was and
 * where it was freed (the kernel's numbers of nodes), bits of the lifetime's nanoseconds,
 * MEMPROF_FREE_*. */
typedef uint64_t mp_free_kind;
static inline mp_free_kind mp_free_kind_of(uint16_t node, uint16_t on, uint8_t lifetime,
                                           uint8_t flags) {
    return node | (uint64_t)on << 16 | (uint64_t)lifetime << 32 | (uint64_t)flags << 40;
}

/* What changes with every sample is apart from what is looked at to find it: threads on other cores
 * wait for a line that one of them has written to. */
struct mp_stack_free {
    struct mp_stack_free *next;
    mp_free_kind kind;
    struct mp_stack_sums *sums;
    struct memprof_box_free *mirror; /* in the black box, if there is one; NULL: not there */
};

struct mp_stack_counts { /* a cache line */
    struct mp_stack_sums allocated;
    struct mp_stack_sums freed; /* for which there was no entry; see mp_stack_freed_in_all */
    _Atomic(uint64_t) peak_objects, peak_bytes;
};

struct mp_stack {
    uint32_t hash;
    uint32_t number; /* from 0, in the order of arrival */
    uint16_t depth;
    uint16_t flags;         /* MEMPROF_STACK_* */
    _Atomic(uint32_t) peak; /* the height that the counts' two are of, or a later one: peak.h */
    struct mp_stack_counts *counts;
    struct memprof_box_stack *mirror; /* in the black box, if there is one; NULL: not there */
    _Atomic(struct mp_stack_free *) frees;
    uint64_t frames[];
};

/* The stack with these frames. A handle, 0: no memory. */
uint32_t mp_stacks_find(const uint64_t *frames, unsigned depth, unsigned flags);
struct mp_stack *mp_stacks_get(uint32_t handle);

/* A block of `size` bytes that counts as `weight` has come, or has gone in that way; returns what
 * it comes to in MP_BYTES_ONE. */
uint64_t mp_stack_allocated(struct mp_stack *stack, double weight, uint64_t size);
uint64_t mp_stack_freed(struct mp_stack *stack, mp_free_kind kind, double weight, uint64_t size);

/* What has been freed of it: entries and what has none. */
struct mp_stack_totals {
    uint64_t samples, objects, bytes;
};
struct mp_stack_totals mp_stack_freed_in_all(const struct mp_stack *stack);

/* What it held when the heap was at its highest; for a copy. */
void mp_stack_at_peak(const struct mp_stack *stack, uint64_t *objects, uint64_t *bytes);

/* Every stack in the order of their numbers; for a copy, or under the locks. */
uint32_t mp_stacks_count(void);
void mp_stacks_each(void (*visit)(const struct mp_stack *stack, void *context), void *context);

void mp_stacks_before_fork(void);
void mp_stacks_after_fork(bool child);

#endif
