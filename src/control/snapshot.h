/* A copy of the process, made through the heap's gate: of a moment in which no thread is in any of
 * its slow paths, and for a search for leaks in which all stand still wherever they are, so that a
 * pointer in nothing but a register, or on its way from one place to another, is seen.
 *
 * How threads are made to stand still: by ptrace; where that is refused (a filter, a debugger, a
 * process that has changed its user), by a signal; where no signal is ours, not at all: then two
 * copies are made, and what both say counts. Under the dump's lock, with signals blocked. */
#ifndef MP_CONTROL_SNAPSHOT_H
#define MP_CONTROL_SNAPSHOT_H

#include "leak/leaks.h"

#include <memprof/dump.h>

struct mp_snapshot {
    /* The caller's: */
    bool leaks;
    int keep; /* a descriptor that the copy has as well; -1: none */
    struct mp_roots_caller caller;

    /* What it was made of, in the copy: */
    uint64_t real_ns, now_ns;
    enum memprof_dump_world world;
    struct mp_stopped stopped;
    struct mp_twice *twice;
    long first; /* of two copies, the pid of the other */
};

/* `be` runs in the copy, and does not return; the copy holds every lock, and so passes through all
 * of them. What is to be waited for (mp_snapshot_wait), or -errno. */
long mp_snapshot_make(struct mp_snapshot *snapshot, void (*be)(void *context), void *context);

/* As wait4, by any thread. */
long mp_snapshot_wait(long copy, int *status, int flags);

/* How long the last one held the threads up. */
uint64_t mp_snapshot_pause_ns(void);

/* A child has none. */
void mp_snapshot_forget(void);

/* ---- in the copy ---- */

/* Searches. 0 or -errno. */
int mp_snapshot_find_leaks(const struct mp_snapshot *snapshot, struct mp_leaks *leaks);

/* For how long the threads stood still. It is known when they go on, which is long before the end
 * of the search. */
uint64_t mp_snapshot_stood_ns(const struct mp_snapshot *snapshot);

/* By which pid the asker sees when all that was started for it has ended. */
long mp_snapshot_asked_for(const struct mp_snapshot *snapshot);

#endif
