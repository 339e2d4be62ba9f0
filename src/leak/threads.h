/* The threads of a process that is made to stand still, one way or another: what was known of each
 * at that moment, and how /proc lists them. System calls only; no lock. */
#ifndef MP_LEAK_THREADS_H
#define MP_LEAK_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/trace.h"

struct mp_stopped_thread {
    long id;
    uint64_t sp, tp;
    uint64_t registers[MP_TRACE_REGISTERS + MP_TRACE_VECTORS];
    uint32_t register_count; /* 0: it was missed */
    int signal;              /* was being delivered: it gets that when it goes on */
    _Atomic(bool) stopped;
};

struct mp_stopped {
    struct mp_stopped_thread *threads; /* all of the process */
    uint32_t count, room;
    uint32_t missed;
    long process; /* that is, the number of its first thread */
    /* From the first thread's stop until all went on; 0 before. A copy sees it, too. */
    _Atomic(uint64_t) *pause_ns;
};

/* Room for all threads that there are, and some more. False: no memory; either way it is ended by
 * mp_threads_end, when the result is not needed any more. */
bool mp_threads_begin(struct mp_stopped *stopped, long process);
void mp_threads_end(struct mp_stopped *stopped);

/* NULL: none of that number is among them. */
struct mp_stopped_thread *mp_threads_find(const struct mp_stopped *stopped, long id);

/* What the calls add up to, or the first negative answer, which ends it; -errno where /proc is not
 * to be had. */
int mp_threads_each(long process, int (*visit)(long id, void *context), void *context);

struct mp_thread_status {
    /* As in /proc: 'R': runs, or waits for its turn; 'D': in the kernel; 'Z': has ended, and is
     * still listed, as a main thread is until the others have. */
    char state;
    uint64_t blocked; /* signals */
    bool filtered;    /* its system calls */
};

/* False: it has ended. */
bool mp_threads_status(long process, long id, struct mp_thread_status *status);

#endif
