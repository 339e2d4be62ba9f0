#include "invariants.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap/arena.h"
#include "heap/beside.h"
#include "heap/pool.h"
#include "heap/rescue.h"
#include "heap/thread.h"

static char message[400];
static size_t samples_pages; /* pages of samples there are */

static bool broken(const struct mp_page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool broken(const struct mp_page *page, const char *format, ...) {
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!page) {
        snprintf(message, sizeof message, "%s", what);
        return false;
    }
    snprintf(message, sizeof message,
             "page %u:%u (kind %d, class %u, flags 0x%x, owner 0x%zx, remote 0x%zx, carved %u): %s",
             mp_arena_number(page) >> MP_NUMBER_SHIFT,
             mp_arena_number(page) & ((1u << MP_NUMBER_SHIFT) - 1), (int)mp_page_kind(page),
             page->class, mp_page_flags(page), (size_t)mp_page_owner(page), (size_t)page->remote,
             page->carved, what);
    return false;
}

/* ---- blocks: each free one in exactly one list ---- */

#define MOST_BLOCKS 4096u

static const struct mp_block *next_block(const struct mp_page *page, const struct mp_block *block) {
    if (mp_page_kind(page) == MP_KIND_SMALL)
        return mp_page_next_block(block);
    size_t within = MP_MEDIUM_SLICES * MP_SLICE_SIZE - 1;
    return (const struct mp_block *)(page->start + (block->link_medium & within));
}

struct lists {
    const struct mp_page *page;
    uint32_t size;
    uint32_t found; /* blocks in lists so far */
    uint8_t in_list[MOST_BLOCKS / 8];
};

static bool add_block(struct lists *lists, const struct mp_block *block, const char *list) {
    const struct mp_page *page = lists->page;
    uintptr_t offset = (uintptr_t)block - page->start;
    uint32_t index = (uint32_t)(offset / lists->size);
    if (offset % lists->size != 0 || index >= page->carved)
        return broken(page, "%s holds %p, which is no block of the page", list,
                      (const void *)block);
    if (!mp_block_is_free(block) && !mp_block_is_twin(block))
        return broken(page, "%s holds block %u, which has no key", list, index);
    if (lists->in_list[index / 8] & (1u << index % 8))
        return broken(page, "%s holds block %u, which is in a list already", list, index);
    lists->in_list[index / 8] |= (uint8_t)(1u << index % 8);
    lists->found++;
    return true;
}

/* Walks a list to its end; `count` is its length as its holder knows it, or UINT32_MAX. */
static bool add_list(struct lists *lists, const struct mp_block *first, uint32_t count,
                     bool has_end, const char *list) {
    uint32_t length = 0;
    for (const struct mp_block *block = first; length < count && !mp_page_is_end(block);
         block = next_block(lists->page, block), length++) {
        if (!add_block(lists, block, list))
            return false;
        if (length + 1 == count && has_end && !mp_page_is_end(next_block(lists->page, block)))
            return broken(lists->page, "%s is longer than its count, %u", list, count);
    }
    if (count != UINT32_MAX && length != count)
        return broken(lists->page, "%s has %u blocks, its count says %u", list, length, count);
    return true;
}

static bool in_page(const struct mp_page *page, const struct mp_block *block) {
    size_t size = (size_t)mp_classes[page->class].slices << MP_SLICE_SHIFT;
    return (uintptr_t)block - page->start < size;
}

static struct mp_heap *owner_of(const struct mp_page *page) {
    uintptr_t owner = mp_page_owner(page) & ~MP_OWNER_CHECKED;
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        struct mp_heap *heap = mp_heap_by_number(n);
        if (heap->state == MP_HEAP_LIVE && heap->owner == owner)
            return heap;
    }
    return NULL;
}

