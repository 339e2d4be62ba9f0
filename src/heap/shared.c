#include "heap/shared.h"

#include "heap/arena.h"
#include "heap/beside.h"
#include "heap/hooks.h"
#include "heap/misuse.h"
#include "heap/pool.h"
#include "platform/lock.h"

#define SHARDS 8u

/* In the entry of such a page `until` is the number of used blocks, `held` its shard, and next and
 * prev link the pages that have room. All under the shard's lock. */
struct shard {
    struct mp_lock lock;
    uint16_t number;
    uint32_t with_room[MP_CLASSES]; /* page numbers */
    uint32_t spare; /* one empty page, so that a lone block does not cost a page each time */
};

#define SHARD(n)                                                                                   \
    { .lock = MP_LOCK_INIT(MP_RANK_SHARED), .number = n }

/* So many for each node. */
static struct shard first_shards[SHARDS] = {SHARD(0), SHARD(1), SHARD(2), SHARD(3),
                                            SHARD(4), SHARD(5), SHARD(6), SHARD(7)};
static struct shard *shards[MP_NODES] = {first_shards};

bool mp_shared_add_nodes(unsigned count) {
    for (unsigned node = 1; node < count; node++) {
        shards[node] = mp_meta_alloc(sizeof first_shards);
        if (!shards[node])
            return false;
        for (unsigned i = 0; i < SHARDS; i++) {
            shards[node][i].lock.rank = MP_RANK_SHARED;
            shards[node][i].number = (uint16_t)(node * SHARDS + i);
        }
    }
    return true;
}

/* Those that the thread allocates from, on the node where it runs. */
static struct shard *shard_for(struct mp_heap *heap) {
    return &shards[mp_heap_here(heap)][heap->number % SHARDS];
}

/* Of a page that a program frees into twice at once the number may be anything. */
static struct shard *shard_by_number(unsigned number) {
    if (MP_UNLIKELY(number >= mp_numa_count() * SHARDS))
        number %= SHARDS;
    return &shards[number / SHARDS][number % SHARDS];
}

static uint32_t *list_of(struct shard *shard, const struct mp_page *page) {
    return &shard->with_room[page->class];
}

static void link_page(struct shard *shard, struct mp_page *page) {
    uint32_t *head = list_of(shard, page);
    uint32_t number = mp_arena_number(page);
    page->prev = 0;
    page->next = *head;
    if (*head)
        mp_arena_page(*head)->prev = number;
    *head = number;
}

static void unlink_page(struct shard *shard, struct mp_page *page) {
    if (page->next)
        mp_arena_page(page->next)->prev = page->prev;
    if (page->prev)
        mp_arena_page(page->prev)->next = page->next;
    else
        *list_of(shard, page) = page->next;
}

static struct mp_page *fresh_page(struct shard *shard, unsigned node, unsigned class) {
    bool zero;
    struct mp_page *page = mp_pool_take(node, mp_classes[class].slices, 1, &zero);
    if (!page)
        return NULL;
    page->class = (uint8_t) class;
    page->sampled_blocks = 0;
    page->local_free = mp_page_end(page);
    page->until = 0;
    page->held = shard->number;
    page->carved = 0;
    atomic_store_explicit(&page->flags, zero ? MP_SPAN_ZERO : 0, memory_order_relaxed);
    page->beside = NULL;
    if (class < MP_SMALL_CLASSES)
        mp_beside_make(page);
    mp_page_set_kind(page, class < MP_SMALL_CLASSES ? MP_KIND_SAMPLES : MP_KIND_MEDIUM);
    link_page(shard, page);
    return page;
}

static void retire(struct mp_page *page) {
    mp_beside_drop(page);
    page->last_pages = 0;
    mp_pool_give(page, mp_classes[page->class].slices);
}

static struct mp_block *next_block(const struct mp_page *page, const struct mp_block *block) {
    return (struct mp_block *)(page->start +
                               (block->link_medium & (MP_MEDIUM_SLICES * MP_SLICE_SIZE - 1)));
}

