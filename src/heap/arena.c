#include "heap/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/chunk.h"
#include "platform/lock.h"
#include "platform/numa.h"
#include "platform/own.h"
#include "platform/sys.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Where ranges are placed: above brk's and below the mmap areas of both layouts of x86-64 and of
 * 48-bit aarch64, in slots of 1 TiB picked at random; the first slice's place within the first
 * table adds ten bits more. */
#define PLACE_WINDOW ((size_t)1 << 40)
#define PLACE_FIRST  8  /* TiB */
#define PLACE_SLOTS  32 /* one TiB each */
#define PLACE_TRIES  8

#define TABLE_FIRST 1024u /* entries: 64 KiB of metadata for 64 MiB */
#define CHUNK_MIN   8u    /* slices: 512 KiB */
#define CHUNK_MAX   1024u /* slices: 64 MiB */

/* free reads these before anything else has run: one entry that matches nothing. */
static struct mp_page no_page;
struct mp_page *mp_meta = &no_page;
uintptr_t mp_meta_mask;

MP_FIRST struct mp_range mp_ranges[MP_RANGES];
_Atomic(uint32_t) mp_range_count;

static struct mp_lock arena_lock = MP_LOCK_INIT(MP_RANK_ARENA);
static struct mp_lock meta_lock = MP_LOCK_INIT(MP_RANK_META);
static uintptr_t meta_at, meta_end;
static _Atomic(size_t) meta_total;

static uintptr_t map_anywhere(size_t size, int prot, int extra) {
    uintptr_t got = mp_sys_mmap(0, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | extra, -1, 0);
    return mp_sys_failed(got) ? 0 : got;
}

/* Readable and writable memory at this place; -EEXIST: somebody is there. */
static int map_at(uintptr_t at, size_t size, int how) {
    uintptr_t got =
        mp_sys_mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | how, -1, 0);
    if (mp_sys_failed(got))
        return (int)(intptr_t)got;
    if (got != at) { /* a kernel older than MAP_FIXED_NOREPLACE */
        mp_sys_munmap(got, size);
        return -EEXIST;
    }
    return 0;
}

static int extend(const struct mp_range *range, uintptr_t at, size_t size) {
    return map_at(at, size, range->reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE);
}

/* The same, of a node's memory. */
static int extend_on(unsigned node, const struct mp_range *range, uintptr_t at, size_t size) {
    if (mp_numa_has_seed(node) && !range->reserved && extend(range, at, MP_NUMA_SEED) == 0) {
        if (mp_numa_plant(node, at, size))
            return 0;
        mp_sys_munmap(at, MP_NUMA_SEED);
    }
    return extend(range, at, size);
}

static uint32_t random_bits(void) {
    uint32_t bits = 0;
    if (mp_sys_getrandom(&bits, sizeof bits) != (long)sizeof bits)
        bits = (uint32_t)(mp_arch_thread_pointer() >> 12) * 2654435761u;
    return bits;
}

/* Metadata stands right below the range's base. */
static size_t table_bytes(size_t window) {
    return (window >> MP_SLICE_SHIFT) * sizeof(struct mp_page);
}

static bool start_table(struct mp_range *range, uintptr_t base, size_t window, bool reserved) {
    range->base = base;
    range->window = window;
    range->reserved = reserved;
    range->meta = (struct mp_page *)(base - table_bytes(window));
    range->meta_entries = TABLE_FIRST;
    if ((window >> MP_SLICE_SHIFT) < TABLE_FIRST)
        range->meta_entries = (uint32_t)(window >> MP_SLICE_SHIFT);
    return extend(range, (uintptr_t)range->meta, range->meta_entries * sizeof(struct mp_page)) == 0;
}

static bool place_far(struct mp_range *range, uint32_t bits) {
    for (unsigned i = 0; i < PLACE_TRIES; i++) {
        uintptr_t slot = PLACE_FIRST + (bits + i * 11) % PLACE_SLOTS;
        bool taken = false;
        for (uint32_t r = 0; r < mp_range_count; r++)
            taken |= mp_ranges[r].base == slot * PLACE_WINDOW;
        if (!taken && start_table(range, slot * PLACE_WINDOW, PLACE_WINDOW, false))
            return true;
    }
    return false;
}

