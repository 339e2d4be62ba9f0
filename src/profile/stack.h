/* Which memory a capture may read. Unwind data may be wrong and frame pointers anything, so no load
 * goes where nothing is known to be mapped:
 *
 *   the thread's own stack   from the stack pointer to its upper end, once that is known
 *   any other                page by page, each asked for with MADV_POPULATE_READ before its first
 *                            read in a capture: coroutines, alternate signal stacks
 *
 * A thread's stack is known when a capture went all the way up it, and the kernel said of all pages
 * between that they can be read; they stay mapped as long as the thread runs. Being near the upper
 * end is not enough: coroutine stacks are often mapped right below, with a guard page between.
 *
 * Any context; one word of thread-local memory, which only its thread touches. */
#ifndef MP_PROFILE_STACK_H
#define MP_PROFILE_STACK_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/arch.h"

struct mp_stack {
    uintptr_t low, high; /* what may be read now */
    bool closed;         /* and nothing will be added */
};

/* At start-up, on the main thread. */
void mp_stack_start(void);

/* A capture begins at `sp`, or a signal frame leads to it. `running`: this thread's real one. */
void mp_stack_enter(struct mp_stack *stack, uintptr_t sp, bool running);

/* A capture has followed one stack from `sp` to `last`, the highest address that it found. */
void mp_stack_leave(const struct mp_stack *stack, uintptr_t sp, uintptr_t last);

/* Asks for the page of an address that is outside. */
bool mp_stack_open(struct mp_stack *stack, uintptr_t address);

#define MP_STACK_UNALIGNED(address) (((address) & (sizeof(uint64_t) - 1)) != 0)

MP_INLINE bool mp_stack_has(const struct mp_stack *stack, uintptr_t address) {
    return address - stack->low < stack->high - stack->low;
}

/* A word of the stack, whatever it holds: the address sanitizer marks parts of frames. */
__attribute__((no_sanitize("address"))) static inline uint64_t mp_stack_word(uintptr_t address) {
    return *(const volatile uint64_t *)address;
}

MP_INLINE bool mp_stack_read(struct mp_stack *stack, uintptr_t address, uint64_t *value) {
    if (MP_UNLIKELY(MP_STACK_UNALIGNED(address)) ||
        (MP_UNLIKELY(!mp_stack_has(stack, address)) && !mp_stack_open(stack, address)))
        return false;
    *value = mp_stack_word(address);
    return true;
}

#endif
