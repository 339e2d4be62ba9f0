#include "heap/huge.h"

#include <string.h>
#include <sys/mman.h>

#include "platform/arch.h"
#include "platform/lock.h"
#include "platform/numa.h"
#include "platform/options.h"
#include "platform/own.h"
#include "platform/sys.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define OS_PAGE ((size_t)4096)

struct huge {
    uintptr_t start; /* 0: empty slot */
    size_t size;     /* bytes mapped, all usable */
    bool sampled;
};

/* Open addressing, linear probing, at most half full; grown by doubling into a fresh mapping. */
static struct mp_lock huge_lock = MP_LOCK_INIT(MP_RANK_HUGE);
static struct huge *slots;
static size_t slot_count, slot_used;
static struct mp_huge_stats stats;

/* The last blocks that were freed, so that a second free can be named. */
#define LATELY 64u
static struct huge lately[LATELY];
static unsigned lately_next;

static size_t slot_of(uintptr_t start) {
    return (size_t)((start >> 12) * 0x9e3779b97f4a7c15u >> 20) & (slot_count - 1);
}

static struct huge *find_slot(uintptr_t start) {
    if (!slot_count)
        return NULL;
    for (size_t i = slot_of(start); slots[i].start; i = (i + 1) & (slot_count - 1)) {
        if (slots[i].start == start)
            return &slots[i];
    }
    return NULL;
}

static void put(struct huge entry) {
    size_t i = slot_of(entry.start);
    while (slots[i].start)
        i = (i + 1) & (slot_count - 1);
    slots[i] = entry;
}

static size_t table_bytes(size_t count) {
    return (count * sizeof *slots + OS_PAGE - 1) & ~(OS_PAGE - 1);
}

static bool grow_slots(void) {
    size_t count = slot_count ? slot_count * 2 : 128;
    uintptr_t got = mp_sys_mmap(0, table_bytes(count), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mp_sys_failed(got))
        return false;
    mp_own_add(got, table_bytes(count));
    struct huge *old = slots;
    size_t old_count = slot_count;
    slots = (struct huge *)got;
    slot_count = count;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].start)
            put(old[i]);
    }
    if (old) {
        mp_own_remove((uintptr_t)old);
        mp_sys_munmap((uintptr_t)old, table_bytes(old_count));
    }
    return true;
}

static void forget_lately(uintptr_t start) {
    for (unsigned i = 0; i < LATELY; i++) {
        if (lately[i].start == start)
            lately[i].start = 0;
    }
}

static bool add(uintptr_t start, size_t size, bool sampled) {
    mp_lock_take(&huge_lock);
    bool done = (slot_used + 1) * 2 <= slot_count || grow_slots();
    if (done) {
        put((struct huge){start, size, sampled});
        slot_used++;
        stats.blocks++;
        stats.bytes += size;
        stats.allocated_blocks++;
        stats.allocated_bytes += size;
        forget_lately(start);
    }
    mp_lock_drop(&huge_lock);
    return done;
}

/* Removes the slot and closes the gap that it leaves in its probe chain. */
static void remove_slot(struct huge *slot) {
    size_t gap = (size_t)(slot - slots);
    for (size_t i = (gap + 1) & (slot_count - 1); slots[i].start; i = (i + 1) & (slot_count - 1)) {
        size_t home = slot_of(slots[i].start);
        if (((i - home) & (slot_count - 1)) >= ((i - gap) & (slot_count - 1))) {
            slots[gap] = slots[i];
            gap = i;
        }
    }
    slots[gap].start = 0;
    slot_used--;
}

static bool take_out(uintptr_t start, struct huge *entry) {
    mp_lock_take(&huge_lock);
    struct huge *slot = find_slot(start);
    if (slot) {
        *entry = *slot;
        remove_slot(slot);
        stats.blocks--;
        stats.bytes -= entry->size;
    }
    mp_lock_drop(&huge_lock);
    return slot != NULL;
}

static uintptr_t map(size_t size) {
    uintptr_t got =
        mp_sys_mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mp_sys_failed(got) ? 0 : got;
}

void *mp_huge_alloc(size_t size, size_t align, bool sampled) {
    size = (size + OS_PAGE - 1) & ~(OS_PAGE - 1);
    size_t padded = align > OS_PAGE ? size + align - OS_PAGE : size;
    uintptr_t got = map(padded);
    if (!got)
        return NULL;
    uintptr_t start = (got + align - 1) & ~(align - 1);
    if (align <= OS_PAGE)
        start = got;
    if (start > got)
        mp_sys_munmap(got, start - got);
    if (start + size < got + padded)
        mp_sys_munmap(start + size, got + padded - (start + size));
    if (mp_numa_is_interleaved())
        mp_numa_bind(0, start, size);
    if (mp_options.thp == MP_THP_ALWAYS)
        mp_sys_madvise(start, size, MADV_HUGEPAGE);
    if (!add(start, size, sampled)) {
        mp_sys_munmap(start, size);
        return NULL;
    }
    return (void *)start;
}