/* Where far addresses are not to be had (a narrow address space, an emulator): reserve a window
 * wherever the kernel likes, as large as it allows. */
static bool place_near(struct mp_range *range) {
    for (size_t window = (size_t)1 << 32; window >= (size_t)1 << 22; window >>= 2) {
        size_t table = (table_bytes(window) + 0xffff) & ~(size_t)0xffff;
        size_t size = 2 * window + table;
        uintptr_t got = map_anywhere(size, PROT_NONE, MAP_NORESERVE);
        if (!got)
            continue;
        uintptr_t base = (got + table + window - 1) & ~(window - 1);
        uintptr_t begin = base - table, end = base + window;
        if (begin > got)
            mp_sys_munmap(got, begin - got);
        if (end < got + size)
            mp_sys_munmap(end, got + size - end);
        if (start_table(range, base, window, true))
            return true;
        mp_sys_munmap(begin, end - begin);
    }
    return false;
}

static struct mp_range *open_range(void) {
    if (mp_range_count == MP_RANGES)
        return NULL;
    struct mp_range *range = &mp_ranges[mp_range_count];
    uint32_t bits = random_bits();
    if (!place_far(range, bits) && !place_near(range))
        return NULL;
    /* Slice 0 stays unused: its number means none, and NULL is never in a page. Half the first
     * table is left to chance, at the price of addresses only. */
    range->first = 1 + (bits >> 8) % (range->meta_entries / 2);
    range->limit = range->first;
    if (mp_range_count == 0) {
        /* In this order, and before there is a second thread: making one allocates. */
        mp_meta = range->meta;
        mp_meta_mask = (range->meta_entries - 1) * sizeof(struct mp_page);
    }
    /* release: who sees the count sees the range */
    atomic_store_explicit(&mp_range_count, mp_range_count + 1, memory_order_release);
    return range;
}

static int grow_table(struct mp_range *range, uint32_t entries) {
    while (range->meta_entries < entries) {
        size_t size = range->meta_entries * sizeof(struct mp_page);
        int error = extend(range, (uintptr_t)range->meta + size, size);
        if (error)
            return error;
        range->meta_entries *= 2;
        if (range == &mp_ranges[0])
            mp_meta_mask = (range->meta_entries - 1) * sizeof(struct mp_page);
    }
    return 0;
}

static int grow_range(unsigned node, struct mp_range *range, uint32_t slices) {
    uint32_t limit = range->limit;
    if (slices > (range->window >> MP_SLICE_SHIFT) - limit)
        return -EEXIST; /* the way ends here, as if somebody sat there */
    int error = grow_table(range, limit + slices);
    uintptr_t at = range->base + ((uintptr_t)limit << MP_SLICE_SHIFT);
    if (!error)
        error = extend_on(node, range, at, (size_t)slices << MP_SLICE_SHIFT);
    /* release: who finds a slice below the limit finds its entry readable */
    if (!error)
        atomic_store_explicit(&range->limit, limit + slices, memory_order_release);
    return error;
}

/* The first range first: only its blocks are freed by the fast path, and a way that was blocked may
 * have become free. *blocked: every range's way is. */
static struct mp_range *grow_some(unsigned node, uint32_t slices, bool *blocked) {
    *blocked = true;
    for (uint32_t r = 0; r < mp_range_count; r++) {
        int error = grow_range(node, &mp_ranges[r], slices);
        if (!error)
            return &mp_ranges[r];
        *blocked &= error == -EEXIST;
    }
    return NULL;
}

/* So that what comes behind, perhaps another node's, shares no huge page with it. */
static uint32_t whole_chunks(uint32_t slices) {
    uint32_t limit = mp_range_count ? mp_ranges[0].limit : 0;
    return ((limit + slices + MP_CHUNK_SLICES - 1) & ~(MP_CHUNK_SLICES - 1)) - limit;
}