/* A sample's twin has its key and stands in no list: it goes when the sample does. */
static bool add_twins(struct lists *lists) {
    for (uint32_t r = 0; r < mp_range_count && samples_pages; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++) {
            const struct mp_page *page = &mp_ranges[r].meta[i];
            if (mp_page_kind(page) != MP_KIND_SAMPLES || page->class != lists->page->class)
                continue;
            for (uint32_t b = 0; b < page->carved; b++) {
                const struct mp_block *block =
                    (const struct mp_block *)(page->start + (uintptr_t)b * lists->size);
                if (mp_block_is_free(block))
                    continue;
                const struct mp_block *twin = mp_beside_twin(page, b);
                if (in_page(lists->page, twin) && !add_block(lists, twin, "a sample"))
                    return false;
            }
        }
    }
    return true;
}

/* Of a current page the used blocks are not counted; but no more may be handed out before the slow
 * path is met than there are before the sample, but for one (pages.c). */
static bool check_current(struct lists *lists, const struct mp_heap *heap) {
    const struct mp_page *page = lists->page;
    const struct mp_bin *bin = &heap->bins[page->class];
    if (bin->aside && !add_list(lists, bin->aside, UINT32_MAX, true, "what is put aside"))
        return false;
    uint32_t listed = lists->found;
    if (!heap->reborn && heap->tls->page[page->class] != page)
        return broken(page, "its thread allocates from another");
    if (bin->rest && !add_list(lists, bin->rest, bin->rest_count, true, "the rest"))
        return false;
    if (page->until > bin->window)
        return broken(page, "%u pushes are left of %u", page->until, bin->window);
    uint64_t handed = bin->allocated + (bin->window - page->until) - listed;
    if (handed > bin->sample_at)
        return broken(page, "a sample was passed");
    if (bin->sample_at - handed < (uint64_t)listed + page->until - 1)
        return broken(page, "%u blocks and %u pushes could pass a sample", listed, page->until);
    return true;
}

/* Of an emptied page there is one block at most, which malloc may pop. */
static bool check_emptied(const struct mp_page *page) {
    const struct mp_heap *heap = owner_of(page);
    const struct mp_bin *bin = heap ? &heap->bins[page->class] : NULL;
    const struct mp_block *left = mp_rescue_left(page);
    if (!heap || !mp_page_is_current(page) || !(mp_page_owner(page) & MP_OWNER_CHECKED) ||
        bin->aside || bin->rest)
        return broken(page, "emptied, and not what is emptied");
    if (left && ((uintptr_t)left - page->start) / mp_classes[page->class].size + 1 != page->carved)
        return broken(page, "emptied, and another block is left than was");
    uint64_t listed = left && page->local_free == left;
    uint64_t handed = bin->allocated + (bin->window - page->until) - listed;
    if (handed + listed > bin->sample_at)
        return broken(page, "emptied, and a sample could be passed");
    return true;
}

static bool check_page_blocks(const struct mp_page *page) {
    static struct lists lists;
    memset(&lists, 0, sizeof lists);
    lists.page = page;
    lists.size = mp_classes[page->class].size;
    bool shared = mp_page_kind(page) != MP_KIND_SMALL;
    uintptr_t remote = page->remote;
    const struct mp_block *pushed =
        (const struct mp_block *)(remote & 0x0000ffffffffffffu & ~MP_OWNED);
    if (!add_list(&lists, page->local_free, UINT32_MAX, true, "local_free"))
        return false;
    const struct mp_heap *owner = owner_of(page);
    bool current = !shared && owner && mp_page_is_current(page);
    if (current && !check_current(&lists, owner))
        return false;
    uint32_t local = lists.found;
    if (pushed && !add_list(&lists, pushed, (uint32_t)(remote >> 48), true, "remote"))
        return false;
    uint32_t used = shared ? page->until : mp_page_used(page);
    if (!current && used + local != page->carved)
        return broken(page, "%u used and %u free blocks are not all", used, local);
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        const struct mp_heap *heap = mp_heap_by_number(n);
        for (unsigned b = 0; b < MP_BATCHES; b++) {
            const struct mp_batch *batch = &heap->batches[b];
            if (batch->page == page &&
                !add_list(&lists, batch->first, batch->count, false, "a batch"))
                return false;
        }
        if (heap->state == MP_HEAP_LIVE && !heap->reborn && !shared && heap != owner &&
            heap->tls->page[page->class] == page)
            return broken(page, "heap %u allocates from it", n);
    }
    if (!shared && !add_twins(&lists))
        return false;
    uint32_t free_blocks = 0;
    for (uint32_t i = 0; i < page->carved; i++) {
        const struct mp_block *block =
            (const struct mp_block *)(page->start + (uintptr_t)i * lists.size);
        free_blocks += mp_block_is_free(block) || mp_block_is_twin(block);
    }
    /* A lost thread's lists cannot be read any more, nor can those of one that allocated to its
     * very end. */
    if (free_blocks != lists.found && !mp_threads_lost && !(owner && owner->reborn))
        return broken(page, "%u blocks have their key, %u are in lists", free_blocks, lists.found);
    return true;
}

