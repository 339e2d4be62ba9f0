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
};

/* Numbers the blocks; false: no memory. For one check at a time. */
bool mp_blocks_begin(void);
void mp_blocks_end(void);

/* Those made, be they live or free. */
uint32_t mp_blocks_count(void);

/* Does the program hold it? What is free is told by its key: its first bytes are read. */
bool mp_blocks_is_live(const struct mp_block_found *block);

/* The live ones, by number. */
typedef void mp_block_visitor(const struct mp_block_found *block, void *context);
void mp_blocks_each(mp_block_visitor *visit, void *context);

/* ---- which block a word points into ---- */

struct mp_blocks_range {
    uintptr_t base;
    size_t size;
    const struct mp_page *meta;
    const uint32_t *first; /* by slice: the number of its page's first block */
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
    uint64_t inverse[MP_CLASSES]; /* of the size, 40 bits */
    struct mp_blocks_huge *huge;  /* by address; the last numbers are theirs */
    uint32_t huge_count, huge_first, count;
} mp_blocks;

bool mp_blocks_find_huge(uintptr_t pointer, struct mp_block_found *found);
bool mp_blocks_is_left(const struct mp_page *page, uintptr_t start);

/* Within a page 2^40 / size, rounded up, is near enough: offsets are below 2^20, sizes at most
 * 2^16. */
MP_INLINE bool mp_blocks_find_in(const struct mp_page *page, uint32_t first, uintptr_t pointer,
                                 struct mp_block_found *found) {
    size_t offset = pointer - page->start;
    uint32_t index = (uint32_t)(offset * mp_blocks.inverse[page->class] >> 40);
    if (index >= page->carved)
        return false;
    found->size = mp_classes[page->class].size;
    found->start = page->start + index * found->size;
    found->number = first + index;
    return true;
}

/* False: into none. Of a page's blocks those that have ever been made are there; is it live? is
 * another question, which needs the block itself. */
MP_INLINE bool mp_blocks_find(uintptr_t pointer, struct mp_block_found *found) {
    if (MP_LIKELY(pointer - mp_blocks.low >= mp_blocks.extent))
        return false;
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        if (pointer - range->base >= range->size)
            continue;
        size_t slice = (pointer - range->base) >> MP_SLICE_SHIFT;
        const struct mp_page *page = &range->meta[slice];
        enum mp_kind kind = mp_page_kind(page);
        if (kind == MP_KIND_CONT) {
            page = mp_arena_find_head(pointer);
            if (!page)
                return false;
            slice = (page->start - range->base) >> MP_SLICE_SHIFT;
            kind = mp_page_kind(page);
        }
        if (kind == MP_KIND_SMALL || kind == MP_KIND_MEDIUM || kind == MP_KIND_SAMPLES) {
            return mp_blocks_find_in(page, range->first[slice], pointer, found) &&
                   (kind != MP_KIND_SMALL || MP_LIKELY(!(mp_page_flags(page) & MP_PAGE_EMPTIED)) ||
                    mp_blocks_is_left(page, found->start));
        }
        if (kind != MP_KIND_LARGE || pointer - page->start >= page->bytes)
            return false;
        *found = (struct mp_block_found){page->start, page->bytes, range->first[slice]};
        return true;
    }
    return mp_blocks_find_huge(pointer, found);
}

#endif