/* Takes a free block of the page, or makes one. The key of a new block stands before the count says
 * that it exists. */
static struct mp_block *take_block(struct mp_page *page, bool *fresh) {
    struct mp_block *block = page->local_free;
    *fresh = false;
    if (!mp_page_is_end(block)) {
        if (!mp_block_is_free(block)) {
            page->local_free = mp_page_end(page); /* what is behind it cannot be trusted: lost */
            return NULL;
        }
        page->local_free = next_block(page, block);
    } else if (page->carved < mp_classes[page->class].blocks) {
        block = (struct mp_block *)(page->start +
                                    (uintptr_t)page->carved * mp_classes[page->class].size);
        block->key = mp_block_key(block);
        atomic_signal_fence(memory_order_release);
        /* Written under the lock alone. */
        atomic_store_explicit(&page->carved, (uint16_t)(page->carved + 1), memory_order_relaxed);
        *fresh = mp_page_flags(page) & MP_SPAN_ZERO;
    } else {
        return NULL;
    }
    page->until++;
    return block;
}

static bool has_room(const struct mp_page *page) {
    return !mp_page_is_end(page->local_free) || page->carved < mp_classes[page->class].blocks;
}

/* A block of any class from the shard, which is locked; the lock may be dropped and taken again. */
static struct mp_block *alloc_locked(struct shard *shard, unsigned node, unsigned class,
                                     struct mp_page **from, bool *fresh) {
    for (;;) {
        uint32_t number = shard->with_room[class];
        struct mp_page *page = number ? mp_arena_page(number) : fresh_page(shard, node, class);
        if (!page)
            return NULL;
        if (shard->spare == mp_arena_number(page))
            shard->spare = 0;
        struct mp_block *head = page->local_free;
        struct mp_block *block = take_block(page, fresh);
        if (!has_room(page))
            unlink_page(shard, page);
        *from = page;
        if (block)
            return block;
        mp_lock_drop(&shard->lock);
        mp_misuse_overwritten(head, page);
        mp_lock_take(&shard->lock);
    }
}

static uint32_t index_of(const struct mp_page *page, const struct mp_block *block) {
    return (uint32_t)(((uintptr_t)block - page->start) / mp_classes[page->class].size);
}

struct mp_block *mp_shared_alloc(struct mp_heap *heap, unsigned class, bool *sample, bool *fresh) {
    struct shard *shard = shard_for(heap);
    struct mp_bin *bin = &heap->bins[class];
    struct mp_page *page;
    mp_lock_take(&shard->lock);
    struct mp_block *block = alloc_locked(shard, heap->node, class, &page, fresh);
    *sample = false;
    if (block) {
        *sample = bin->allocated++ == bin->sample_at;
        if (*sample) {
            mp_bin_sample_in(bin, mp_hooks.countdown(heap, class));
            page->sampled_blocks |= (uint64_t)1 << index_of(page, block);
        }
        block->link_medium = 0;
        block->key = 0;
    }
    mp_lock_drop(&shard->lock);
    return block;
}

struct mp_block *mp_shared_sample(struct mp_heap *heap, unsigned class, struct mp_block *twin) {
    struct shard *shard = shard_for(heap);
    struct mp_page *page;
    bool fresh;
    mp_lock_take(&shard->lock);
    struct mp_block *block = alloc_locked(shard, heap->node, class, &page, &fresh);
    if (block) {
        if (twin && !page->beside) /* there was no memory for it: by now there may be */
            mp_beside_make(page);
        if (!twin || mp_beside_set_twin(page, index_of(page, block), twin)) {
            block->link_medium = 0;
            block->key = 0;
        } else { /* no memory for that: back, as it came */
            block->link_medium = (uint32_t)((uintptr_t)page->local_free - page->start);
            if (!has_room(page))
                link_page(shard, page);
            page->local_free = block;
            page->until--;
            block = NULL;
        }
    }
    mp_lock_drop(&shard->lock);
    return block;
}

