#include "leak/blocks.h"

#include "heap/census.h"
#include "heap/huge.h"
#include "heap/rescue.h"
#include "record/memory.h"

struct mp_blocks mp_blocks;

/* ---- numbers ---- */

static struct mp_blocks_slice *slice_of(const struct mp_page *page) {
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        if (page->start - range->base < range->size)
            return &range->slices[(page->start - range->base) >> MP_SLICE_SHIFT];
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
    struct mp_blocks_slice *slice = slice_of(page);
    bool large = kind == MP_KIND_LARGE;
    bool left = kind == MP_KIND_SMALL && (mp_page_flags(page) & MP_PAGE_EMPTIED);
    uint32_t slices = large ? page->slices : mp_classes[page->class].slices;
    (void)unused;
    if (!slice || mp_blocks.page_count == mp_blocks.page_room)
        return;
    const struct mp_blocks_slice first = {
        .first = mp_blocks.count,
        .carved = large ? 0 : page->carved,
        .class = page->class,
        .kind = large  ? MP_BLOCKS_LARGE
                : left ? MP_BLOCKS_LEFT
                       : MP_BLOCKS_MANY,
    };
    for (uint32_t i = 0; i < slices; i++) {
        slice[i] = first;
        slice[i].back = i;
    }
    mp_blocks.pages[mp_blocks.page_count++] = (struct mp_blocks_page){
        .start = page->start,
        .size = large ? page->bytes : mp_classes[page->class].size,
        .first = mp_blocks.count,
        .whole = large,
    };
    mp_blocks.count += large ? 1 : page->carved;
    extend(page->start, large ? page->bytes : (size_t)page->carved * mp_classes[page->class].size);
}

static void count_page(const struct mp_page *page, enum mp_kind kind, void *unused) {
    (void)page;
    (void)kind;
    (void)unused;
    mp_blocks.page_room++;
}

static bool number_pages(void) {
    mp_arena_each_page(count_page, NULL);
    mp_blocks.pages = mp_record_alloc((mp_blocks.page_room + (size_t)1) * sizeof *mp_blocks.pages);
    if (!mp_blocks.pages)
        return false;
    mp_arena_each_page(number_page, NULL);
    mp_blocks.pages[mp_blocks.page_count].first = mp_blocks.count;
    return true;
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
            .slices = mp_record_alloc(limit * sizeof *seen->slices),
        };
        if (!seen->slices) {
            mp_blocks_end();
            return false;
        }
    }
    if (number_pages() && number_huge())
        return true;
    mp_blocks_end();
    return false;
}

void mp_blocks_end(void) {
    for (unsigned r = 0; r < mp_blocks.range_count; r++) {
        const struct mp_blocks_range *range = &mp_blocks.ranges[r];
        mp_record_free(range->slices, (range->size >> MP_SLICE_SHIFT) * sizeof *range->slices);
    }
    if (mp_blocks.pages)
        mp_record_free(mp_blocks.pages,
                       (mp_blocks.page_room + (size_t)1) * sizeof *mp_blocks.pages);
    if (mp_blocks.huge)
        mp_record_free(mp_blocks.huge, mp_blocks.huge_count * sizeof *mp_blocks.huge);
    mp_blocks = (struct mp_blocks){0};
}

uint32_t mp_blocks_count(void) {
    return mp_blocks.count;
}

/* ---- single ones ---- */

/* The last page that begins with the number or before. */
static uint32_t find_page(uint32_t number) {
    uint32_t low = 0, high = mp_blocks.page_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (mp_blocks.pages[middle].first <= number)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void mp_blocks_get(uint32_t number, uint32_t *page, struct mp_block_found *found) {
    if (number >= mp_blocks.huge_first) {
        const struct mp_blocks_huge *huge = &mp_blocks.huge[number - mp_blocks.huge_first];
        *found = (struct mp_block_found){huge->start, huge->size, number, 1};
        return;
    }
    const struct mp_blocks_page *pages = mp_blocks.pages;
    if (pages[*page].first > number || pages[*page + 1].first <= number)
        *page = find_page(number);
    found->size = pages[*page].size;
    found->start = pages[*page].start + (number - pages[*page].first) * found->size;
    found->number = number;
    found->whole = pages[*page].whole;
}

bool mp_blocks_is_left(uintptr_t start) {
    return (uintptr_t)mp_rescue_left(mp_arena_find_head(start)) == start;
}

size_t mp_blocks_large_size(uintptr_t start) {
    return mp_arena_find_head(start)->bytes;
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
                                     mp_blocks.huge_first + low - 1, 1};
    return true;
}

bool mp_blocks_is_live(const struct mp_block_found *block) {
    return block->whole ||
           mp_census_is_live_block((const void *)block->start, (uint32_t)block->size);
}

/* ---- all of them ---- */

struct each {
    const uint64_t *but;
    mp_block_visitor *visit;
    void *context;
};

static bool is_left_out(const struct each *each, uint32_t number) {
    return each->but && each->but[number / 64] >> number % 64 & 1;
}

static void each_of_page(const struct mp_page *page, enum mp_kind kind, void *context) {
    const struct each *each = context;
    const struct mp_blocks_slice *slice = slice_of(page);
    struct mp_block_found block;
    if (!slice)
        return;
    if (kind == MP_KIND_LARGE) {
        block = (struct mp_block_found){page->start, page->bytes, slice->first, 1};
        if (!is_left_out(each, block.number))
            each->visit(&block, each->context);
        return;
    }
    for (uint32_t i = 0; i < page->carved; i++) {
        uint32_t number = slice->first + i;
        if (each->but && number % 64 == 0 && i + 64 <= page->carved &&
            each->but[number / 64] == UINT64_MAX) {
            i += 63;
            continue;
        }
        uintptr_t at = page->start + (uintptr_t)i * mp_classes[page->class].size;
        if (!is_left_out(each, number) && mp_blocks_find(at, &block) && mp_blocks_is_live(&block))
            each->visit(&block, each->context);
    }
}

void mp_blocks_each(const uint64_t *but, mp_block_visitor *visit, void *context) {
    struct each each = {but, visit, context};
    mp_arena_each_page(each_of_page, &each);
    for (uint32_t i = 0; i < mp_blocks.huge_count; i++) {
        const struct mp_block_found block = {mp_blocks.huge[i].start, mp_blocks.huge[i].size,
                                             mp_blocks.huge_first + i, 1};
        if (!is_left_out(&each, block.number))
            visit(&block, context);
    }
}