/* ---- pages and spans ---- */

struct totals {
    size_t used, dirty, clean; /* slices */
    size_t owned;              /* pages that some live heap owns */
};

static bool check_owned(const struct mp_page *page, struct totals *totals) {
    const struct mp_heap *heap = owner_of(page);
    uint8_t flags = mp_page_flags(page);
    totals->owned++;
    if (flags & MP_PAGE_HOMING) {
        if (mp_page_owner(page) || (flags & ~MP_PAGE_HOMING))
            return broken(page, "on its way home, and not what goes home");
        return true;
    }
    if (!heap)
        return broken(page, "owned by no live heap");
    if (flags & MP_PAGE_LISTED)
        return broken(page, "owned and listed");
    if (!(flags & MP_PAGE_CURRENT) == !(flags & MP_PAGE_QUEUED))
        return broken(page, "neither current nor queued, or both");
    return true;
}

static bool check_ownerless(const struct mp_page *page) {
    uint8_t flags = mp_page_flags(page);
    if (mp_page_owner(page) || page->remote != 0)
        return broken(page, "ownerless, and not what is ownerless");
    if (flags & (MP_PAGE_CURRENT | MP_PAGE_QUEUED | MP_PAGE_SPARSE))
        return broken(page, "ownerless, and in a queue");
    bool full = mp_page_used(page) == mp_classes[page->class].blocks;
    if (full == !!(flags & MP_PAGE_LISTED))
        return broken(page, full ? "full and listed" : "with room, and not listed");
    return true;
}

static bool check_further(const struct mp_page *page, uint32_t slices) {
    for (uint32_t i = 1; i < slices; i++) {
        if (mp_page_kind(page + i) != MP_KIND_CONT)
            return broken(page, "slice %u of it has kind %d", i, (int)mp_page_kind(page + i));
        if (mp_arena_page(page[i].head) != page)
            return broken(page, "slice %u of it points elsewhere", i);
        if (mp_page_owner(page + i))
            return broken(page, "slice %u of it has an owner", i);
    }
    return true;
}

static bool check_page(const struct mp_page *page, struct totals *totals) {
    const struct mp_class *info = &mp_classes[page->class];
    enum mp_kind kind = mp_page_kind(page);
    if (page->class >= MP_CLASSES || (kind == MP_KIND_MEDIUM) != (page->class >= MP_SMALL_CLASSES))
        return broken(page, "its class is not of its kind");
    if (page->carved > info->blocks || (kind == MP_KIND_SMALL && page->inverse != info->inverse))
        return broken(page, "its fields are not its class's");
    totals->used += info->slices;
    if (!check_further(page, info->slices))
        return false;
    if (mp_page_flags(page) & MP_PAGE_LOST) {
        if (mp_page_owner(page) || !(page->remote & MP_OWNED))
            return broken(page, "lost, and not what is lost");
        return true;
    }
    bool emptied = kind == MP_KIND_SMALL && mp_rescue_has_emptied(page);
    if (!(emptied ? check_emptied(page) : check_page_blocks(page)))
        return false;
    if (kind != MP_KIND_SMALL) {
        if (mp_page_owner(page))
            return broken(page, "a page of no thread, and it has an owner");
        return true;
    }
    return page->remote & MP_OWNED ? check_owned(page, totals) : check_ownerless(page);
}

