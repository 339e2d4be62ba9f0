/* The black box: a file that outlives the process, mapped, and written as the profile changes
 * (include/memprof/box.h). This is the file and its areas; what is written to them, and when, is
 * profile/mirror.c's.
 *
 * It hurts nobody. Of what is written nothing is read again, but for the word by which others ask
 * something. Memory of the file is there before a store goes to it: it is asked for piece by piece
 * with MADV_POPULATE_WRITE, which fails where a store would raise SIGBUS, so that a full file
 * system means records left out, and counted. The rest of the mapping is PROT_NONE, which mlockall
 * leaves alone. No descriptor is kept. A child of any kind of fork has neither the mapping
 * (MADV_DONTFORK) nor, in a page of its own that is wiped, the word that says that there is one.
 *
 * After it is made, growth calls mprotect and madvise alone. Locks: rank BOX_GROWTH, inner to
 * nearly all others; mp_box_make and mp_box_end are for one thread at a time. */
#ifndef MP_RECORD_BOX_H
#define MP_RECORD_BOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <memprof/box.h>

#include "platform/arch.h"

/* Of this process: whether it has one. */
enum mp_box_standing {
    MP_BOX_UNDECIDED, /* also in every child, of whatever fork */
    MP_BOX_OPEN,
    MP_BOX_NONE, /* and will not have one */
};

extern MP_HIDDEN _Atomic(uint32_t) *mp_box_word;

/* acquire: who sees it open sees where it is */
MP_INLINE enum mp_box_standing mp_box_standing(void) {
    return (enum mp_box_standing)atomic_load_explicit(mp_box_word, memory_order_acquire);
}

/* At start-up: settles where it is to be, and removes what this process left there before it became
 * another program. `run_time_directory`: the user's own, or NULL. */
void mp_box_start(const char *run_time_directory);

/* Makes the file. It is to be filled with what there is by now, and settled then. 0, or -errno;
 * *why is for people, NULL where there is nothing to say. */
int mp_box_make(const char **why);

/* From now on it is there, and its head says so of the process; or there is none (NULL, then). */
void mp_box_settle(const struct memprof_dump_process *process);

/* Where the record of that number is, or is to be; NULL: there is no room. Once open. */
void *mp_box_at(enum memprof_box_area area, uint64_t number);

/* The records of an area that are there. */
static inline void mp_box_set_used(struct memprof_box_state *state, enum memprof_box_area area,
                                   uint64_t count) {
    /* release: who sees the count sees the records */
    __atomic_store_n(&state->used[area], count, __ATOMIC_RELEASE);
}

/* Adds a text; its number, 0 if there is no room. One thread at a time. */
uint32_t mp_box_text(const char *text);

struct memprof_box_state *mp_box_state(void);

/* Takes note of a record that found no room; said once. */
void mp_box_lose(void);

/* Addresses are about to be limited, or to count as memory: those that are not in use go; with
 * `leaves_room` but for some room to grow. Once open. */
void mp_box_give_back(bool leaves_room);

/* In a child of a fork from a signal handler that may have interrupted a store to the mapping,
 * which the child does not have: that store has memory to go to. */
void mp_box_cover(void);

/* The process ends as it should: the file goes, unless it is to be kept. */
void mp_box_end(bool keep);

/* Is this part of its mapping? For a copy, too, which does not have it. */
bool mp_box_overlaps(uintptr_t start, uintptr_t end);

/* Whoever was at it, it was at another's. */
void mp_box_after_fork_child(void);

#endif
