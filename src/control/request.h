/* What the memprof command asks of a running process: a file beside everybody's way says what, and
 * a real-time signal says that it is there.
 *
 *   /dev/shm/memprof-UID/PID.request   "dump PATH\n", "dump\n" (to where the option says),
 * "reap\n", and "leaks" in the place of "dump": with a search for leaks
 *   /dev/shm/memprof-UID/PID.answer    "ok COPY PATH\n" or "error COPY TEXT\n", by the copy
 *
 * UID (the effective one) and PID are the process's, as it knows them. Only a file of the process's
 * own user or of root is obeyed. The handler makes system calls alone; a thread that is in one of
 * our slow paths leaves the request to that path's end. */
#ifndef MP_CONTROL_REQUEST_H
#define MP_CONTROL_REQUEST_H

#include <stdbool.h>

/* Catches the signal, if the options say so and nobody else does. */
void mp_request_start(void);

/* Before execve, and behind it, which is after it has failed: the signal is ignored meanwhile, and
 * so it is to the program that comes in the place of this one, until that catches it. */
bool mp_request_leave(void);
void mp_request_stay(bool left);

/* Does it still? Where the options, or the program, have it otherwise, its threads get none. */
bool mp_request_by_signal(void);

/* For mp_hooks.tick: has somebody counted up the word in the black box? */
void mp_request_tick(void);

/* The same, for a thread that has nothing else to do: obeys at once. */
void mp_request_hear(void);

/* At the end of a slow path: what a handler has left to it. */
void mp_request_asked(void);

/* The thread that was at a request does not exist in the child. */
void mp_request_after_fork_child(void);

#endif