static uint8_t span_state(const struct mp_page *page) {
    return mp_page_flags(page) & (MP_SPAN_DIRTY | MP_SPAN_GONE);
}

static bool check_span(const struct mp_range *range, uint32_t index, struct totals *totals) {
    const struct mp_page *page = &range->meta[index];
    if (page->slices == 0 || index + page->slices > range->limit)
        return broken(page, "a span of %u slices", page->slices);
    if (mp_page_owner(page))
        return broken(page, "a span with an owner");
    if (mp_page_kind(page) == MP_KIND_LARGE) {
        totals->used += page->slices;
        if (page->bytes == 0 || page->bytes > (uint64_t)page->slices << MP_SLICE_SHIFT ||
            page->bytes + MP_SLICE_SIZE <= (uint64_t)page->slices << MP_SLICE_SHIFT)
            return broken(page, "%zu bytes in %u slices", (size_t)page->bytes, page->slices);
        return check_further(page, page->slices);
    }
    const struct mp_page *last = page + page->slices - 1;
    if (mp_page_kind(last) != MP_KIND_FREE || mp_arena_page(last->head) != page ||
        span_state(last) != span_state(page))
        return broken(page, "the last of its %u slices does not tell its span", page->slices);
    if (span_state(page) & MP_SPAN_DIRTY)
        totals->dirty += page->slices;
    else if (!(span_state(page) & MP_SPAN_GONE))
        totals->clean += page->slices;
    const struct mp_page *after = last + 1;
    if (index + page->slices < range->limit && mp_page_kind(after) == MP_KIND_FREE &&
        after->node == page->node && span_state(after) == span_state(page))
        return broken(page, "not merged with the span after it");
    return true;
}

static bool check_ranges(struct totals *totals) {
    for (uint32_t r = 0; r < mp_range_count; r++) {
        const struct mp_range *range = &mp_ranges[r];
        for (uint32_t i = range->first, next; i < range->limit; i = next) {
            const struct mp_page *page = &range->meta[i];
            enum mp_kind kind = mp_page_kind(page);
            if (page->start != range->base + ((uintptr_t)i << MP_SLICE_SHIFT))
                return broken(page, "its start is %p", (void *)page->start);
            if (kind == MP_KIND_SMALL || kind == MP_KIND_MEDIUM || kind == MP_KIND_SAMPLES) {
                if (!check_page(page, totals))
                    return false;
                next = i + mp_classes[page->class].slices;
            } else if (kind == MP_KIND_LARGE || kind == MP_KIND_FREE) {
                if (!check_span(range, i, totals))
                    return false;
                next = i + page->slices;
            } else if (kind == MP_KIND_NONE && (mp_page_flags(page) & MP_SPAN_GONE)) {
                next = i + 1; /* let go, and somebody else's since */
            } else {
                return broken(page, "a slice of no span");
            }
        }
    }
    return true;
}

/* ---- queues ---- */

static bool check_queue(const struct mp_heap *heap, unsigned class, uint32_t first, uint32_t last,
                        uint8_t flags, size_t *found) {
    uint32_t before = 0;
    for (uint32_t number = first; number; number = mp_arena_page(number)->next) {
        const struct mp_page *page = mp_arena_page(number);
        if (page->class != class || owner_of(page) != heap)
            return broken(page, "in a queue of heap %u, class %u", heap->number, class);
        if ((mp_page_flags(page) & (MP_PAGE_QUEUED | MP_PAGE_SPARSE)) != flags)
            return broken(page, "in a queue with flags 0x%x", flags);
        if (page->prev != before)
            return broken(page, "its link back is wrong");
        if (page->until == 0)
            return broken(page, "queued, and no event to come");
        before = number;
        if (++*found > 1000000)
            return broken(page, "a queue that is a circle");
    }
    if (!(flags & MP_PAGE_SPARSE) && before != last)
        return broken(NULL, "heap %u, class %u: the queue's last page is not its last",
                      heap->number, class);
    return true;
}

