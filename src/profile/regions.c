#include "profile/regions.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include <memprof/dump.h>

#include "heap/hooks.h"
#include "heap/thread.h"
#include "platform/lock.h"
#include "platform/sys.h"
#include "profile/mirror.h"
#include "profile/sampler.h"
#include "record/memory.h"

/* A block is split when it is full and goes when it is empty. The list of blocks is moved as a
 * whole when one comes or goes, which is one time in some thirty. */
#define BLOCK      64u
#define LIST_FIRST 512u

struct block {
    uint32_t count; /* 1 or more */
    struct mp_region at[BLOCK];
};

static struct mp_lock regions_lock = MP_LOCK_INIT(MP_RANK_REGIONS);
static struct block **blocks;
static uint32_t block_count, block_room;
static _Atomic(uint64_t) missed;

static void miss(void) {
    atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
}

/* ---- the order ---- */

struct place {
    uint32_t block, at;
};

/* The first region that ends behind `address`; its block is block_count if there is none. */
static struct place find(uintptr_t address) {
    struct place place = {0, 0};
    uint32_t high = block_count;
    while (place.block < high) {
        uint32_t middle = (place.block + high) / 2;
        const struct block *block = blocks[middle];
        if (block->at[block->count - 1].end <= address)
            place.block = middle + 1;
        else
            high = middle;
    }
    if (place.block < block_count) {
        while (blocks[place.block]->at[place.at].end <= address)
            place.at++;
    }
    return place;
}

static bool make_room_in_list(void) {
    if (block_count < block_room)
        return true;
    uint32_t room = block_room ? block_room * 2 : LIST_FIRST;
    struct block **larger = mp_record_alloc(room * sizeof(struct block *));
    if (!larger)
        return false;
    if (block_count)
        memcpy(larger, blocks, block_count * sizeof(struct block *));
    mp_record_free(blocks, block_room * sizeof(struct block *));
    blocks = larger;
    block_room = room;
    return true;
}

/* One is kept, so that a region that comes and goes does not take a block along each time. */
static struct block *spare;

static struct block *insert_block(uint32_t number) {
    struct block *block = spare ? spare : mp_record_alloc(sizeof *block);
    spare = block;
    if (!block || !make_room_in_list())
        return NULL;
    spare = NULL;
    memmove(&blocks[number + 1], &blocks[number], (block_count - number) * sizeof(struct block *));
    blocks[number] = block;
    block_count++;
    return block;
}

static void remove_block(uint32_t number) {
    if (spare)
        mp_record_free(blocks[number], sizeof *blocks[number]);
    else
        spare = blocks[number];
    block_count--;
    memmove(&blocks[number], &blocks[number + 1], (block_count - number) * sizeof(struct block *));
}

/* Room for one more at the place, which may be another then. */
static bool make_room(struct place *place) {
    if (place->block == block_count) {
        if (block_count && blocks[block_count - 1]->count < BLOCK) {
            place->block--;
            place->at = blocks[place->block]->count;
            return true;
        }
        return insert_block(place->block) != NULL;
    }
    struct block *block = blocks[place->block];
    if (block->count < BLOCK)
        return true;
    struct block *upper = insert_block(place->block + 1);
    if (!upper)
        return false;
    upper->count = BLOCK / 2;
    block->count = BLOCK - BLOCK / 2;
    memcpy(upper->at, block->at + block->count, upper->count * sizeof upper->at[0]);
    if (place->at > block->count) {
        place->block++;
        place->at -= block->count;
    }
    return true;
}

/* Before the place. */
static bool insert(struct place place, const struct mp_region *region) {
    if (!make_room(&place))
        return false;
    struct block *block = blocks[place.block];
    memmove(&block->at[place.at + 1], &block->at[place.at],
            (block->count - place.at) * sizeof block->at[0]);
    block->at[place.at] = *region;
    block->at[place.at].slot = mp_mirror_region(region);
    block->count++;
    return true;
}

static void remove_at(struct place place) {
    struct block *block = blocks[place.block];
    mp_mirror_region_gone(block->at[place.at].slot);
    block->count--;
    memmove(&block->at[place.at], &block->at[place.at + 1],
            (block->count - place.at) * sizeof block->at[0]);
    if (!block->count)
        remove_block(place.block);
}

static struct mp_region *at(struct place place) {
    return place.block < block_count ? &blocks[place.block]->at[place.at] : NULL;
}

void mp_regions_cut(uintptr_t start, uintptr_t end) {
    struct mp_region *region;
    while (start < end && (region = at(find(start))) != NULL && region->start < end) {
        struct mp_region rest = *region;
        rest.start = end;
        bool has_rest = region->end > end;
        if (region->start < start) {
            region->end = start; /* it stays, before */
            mp_mirror_region_changed(region);
            if (has_rest && !insert(find(end), &rest))
                miss();
        } else if (has_rest) {
            region->start = end;
            mp_mirror_region_changed(region);
        } else {
            remove_at(find(start));
        }
    }
}

