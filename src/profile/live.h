/* The samples that are live, by the address of their block. Any thread.
 *
 * Where every block is a sample, those of small blocks are kept beside the blocks (heap/beside.h),
 * in a record that belongs to who holds the block: no lock, no search, and neighbours lie side by
 * side. All others are in a table of open addressing, sharded, each shard under a lock of its own
 * (rank LIVE). */
#ifndef MP_PROFILE_LIVE_H
#define MP_PROFILE_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_live {
    uintptr_t address; /* 0: an empty slot */
    uint64_t size;     /* as requested */
    uint64_t coin;     /* bytes that its chance comes from */
    uint64_t serial;
    uint64_t born_ns;
    uint32_t stack;      /* handle */
    uint32_t thread;     /* the number of the one that allocated it: sampler.c */
    uint32_t slot;       /* in the black box; 0: none */
    uint32_t node : 10;  /* the kernel's number of that one's memory */
    uint32_t coarse : 5; /* of the rate under which it was drawn: mp_sampler_rate_of */
    uint32_t large : 1;  /* in no page of a class */
    uint32_t resizes : 16;
};

/* What is kept beside a block: for mp_hooks.every. */
size_t mp_live_record_size(void);

/* False: no memory for it. */
bool mp_live_add(const struct mp_live *sample);
/* False: no sample is there. */
bool mp_live_take(uintptr_t address, struct mp_live *sample);

/* Of the sample that is there, if any; then *noted is the sample. */
bool mp_live_note_resizes(uintptr_t address, uint16_t resizes, struct mp_live *noted);

/* Each gets the slot that is given to it; while nobody else changes any. */
void mp_live_set_slots(uint32_t (*give)(const struct mp_live *sample));

/* For a copy. */
void mp_live_each(void (*visit)(const struct mp_live *sample, void *context), void *context);

void mp_live_before_fork(void);
void mp_live_after_fork(bool child);

#endif
