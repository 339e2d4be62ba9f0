/* Where ptrace is not to be had: all threads of this process wait in a signal's handler for a
 * moment, in which the calling thread has something done.
 *
 *   caller   list threads, send each the signal, wait ... work ... let go
 *   others   handler: note registers, say so - - - - - - - - - - - - > return
 *
 * A thread that blocks the signal, or does not take it in time, is missed: if it takes it later, it
 * goes on at once. System calls that are interrupted go on as signal(7) says, which is more of them
 * than by ptrace. */
#ifndef MP_LEAK_PARK_H
#define MP_LEAK_PARK_H

#include <signal.h>

#include "leak/threads.h"

/* What the signal carries: from this process alone. */
#define MP_PARK_VALUE 0x7061726b

/* As mp_stop_all, but that `work` runs in the calling thread, which has all signals blocked; it
 * takes no lock that a thread may hold. */
int mp_park_all(struct mp_stopped *stopped, int signal,
                long (*work)(struct mp_stopped *stopped, void *context), void *context,
                long *worked);

/* In the handler. */
void mp_park_here_sigsafe(const siginfo_t *info, const void *context);

#endif
