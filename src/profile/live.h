/* The samples that are live, by the address of their block. Sharded, each shard a table of open
 * addressing under a lock of its own (rank LIVE). Any thread. */
#ifndef MP_PROFILE_LIVE_H
#define MP_PROFILE_LIVE_H

#include <stdbool.h>
#include <stdint.h>

struct mp_live {
    uintptr_t address; /* 0: an empty slot */
    uint64_t size;     /* as requested */
    uint64_t coin;     /* bytes that its chance comes from */
    uint64_t serial;
    uint64_t born_ns;
    uint32_t stack;  /* handle */
    uint32_t rate;   /* under which it was drawn */
    uint32_t thread; /* the number of the one that allocated it: sampler.c */
    uint16_t node;   /* the kernel's number of that one's memory */
    uint16_t resizes;
};

/* False: no memory for it. */
bool mp_live_add(const struct mp_live *sample);
/* False: no sample is there. */
bool mp_live_take(uintptr_t address, struct mp_live *sample);

/* Of the sample that is there, if any. */
void mp_live_note_resizes(uintptr_t address, uint16_t resizes);

/* For a copy, or under the locks. */
uint64_t mp_live_count(void);
void mp_live_each(void (*visit)(const struct mp_live *sample, void *context), void *context);

void mp_live_before_fork(void);
void mp_live_after_fork(bool child);

#endif
