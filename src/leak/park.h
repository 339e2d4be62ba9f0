/* Where ptrace is not to be had: all threads of this process wait in a signal's handler for a
 * moment, in which the calling thread has something done.
 *
 *   caller   list threads, send each the signal, wait ... work ... let go
 *   others   handler: note registers, say so - - - - - - - - - - - - > return
 *
 * A thread that blocks the signal, or does not take it in time, is missed: if it takes it later, it
 * goes on at once. System calls that are interrupted go on as signal(7) says, which is more of them
 * than by ptrace.
 *
 * The signal is one that the program leaves at its default, which is that nothing happens: SIGURG,
 * or SIGWINCH. It has a handler only meanwhile. For what is sent to a thread that is in execve is
 * taken by the new program, and any other signal would be the end of that. */
#ifndef MP_LEAK_PARK_H
#define MP_LEAK_PARK_H

#include "leak/threads.h"

/* As mp_stop_all, but that `work` runs in the calling thread, which has all signals blocked; it
 * takes no lock that a thread may hold. -ENOTSUP: both signals have handlers, or are blocked. */
int mp_park_all(struct mp_stopped *stopped, long (*work)(struct mp_stopped *stopped, void *context),
                void *context, long *worked);

/* In a child: none of its threads is parked. */
void mp_park_forget(void);

#endif