/* What was sent to the heap and has not arrived. */
static bool check_homing(const struct mp_heap *heap, size_t *found) {
    for (uint32_t number = heap->homing; number; number = mp_arena_page(number)->next) {
        const struct mp_page *page = mp_arena_page(number);
        if (!(mp_page_flags(page) & MP_PAGE_HOMING) || page->heap != heap->number)
            return broken(page, "sent to heap %u", heap->number);
        if (++*found > 1000000)
            return broken(page, "a stack that is a circle");
    }
    return true;
}

static bool check_heaps(size_t *found) {
    for (uint32_t n = mp_heap_count(); n > 0; n--) {
        const struct mp_heap *heap = mp_heap_by_number(n);
        uint32_t batched = 0;
        for (unsigned b = 0; b < MP_BATCHES; b++)
            batched += heap->batches[b].page != NULL;
        if (heap->state == MP_HEAP_LIVE && batched != heap->batched)
            return broken(NULL, "heap %u counts %u batches of %u", n, heap->batched, batched);
        if (heap->state == MP_HEAP_LIVE && !check_homing(heap, found))
            return false;
        if (heap->state != MP_HEAP_LIVE && heap->homing != UINT32_MAX)
            return broken(NULL, "heap %u is nobody's and takes pages in", n);
        for (unsigned c = 0; c < MP_SMALL_CLASSES && heap->state == MP_HEAP_LIVE; c++) {
            const struct mp_bin *bin = &heap->bins[c];
            if (!bin->current && !heap->reborn && heap->tls->page[c] != &mp_no_page)
                return broken(heap->tls->page[c], "allocated from, and not current");
            if (!check_queue(heap, c, bin->dense_first, bin->dense_last, MP_PAGE_QUEUED, found) ||
                !check_queue(heap, c, bin->sparse, 0, MP_PAGE_QUEUED | MP_PAGE_SPARSE, found))
                return false;
            if (!bin->current)
                continue;
            const struct mp_page *page = mp_arena_page(bin->current);
            if (page->class != c || owner_of(page) != heap ||
                !(mp_page_flags(page) & MP_PAGE_CURRENT))
                return broken(page, "the current page of heap %u, class %u", n, c);
            ++*found;
        }
        for (unsigned c = 0; c < MP_SMALL_CLASSES && heap->state == MP_HEAP_FREE; c++) {
            const struct mp_bin *bin = &heap->bins[c];
            if (bin->current || bin->dense_first || bin->dense_last || bin->sparse)
                return broken(NULL, "heap %u is free and has pages of class %u", n, c);
        }
    }
    return true;
}

static void count_samples_pages(void) {
    samples_pages = 0;
    for (uint32_t r = 0; r < mp_range_count; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++)
            samples_pages += mp_page_kind(&mp_ranges[r].meta[i]) == MP_KIND_SAMPLES;
    }
}

const char *invariants_broken(void) {
    struct totals totals = {0};
    size_t queued = 0;
    count_samples_pages();
    if (!check_ranges(&totals) || !check_heaps(&queued))
        return message;
    if (totals.owned != queued) {
        broken(NULL, "%zu pages have an owner, %zu are in owners' queues", totals.owned, queued);
        return message;
    }
    size_t used = 0, dirty = 0, clean = 0;
    for (unsigned node = 0; node < mp_numa_count(); node++) {
        struct mp_pool_stats stats;
        mp_pool_get_stats(node, &stats);
        used += stats.used_bytes;
        dirty += stats.dirty_bytes;
        clean += stats.clean_bytes;
    }
    if (used != totals.used << MP_SLICE_SHIFT || dirty != totals.dirty << MP_SLICE_SHIFT ||
        clean != totals.clean << MP_SLICE_SHIFT) {
        broken(NULL, "the pool counts %zu used, %zu dirty, %zu clean KiB; there are %zu, %zu, %zu",
               used >> 10, dirty >> 10, clean >> 10, totals.used << 6, totals.dirty << 6,
               totals.clean << 6);
        return message;
    }
    return NULL;
}
