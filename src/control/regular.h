/* Dumps that nobody asks for: one every dump_period, one each time the heap has grown by
 * dump_growth. There is no thread of ours to see to it: it is noticed on slow paths, once per step
 * of the clock at most, and the dump is begun at the end of that path; a program that does not
 * allocate has none. While a copy of the last is still at work there is no other. */
#ifndef MP_CONTROL_REGULAR_H
#define MP_CONTROL_REGULAR_H

#include <stdint.h>

/* At start-up, after mp_dump_start; and in a child of fork, which begins anew. */
void mp_regular_start(void);

/* In a child of fork, whatever the fork interrupted: what its parent was about is not its own. */
void mp_regular_forget(void);

/* For mp_hooks.tick: is something due? */
void mp_regular_tick(uint64_t now_ms);

/* At the end of a slow path: begins what is due. */
void mp_regular_asked(void);

#endif
