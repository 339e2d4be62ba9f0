/* Stops all threads of this process for a moment, and has something done meanwhile.
 *
 * A helper does it: a process that shares our memory, on a stack of its own, which takes each
 * thread by ptrace (SEIZE and INTERRUPT: no signal is sent, and system calls go on afterwards as
 * signal(7) says), until /proc shows none that it has not. The calling thread is stopped like all
 * others, in a futex wait, so the helper may use what belongs to it. When it has let go of all, the
 * caller goes on.
 *
 *   caller   start helper - - wait - - - - - - - - - - - - - - - - - - > go on
 *   helper   close files, seize, interrupt, wait ... work ... detach, say so, wait for what it
 *            has started, end
 *
 * A thread that does not stop in time (the kernel waits for a disk, or for the child of a vfork) is
 * missed: it was in the kernel, and its registers are not known. It is let go of when it stops, or
 * when the helper ends: then the kernel lets go of all.
 *
 * A thread may be in execve. Its kernel side holds the lock that seizing takes, ends all others,
 * and waits until those that are traced have been waited for: so the helper does that also while it
 * seizes (SIGCHLD), or none of them would ever go on. After that the numbers are another program's,
 * with memory of its own: it is let go of at once. */
#ifndef MP_LEAK_STOP_H
#define MP_LEAK_STOP_H

#include <stdbool.h>

#include "leak/threads.h"

/* `work` runs in the helper while all others stand still; it may start a copy of the process, whose
 * number it returns for the helper to wait for when the threads go on; 0: none; -errno. It takes no
 * lock that a thread may hold. Of the process's descriptors the helper has `keep` alone; -1: none.
 *
 * 0 when it has run (whatever it returned is in *worked), or -errno: -EPERM where ptrace is not to
 * be had (a filter, a debugger, Yama, another user's rights), -EBUSY while the last helper waits.
 * -EAGAIN: threads come faster than they are stopped, or the caller was not stopped. Unless `work`
 * has started something, the helper has ended by then and is no zombie. */
int mp_stop_all(struct mp_stopped *stopped, int keep,
                long (*work)(struct mp_stopped *stopped, void *context), void *context,
                long *worked);

/* The helper's number, until it has ended: then it waits for what it has started. */
long mp_stop_helper(void);

/* Has the helper ended, which is when what it waited for has? `status`: of that; it has exited with
 * ECANCELED if that was ended by a signal. */
bool mp_stop_helper_ended(int *status, bool hang);

#endif
