/* Address ranges and their metadata. A range grows in place, chunk after chunk, at an address far
 * from where the kernel puts other mappings; nothing is reserved ahead, so that RLIMIT_AS,
 * RLIMIT_DATA, overcommit accounting and mlockall see only what is in use. When the way ahead is
 * blocked, another range is opened. The first range is the primary one: its metadata is found
 * without a search. Slow paths; lock rank ARENA, taken inside. */
#ifndef MP_HEAP_ARENA_H
#define MP_HEAP_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "heap/page.h"

#define MP_RANGES 64

/* A slice's number names its range and its place therein; 0 is no slice. */
#define MP_NUMBER_SHIFT 24

struct mp_range {
    uintptr_t base;                 /* aligned to `window` */
    size_t window;                  /* bytes it may grow to, a power of two */
    struct mp_page *meta;           /* entry of the slice at base */
    _Atomic(uint32_t) meta_entries; /* readable entries, a power of two */
    uint32_t first;                 /* first slice in use, never 0 */
    _Atomic(uint32_t) limit;        /* slices below it exist */
    bool reserved;                  /* the window is ours (a fallback placement) */
};

extern struct mp_range mp_ranges[MP_RANGES];
extern _Atomic(uint32_t) mp_range_count;

/* Adds at least `slices` contiguous slices (and up to a chunk) of a node's memory; returns the
 * first one's number and their count, or 0 when the system has none. Never fewer than asked for.
 * The memory reads zero, and the entries have their node. */
uint32_t mp_arena_grow(unsigned node, uint32_t slices, uint32_t *count);

/* At start-up: what there is already becomes the first node's. */
void mp_arena_bind(void);

/* Gives memory and its accounting back; the slices are not to be touched until they are mapped
 * again. 0 or -errno. */
int mp_arena_unmap(const struct mp_page *page, uint32_t slices);

/* Maps slices that have been unmapped, of their node's memory; they read zero. -EEXIST: somebody
 * has mapped something there. */
int mp_arena_map_again(const struct mp_page *page, uint32_t slices);

/* Must the program not map or unmap anything there? The heap's own memory is, but for one block
 * that is a span: that is the program's, who may map a file over it. */
bool mp_arena_forbids(uintptr_t start, size_t size);

/* The entry of the slice that holds `pointer`, whatever its kind; NULL outside all ranges. */
struct mp_page *mp_arena_find(uintptr_t pointer);

/* The same, led from a CONT entry to its first slice. */
struct mp_page *mp_arena_find_head(uintptr_t pointer);

MP_INLINE struct mp_page *mp_arena_page(uint32_t number) {
    return &mp_ranges[number >> MP_NUMBER_SHIFT].meta[number & ((1u << MP_NUMBER_SHIFT) - 1)];
}

/* 0: none. */
MP_INLINE struct mp_page *mp_arena_page_or_null(uint32_t number) {
    return number ? mp_arena_page(number) : NULL;
}

uint32_t mp_arena_number(const struct mp_page *page);

/* Every page and span in use, in address order; others may be making and ending some. */
typedef void mp_page_visitor(const struct mp_page *page, enum mp_kind kind, void *context);
void mp_arena_each_page(mp_page_visitor *visit, void *context);

/* Memory for our own structures: zeroed, cache-line aligned, never given back. NULL when the system
 * has none. */
void *mp_meta_alloc(size_t size);

/* A copy of a string; "" when there is no memory. */
const char *mp_meta_copy(const char *text);

/* Bytes of metadata that the kernel may hold for us: an upper bound. */
size_t mp_meta_bytes(void);

void mp_arena_before_fork(void);
void mp_arena_after_fork(bool child);

#endif
