/* How the heap came to what it is: a point a second at most, taken at the end of a slow path, from
 * the heap's running counts. A program that does not allocate makes none, and changes nothing.
 *
 * There is room for MP_SERIES_POINTS. When they are used up, every other one goes and the distance
 * doubles: so they always span the whole run, evenly. To walk the heap's pages for a point may take
 * a millisecond and more per 10 GiB; the distance is a thousand times what the last one took, if
 * that is more.
 *
 * Points go to the black box too (record/box.h), and the present figures more often than that. */
#ifndef MP_PROFILE_SERIES_H
#define MP_PROFILE_SERIES_H

#include <stdint.h>

#include <memprof/dump.h>

#define MP_SERIES_POINTS 1024u

/* For mp_hooks.tick: is a point due? */
void mp_series_tick(uint64_t now_ms);
/* At the end of a slow path: takes the point that is due. */
void mp_series_asked(void);

/* There is a black box now: figures at the next occasion. */
void mp_series_soon(void);

/* In the order of time; for a copy. */
void mp_series_each(void (*visit)(const struct memprof_dump_point *point));

/* In a child of fork: its heap is its parent's, its time begins anew. */
void mp_series_forget(void);

#endif