uint32_t mp_arena_grow(unsigned node, uint32_t slices, uint32_t *count) {
    mp_lock_take(&arena_lock);
    uint32_t chunk = CHUNK_MIN;
    if (mp_range_count) {
        const struct mp_range *newest = &mp_ranges[mp_range_count - 1];
        chunk = (newest->limit - newest->first) / 8;
        chunk = chunk < CHUNK_MIN ? CHUNK_MIN : chunk > CHUNK_MAX ? CHUNK_MAX : chunk;
    }
    uint32_t got = chunk > slices ? chunk : slices;
    if (mp_numa_count() > 1)
        got = whole_chunks(got);
    bool blocked;
    struct mp_range *range = grow_some(node, got, &blocked);
    if (!range && got > slices) {
        got = slices; /* near a limit: exactly what is needed */
        range = grow_some(node, got, &blocked);
    }
    /* Not again while the last one is empty: another would fare no better. */
    const struct mp_range *last = mp_range_count ? &mp_ranges[mp_range_count - 1] : NULL;
    if (!range && blocked && !(last && last->limit == last->first)) {
        range = open_range();
        if (range && grow_range(node, range, got) != 0)
            range = NULL;
    }
    uint32_t number = 0;
    if (range) {
        uint32_t index = range->limit - got;
        for (uint32_t i = 0; i < got; i++) {
            range->meta[index + i].start = range->base + ((uintptr_t)(index + i) << MP_SLICE_SHIFT);
            range->meta[index + i].node = (uint8_t)node;
        }
        number = (uint32_t)(range - mp_ranges) << MP_NUMBER_SHIFT | index;
        *count = got;
    }
    mp_lock_drop(&arena_lock);
    return number;
}

static const struct mp_range *range_of(const struct mp_page *page) {
    return &mp_ranges[mp_arena_number(page) >> MP_NUMBER_SHIFT];
}

/* After a limit of addresses was met, parts of the ranges may be anybody's. */
static _Atomic(bool) has_let_go;

/* Addresses within a window that is ours stay ours: it lies where the kernel puts other mappings,
 * and one in the hole would pass for a block of the range's. */
