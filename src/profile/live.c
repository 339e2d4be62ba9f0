#include "profile/live.h"

#include <stddef.h>

#include "heap/arena.h"
#include "platform/lock.h"
#include "record/memory.h"

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

uint64_t mp_live_count(void) {
    uint64_t count = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        count += shards[i].used;
    return count;
}

void mp_live_each(void (*visit)(const struct mp_live *sample, void *context), void *context) {
    for (unsigned i = 0; i < SHARDS; i++) {
        for (uint32_t s = 0; shards[i].slots && s <= shards[i].mask; s++) {
            if (shards[i].slots[s].address)
                visit(&shards[i].slots[s], context);
        }
    }
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