bool mp_regions_put(const struct mp_region *region) {
    mp_regions_cut(region->start, region->end);
    return insert(find(region->start), region);
}

/* ---- the program's calls ---- */

static uintptr_t whole_pages(size_t size) {
    return (size + 4095) & ~(uintptr_t)4095;
}

/* Are we ourselves at work here, in a signal handler's back? */
static bool is_inside(void) {
    return mp_lock_held || mp_lock_all_mine || mp_slow_inside() || mp_sampler_is_inside_sigsafe();
}

static uint16_t kind_of(int flags, int fd) {
    bool shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
    if (!(flags & MAP_ANONYMOUS) && fd >= 0)
        return shared ? MEMPROF_REGION_SHARED_FILE : MEMPROF_REGION_FILE;
    return shared ? MEMPROF_REGION_SHARED : MEMPROF_REGION_ANONYMOUS;
}

static uint16_t access_of(int prot, bool shared) {
    return (uint16_t)((prot & PROT_READ ? MEMPROF_MAP_READ : 0) |
                      (prot & PROT_WRITE ? MEMPROF_MAP_WRITE : 0) |
                      (prot & PROT_EXEC ? MEMPROF_MAP_EXEC : 0) |
                      (shared ? MEMPROF_MAP_SHARED : 0));
}

/* Whose stack it is; 0 if that cannot be told now. */
static struct mp_region here(uintptr_t start, size_t size, const void *caller) {
    struct mp_region region = {.start = start, .end = start + whole_pages(size)};
    mp_sampler_begin_change(false);
    region.stack = mp_sampler_stack(caller);
    region.thread = mp_sampler_thread();
    mp_sampler_end_change();
    region.born_ns = mp_sys_precise_ns();
    return region;
}

static void put(const struct mp_region *region) {
    mp_sampler_begin_change(false);
    mp_lock_take(&regions_lock);
    bool good = region->stack && mp_regions_put(region);
    if (!good)
        mp_regions_cut(region->start, region->end);
    mp_lock_drop(&regions_lock);
    mp_sampler_end_change();
    if (!good)
        miss();
}

static void mapped(uintptr_t start, size_t size, int prot, int flags, int fd, const void *caller) {
    if (is_inside()) {
        miss();
        return;
    }
    struct mp_region region = here(start, size, caller);
    region.kind = kind_of(flags, fd);
    region.access = access_of(prot, region.kind >= MEMPROF_REGION_SHARED);
    put(&region);
}

static uint32_t unmapping(uintptr_t start, size_t size) {
    if (is_inside()) {
        miss();
        return 0;
    }
    mp_sampler_begin_change(false);
    mp_lock_take(&regions_lock);
    const struct mp_region *region = at(find(start));
    bool known = region && region->start <= start;
    uint32_t what = known ? (uint32_t)region->kind << 16 | region->access : 0;
    mp_regions_cut(start, start + whole_pages(size));
    mp_lock_drop(&regions_lock);
    mp_sampler_end_change();
    return what;
}

/* What is moved or resized stays what it was, and is its new caller's. */
static void remapped(uintptr_t start, size_t size, uint32_t what, const void *caller) {
    if (is_inside()) {
        miss();
        return;
    }
    struct mp_region region = here(start, size, caller);
    region.kind = (uint16_t)(what >> 16);
    region.access = what ? (uint16_t)what : MEMPROF_MAP_READ | MEMPROF_MAP_WRITE;
    put(&region);
}

void mp_regions_start(void) {
    mp_hooks.mapped = mapped;
    mp_hooks.unmapping = unmapping;
    mp_hooks.remapped = remapped;
}

void mp_regions_each_in(uintptr_t start, uintptr_t end,
                        void (*visit)(const struct mp_region *region, void *context),
                        void *context) {
    for (struct place place = find(start); place.block < block_count; place.block++, place.at = 0) {
        const struct block *block = blocks[place.block];
        for (; place.at < block->count; place.at++) {
            if (block->at[place.at].start >= end)
                return;
            visit(&block->at[place.at], context);
        }
    }
}

void mp_regions_set_slots(uint32_t (*give)(const struct mp_region *region)) {
    for (uint32_t b = 0; b < block_count; b++) {
        for (uint32_t i = 0; i < blocks[b]->count; i++)
            blocks[b]->at[i].slot = give(&blocks[b]->at[i]);
    }
}

uint64_t mp_regions_missed(void) {
    return atomic_load_explicit(&missed, memory_order_relaxed);
}

void mp_regions_before_fork(void) {
    mp_lock_take(&regions_lock);
}

void mp_regions_after_fork(bool child) {
    if (child)
        mp_lock_reset(&regions_lock);
    else
        mp_lock_drop(&regions_lock);
}
