#include "heap/spans.h"

#include "heap/arena.h"
#include "platform/sys.h"

#define EXACT_BINS 32
#define FIT_TRIES  8
#define JOIN_TRIES 16u

static unsigned bin_of(uint32_t slices) {
    if (slices <= EXACT_BINS)
        return slices - 1;
    unsigned log = 31 - (unsigned)__builtin_clz(slices);
    unsigned bin = EXACT_BINS + (log - 5) * 4 + ((slices >> (log - 2)) & 3);
    return bin < MP_SPAN_BINS ? bin : MP_SPAN_BINS - 1;
}

static void bin_add(struct mp_span_bins *bins, struct mp_page *page, uint32_t number) {
    unsigned bin = bin_of(page->slices);
    page->prev = 0;
    page->next = bins->head[bin];
    if (page->next)
        mp_arena_page(page->next)->prev = number;
    bins->head[bin] = number;
    bins->filled[bin / 64] |= (uint64_t)1 << (bin % 64);
}

static void bin_remove(struct mp_span_bins *bins, struct mp_page *page) {
    unsigned bin = bin_of(page->slices);
    if (page->next)
        mp_arena_page(page->next)->prev = page->prev;
    if (page->prev)
        mp_arena_page(page->prev)->next = page->next;
    else
        bins->head[bin] = page->next;
    if (!bins->head[bin])
        bins->filled[bin / 64] &= ~((uint64_t)1 << (bin % 64));
}

struct mp_page *mp_spans_find(struct mp_spans *spans, enum mp_spans_state state, uint32_t slices) {
    const struct mp_span_bins *bins = &spans->bins[state];
    unsigned bin = bin_of(slices);
    uint32_t number = bins->head[bin];
    for (unsigned i = 0; number && (i < FIT_TRIES || bin == MP_SPAN_BINS - 1); i++) {
        struct mp_page *page = mp_arena_page(number);
        if (page->slices >= slices)
            return page;
        number = page->next;
    }
    for (unsigned b = bin + 1; b < MP_SPAN_BINS; b = (b / 64 + 1) * 64) {
        uint64_t filled = bins->filled[b / 64] >> (b % 64);
        if (filled)
            return mp_arena_page(bins->head[b + (unsigned)__builtin_ctzll(filled)]);
    }
    return NULL;
}

enum mp_spans_state mp_spans_state(const struct mp_page *page) {
    uint8_t flags = mp_page_flags(page);
    return flags & MP_SPAN_DIRTY ? MP_DIRTY : flags & MP_SPAN_GONE ? MP_GONE : MP_CLEAN;
}

static void age_remove(struct mp_spans *spans, struct mp_page *page) {
    if (page->older)
        mp_arena_page(page->older)->newer = page->newer;
    else
        spans->oldest = page->newer;
    if (page->newer)
        mp_arena_page(page->newer)->older = page->older;
    else
        spans->newest = page->older;
}

void mp_spans_remove(struct mp_spans *spans, struct mp_page *page) {
    enum mp_spans_state state = mp_spans_state(page);
    bin_remove(&spans->bins[state], page);
    spans->slices[state] -= page->slices;
    if (state == MP_DIRTY)
        age_remove(spans, page);
}

/* Acquire: another node's pool may be making it, and then it has its node before its kind. */
static bool is_neighbour(const struct mp_page *page, const struct mp_page *self,
                         enum mp_spans_state state) {
    return atomic_load_explicit(&page->kind, memory_order_acquire) == MP_KIND_FREE &&
           page->node == self->node && mp_spans_state(page) == state;
}

