/* The stacks that have allocated samples, each once, with what its samples add up to. A stack is
 * its frames (include/memprof/dump.h: address and module), so the same addresses in another module
 * are another stack. Stacks are never removed. Any thread; a known stack is found without a lock, a
 * new one is added under one (rank STACKS); totals are atomic sums. */
#ifndef MP_PROFILE_STACKS_H
#define MP_PROFILE_STACKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_DEPTH_MAX 256u

/* Weighted sums in fixed point, so that adding is one atomic instruction and the order of additions
 * does not matter: 2^-16 of a block, 2^-8 of a byte. A weight of 1 adds up exactly. */
#define MP_OBJECTS_ONE 65536.0
#define MP_BYTES_ONE   256.0

struct mp_stack_sums {
    _Atomic(uint64_t) samples;
    _Atomic(uint64_t) objects;
    _Atomic(uint64_t) bytes;
};

/* What was freed of a stack's blocks, by nodes; where there are several. The kernel's numbers. */
struct mp_stack_free {
    struct mp_stack_free *next;
    uint32_t node, on; /* whose memory it was, and where the thread ran that freed it */
    struct mp_stack_sums sums;
};

struct mp_stack {
    uint32_t hash;
    uint32_t number; /* from 0, in the order of arrival */
    uint16_t depth;
    uint16_t flags; /* MEMPROF_STACK_* */
    uint32_t unused;
    struct mp_stack_sums allocated, freed;
    _Atomic(struct mp_stack_free *) frees;
    uint64_t frames[];
};

/* The stack with these frames. A handle, 0: no memory. */
uint32_t mp_stacks_find(const uint64_t *frames, unsigned depth, unsigned flags);
struct mp_stack *mp_stacks_get(uint32_t handle);

static inline void mp_stack_add(struct mp_stack_sums *sums, double weight, uint64_t size) {
    uint64_t objects = (uint64_t)(weight * MP_OBJECTS_ONE + 0.5);
    uint64_t bytes = (uint64_t)(weight * (double)size * MP_BYTES_ONE + 0.5);
    atomic_fetch_add_explicit(&sums->samples, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->objects, objects, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->bytes, bytes, memory_order_relaxed);
}

/* Where that is added up; NULL: no memory. */
struct mp_stack_sums *mp_stack_freed_on(struct mp_stack *stack, uint32_t node, uint32_t on);

/* Every stack in the order of their numbers; for a copy, or under the locks. */
uint32_t mp_stacks_count(void);
void mp_stacks_each(void (*visit)(const struct mp_stack *stack, void *context), void *context);

void mp_stacks_before_fork(void);
void mp_stacks_after_fork(bool child);

#endif
