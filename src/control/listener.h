/* control=thread: a thread of ours that answers what the memprof command asks, for programs that
 * must see no signal and may not allocate for long. It sleeps on the word in the black box. A child
 * of fork does not have it, and answers as it allocates. */
#ifndef MP_CONTROL_LISTENER_H
#define MP_CONTROL_LISTENER_H

/* At start-up, last: makes the black box if there is none yet. What goes wrong is said. */
void mp_listener_start(void);

#endif