void mp_spans_insert(struct mp_spans *spans, struct mp_page *page, uint32_t slices,
                     enum mp_spans_state state) {
    uint32_t number = mp_arena_number(page);
    const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
    uint32_t index = number & ((1u << MP_NUMBER_SHIFT) - 1);

    /* Even where it becomes an inner slice of a longer span: its old kind must not survive. */
    mp_page_set_owner(page, 0);
    mp_page_set_kind(page, MP_KIND_FREE);
    if (index + slices < range->limit && is_neighbour(page + slices, page, state)) {
        struct mp_page *after = page + slices;
        mp_spans_remove(spans, after);
        slices += after->slices;
    }
    if (index > range->first && is_neighbour(page - 1, page, state)) {
        struct mp_page *before = mp_arena_page((page - 1)->head);
        mp_spans_remove(spans, before);
        slices += before->slices;
        page = before;
        number = mp_arena_number(page);
    }
    struct mp_page *last = page + slices - 1;
    uint8_t flags = state == MP_DIRTY ? MP_SPAN_DIRTY : state == MP_GONE ? MP_SPAN_GONE : 0;
    mp_page_set_owner(last, 0);
    mp_page_set_kind(last, MP_KIND_FREE);
    atomic_store_explicit(&last->flags, flags, memory_order_relaxed);
    last->head = number;
    if (last != page)
        last->last_pages = 0;
    mp_page_set_kind(page, MP_KIND_FREE);
    atomic_store_explicit(&page->flags, flags, memory_order_relaxed);
    page->slices = slices;
    bin_add(&spans->bins[state], page, number);
    spans->slices[state] += slices;
    if (state == MP_DIRTY) {
        page->freed_ms = mp_sys_now_ms();
        page->newer = 0;
        page->older = spans->newest;
        if (page->older)
            mp_arena_page(page->older)->newer = number;
        else
            spans->oldest = number;
        spans->newest = number;
    }
}

void mp_spans_cut(struct mp_spans *spans, struct mp_page *page, uint32_t skip, uint32_t slices) {
    enum mp_spans_state state = mp_spans_state(page);
    uint32_t rest = page->slices - skip - slices;
    struct mp_page *cut = page + skip, *behind = cut + slices;
    mp_spans_remove(spans, page);
    mp_page_set_kind(cut, MP_KIND_NONE);
    mp_page_set_kind(behind - 1, MP_KIND_NONE);
    if (skip)
        mp_spans_insert(spans, page, skip, state);
    if (rest)
        mp_spans_insert(spans, behind, rest, state);
}

static bool may_join(const struct mp_page *page, const struct mp_page *self) {
    return is_neighbour(page, self, MP_DIRTY) || is_neighbour(page, self, MP_CLEAN);
}

struct mp_page *mp_spans_join(struct mp_spans *spans, uint32_t want) {
    uint32_t number = spans->newest;
    for (unsigned i = 0; number && i < JOIN_TRIES; i++) {
        struct mp_page *dirty = mp_arena_page(number), *first = dirty, *end = dirty + dirty->slices;
        const struct mp_range *range = &mp_ranges[number >> MP_NUMBER_SHIFT];
        number = dirty->older;
        if (dirty->slices < want / 4)
            continue;
        while (end - first < want && end < &range->meta[range->limit] && may_join(end, dirty))
            end += end->slices;
        bool from_left = end - first < want;
        while (end - first < want && first > &range->meta[range->first] &&
               may_join(first - 1, dirty))
            first = mp_arena_page((first - 1)->head);
        if (end - first < want)
            continue;
        uint32_t surplus = (uint32_t)(end - first) - want, slices;
        enum mp_spans_state state =
            MP_DIRTY; /* of the last that was added, which the surplus is part of */
        for (struct mp_page *page = first; page < end; page += slices) {
            slices = page->slices;
            if (from_left ? page == first : page + slices == end)
                state = mp_spans_state(page);
            mp_spans_remove(spans, page);
        }
        struct mp_page *joined = from_left ? first + surplus : first;
        mp_page_set_kind(joined, MP_KIND_NONE); /* so that the surplus does not merge with it */
        mp_page_set_kind(joined + want - 1, MP_KIND_NONE);
        if (surplus)
            mp_spans_insert(spans, from_left ? first : joined + want, surplus, state);
        mp_spans_insert(spans, joined, want, MP_DIRTY);
        return mp_spans_find(spans, MP_DIRTY, want);
    }
    return NULL;
}

struct mp_page *mp_spans_next(const struct mp_spans *spans, enum mp_spans_state state,
                              const struct mp_page *page) {
    if (page && page->next)
        return mp_arena_page(page->next);
    for (unsigned bin = page ? bin_of(page->slices) + 1 : 0; bin < MP_SPAN_BINS; bin++) {
        if (spans->bins[state].head[bin])
            return mp_arena_page(spans->bins[state].head[bin]);
    }
    return NULL;
}
