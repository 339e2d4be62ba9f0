/* Every block of the heap by a number, and which one a word points into, in a process that stands
 * still: a copy, or one whose threads are stopped. Interior pointers count, up to the block's last
 * byte. Nothing here takes a lock or writes to the heap. */
#ifndef MP_LEAK_BLOCKS_H
#define MP_LEAK_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/arena.h"
#include "heap/class.h"
#include "heap/page.h"

struct mp_block_found {
    uintptr_t start;
    size_t size;
    uint32_t number; /* below mp_blocks_count */
    uint32_t whole;  /* not 0: a span or a mapping of its own, be it ever so small */
};

/* Numbers the blocks; false: no memory. For one check at a time. */
bool mp_blocks_begin(void);
void mp_blocks_end(void);

/* Those made, be they live or free. */
uint32_t mp_blocks_count(void);

/* The block of that number. *page: 0, or from the last call for one that is near. */
void mp_blocks_get(uint32_t number, uint32_t *page, struct mp_block_found *found);

/* Does the program hold it? What is free is told by its key: its first bytes are read. */
bool mp_blocks_is_live(const struct mp_block_found *block);

/* The live ones, by number; those of which a bit is set in `but`, if that is not NULL, are not even
 * looked at. */
typedef void mp_block_visitor(const struct mp_block_found *block, void *context);
void mp_blocks_each(const uint64_t *but, mp_block_visitor *visit, void *context);

/* ---- which block a word points into ---- */

/* What is needed of a slice's page, in as few bytes as can be: this is looked at for each pointer,
 * and there are many more of them than of slices. */
struct mp_blocks_slice {
    uint32_t first;  /* the number of its page's first block */
    uint32_t back;   /* slices from its page's first */
    uint16_t carved; /* blocks of the page */
    uint8_t class;
    uint8_t kind; /* enum mp_blocks_kind */
    uint32_t unused;
};

enum mp_blocks_kind {
    MP_BLOCKS_NONE,
    MP_BLOCKS_MANY,
    MP_BLOCKS_LEFT, /* many, of which one at most is left: rescue.h */
    MP_BLOCKS_LARGE,
};

struct mp_blocks_range {
    uintptr_t base;
    size_t size;
    struct mp_blocks_slice *slices;
};

/* By number; behind the last one stands the number of the first that is in none. */
struct mp_blocks_page {
    uintptr_t start;
    size_t size; /* of a block */
    uint32_t first;
    uint32_t whole;
};

struct mp_blocks_huge {
    uintptr_t start;
    size_t size;
};

/* What mp_blocks_begin has found. */
extern struct mp_blocks {
    uintptr_t low; /* all blocks lie in [low, low + extent) */
    size_t extent;
    unsigned range_count;
    struct mp_blocks_range ranges[MP_RANGES];
    struct mp_blocks_page *pages;
    uint32_t page_count, page_room;
    uint64_t inverse[MP_CLASSES]; /* of the size, 40 bits */
    struct mp_blocks_huge *huge;  /* by address; the last numbers are theirs */
    uint32_t huge_count, huge_first, count;
} mp_blocks;

bool mp_blocks_find_huge(uintptr_t pointer, struct mp_block_found *found);
bool mp_blocks_is_left(uintptr_t start);
size_t mp_blocks_large_size(uintptr_t start);

/* False: into none. Of a page's blocks those that have ever been made are there; is it live? is
 * another question, which needs the block itself. Within a page 2^40 / size, rounded up, is near
 * enough: offsets are below 2^20, sizes at most 2^16. */
MP_INLINE bool mp_blocks_find(uintptr_t pointer, struct mp_block_found *found) {
    if (MP_LIKELY(pointer - mp_blocks.low >= mp_blocks.extent))
        return false;
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        if (pointer - range->base >= range->size)
            continue;
        size_t number = (pointer - range->base) >> MP_SLICE_SHIFT;
        const struct mp_blocks_slice *slice = &range->slices[number];
        uintptr_t start = range->base + ((number - slice->back) << MP_SLICE_SHIFT);
        if (MP_UNLIKELY(slice->kind == MP_BLOCKS_LARGE)) {
            size_t size = mp_blocks_large_size(start);
            *found = (struct mp_block_found){start, size, slice->first, 1};
            return pointer - start < size;
        }
        uint32_t index = (uint32_t)((pointer - start) * mp_blocks.inverse[slice->class] >> 40);
        if (index >= slice->carved) /* of no page there are none */
            return false;
        found->size = mp_classes[slice->class].size;
        found->start = start + index * found->size;
        found->number = slice->first + index;
        found->whole = 0;
        return MP_LIKELY(slice->kind == MP_BLOCKS_MANY) || mp_blocks_is_left(found->start);
    }
    return mp_blocks_find_huge(pointer, found);
}

#endif