bool mp_huge_free(void *pointer, bool *sampled) {
    struct huge entry;
    if (!take_out((uintptr_t)pointer, &entry))
        return false;
    *sampled = entry.sampled;
    mp_lock_take(&huge_lock);
    lately[lately_next++ % LATELY] = entry;
    mp_lock_drop(&huge_lock);
    /* Where a process is out of mappings even unmapping can fail, when it would split one. The
     * pages go back all the same; the addresses are lost. */
    if (mp_sys_munmap(entry.start, entry.size) != 0)
        mp_sys_madvise(entry.start, entry.size, MADV_DONTNEED);
    return true;
}

void *mp_huge_resize(void *pointer, size_t size) {
    size = (size + OS_PAGE - 1) & ~(OS_PAGE - 1);
    mp_lock_take(&huge_lock);
    struct huge *slot = find_slot((uintptr_t)pointer);
    if (!slot) {
        mp_lock_drop(&huge_lock);
        return NULL;
    }
    /* Out of the table while it moves, with its room kept, so that it surely gets back in. */
    struct huge entry = *slot;
    remove_slot(slot);
    slot_used++;
    mp_lock_drop(&huge_lock);

    uintptr_t got = entry.start;
    if (size != entry.size)
        got = mp_sys_mremap(entry.start, entry.size, size, MREMAP_MAYMOVE, 0);
    bool done = !mp_sys_failed(got);

    mp_lock_take(&huge_lock);
    if (done) {
        stats.bytes += size - entry.size;
        forget_lately(got);
        entry.start = got;
        entry.size = size;
    }
    put(entry);
    mp_lock_drop(&huge_lock);
    return done ? (void *)got : NULL;
}

void *mp_huge_move_in(uintptr_t from, size_t bytes, size_t size, bool sampled) {
    size = (size + OS_PAGE - 1) & ~(OS_PAGE - 1);
    uintptr_t moved = mp_sys_mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    if (mp_sys_failed(moved))
        return NULL;
    uintptr_t grown = mp_sys_mremap(moved, bytes, size, MREMAP_MAYMOVE, 0);
    if (!mp_sys_failed(grown) && add(grown, size, sampled))
        return (void *)grown;
    /* The pages go home: nothing is lost. */
    if (!mp_sys_failed(grown)) {
        mp_sys_munmap(grown + bytes, size - bytes);
        moved = grown;
    }
    uintptr_t home = mp_sys_mremap(moved, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, from);
    if (mp_sys_failed(home)) {
        memcpy((void *)from, (const void *)moved, bytes);
        mp_sys_munmap(moved, bytes);
    }
    return NULL;
}

bool mp_huge_is_sampled(const void *pointer) {
    mp_lock_take(&huge_lock);
    const struct huge *slot = find_slot((uintptr_t)pointer);
    bool sampled = slot && slot->sampled;
    mp_lock_drop(&huge_lock);
    return sampled;
}

void mp_huge_set_sampled(const void *pointer, bool sampled) {
    mp_lock_take(&huge_lock);
    struct huge *slot = find_slot((uintptr_t)pointer);
    if (slot)
        slot->sampled = sampled;
    mp_lock_drop(&huge_lock);
}

bool mp_huge_peek(const void *pointer) {
    return find_slot((uintptr_t)pointer) != NULL;
}

void mp_huge_peek_each(void (*visit)(uintptr_t start, size_t size)) {
    for (size_t i = 0; i < slot_count; i++) {
        if (slots[i].start)
            visit(slots[i].start, slots[i].size);
    }
}

bool mp_huge_peek_overlap(uintptr_t start, uintptr_t end) {
    for (size_t i = 0; i < slot_count; i++) {
        if (slots[i].start && slots[i].start < end && slots[i].start + slots[i].size > start)
            return true;
    }
    return false;
}

size_t mp_huge_size(const void *pointer) {
    mp_lock_take(&huge_lock);
    const struct huge *slot = find_slot((uintptr_t)pointer);
    size_t size = slot ? slot->size : 0;
    mp_lock_drop(&huge_lock);
    return size;
}

bool mp_huge_find(uintptr_t pointer, uintptr_t *start, size_t *size) {
    bool found = false;
    mp_lock_take(&huge_lock);
    for (size_t i = 0; i < slot_count && !found; i++) {
        if (slots[i].start && pointer - slots[i].start < slots[i].size) {
            *start = slots[i].start;
            *size = slots[i].size;
            found = true;
        }
    }
    mp_lock_drop(&huge_lock);
    return found;
}

bool mp_huge_was(uintptr_t pointer, size_t *size) {
    bool found = false;
    mp_lock_take(&huge_lock);
    for (unsigned i = 0; i < LATELY && !found; i++) {
        if (lately[i].start && lately[i].start == pointer) {
            *size = lately[i].size;
            found = true;
        }
    }
    mp_lock_drop(&huge_lock);
    return found;
}

void mp_huge_get_stats(struct mp_huge_stats *out) {
    mp_lock_take(&huge_lock);
    *out = stats;
    mp_lock_drop(&huge_lock);
}

void mp_huge_peek_stats(struct mp_huge_stats *out) {
    *out = stats;
}

void mp_huge_before_fork(void) {
    mp_lock_take(&huge_lock);
}

void mp_huge_after_fork(bool child) {
    if (child)
        mp_lock_reset(&huge_lock);
    else
        mp_lock_drop(&huge_lock);
}
