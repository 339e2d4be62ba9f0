#include "profile/stacks.h"

#include <string.h>

#include "platform/lock.h"
#include "profile/mirror.h"
#include "profile/peak.h"
#include "record/memory.h"

/* Stacks stand one behind the other in chunks; a handle is a chunk's number and a place in it, in
 * words, plus one. */
#define CHUNK_WORDS 131072u /* 1 MiB, and the handle's low 17 bits */
#define CHUNK_SHIFT 17
#define CHUNKS      32767u

/* From hash to handle: open addressing, at most half full. A slot has the hash's upper half on top,
 * so that most strangers are told apart without a look at them. A larger index takes the place of
 * one that readers may still be in: the old ones stay, together less than the last. */
struct index {
    uint32_t mask;
    _Atomic(uint64_t) slots[];
};

#define FIRST_SLOTS 1024u

_Static_assert(sizeof(struct mp_stack_counts) == MP_CACHE_LINE, "what is written together");
#define SUMS_STRIDE 32u /* of entries: never on two cache lines */
_Static_assert(sizeof(struct mp_stack_sums) <= SUMS_STRIDE, "");

static struct mp_lock stacks_lock = MP_LOCK_INIT(MP_RANK_STACKS);
static uint64_t *chunks[CHUNKS];
static uint32_t chunk_count, chunk_used; /* used words of the last */
static _Atomic(uint32_t) stack_count;
static _Atomic(struct index *) index_now;

struct mp_stack *mp_stacks_get(uint32_t handle) {
    uint32_t place = handle - 1;
    return (struct mp_stack *)&chunks[place >> CHUNK_SHIFT][place & (CHUNK_WORDS - 1)];
}