int mp_arena_unmap(const struct mp_page *page, uint32_t slices) {
    atomic_store_explicit(&has_let_go, true, memory_order_relaxed);
    size_t size = (size_t)slices << MP_SLICE_SHIFT;
    if (!range_of(page)->reserved)
        return mp_sys_munmap(page->start, size);
    uintptr_t got = mp_sys_mmap(page->start, size, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return mp_sys_failed(got) ? (int)(intptr_t)got : 0;
}

int mp_arena_map_again(const struct mp_page *page, uint32_t slices) {
    return extend_on(page->node, range_of(page), page->start, (size_t)slices << MP_SLICE_SHIFT);
}

void mp_arena_bind(void) {
    mp_lock_take(&arena_lock);
    for (uint32_t r = 0; r < mp_range_count && mp_numa_has_seed(0); r++) {
        const struct mp_range *range = &mp_ranges[r];
        mp_numa_bind(0, range->base + ((uintptr_t)range->first << MP_SLICE_SHIFT),
                     (size_t)(range->limit - range->first) << MP_SLICE_SHIFT);
    }
    mp_lock_drop(&arena_lock);
}

static bool overlaps(uintptr_t start, uintptr_t end, uintptr_t low, uintptr_t high) {
    return start < high && end > low;
}

static bool is_in_one_block(uintptr_t start, uintptr_t end) {
    const struct mp_page *page = mp_arena_find_head(start);
    return page && mp_page_kind(page) == MP_KIND_LARGE && start >= page->start &&
           end <= page->start + ((uintptr_t)page->slices << MP_SLICE_SHIFT);
}

bool mp_arena_forbids(uintptr_t start, size_t size) {
    uintptr_t end = start + size;
    uint32_t ranges = atomic_load_explicit(&mp_range_count, memory_order_acquire);
    if (end < start || atomic_load_explicit(&has_let_go, memory_order_relaxed))
        return false;
    for (uint32_t r = 0; r < ranges; r++) {
        const struct mp_range *range = &mp_ranges[r];
        uint32_t limit = atomic_load_explicit(&range->limit, memory_order_acquire);
        uint32_t entries = atomic_load_explicit(&range->meta_entries, memory_order_acquire);
        if (overlaps(start, end, range->base + ((uintptr_t)range->first << MP_SLICE_SHIFT),
                     range->base + ((uintptr_t)limit << MP_SLICE_SHIFT)))
            return !is_in_one_block(start, end);
        if (overlaps(start, end, (uintptr_t)range->meta, (uintptr_t)(range->meta + entries)))
            return true;
    }
    return false;
}

struct mp_page *mp_arena_find(uintptr_t pointer) {
    uint32_t ranges = atomic_load_explicit(&mp_range_count, memory_order_acquire);
    for (uint32_t r = 0; r < ranges; r++) {
        const struct mp_range *range = &mp_ranges[r];
        uintptr_t slice = (pointer - range->base) >> MP_SLICE_SHIFT;
        if (slice >= range->first &&
            slice < atomic_load_explicit(&range->limit, memory_order_acquire))
            return &range->meta[slice];
    }
    return NULL;
}

static uint32_t page_slices(const struct mp_page *page) {
    switch (mp_page_kind(page)) {
    case MP_KIND_SMALL:
    case MP_KIND_SAMPLES:
        return 1;
    case MP_KIND_MEDIUM:
        return mp_classes[page->class].slices;
    case MP_KIND_LARGE:
    case MP_KIND_FREE:
        return page->slices;
    default:
        return 0;
    }
}

struct mp_page *mp_arena_find_head(uintptr_t pointer) {
    struct mp_page *page = mp_arena_find(pointer);
    if (page && mp_page_kind(page) == MP_KIND_CONT) {
        struct mp_page *head = mp_arena_page(page->head);
        /* Within a free span an entry may still point to where its page once began. */
        if (head < page && (uint32_t)(page - head) < page_slices(head))
            return head;
    }
    return page;
}

uint32_t mp_arena_number(const struct mp_page *page) {
    for (uint32_t r = 0; r < MP_RANGES; r++) {
        uintptr_t index = (uintptr_t)(page - mp_ranges[r].meta);
        if ((uintptr_t)page >= (uintptr_t)mp_ranges[r].meta && index < mp_ranges[r].meta_entries)
            return r << MP_NUMBER_SHIFT | (uint32_t)index;
    }
    __builtin_trap(); /* no entry of ours: our own mistake */
}

MP_RACY void mp_arena_each_page(mp_page_visitor *visit, void *context) {
    uint32_t ranges = atomic_load_explicit(&mp_range_count, memory_order_acquire);
    for (uint32_t r = 0; r < ranges; r++) {
        const struct mp_range *range = &mp_ranges[r];
        uint32_t limit = atomic_load_explicit(&range->limit, memory_order_acquire);
        for (uint32_t i = range->first; i < limit; i++) {
            const struct mp_page *page = &range->meta[i];
            enum mp_kind kind =
                (enum mp_kind)atomic_load_explicit(&page->kind, memory_order_acquire);
            if (kind != MP_KIND_NONE && kind != MP_KIND_FREE && kind != MP_KIND_CONT)
                visit(page, kind, context);
        }
    }
}

#define META_CHUNK ((size_t)64 << 10)

void *mp_meta_alloc(size_t size) {
    size = (size + MP_CACHE_LINE - 1) & ~(size_t)(MP_CACHE_LINE - 1);
    mp_lock_take(&meta_lock);
    if (size > meta_end - meta_at) {
        size_t chunk = size > META_CHUNK ? (size + 4095) & ~(size_t)4095 : META_CHUNK;
        uintptr_t got = map_anywhere(chunk, PROT_READ | PROT_WRITE, 0);
        if (!got) {
            mp_lock_drop(&meta_lock);
            return NULL;
        }
        mp_own_add(got, chunk);
        meta_at = got;
        meta_end = got + chunk;
    }
    void *memory = (void *)meta_at;
    meta_at += size;
    meta_total += size;
    mp_lock_drop(&meta_lock);
    return memory;
}

const char *mp_meta_copy(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = mp_meta_alloc(size);
    return copy ? memcpy(copy, text, size) : "";
}

size_t mp_meta_bytes(void) {
    size_t bytes = meta_total;
    for (uint32_t r = 0; r < mp_range_count; r++)
        bytes += (mp_ranges[r].limit - mp_ranges[r].first) * sizeof(struct mp_page);
    return bytes;
}

void mp_arena_before_fork(void) {
    mp_lock_take(&arena_lock);
    mp_lock_take(&meta_lock);
}

void mp_arena_after_fork(bool child) {
    if (child) {
        mp_lock_reset(&meta_lock);
        mp_lock_reset(&arena_lock);
    } else {
        mp_lock_drop(&meta_lock);
        mp_lock_drop(&arena_lock);
    }
}
