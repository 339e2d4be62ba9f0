/* The profile in the black box: each change of the tables is written there too, as it is made, so
 * that what is left of a killed process is the profile as of its last sample.
 *
 * The tables are the truth; the mirror is never read. It begins with a process's first sample, and
 * from then on every change writes to it. For nothing to be missed between copying the tables and
 * the first change that writes: as long as it is not decided whether there is a mirror, every
 * change is made under one lock (rank MIRROR_START), the one that decides as well. That goes for
 * each child of a fork anew, and to know, a change looks at one word (record/box.h).
 *
 * With rate=1 live blocks are not mirrored, and ends not by their kinds: the sums of each stack
 * are. */
#ifndef MP_PROFILE_MIRROR_H
#define MP_PROFILE_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

struct mp_live;
struct mp_region;
struct mp_stack;
struct mp_stack_free;

/* Around every change; `sample`: one that adds a sample, for which the mirror is made. Not nested.
 * What the first returns is for the second. */
bool mp_mirror_begin(bool sample);
void mp_mirror_end(bool undecided);

/* Decides now, if it has not been. */
void mp_mirror_make(void);

/* A new stack, before anybody can find it; a new entry of its frees. Under the lock of stacks. */
void mp_mirror_stack(struct mp_stack *stack);
void mp_mirror_free(const struct mp_stack *stack, struct mp_stack_free *entry);

/* What has been added to a stack, or to a free of it. */
void mp_mirror_allocated(const struct mp_stack *stack, uint64_t objects, uint64_t bytes);
void mp_mirror_freed(const struct mp_stack *stack, const struct mp_stack_free *entry,
                     uint64_t objects, uint64_t bytes);
/* What a stack held at its last peak has been noted, where there was another before. Under the lock
 * of stacks. */
void mp_mirror_peak(const struct mp_stack *stack, const uint64_t before[3], const uint64_t now[3]);
/* A new height. */
void mp_mirror_height(uint32_t number, int64_t height, uint64_t when_ns);

/* A sample that is to be live: its slot, 0 if there is none. */
uint32_t mp_mirror_sample(const struct mp_live *sample);
/* The sample in the slot is no more, or has changed. */
void mp_mirror_gone(uint32_t slot);
void mp_mirror_changed(const struct mp_live *sample);

/* A region that is there now: its slot, 0 if there is none; it is no more, or has other ends. */
uint32_t mp_mirror_region(const struct mp_region *region);
void mp_mirror_region_gone(uint32_t slot);
void mp_mirror_region_changed(const struct mp_region *region);

/* The lock of the start, which is the first of the profiler's, and the one of slots, of the last.
 */
void mp_mirror_before_fork(void);
void mp_mirror_after_fork(bool child);
void mp_mirror_slots_before_fork(void);
void mp_mirror_slots_after_fork(bool child);

#endif
