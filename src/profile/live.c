#include "profile/live.h"

#include <stddef.h>

#include "heap/arena.h"
#include "heap/hooks.h"
#include "heap/shared.h"
#include "platform/lock.h"
#include "record/memory.h"

/* ---- beside their blocks ---- */

/* What such a sample can differ in: its rate is 1 and its block small, and it is not mirrored.
 *
 * A record is written by the thread that is about to hand out the block, and taken by the one that
 * frees it, which cannot be before. The stack is written last and cleared first, so a copy of the
 * process has all of a record or nothing. Of two threads that free a block at once, which is the
 * program's mistake, one gets the sample. */
struct record {
    uint64_t serial, born_ns;
    _Atomic(uint32_t) stack; /* 0: there is no sample */
    uint32_t thread;
    uint16_t size, resizes, node, unused;
};

_Static_assert(sizeof(struct record) == 32, "two to a cache line");
_Static_assert(MP_SMALL_MAX <= UINT16_MAX, "the size of a small block");

size_t mp_live_record_size(void) {
    return sizeof(struct record);
}

static struct record *record_of(uintptr_t address, size_t *usable) {
    return mp_hooks.every ? mp_shared_record((const void *)address, usable) : NULL;
}

static void put(struct record *record, const struct mp_live *sample) {
    record->serial = sample->serial;
    record->born_ns = sample->born_ns;
    record->thread = sample->thread;
    record->size = (uint16_t)sample->size;
    record->resizes = (uint16_t)sample->resizes;
    record->node = (uint16_t)sample->node;
    atomic_store_explicit(&record->stack, sample->stack, memory_order_release);
}

/* False: there is none. */
MP_INLINE bool get(const struct record *record, uintptr_t address, size_t usable,
                   struct mp_live *sample) {
    uint32_t stack = atomic_load_explicit(&record->stack, memory_order_acquire);
    *sample = (struct mp_live){
        .address = address,
        .size = record->size,
        .coin = usable,
        .serial = record->serial,
        .born_ns = record->born_ns,
        .stack = stack,
        .thread = record->thread,
        .node = record->node & (MP_NUMA_NUMBERS - 1),
        .resizes = record->resizes,
    };
    return stack != 0;
}

struct each {
    void (*visit)(const struct mp_live *sample, void *context);
    void *context;
};

static void visit_record(void *record, uintptr_t block, size_t usable, void *context) {
    const struct each *each = context;
    struct mp_live sample;
    if (get(record, block, usable, &sample))
        each->visit(&sample, each->context);
}

/* ---- all others ---- */

#define SHARDS      64u
#define FIRST_SLOTS 8u
#define OS_PAGE     4096u

struct shard {
    struct mp_lock lock;
    uint32_t mask; /* slots - 1 */
    uint32_t used;
    struct mp_live *slots;
} __attribute__((aligned(64)));

#define SHARD                                                                                      \
    { .lock = MP_LOCK_INIT(MP_RANK_LIVE) }
#define SHARDS_8 SHARD, SHARD, SHARD, SHARD, SHARD, SHARD, SHARD, SHARD

static struct shard shards[SHARDS] = {SHARDS_8, SHARDS_8, SHARDS_8, SHARDS_8,
                                      SHARDS_8, SHARDS_8, SHARDS_8, SHARDS_8};

static uint64_t hash_of(uintptr_t address) {
    uint64_t h = (address >> 4) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}

static struct shard *shard_of(uint64_t hash) {
    return &shards[hash >> 58];
}

static struct mp_live *empty_slot(struct mp_live *slots, uint32_t mask, uint64_t hash) {
    uint32_t i = (uint32_t)hash;
    while (slots[i & mask].address)
        i++;
    return &slots[i & mask];
}

/* Below a page's size tables come from the heap's own metadata and are left behind when they grow:
 * a profile of few samples, which is the usual one, is not to cost a page per shard. */
static struct mp_live *new_slots(uint32_t slots) {
    size_t size = slots * sizeof(struct mp_live);
    return size < OS_PAGE ? mp_meta_alloc(size) : mp_record_alloc(size);
}

static void drop_slots(struct mp_live *slots, uint32_t count) {
    if (count * sizeof *slots >= OS_PAGE)
        mp_record_free(slots, count * sizeof *slots);
}

