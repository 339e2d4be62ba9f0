/* Blocks that own their mapping: those above MP_LARGE_MAX, and large ones that realloc has moved.
 * A table by address. Slow paths, any thread; lock rank HUGE, taken inside; the system calls are
 * made outside it. */
#ifndef MP_HEAP_HUGE_H
#define MP_HEAP_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory of at least `size` bytes, aligned to `align` (a power of two). NULL: none. */
void *mp_huge_alloc(size_t size, size_t align, bool sampled);

/* False: no huge block starts at `pointer`. */
bool mp_huge_free(void *pointer, bool *sampled);

/* Grown or shrunk, perhaps elsewhere; NULL: it stays as it was. */
void *mp_huge_resize(void *pointer, size_t size);
bool mp_huge_is_sampled(const void *pointer);
void mp_huge_set_sampled(const void *pointer, bool sampled);

/* Pages of [from, from + bytes) become a huge block of `size` bytes without being copied; the old
 * range stays mapped and reads zero. NULL: not possible here. */
void *mp_huge_move_in(uintptr_t from, size_t bytes, size_t size, bool sampled);

/* Does a block start at `pointer`? Without the lock, for a process that stands still. */
bool mp_huge_peek(const void *pointer);

/* In the same sense: does a block lie in [start, end)? */
void mp_huge_peek_each(void (*visit)(uintptr_t start, size_t size));
bool mp_huge_peek_overlap(uintptr_t start, uintptr_t end);

/* Usable size of the block that starts at `pointer`; 0: none does. */
size_t mp_huge_size(const void *pointer);
/* The block that `pointer` points into. */
bool mp_huge_find(uintptr_t pointer, uintptr_t *start, size_t *size);
/* The block that began at `pointer` has been freed lately. */
bool mp_huge_was(uintptr_t pointer, size_t *size);

struct mp_huge_stats {
    size_t blocks, bytes;
    uint64_t allocated_blocks, allocated_bytes;
};
void mp_huge_get_stats(struct mp_huge_stats *stats);
/* The same without the lock, for a process that stands still. */
void mp_huge_peek_stats(struct mp_huge_stats *stats);

void mp_huge_before_fork(void);
void mp_huge_after_fork(bool child);

#endif
