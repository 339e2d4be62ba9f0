#include "heap/chunk.h"

#include "heap/arena.h"

#define LEAST  12u /* slices to be had: a huge page takes as long as 8 of them */
#define SPARSE 4u  /* slices that get more memory by it than they need, at most */

/* Acquire: a page that its owner has just made has its class. */
static enum mp_kind kind_of(const struct mp_page *page) {
    return (enum mp_kind)atomic_load_explicit(&page->kind, memory_order_acquire);
}

/* A page or span: how far it is to the next. */
static uint32_t length(const struct mp_page *page) {
    enum mp_kind kind = kind_of(page);
    bool span = kind == MP_KIND_FREE || kind == MP_KIND_LARGE;
    return span ? page->slices : mp_classes[page->class].slices;
}

static bool is_clean(const struct mp_page *page) {
    return kind_of(page) == MP_KIND_FREE && mp_spans_state(page) == MP_CLEAN;
}

/* The last that the slice was, was a small page, and full. */
static bool was_full(const struct mp_page *page) {
    return page->class < MP_SMALL_CLASSES && page->last_pages == 0 &&
           page->carved == mp_page_blocks(page);
}

/* The page or span that the chunk begins with, or in; NULL: somebody is at one of those between. */
static struct mp_page *leftmost(const struct mp_chunk *chunk, struct mp_page *page) {
    while (page > chunk->first) {
        enum mp_kind kind = kind_of(page - 1);
        if (kind == MP_KIND_NONE || (page - 1)->node != page->node) /* under another pool's lock */
            return NULL;
        bool has_head = kind == MP_KIND_FREE || kind == MP_KIND_CONT;
        page = has_head ? mp_arena_page((page - 1)->head) : page - 1;
    }
    return page;
}

/* How many slices of a clean span in the chunk were not full. */
static uint32_t count_sparse(const struct mp_page *from, const struct mp_page *to) {
    uint32_t sparse = 0;
    for (; from < to; from++)
        sparse += !was_full(from);
    return sparse;
}

bool mp_chunk_take(struct mp_chunk *chunk, struct mp_spans *spans, struct mp_page *page) {
    uint32_t number = mp_arena_number(page) & -MP_CHUNK_SLICES, sparse = 0;
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);
    if (index < range->first || index + MP_CHUNK_SLICES > range->limit)
        return false;
    chunk->first = mp_arena_page(number);
    chunk->count = chunk->slices = 0;
    struct mp_page *end = chunk->first + MP_CHUNK_SLICES, *start = leftmost(chunk, page);
    if (!start)
        return false;
    for (page = start; page < end; page += length(page)) {
        enum mp_kind kind = kind_of(page);
        if (kind == MP_KIND_NONE || page->node != start->node) /* another node's, in part */
            return false;
        if (kind == MP_KIND_LARGE)
            return false; /* nobody knows how much of a large block there is */
        if (is_clean(page)) {
            struct mp_page *from = page > chunk->first ? page : chunk->first;
            struct mp_page *to = page + page->slices < end ? page + page->slices : end;
            sparse += count_sparse(from, to);
            chunk->parts[chunk->count].page = from;
            chunk->parts[chunk->count++].slices = (uint32_t)(to - from);
            chunk->slices += (uint32_t)(to - from);
        } else if (kind == MP_KIND_FREE) {
            if (mp_spans_state(page) == MP_GONE)
                return false;
        } else if (page->carved < mp_page_blocks(page)) {
            sparse += length(page);
        }
    }
    if (chunk->slices < LEAST || sparse > SPARSE)
        return false;
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct mp_page *part = chunk->parts[i].page, *span = part == chunk->first ? start : part;
        mp_spans_cut(spans, span, (uint32_t)(part - span), chunk->parts[i].slices);
    }
    return true;
}

void mp_chunk_put(const struct mp_chunk *chunk, struct mp_spans *spans, enum mp_spans_state state) {
    for (uint32_t i = 0; i < chunk->count; i++)
        mp_spans_insert(spans, chunk->parts[i].page, chunk->parts[i].slices, state);
}
