#include "leak/blocks.h"

#include "heap/census.h"
#include "heap/huge.h"
#include "heap/rescue.h"
#include "record/memory.h"

struct mp_blocks mp_blocks;

/* ---- numbers ---- */

static uint32_t *numbers_of(const struct mp_page *page) {
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        if (page->start - range->base < range->size)
            return (uint32_t *)&range->first[(page->start - range->base) >> MP_SLICE_SHIFT];
    }
    return NULL;
}

static void extend(uintptr_t start, size_t size) {
    uintptr_t end = mp_blocks.low + mp_blocks.extent;
    if (!mp_blocks.extent || start < mp_blocks.low)
        mp_blocks.low = start;
    if (!mp_blocks.extent || start + size > end)
        end = start + size;
    mp_blocks.extent = end - mp_blocks.low;
}

static void number_page(const struct mp_page *page, enum mp_kind kind, void *unused) {
    uint32_t *first = numbers_of(page);
    (void)unused;
    if (!first)
        return;
    *first = mp_blocks.count;
    if (kind == MP_KIND_LARGE) {
        mp_blocks.count++;
        extend(page->start, page->bytes);
    } else {
        mp_blocks.count += page->carved;
        extend(page->start, (size_t)page->carved * mp_classes[page->class].size);
    }
}

static void count_huge(uintptr_t start, size_t size) {
    (void)start;
    (void)size;
    mp_blocks.huge_count++;
}

static void add_huge(uintptr_t start, size_t size) {
    uint32_t at = mp_blocks.huge_count++;
    for (; at && mp_blocks.huge[at - 1].start > start; at--)
        mp_blocks.huge[at] = mp_blocks.huge[at - 1];
    mp_blocks.huge[at] = (struct mp_blocks_huge){start, size};
    extend(start, size);
}

static bool number_huge(void) {
    mp_blocks.huge_first = mp_blocks.count;
    mp_huge_peek_each(count_huge);
    uint32_t count = mp_blocks.huge_count;
    mp_blocks.huge_count = 0;
    if (!count)
        return true;
    mp_blocks.huge = mp_record_alloc(count * sizeof *mp_blocks.huge);
    if (!mp_blocks.huge)
        return false;
    mp_huge_peek_each(add_huge);
    mp_blocks.count += count;
    return true;
}

bool mp_blocks_begin(void) {
    uint32_t ranges = atomic_load_explicit(&mp_range_count, memory_order_acquire);
    mp_blocks = (struct mp_blocks){0};
    for (unsigned c = 0; c < MP_CLASSES; c++)
        mp_blocks.inverse[c] = (((uint64_t)1 << 40) + mp_class_size(c) - 1) / mp_class_size(c);
    for (uint32_t r = 0; r < ranges; r++) {
        const struct mp_range *range = &mp_ranges[r];
        uint32_t limit = atomic_load_explicit(&range->limit, memory_order_acquire);
        struct mp_blocks_range *seen = &mp_blocks.ranges[mp_blocks.range_count++];
        *seen = (struct mp_blocks_range){
            .base = range->base,
            .size = (size_t)limit << MP_SLICE_SHIFT,
            .meta = range->meta,
            .first = mp_record_alloc(limit * sizeof *seen->first),
        };
        if (!seen->first) {
            mp_blocks_end();
            return false;
        }
    }
    mp_arena_each_page(number_page, NULL);
    if (number_huge())
        return true;
    mp_blocks_end();
    return false;
}

void mp_blocks_end(void) {
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        mp_record_free((void *)range->first,
                       (range->size >> MP_SLICE_SHIFT) * sizeof *range->first);
    }
    if (mp_blocks.huge)
        mp_record_free(mp_blocks.huge, mp_blocks.huge_count * sizeof *mp_blocks.huge);
    mp_blocks = (struct mp_blocks){0};
}

uint32_t mp_blocks_count(void) {
    return mp_blocks.count;
}

/* ---- single ones ---- */

bool mp_blocks_is_left(const struct mp_page *page, uintptr_t start) {
    return (uintptr_t)mp_rescue_left(page) == start;
}

bool mp_blocks_find_huge(uintptr_t pointer, struct mp_block_found *found) {
    uint32_t low = 0, high = mp_blocks.huge_count; /* the last that begins there or before */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (mp_blocks.huge[middle].start <= pointer)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low || pointer - mp_blocks.huge[low - 1].start >= mp_blocks.huge[low - 1].size)
        return false;
    *found = (struct mp_block_found){mp_blocks.huge[low - 1].start, mp_blocks.huge[low - 1].size,
                                     mp_blocks.huge_first + low - 1};
    return true;
}

bool mp_blocks_is_live(const struct mp_block_found *block) {
    return block->size > MP_MEDIUM_MAX ||
           mp_census_is_live_block((const void *)block->start, (uint32_t)block->size);
}

/* ---- all of them ---- */

struct each {
    mp_block_visitor *visit;
    void *context;
};

static void each_of_page(const struct mp_page *page, enum mp_kind kind, void *context) {
    const struct each *each = context;
    const uint32_t *first = numbers_of(page);
    struct mp_block_found block;
    if (!first)
        return;
    if (kind == MP_KIND_LARGE) {
        block = (struct mp_block_found){page->start, page->bytes, *first};
        each->visit(&block, each->context);
        return;
    }
    for (uint32_t i = 0; i < page->carved; i++) {
        uintptr_t at = page->start + (uintptr_t)i * mp_classes[page->class].size;
        if (mp_blocks_find(at, &block) && mp_blocks_is_live(&block))
            each->visit(&block, each->context);
    }
}

void mp_blocks_each(mp_block_visitor *visit, void *context) {
    struct each each = {visit, context};
    mp_arena_each_page(each_of_page, &each);
    for (uint32_t i = 0; i < mp_blocks.huge_count; i++) {
        const struct mp_block_found block = {mp_blocks.huge[i].start, mp_blocks.huge[i].size,
                                             mp_blocks.huge_first + i};
        visit(&block, context);
    }
}
