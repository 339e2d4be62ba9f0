/* A crowd of threads that allocate and free across each other, for copies of a process that is in
 * the middle of things. What is live stands in a table of slots: a thread that takes a block out of
 * its slot frees or resizes it, one that finds a slot empty puts a new block there. So at any
 * instruction the live blocks are those in slots and at most two per thread. */
#ifndef MP_TESTS_UNIT_CROWD_H
#define MP_TESTS_UNIT_CROWD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_THREADS 8
#define CROWD_SLOTS   2048
#define CROWD_LOG     (1u << 16) /* operations of a thread that are remembered */

extern void *_Atomic crowd_slots[CROWD_SLOTS];

/* Starts the threads. `exits`: each ends now and then and is replaced by crowd_replace. */
void crowd_start(uint64_t seed, bool exits);
void crowd_stop(void);
/* Replaces threads that have ended. */
void crowd_replace(void);
/* Frees what is in the slots. */
void crowd_free(void);

/* Operations that each thread has begun. */
void crowd_count(uint64_t counts[CROWD_THREADS]);
/* From now on every thread waits when it has ended its operation; waits until all do; lets them go
 * on. */
void crowd_hold(void);
void crowd_wait_held(void);
void crowd_release(void);
/* While they wait: has a thread freed, allocated or resized this block in its operations from ..
 * to? */
bool crowd_has_touched(const void *block, const uint64_t from[CROWD_THREADS],
                       const uint64_t to[CROWD_THREADS]);

/* Stops every thread at whatever instruction it is, by a signal; lets them go on. */
void crowd_park(void);
void crowd_unpark(void);
/* Of parked threads: how many blocks are out of slots, at most. */
unsigned crowd_in_hand(void);

/* Calls `visit` for each block of the ranges that has no key, i.e. that the census takes for live;
 * returns their number. */
size_t crowd_each_live(void (*visit)(void *block, void *context), void *context);

#endif
