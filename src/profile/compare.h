/* Our unwinder held against libunwind's, stack by stack, in real programs. libmemprof-frames.so is
 * built so, with MP_COMPARE_UNWINDERS, for tests only: each capture by unwind tables is made once
 * more by libunwind, and the two must be equal from the program's call of malloc on. At the
 * program's end the counts, and the stacks that differ, are appended to the file that the variable
 * MEMPROF_FRAMES names. Everywhere else there is nothing of this.
 *
 * As libunwind does, it takes the loader's lock and allocates: in captures only, whose own
 * allocations are no samples. A child of fork compares nothing: libunwind's locks may be held there
 * by nobody. */
#ifndef MP_PROFILE_COMPARE_H
#define MP_PROFILE_COMPARE_H

#include "profile/unwind.h"

#ifdef MP_COMPARE_UNWINDERS

/* When the backend has been chosen: there is something to compare if it is the default one. */
void mp_compare_start(int backend);
void mp_compare_stop(void);
/* What a capture by unwind tables has given. */
void mp_compare_capture(const uint64_t *frames, unsigned max, const void *caller,
                        struct mp_unwound unwound);

#else

static inline void mp_compare_start(int backend) {
    (void)backend;
}

static inline void mp_compare_stop(void) {}

static inline void mp_compare_capture(const uint64_t *frames, unsigned max, const void *caller,
                                      struct mp_unwound unwound) {
    (void)frames;
    (void)max;
    (void)caller;
    (void)unwound;
}

#endif

#endif
