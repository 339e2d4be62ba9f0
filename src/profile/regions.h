/* What the program has mapped itself, and by which stack: mmap, mremap and munmap as it calls them
 * (preload/map.c). What libc maps, thread stacks and code, does not come by here, nor does who
 * makes the system calls by himself: the kernel's map settles it at a dump (contents.c).
 *
 * Regions do not overlap; they stand in the order of their addresses, in blocks of a few, under one
 * lock (rank REGIONS). The stack is found before the lock is taken. In a signal handler that
 * interrupted us nothing is recorded, and that is counted. */
#ifndef MP_PROFILE_REGIONS_H
#define MP_PROFILE_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_region {
    uintptr_t start, end;
    uint64_t born_ns;
    uint32_t stack;  /* handle */
    uint32_t slot;   /* in the black box; 0: none */
    uint32_t thread; /* the number of the one that mapped it: sampler.c */
    uint16_t kind;   /* enum memprof_dump_region_kind */
    uint16_t access; /* MEMPROF_MAP_*, as it was mapped */
};

/* Hangs in the heap's hooks. */
void mp_regions_start(void);

/* Those that overlap the range, in the order of addresses; for a copy. */
void mp_regions_each_in(uintptr_t start, uintptr_t end,
                        void (*visit)(const struct mp_region *region, void *context),
                        void *context);
/* Calls that were not recorded. */
uint64_t mp_regions_missed(void);

/* Each gets the slot that is given to it; while nobody else changes any. */
void mp_regions_set_slots(uint32_t (*give)(const struct mp_region *region));

/* ---- for tests ---- */

/* The range is the region's from now on, whatever was there. False: no memory for it. */
bool mp_regions_put(const struct mp_region *region);
/* Nothing is there from now on. */
void mp_regions_cut(uintptr_t start, uintptr_t end);

void mp_regions_before_fork(void);
void mp_regions_after_fork(bool child);

#endif
