/* What the program has said about its memory: regions that it wants gone through for pointers, and
 * blocks that are no leaks, with all that they lead to. Any thread that holds no lock of ours (lock
 * rank TOLD). */
#ifndef MP_LEAK_TOLD_H
#define MP_LEAK_TOLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/arch.h"

/* 0, or -ENOMEM. The same start again gets the new size. */
int mp_told_root(uintptr_t start, size_t size);
/* -ENOENT: none begins there. */
int mp_told_unroot(uintptr_t start);

/* A block by any address in it. It counts as long as the block lives; one that is freed is
 * forgotten by the next check. */
int mp_told_ignore(uintptr_t address);

/* What this thread allocates from now on is no leak; may nest. Each of its blocks takes the slow
 * path meanwhile, and whoever hands it out says so (mp_told_handed_out). */
void mp_told_begin_quiet(void);
void mp_told_end_quiet(void);

/* How many threads do that now. */
extern MP_HIDDEN _Atomic(uint32_t) mp_told_quiet;
void mp_told_handed_out(const void *block, size_t size);

/* In a process that stands still. */
void mp_told_each_root(void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context);
void mp_told_each_ignored(void (*visit)(uintptr_t address, void *context), void *context);

/* Blocks that are live no more. */
void mp_told_forget(bool (*is_live)(uintptr_t address));

void mp_told_before_fork(void);
void mp_told_after_fork(bool child);

#endif
