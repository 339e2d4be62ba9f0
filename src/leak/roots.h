/* Where pointers to the heap's blocks are that are in no block themselves: in a copy of the
 * process, all memory that the program may have written to, but for the heap and what is ours;
 * stacks from their threads' pointers on; and the registers.
 *
 * What threads have left behind is no root: below the stack's pointer lie old frames, and libc
 * keeps the stacks of threads that have ended for the next ones. It is told by the control block
 * that libc has at the upper end of a thread's stack: who it belongs to, and whether it still may
 * be joined (then what it has returned is a root). Where no such shape is found, all of a mapping
 * is gone through: that may hide a leak, and never makes one.
 *
 * Runs in a copy in which faults are survived (mp_sys_survive_faults). */
#ifndef MP_LEAK_ROOTS_H
#define MP_LEAK_ROOTS_H

#include <stddef.h>
#include <stdint.h>

#include "leak/mark.h"
#include "leak/stop.h"

/* This library's own variables are no roots: where it lies. Once, at start-up. */
void mp_roots_except(uintptr_t start, uintptr_t end);

/* Of the thread that asked, what lies below this is our own. */
struct mp_roots_caller {
    long thread;
    uintptr_t frame;
};

struct mp_roots_seen {
    uint64_t bytes; /* that were read */
};

/* Marks what they point to, and nothing beyond. 0, or -errno: the map of the memory is not to be
 * had, or there is no memory for the work. After mp_blocks_begin. */
int mp_roots_mark(struct mp_marks *marks, const struct mp_stopped *stopped,
                  const struct mp_roots_caller *caller, struct mp_roots_seen *seen);

#endif