bool mp_shared_has_sample(const struct mp_page *page, const struct mp_block *block) {
    enum mp_kind kind = mp_page_kind(page);
    return kind == MP_KIND_SAMPLES ||
           (kind == MP_KIND_MEDIUM && page->sampled_blocks >> index_of(page, block) & 1);
}

struct mp_block *mp_shared_twin(const struct mp_page *page, const struct mp_block *block) {
    return mp_beside_twin(page, index_of(page, block));
}

bool mp_shared_end_sample(struct mp_page *page, const struct mp_block *block) {
    struct shard *shard = shard_by_number(page->held);
    uint64_t bit = (uint64_t)1 << index_of(page, block);
    mp_lock_take(&shard->lock);
    bool sampled = page->sampled_blocks & bit;
    page->sampled_blocks &= ~bit;
    mp_lock_drop(&shard->lock);
    return sampled;
}

void *mp_shared_record(const void *block, size_t *usable) {
    const struct mp_page *page = mp_arena_find((uintptr_t)block);
    if (!page || mp_page_kind(page) != MP_KIND_SAMPLES)
        return NULL;
    *usable = mp_classes[page->class].size;
    return mp_beside_record(page, index_of(page, block));
}

void mp_shared_expect_record(const struct mp_page *page, const struct mp_block *block) {
    if (mp_hooks.every)
        __builtin_prefetch(mp_beside_record(page, index_of(page, block)), 1);
}

struct each {
    void (*visit)(void *record, uintptr_t block, size_t size, void *context);
    void *context;
};

static void each_record(const struct mp_page *page, enum mp_kind kind, void *context) {
    const struct each *each = context;
    size_t size = mp_classes[page->class].size;
    for (uint32_t i = 0; kind == MP_KIND_SAMPLES && page->beside && i < page->carved; i++)
        each->visit(mp_beside_record(page, i), page->start + i * size, size, each->context);
}

void mp_shared_each_record(void (*visit)(void *record, uintptr_t block, size_t size, void *context),
                           void *context) {
    struct each each = {visit, context};
    if (mp_hooks.every)
        mp_arena_each_page(each_record, &each);
}

bool mp_shared_free(struct mp_page *page, struct mp_block *block) {
    struct shard *shard = shard_by_number(page->held);
    struct mp_page *empty = NULL;
    mp_lock_take(&shard->lock);
    if (mp_block_is_free(block)) {
        mp_lock_drop(&shard->lock);
        return false;
    }
    mp_pool_note_freed(page, 1, mp_classes[page->class].size);
    bool was_full = !has_room(page);
    block->link_medium = (uint32_t)((uintptr_t)page->local_free - page->start);
    block->key = mp_block_key(block);
    page->local_free = block;
    if (was_full)
        link_page(shard, page);
    if (--page->until == 0) {
        uint32_t number = mp_arena_number(page);
        if (shard->spare) {
            empty = mp_arena_page(shard->spare);
            unlink_page(shard, empty);
        }
        shard->spare = number;
    }
    mp_lock_drop(&shard->lock);
    if (empty)
        retire(empty);
    return true;
}

void mp_shared_trim(void) {
    for (unsigned i = 0; i < mp_numa_count() * SHARDS; i++) {
        struct shard *shard = shard_by_number(i);
        struct mp_page *empty = NULL;
        mp_lock_take(&shard->lock);
        if (shard->spare) {
            empty = mp_arena_page(shard->spare);
            unlink_page(shard, empty);
            shard->spare = 0;
        }
        mp_lock_drop(&shard->lock);
        if (empty)
            retire(empty);
    }
}

void mp_shared_before_fork(void) {
    for (unsigned i = 0; i < mp_numa_count() * SHARDS; i++)
        mp_lock_take_same_rank(&shard_by_number(i)->lock);
}

void mp_shared_after_fork(bool child) {
    for (unsigned i = mp_numa_count() * SHARDS; i-- > 0;) {
        if (child)
            mp_lock_reset(&shard_by_number(i)->lock);
        else
            mp_lock_drop(&shard_by_number(i)->lock);
    }
}
