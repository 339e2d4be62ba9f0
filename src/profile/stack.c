#include "profile/stack.h"

#include <errno.h>
#include <sys/mman.h>

#include "platform/sys.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PAGE ((uintptr_t)4096) /* the least there is; probing by less than a page is harmless */
#define MIB  ((uintptr_t)1 << 20)
#define FAR  (64 * MIB) /* deeper stacks are read page by page */
/* Bytes below the stack pointer that a signal leaves alone. */
#define RED_ZONE 128
/* How near the upper end a thread's first frame is: static TLS lies between. */
#define NEAR MIB

/* Where the loader found the main stack at start. */
extern void *__libc_stack_end;

/* Written once at start-up. */
static uintptr_t main_thread;
static bool cannot_ask; /* the kernel, before 5.14, has no MADV_POPULATE_READ */

/* This thread's stack may be read from here to its upper end; 0: not known yet. */
static __thread uintptr_t known_low __attribute__((tls_model("initial-exec")));

void mp_stack_start(void) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1);
    main_thread = mp_arch_thread_pointer();
    cannot_ask = mp_sys_madvise(here, PAGE, MADV_POPULATE_READ) == -EINVAL;
}

/* glibc puts the control block of all threads but the main one at the upper end of their stack. */
static uintptr_t upper_end(void) {
    uintptr_t tp = mp_arch_thread_pointer();
    return (tp == main_thread ? (uintptr_t)__libc_stack_end : tp) & ~(uintptr_t)7;
}

void mp_stack_enter(struct mp_stack *stack, uintptr_t sp, bool running) {
    uintptr_t end = upper_end();
    uintptr_t low = known_low;
    if (cannot_ask)
        /* By distance, then: no other mapping comes this near to the main stack, and no more than
         * the usual size is taken for another thread's. */
        low = end - (mp_arch_thread_pointer() == main_thread ? FAR : 8 * MIB);
    if (low && sp >= low && sp < end) {
        /* An interrupted function may have popped what its row says is saved. */
        uintptr_t red = (sp - RED_ZONE) & ~(uintptr_t)7;
        *stack = (struct mp_stack){red < low ? low : red, end, true};
        return;
    }
    uintptr_t page = sp & ~(PAGE - 1);
    *stack = (struct mp_stack){page, running ? page + PAGE : page, cannot_ask};
}

MP_NOINLINE bool mp_stack_open(struct mp_stack *stack, uintptr_t address) {
    if (stack->closed)
        return false;
    uintptr_t end = upper_end();
    if (known_low && address >= known_low && address < end) {
        if (stack->high != known_low)
            stack->low = known_low;
        stack->high = end;
        return true;
    }
    uintptr_t page = address & ~(PAGE - 1);
    if (mp_sys_madvise(page, PAGE, MADV_POPULATE_READ) != 0)
        return false;
    if (page == stack->high) {
        stack->high += PAGE;
    } else if (page + PAGE == stack->low) {
        stack->low = page;
    } else {
        stack->low = page;
        stack->high = page + PAGE;
    }
    return true;
}

void mp_stack_leave(const struct mp_stack *stack, uintptr_t sp, uintptr_t last) {
    uintptr_t end = upper_end();
    if (stack->closed || sp >= end || last > end || end - last > NEAR || end - sp > FAR)
        return;
    uintptr_t from = sp & ~(PAGE - 1);
    uintptr_t to = known_low ? known_low : (end + PAGE - 1) & ~(PAGE - 1);
    /* The pages between were all used on the way down, so that asking for them adds none. */
    if (from < to && mp_sys_madvise(from, to - from, MADV_POPULATE_READ) == 0)
        known_low = from;
}