/* At most three quarters full. */
static bool make_room(struct shard *shard) {
    uint32_t slots = shard->slots ? shard->mask + 1 : 0;
    if (shard->used + 1 <= slots / 4 * 3)
        return true;
    uint32_t more = slots ? slots * 2 : FIRST_SLOTS;
    struct mp_live *larger = new_slots(more);
    if (!larger)
        return shard->used + 1 < slots; /* one stays empty: it ends every search */
    for (uint32_t i = 0; i < slots; i++) {
        const struct mp_live *slot = &shard->slots[i];
        if (slot->address)
            *empty_slot(larger, more - 1, hash_of(slot->address)) = *slot;
    }
    drop_slots(shard->slots, slots);
    shard->slots = larger;
    shard->mask = more - 1;
    return true;
}

bool mp_live_add(const struct mp_live *sample) {
    size_t usable;
    struct record *record = record_of(sample->address, &usable);
    if (record) {
        put(record, sample);
        return true;
    }
    uint64_t hash = hash_of(sample->address);
    struct shard *shard = shard_of(hash);
    mp_lock_take(&shard->lock);
    bool room = make_room(shard);
    if (room) {
        *empty_slot(shard->slots, shard->mask, hash) = *sample;
        shard->used++;
    }
    mp_lock_drop(&shard->lock);
    return room;
}

/* Empties a slot and moves up what was pushed on by it. */
static void close_gap(struct shard *shard, uint32_t gap) {
    struct mp_live *slots = shard->slots;
    uint32_t mask = shard->mask;
    for (uint32_t i = (gap + 1) & mask; slots[i].address; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)hash_of(slots[i].address) & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            slots[gap] = slots[i];
            gap = i;
        }
    }
    slots[gap].address = 0;
    shard->used--;
}

/* NULL: none is there. */
static struct mp_live *find(struct shard *shard, uintptr_t address, uint64_t hash) {
    if (!shard->slots)
        return NULL;
    for (uint32_t i = (uint32_t)hash;; i++) {
        struct mp_live *slot = &shard->slots[i & shard->mask];
        if (slot->address == address)
            return slot;
        if (!slot->address)
            return NULL;
    }
}

bool mp_live_take(uintptr_t address, struct mp_live *sample) {
    size_t usable;
    struct record *record = record_of(address, &usable);
    if (record) {
        get(record, address, usable, sample);
        sample->stack = atomic_exchange_explicit(&record->stack, 0, memory_order_acq_rel);
        return sample->stack != 0;
    }
    uint64_t hash = hash_of(address);
    struct shard *shard = shard_of(hash);
    mp_lock_take(&shard->lock);
    struct mp_live *slot = find(shard, address, hash);
    if (slot) {
        *sample = *slot;
        close_gap(shard, (uint32_t)(slot - shard->slots));
    }
    mp_lock_drop(&shard->lock);
    return slot != NULL;
}

bool mp_live_note_resizes(uintptr_t address, uint16_t resizes, struct mp_live *noted) {
    size_t usable;
    struct record *record = record_of(address, &usable);
    if (record) {
        record->resizes = resizes;
        return get(record, address, usable, noted);
    }
    uint64_t hash = hash_of(address);
    struct shard *shard = shard_of(hash);
    mp_lock_take(&shard->lock);
    struct mp_live *slot = find(shard, address, hash);
    if (slot) {
        slot->resizes = resizes;
        *noted = *slot;
    }
    mp_lock_drop(&shard->lock);
    return slot != NULL;
}

void mp_live_set_slots(uint32_t (*give)(const struct mp_live *sample)) {
    for (unsigned i = 0; i < SHARDS; i++) {
        for (uint32_t s = 0; shards[i].slots && s <= shards[i].mask; s++) {
            if (shards[i].slots[s].address)
                shards[i].slots[s].slot = give(&shards[i].slots[s]);
        }
    }
}

void mp_live_each(void (*visit)(const struct mp_live *sample, void *context), void *context) {
    for (unsigned i = 0; i < SHARDS; i++) {
        for (uint32_t s = 0; shards[i].slots && s <= shards[i].mask; s++) {
            if (shards[i].slots[s].address)
                visit(&shards[i].slots[s], context);
        }
    }
    mp_shared_each_record(visit_record, &(struct each){visit, context});
}

void mp_live_before_fork(void) {
    for (unsigned i = 0; i < SHARDS; i++)
        mp_lock_take_same_rank(&shards[i].lock);
}

void mp_live_after_fork(bool child) {
    for (unsigned i = SHARDS; i-- > 0;) {
        if (child)
            mp_lock_reset(&shards[i].lock);
        else
            mp_lock_drop(&shards[i].lock);
    }
}