static uint32_t hash_of(const uint64_t *frames, unsigned depth, unsigned flags) {
    uint64_t h = depth * 0x9e3779b97f4a7c15u + flags;
    for (unsigned i = 0; i < depth; i++) {
        h = (h ^ frames[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)(h ^ (h >> 29));
}

static bool is_same(const struct mp_stack *stack, const uint64_t *frames, unsigned depth,
                    unsigned flags) {
    return stack->depth == depth && stack->flags == flags &&
           memcmp(stack->frames, frames, depth * sizeof *frames) == 0;
}

static uint32_t find(struct index *index, uint32_t hash, const uint64_t *frames, unsigned depth,
                     unsigned flags) {
    for (uint32_t i = hash;; i++) {
        /* acquire: who sees the handle sees the stack */
        uint64_t slot = atomic_load_explicit(&index->slots[i & index->mask], memory_order_acquire);
        if (!slot)
            return 0;
        if ((uint32_t)(slot >> 32) == hash &&
            is_same(mp_stacks_get((uint32_t)slot), frames, depth, flags))
            return (uint32_t)slot;
    }
}

static void put(struct index *index, uint32_t hash, uint32_t handle) {
    uint32_t i = hash;
    while (atomic_load_explicit(&index->slots[i & index->mask], memory_order_relaxed))
        i++;
    atomic_store_explicit(&index->slots[i & index->mask], (uint64_t)hash << 32 | handle,
                          memory_order_release);
}

/* An index with room for one more; NULL: no memory. */
static struct index *roomy_index(void) {
    struct index *old = atomic_load_explicit(&index_now, memory_order_relaxed);
    uint32_t slots = old ? old->mask + 1 : 0;
    if (old && (stack_count + 1) * 2 <= slots)
        return old;
    slots = old ? slots * 2 : FIRST_SLOTS;
    struct index *larger = mp_record_alloc(sizeof *larger + slots * sizeof larger->slots[0]);
    if (!larger)
        return NULL;
    larger->mask = slots - 1;
    for (uint32_t i = 0; old && i <= old->mask; i++) {
        uint64_t slot = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
        if (slot)
            put(larger, (uint32_t)(slot >> 32), (uint32_t)slot);
    }
    atomic_store_explicit(&index_now, larger, memory_order_release);
    return larger;
}

/* What belongs to stacks stands one behind the other in chunks too, and stays. Under the lock. */
#define PIECES ((size_t)64 << 10)
struct pieces {
    char *at, *end;
};
static struct pieces counts_left, frees_left, sums_left;

static void *piece(struct pieces *of, size_t size) {
    if ((size_t)(of->end - of->at) < size) {
        char *chunk = mp_record_alloc(PIECES);
        if (!chunk)
            return NULL;
        of->at = chunk;
        of->end = chunk + PIECES;
    }
    void *got = of->at;
    of->at += size;
    return got;
}

/* The last one. */
static void put_back(struct pieces *to, void *last, size_t size) {
    if (last)
        to->at -= size;
}

static uint32_t new_stack(size_t words) {
    if (!chunk_count || CHUNK_WORDS - chunk_used < words) {
        if (chunk_count == CHUNKS)
            return 0;
        chunks[chunk_count] = mp_record_alloc(CHUNK_WORDS * sizeof(uint64_t));
        if (!chunks[chunk_count])
            return 0;
        chunk_count++;
        chunk_used = 0;
    }
    uint32_t handle = ((chunk_count - 1) << CHUNK_SHIFT) + chunk_used + 1;
    chunk_used += (uint32_t)words;
    return handle;
}

static uint32_t add(uint32_t hash, const uint64_t *frames, unsigned depth, unsigned flags) {
    struct index *index = roomy_index();
    struct mp_stack_counts *count = index ? piece(&counts_left, sizeof *count) : NULL;
    uint32_t handle = count ? new_stack(sizeof(struct mp_stack) / 8 + depth) : 0;
    if (!handle) {
        put_back(&counts_left, count, sizeof *count);
        return 0;
    }
    struct mp_stack *stack = mp_stacks_get(handle);
    stack->counts = count;
    stack->hash = hash;
    stack->number = stack_count;
    stack->depth = (uint16_t)depth;
    stack->flags = (uint16_t)flags;
    memcpy(stack->frames, frames, depth * sizeof *frames);
    mp_mirror_stack(stack);
    put(index, hash, handle);
    atomic_store_explicit(&stack_count, stack_count + 1, memory_order_release);
    return handle;
}

uint32_t mp_stacks_find(const uint64_t *frames, unsigned depth, unsigned flags) {
    uint32_t hash = hash_of(frames, depth, flags);
    struct index *index = atomic_load_explicit(&index_now, memory_order_acquire);
    uint32_t handle = index ? find(index, hash, frames, depth, flags) : 0;
    if (handle)
        return handle;
    mp_lock_take(&stacks_lock);
    index = atomic_load_explicit(&index_now, memory_order_relaxed);
    handle = index ? find(index, hash, frames, depth, flags) : 0;
    if (!handle)
        handle = add(hash, frames, depth, flags);
    mp_lock_drop(&stacks_lock);
    return handle;
}

/* ---- sums ---- */

static struct mp_stack_free *look_for(struct mp_stack_free *entry, mp_free_kind kind) {
    while (entry && entry->kind != kind)
        entry = entry->next;
    return entry;
}

static struct mp_stack_free *new_free(void) {
    struct mp_stack_sums *sum = piece(&sums_left, SUMS_STRIDE);
    struct mp_stack_free *entry = sum ? piece(&frees_left, sizeof *entry) : NULL;
    if (entry)
        entry->sums = sum;
    else
        put_back(&sums_left, sum, SUMS_STRIDE);
    return entry;
}

/* NULL: no memory. Acquire and release: who sees an entry sees what is in it. */
static struct mp_stack_free *free_of_kind(struct mp_stack *stack, mp_free_kind kind) {
    struct mp_stack_free *first = atomic_load_explicit(&stack->frees, memory_order_acquire);
    struct mp_stack_free *entry = look_for(first, kind);
    if (entry)
        return entry;
    mp_lock_take(&stacks_lock);
    first = atomic_load_explicit(&stack->frees, memory_order_relaxed);
    entry = look_for(first, kind);
    if (!entry && (entry = new_free())) {
        entry->next = first;
        entry->kind = kind;
        mp_mirror_free(stack, entry);
        atomic_store_explicit(&stack->frees, entry, memory_order_release);
    }
    mp_lock_drop(&stacks_lock);
    return entry;
}

static uint64_t objects_of(double weight) {
    return (uint64_t)(weight * MP_OBJECTS_ONE + 0.5);
}

static uint64_t bytes_of(double weight, uint64_t size) {
    return (uint64_t)(weight * (double)size * MP_BYTES_ONE + 0.5);
}

static void add_to(struct mp_stack_sums *sums, uint64_t objects, uint64_t bytes) {
    mp_stack_sum_add(&sums->samples, 1);
    mp_stack_sum_add(&sums->objects, objects);
    mp_stack_sum_add(&sums->bytes, bytes);
}

static void join(struct mp_stack_totals *to, const struct mp_stack_sums *from) {
    to->samples += atomic_load_explicit(&from->samples, memory_order_relaxed);
    to->objects += atomic_load_explicit(&from->objects, memory_order_relaxed);
    to->bytes += atomic_load_explicit(&from->bytes, memory_order_relaxed);
}

struct mp_stack_totals mp_stack_freed_in_all(const struct mp_stack *stack) {
    struct mp_stack_totals all = {0};
    const struct mp_stack_free *entry = atomic_load_explicit(&stack->frees, memory_order_acquire);
    join(&all, &stack->counts->freed);
    for (; entry; entry = entry->next)
        join(&all, entry->sums);
    return all;
}

static uint64_t difference(uint64_t more, uint64_t less) {
    return more > less ? more - less : 0;
}

/* Others may be adding. */
static void live_now(const struct mp_stack *stack, uint64_t *objects, uint64_t *bytes) {
    struct mp_stack_totals freed = mp_stack_freed_in_all(stack);
    *objects =
        difference(atomic_load_explicit(&stack->counts->allocated.objects, memory_order_relaxed),
                   freed.objects);
    *bytes = difference(atomic_load_explicit(&stack->counts->allocated.bytes, memory_order_relaxed),
                        freed.bytes);
}

/* Once for each stack and height. The lock: of two that come to it at once, the later one must not
 * go on and change the sums while the first has yet to read them. */
static MP_NOINLINE void note_peak(struct mp_stack *stack) {
    uint64_t objects, bytes;
    mp_lock_take(&stacks_lock);
    uint32_t now = mp_peak_number();
    if (atomic_load_explicit(&stack->peak, memory_order_relaxed) != now) {
        live_now(stack, &objects, &bytes);
        const uint64_t before[] = {stack->peak, stack->counts->peak_objects,
                                   stack->counts->peak_bytes};
        mp_mirror_peak(stack, before, (const uint64_t[]){now, objects, bytes});
        atomic_store_explicit(&stack->counts->peak_objects, objects, memory_order_relaxed);
        atomic_store_explicit(&stack->counts->peak_bytes, bytes, memory_order_relaxed);
        atomic_store_explicit(&stack->peak, now, memory_order_release);
    }
    mp_lock_drop(&stacks_lock);
}

static inline void before_change(struct mp_stack *stack) {
    if (MP_UNLIKELY(atomic_load_explicit(&stack->peak, memory_order_relaxed) != mp_peak_number()))
        note_peak(stack);
}

uint64_t mp_stack_allocated(struct mp_stack *stack, double weight, uint64_t size) {
    uint64_t objects = objects_of(weight), bytes = bytes_of(weight, size);
    before_change(stack);
    add_to(&stack->counts->allocated, objects, bytes);
    mp_mirror_allocated(stack, objects, bytes);
    return bytes;
}

uint64_t mp_stack_freed(struct mp_stack *stack, mp_free_kind kind, double weight, uint64_t size) {
    struct mp_stack_free *entry = free_of_kind(stack, kind);
    uint64_t objects = objects_of(weight), bytes = bytes_of(weight, size);
    before_change(stack);
    add_to(entry ? entry->sums : &stack->counts->freed, objects, bytes);
    mp_mirror_freed(stack, entry, objects, bytes);
    return bytes;
}

void mp_stack_at_peak(const struct mp_stack *stack, uint64_t *objects, uint64_t *bytes) {
    if (stack->peak == mp_peak_number()) {
        *objects = stack->counts->peak_objects;
        *bytes = stack->counts->peak_bytes;
    } else {
        live_now(stack, objects, bytes);
    }
}

/* ---- all of them ---- */

uint32_t mp_stacks_count(void) {
    return atomic_load_explicit(&stack_count, memory_order_acquire);
}

void mp_stacks_each(void (*visit)(const struct mp_stack *stack, void *context), void *context) {
    uint32_t left = mp_stacks_count();
    for (uint32_t chunk = 0; chunk < chunk_count; chunk++) {
        for (uint32_t at = 0; left && at < CHUNK_WORDS; left--) {
            const struct mp_stack *stack = (const struct mp_stack *)&chunks[chunk][at];
            /* The next stack did not fit behind the last one of a chunk. */
            if (!stack->depth)
                break;
            visit(stack, context);
            at += (uint32_t)(sizeof *stack / 8 + stack->depth);
        }
    }
}

void mp_stacks_before_fork(void) {
    mp_lock_take(&stacks_lock);
}

void mp_stacks_after_fork(bool child) {
    if (child)
        mp_lock_reset(&stacks_lock);
    else
        mp_lock_drop(&stacks_lock);
}
