#include "profile/unwind.h"

#include <stddef.h>

#include "memprof/dump.h"
#include "platform/arch.h"
#include "profile/compare.h"
#include "profile/stack.h"

/* Written at start-up, and in a child of fork while it has one thread. */
static int backend = MEMPROF_UNWIND_FP;

void mp_unwind_start(int wanted) {
    mp_stack_start();
    if (wanted == MP_UNWIND_LIBUNWIND && mp_libunwind_start() == 0)
        backend = MEMPROF_UNWIND_LIBUNWIND;
    else if (wanted != MP_UNWIND_FP && mp_cfi_start() == 0)
        backend = MEMPROF_UNWIND_CFI;
    else
        backend = MEMPROF_UNWIND_FP;
    mp_compare_start(backend);
}

void mp_unwind_after_fork_child(void) {
    mp_compare_stop();
    if (backend == MEMPROF_UNWIND_LIBUNWIND)
        mp_unwind_start(MP_UNWIND_CFI);
}

int mp_unwind_backend(void) {
    return backend;
}

MP_INLINE struct mp_unwound capture(uint64_t *frames, unsigned max, const void *caller) {
    if (MP_LIKELY(backend == MEMPROF_UNWIND_CFI))
        return mp_cfi_capture(frames, max, caller);
    if (backend == MEMPROF_UNWIND_FP)
        return mp_fp_capture(frames, max, caller);
    return mp_libunwind_capture(frames, max, caller);
}

MP_NOINLINE struct mp_unwound mp_unwind(uint64_t *frames, unsigned max, const void *caller) {
    struct mp_unwound unwound = capture(frames, max, caller);
    mp_compare_capture(frames, max, caller, unwound);
    if (MP_UNLIKELY(!unwound.depth) && caller)
        unwound = capture(frames, max, NULL);
    return unwound;
}
