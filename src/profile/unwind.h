/* The stack of the thread that asks, as return addresses: one interface over the backends.
 *
 *   cfi        cfi.h: unwind tables, read by ourselves; the default
 *   fp         fp.c: the chain of frame pointers, for programs that keep them
 *   libunwind  libunwind.c: the library, for comparison
 *
 * A capture runs on any thread, on any stack, with at most 1.5 KiB of it; never inside a lock of
 * the heap's. cfi and fp take no lock, allocate nothing and may run in a signal handler. */
#ifndef MP_PROFILE_UNWIND_H
#define MP_PROFILE_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/options.h"

enum mp_unwind_result_flags {
    MP_UNWIND_CUT = 1,    /* deeper than was asked for */
    MP_UNWIND_BROKEN = 2, /* its end could not be reached: code without unwind data, or a frame that
                             makes no sense */
};

struct mp_unwound {
    unsigned depth; /* frames written */
    unsigned flags; /* enum mp_unwind_result_flags */
};

/* A module as this thread's last capture by cfi found it, or as it stays: its place, and a tag that
 * is another one's with another module there (cfi_module.h). */
struct mp_unwind_module {
    uintptr_t start, size;
    uint32_t tag;
    uint32_t number; /* for who asks: 0 at first, and again when the module may be another one */
};

/* The one that the address lies in; NULL: the capture did not come by it, or by too many others. */
struct mp_unwind_module *mp_unwind_module(uintptr_t address);

/* In a frame: this is the very instruction that a signal interrupted, no return address. */
#define MP_UNWIND_EXACT ((uint64_t)1 << 63)

/* Chooses the backend, once, at start-up: single-threaded, outside any lock. `wanted` is an enum
 * mp_unwind: auto is cfi; libunwind falls back to cfi where the library is not to be had, and cfi
 * to fp before glibc 2.35. Says nothing. */
void mp_unwind_start(int wanted);
/* Of libunwind, and of the loader's tables that it walks, a lock may be held by a thread that a
 * child of fork does not have: there, cfi takes over. */
void mp_unwind_after_fork_child(void);
/* Which one is in use: enum memprof_dump_unwinder. */
int mp_unwind_backend(void);

/* The calling thread's stack, innermost first, from `caller`, the return address of the function
 * that the program called: our own frames below it are left out. If `caller` is not among the first
 * 24 frames, or is NULL, everything is kept. max >= 1. */
struct mp_unwound mp_unwind(uint64_t *frames, unsigned max, const void *caller);

/* ---- between unwind.c and the backends ---- */

#define MP_UNWIND_OWN_FRAMES 24u

/* As mp_unwind, but depth 0 if `caller` was not met. */
struct mp_unwound mp_cfi_capture(uint64_t *frames, unsigned max, const void *caller);
struct mp_unwound mp_fp_capture(uint64_t *frames, unsigned max, const void *caller);
struct mp_unwound mp_libunwind_capture(uint64_t *frames, unsigned max, const void *caller);

/* 0 if it can be used, else -errno. */
int mp_cfi_start(void);
int mp_libunwind_start(void);

#ifdef MP_COMPARE_UNWINDERS /* compare.h */
/* Does libunwind find unwind data for this instruction? */
bool mp_libunwind_has_data(uint64_t address);
#endif

/* What all three do with an address: leave it out before `caller`, keep it, or see that there is no
 * room for it. */
struct mp_unwinding {
    uint64_t *frames;
    unsigned max;
    unsigned depth;
    uint64_t caller;
    unsigned own; /* frames in which to meet the caller; 0: it was met */
};

enum mp_unwinding_next { MP_UNWINDING_ON, MP_UNWINDING_FULL, MP_UNWINDING_UNMET };

static inline struct mp_unwinding mp_unwinding_begin(uint64_t *frames, unsigned max,
                                                     const void *caller) {
    return (struct mp_unwinding){frames, max, 0, (uintptr_t)caller,
                                 caller ? MP_UNWIND_OWN_FRAMES : 0};
}

static inline enum mp_unwinding_next mp_unwinding_add(struct mp_unwinding *unwinding,
                                                      uint64_t frame) {
    if (unwinding->own) {
        if (frame != unwinding->caller)
            return --unwinding->own ? MP_UNWINDING_ON : MP_UNWINDING_UNMET;
        unwinding->own = 0;
    }
    if (unwinding->depth == unwinding->max)
        return MP_UNWINDING_FULL;
    unwinding->frames[unwinding->depth++] = frame;
    return MP_UNWINDING_ON;
}

#endif
