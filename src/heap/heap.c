/* The slow halves of malloc and free, and what is built on them. A thread comes here when a list is
 * empty, a block is not small, a page is somebody else's or has come to an event, or something is
 * wrong. */
#include "heap/heap.h"

#include <string.h>

#include "heap/arena.h"
#include "heap/elsewhere.h"
#include "heap/hooks.h"
#include "heap/huge.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/oracle.h"
#include "heap/pages.h"
#include "heap/pool.h"
#include "heap/rescue.h"
#include "heap/shared.h"
#include "platform/options.h"
#include "platform/sys.h"

#define BORROW 16u /* classes: four times the size at most */

MP_FIRST struct mp_hooks mp_hooks;
_Atomic(bool) mp_hooks_wanted;

/* The end of a slow section; what has rested long enough goes back first. */
static void leave_at(uint64_t now) {
    mp_pool_tick(now);
    mp_slow_leave();
    mp_hooks_do_what_is_asked();
}

static void leave(void) {
    leave_at(mp_sys_now_ms());
}

static inline void draw(struct mp_heap *heap, unsigned class) {
    mp_bin_sample_in(&heap->bins[class],
                     mp_hooks.countdown ? mp_hooks.countdown(heap, class) : MP_NO_SAMPLE);
}

/* A class's first sample is drawn when the class is first used: most never are. */
static inline void draw_first(struct mp_heap *heap, unsigned class) {
    uint64_t bit = (uint64_t)1 << class % 64;
    if (MP_LIKELY(heap->drawn[class / 64] & bit))
        return;
    heap->drawn[class / 64] |= bit;
    draw(heap, class);
}

/* ---- malloc ---- */

/* The oracle's choice; see small_slow for the usual one. */
static void *oracle_sample(struct mp_heap *heap, unsigned class, size_t size,
                           struct mp_block *block) {
    mp_slow_enter();
    struct mp_block *sample = mp_shared_sample(heap, class, block);
    if (sample)
        mp_block_make_twin(block);
    leave();
    if (!sample)
        return block;
    mp_hooks.sampled(sample, block, size, mp_class_size(class));
    return sample;
}

/* Nothing is taken from ordinary pages: mp_malloc_fast finds none of this thread's. */
static void *small_sample(struct mp_heap *heap, unsigned class, size_t size) {
    mp_slow_enter();
    struct mp_block *block = mp_shared_sample(heap, class, NULL);
    heap->bins[class].allocated += block != NULL;
    leave();
    if (block)
        mp_hooks.sampled(block, block, size, mp_class_size(class));
    return block;
}

static void *small_slow(struct mp_heap *heap, unsigned class, size_t size) {
    for (;;) {
        struct mp_page *page = mp_tls.page[class];
        struct mp_block *block = page->local_free;
        if (MP_LIKELY(mp_block_is_free(block))) {
            mp_page_pop(page, block);
            if (mp_oracle_is_due(heap, class))
                return oracle_sample(heap, class, size, block);
            return block;
        }
        mp_slow_enter();
        draw_first(heap, class);
        mp_oracle_refill(heap, class);
        uint64_t now = mp_sys_now_ms();
        enum mp_refill refill = mp_pages_refill(heap, class, now, &block);
        struct mp_block *sample = NULL;
        if (refill == MP_REFILL_SAMPLE) {
            sample = mp_shared_sample(heap, class, block);
            if (sample)
                mp_block_make_twin(block);
            else
                block->key = 0;
        }
        leave_at(now);
        if (refill == MP_REFILL_NONE)
            return NULL;
        if (sample) {
            mp_hooks.sampled(sample, block, size, mp_class_size(class));
            return sample;
        }
        if (refill == MP_REFILL_SAMPLE)
            return block;
    }
}

static void *medium(struct mp_heap *heap, unsigned class, size_t size, bool *fresh) {
    bool sample;
    mp_slow_enter();
    draw_first(heap, class);
    struct mp_block *block = mp_shared_alloc(heap, class, &sample, fresh);
    leave();
    if (block && sample)
        mp_hooks.sampled(block, block, size, mp_class_size(class));
    return block;
}

static void *alloc_class(unsigned class, size_t size) {
    struct mp_heap *heap = mp_thread_heap_for_malloc();
    bool fresh;
    if (MP_UNLIKELY(!heap))
        return NULL;
    if (class < MP_SMALL_CLASSES)
        return MP_UNLIKELY(mp_hooks.every) ? small_sample(heap, class, size)
                                           : small_slow(heap, class, size);
    return medium(heap, class, size, &fresh);
}

/* Where the system has no page for a class (memory is locked, or a limit reached), a free block of
 * a somewhat larger one is better than none. */
static MP_COLD void *borrow(unsigned class, size_t size) {
    void *block = NULL;
    for (unsigned c = class + 1; !block && c < MP_SMALL_CLASSES && c <= class + BORROW; c++)
        block = alloc_class(c, size);
    if (!block && mp_tls.heap) { /* nor an empty page that is current for another class */
        mp_slow_enter();
        mp_pages_trim(mp_tls.heap);
        mp_slow_leave();
        block = alloc_class(class, size);
    }
    return block;
}

void *mp_malloc_slow(size_t size, const void *caller) {
    mp_misuse_caller(caller, "malloc");
    if (size > MP_MEDIUM_MAX)
        return mp_large_alloc(size, 16, false);
    unsigned class = mp_class_of(size);
    void *block = alloc_class(class, size);
    return MP_LIKELY(block != NULL) ? block : borrow(class, size);
}

void *mp_calloc(size_t count, size_t size, const void *caller) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *block = mp_malloc_fast(bytes);
    if (MP_LIKELY(block != NULL))
        return memset(block, 0, bytes);
    mp_misuse_caller(caller, "calloc");
    if (bytes > MP_MEDIUM_MAX)
        return mp_large_alloc(bytes, 16, true);
    if (bytes > MP_SMALL_MAX) {
        struct mp_heap *heap = mp_thread_heap_for_malloc();
        bool fresh = false;
        block = heap ? medium(heap, mp_class_of(bytes), bytes, &fresh) : NULL;
        return block && !fresh ? memset(block, 0, bytes) : block;
    }
    block = mp_malloc_slow(bytes, caller);
    return block ? memset(block, 0, bytes) : NULL;
}

/* Blocks of a class stand at multiples of its size from a slice's start, so a class whose size is a
 * multiple of the alignment is aligned by itself. */
static unsigned aligned_class(size_t align, size_t size) {
    unsigned class = mp_class_of(size < align ? align : (size + align - 1) & -align);
    while (class < MP_CLASSES && mp_class_size(class) & (align - 1))
        class ++;
    return class;
}

static MP_NOINLINE void *memalign_slow(size_t align, size_t size, const void *caller) {
    mp_misuse_caller(caller, "memalign");
    if (align <= 16)
        return mp_malloc_slow(size, caller);
    if (align <= MP_MEDIUM_MAX && size <= MP_MEDIUM_MAX) {
        unsigned class = aligned_class(align, size);
        if (class < MP_CLASSES)
            return alloc_class(class, size);
    }
    return mp_large_alloc(size, align, false);
}

void *mp_memalign(size_t align, size_t size, const void *caller) {
    void *block = NULL;
    if (align <= 16) {
        block = mp_malloc_fast(size);
    } else if (align <= MP_SMALL_MAX && size <= MP_SMALL_MAX - align) {
        unsigned class = mp_class_of(size < align ? align : (size + align - 1) & -align);
        if (MP_LIKELY((mp_classes[class].size & (align - 1)) == 0))
            block = mp_malloc_class_fast(class);
    }
    return MP_LIKELY(block != NULL) ? block : memalign_slow(align, size, caller);
}

/* ---- free ---- */

static void free_event(struct mp_page *page) {
    if (MP_UNLIKELY(!mp_tls.heap)) {
        /* A page of a dead thread that had this one's control block and never cleaned up: making
         * a heap cleans up after it, this page included (thread.c, reclaim_reborn). */
        mp_thread_heap_for_malloc();
        return;
    }
    mp_slow_enter();
    uint64_t now = mp_sys_now_ms();
    mp_pages_event(mp_tls.heap, page, now);
    leave_at(now);
}

void mp_free_event(struct mp_page *page) {
    mp_misuse_caller(__builtin_return_address(0), "free"); /* free itself has jumped here */
    free_event(page);
}

/* A block of a page of this thread's, off the fast path: a sample's twin, or check=full. */
static void free_own(struct mp_page *page, struct mp_block *block) {
    if (MP_UNLIKELY(mp_options.check == MP_CHECK_FULL) && mp_page_is_current(page)) {
        mp_pages_keep_back(mp_tls.heap, page, block);
        return;
    }
    mp_page_link_block(block, page->local_free);
    block->key = mp_block_key(block);
    page->local_free = block;
    if (mp_page_count_free(page))
        free_event(page);
}

static void free_block(struct mp_page *page, struct mp_block *block) {
    if (mp_tls.heap && (mp_page_owner(page) & ~MP_OWNER_CHECKED) == mp_tls.heap->owner) {
        free_own(page, block);
        return;
    }
    struct mp_heap *heap = mp_thread_heap();
    if (MP_UNLIKELY(mp_threads_lost) && mp_pages_is_lost(page)) {
        if (!heap)
            return; /* another may be rebuilding the page: this thread cannot, and leaks the block
                     */
        mp_slow_enter();
        mp_pages_revive(heap, page);
        mp_slow_leave();
        free_block(page, block);
        return;
    }
    block->key = mp_block_key(block);
    mp_elsewhere_free(heap, page, block);
}

/* Is `pointer` the start of a block of this page? */
MP_INLINE bool starts_block(const struct mp_page *page, uintptr_t pointer) {
    const struct mp_class *class = &mp_classes[page->class];
    size_t offset = pointer - page->start;
    return offset * class->inverse < MP_INVERSE_LIMIT_ANY &&
           offset < (size_t)page->carved * class->size;
}

/* ... of one that a program may hold? */
MP_INLINE bool is_block(const struct mp_page *page, uintptr_t pointer) {
    if (mp_page_kind(page) == MP_KIND_SMALL && MP_UNLIKELY(mp_rescue_lacks(page, pointer)))
        return false;
    return starts_block(page, pointer) && !mp_block_is_free((const struct mp_block *)pointer) &&
           !mp_block_is_twin((const struct mp_block *)pointer) &&
           !mp_block_is_marked((const struct mp_block *)pointer);
}

static bool free_shared(struct mp_page *page, struct mp_block *block) {
    mp_slow_enter();
    bool done = mp_shared_free(page, block);
    leave();
    return done;
}

/* False: the program holds no such block. */
static bool free_medium(struct mp_page *page, struct mp_block *block) {
    if (!is_block(page, (uintptr_t)block))
        return false;
    if (MP_UNLIKELY(mp_shared_end_sample(page, block)))
        mp_hooks.freed(block);
    return free_shared(page, block);
}

/* The same. The profiler first, which has no sample there if the block is free already: in a large
 * heap the block is in no cache, and is fetched meanwhile. */
static bool free_sample(struct mp_page *page, struct mp_block *block) {
    __builtin_prefetch(block, 1);
    if (!starts_block(page, (uintptr_t)block))
        return false;
    mp_shared_expect_record(page, block);
    mp_hooks.freed(block);
    if (!is_block(page, (uintptr_t)block))
        return false;
    struct mp_block *twin = mp_shared_twin(page, block);
    bool done = free_shared(page, block);
    if (done && twin)
        free_block(mp_arena_find((uintptr_t)twin), twin);
    return done;
}

/* The page was emptied: if it is this thread's, it becomes one like others, or goes, and what is to
 * be freed is to be looked up again. */
static MP_COLD bool look_after(struct mp_page *page) {
    bool mine = false;
    mp_slow_enter();
    if (mp_tls.heap && (mp_page_owner(page) & ~MP_OWNER_CHECKED) == mp_tls.heap->owner &&
        mp_rescue_has_emptied(page)) {
        mp_pages_end_current(mp_tls.heap, page->class);
        mine = true;
    }
    mp_slow_leave();
    return mine;
}

/* Whatever it is. */
static MP_NOINLINE void free_any(const char *verb, void *pointer, const void *caller) {
    mp_misuse_caller(caller, verb);
    struct mp_page *page = mp_arena_find_head((uintptr_t)pointer);
    if (MP_LIKELY(page != NULL)) {
        enum mp_kind kind = mp_page_kind(page);
        if (kind == MP_KIND_SMALL && MP_UNLIKELY(mp_rescue_has_emptied(page)) && look_after(page)) {
            free_any(verb, pointer, caller);
            return;
        }
        if (kind == MP_KIND_SMALL && is_block(page, (uintptr_t)pointer)) {
            free_block(page, pointer);
            return;
        }
        if (kind == MP_KIND_MEDIUM && free_medium(page, pointer))
            return;
        if (kind == MP_KIND_SAMPLES && free_sample(page, pointer))
            return;
        if (kind == MP_KIND_LARGE && (uintptr_t)pointer == page->start) {
            mp_large_free(page);
            return;
        }
    } else if (mp_large_free_huge(pointer)) {
        return;
    }
    mp_misuse_pointer(verb, pointer);
}

static MP_NOINLINE void free_by_sending(const char *verb, struct mp_page *page,
                                        struct mp_block *block, const void *caller) {
    mp_misuse_caller(caller, verb);
    mp_elsewhere_free(mp_tls.heap, page, block);
}

/* Blocks of small pages that are not this thread's come next to those that are, so they have a
 * short way: a leaf, which calls nothing that returns here. */
void mp_free_as(const char *verb, void *pointer, const void *caller) {
    struct mp_page *page = mp_page_guess((uintptr_t)pointer);
    struct mp_block *block = pointer;
    struct mp_heap *heap = mp_tls.heap;
    uintptr_t offset = (uintptr_t)pointer - mp_page_start_hot(page);
    if (!pointer)
        return;
    if (!heap || mp_page_kind(page) != MP_KIND_SMALL ||
        offset * mp_page_inverse_hot(page) >= MP_INVERSE_LIMIT ||
        offset >= (uintptr_t)page->carved * mp_classes[page->class].size ||
        mp_block_is_free(block) || mp_block_is_twin(block) ||
        (mp_page_owner(page) & ~MP_OWNER_CHECKED) == heap->owner ||
        MP_UNLIKELY(mp_rescue_has_emptied(page) || mp_threads_lost)) {
        free_any(verb, pointer, caller);
        return;
    }
    block->key = mp_block_key(block);
    if (MP_UNLIKELY(!mp_elsewhere_add(heap, page, block)))
        free_by_sending(verb, page, block, caller);
}

void mp_free_slow(void *pointer, const void *caller) {
    mp_free_as("free", pointer, caller);
}

/* ---- realloc and the rest ---- */

/* What realloc needs to know of a block; size 0: it is none. */
static size_t live_size(const void *pointer, struct mp_page **page) {
    /* The commonest case first. That the guess is right comes before all else: a wrong one's page
     * may be in the making. */
    *page = mp_page_guess((uintptr_t)pointer);
    if (MP_LIKELY((uintptr_t)pointer - mp_page_start_hot(*page) < MP_SLICE_SIZE &&
                  mp_page_kind(*page) == MP_KIND_SMALL && is_block(*page, (uintptr_t)pointer)))
        return mp_classes[(*page)->class].size;
    *page = mp_arena_find_head((uintptr_t)pointer);
    if (!*page)
        return mp_huge_size(pointer);
    switch (mp_page_kind(*page)) {
    case MP_KIND_SMALL:
    case MP_KIND_MEDIUM:
    case MP_KIND_SAMPLES:
        return is_block(*page, (uintptr_t)pointer) ? mp_classes[(*page)->class].size : 0;
    case MP_KIND_LARGE:
        return (uintptr_t)pointer == (*page)->start ? (*page)->bytes : 0;
    default:
        return 0;
    }
}

size_t mp_usable_size(const void *pointer) {
    struct mp_page *page;
    return pointer ? live_size(pointer, &page) : 0;
}

void *mp_realloc(void *pointer, size_t size, const void *caller) {
    struct mp_page *page;
    size_t old = live_size(pointer, &page);
    if (MP_UNLIKELY(!old)) {
        mp_misuse_caller(caller, "realloc");
        mp_misuse_pointer("realloc", pointer);
        return NULL;
    }
    /* In its place: the same class, or a block that would shrink by less than half. */
    if (old <= MP_MEDIUM_MAX && size <= old && (size > old / 2 || old <= 32)) {
        if (MP_UNLIKELY(page && mp_page_kind(page) != MP_KIND_SMALL && mp_hooks.resized &&
                        mp_shared_has_sample(page, pointer))) {
            mp_misuse_caller(caller, "realloc");
            mp_hooks.resizing(pointer);
            mp_hooks.resized(pointer, size, old);
        }
        return pointer;
    }
    if (old > MP_MEDIUM_MAX && size > MP_MEDIUM_MAX) {
        mp_misuse_caller(caller, "realloc");
        void *resized = mp_large_resize(pointer, page, old, size);
        mp_hooks_do_what_is_asked();
        if (resized)
            return resized;
    }
    void *moved = mp_malloc_fast(size);
    if (!moved)
        moved = mp_malloc_slow(size, caller);
    if (!moved) /* what shrinks can stay where it is */
        return size <= old ? pointer : NULL;
    memcpy(moved, pointer, old < size ? old : size);
    if (!mp_free_fast(pointer)) {
        if (mp_hooks.moving)
            mp_hooks.moving(moved);
        mp_free_slow(pointer, caller);
        if (mp_hooks.moving)
            mp_hooks.moving(NULL);
    }
    return moved;
}

void mp_heap_find_nodes(const char *root) {
    unsigned count = mp_numa_start(root);
    bool more = count > 1 && mp_pool_add_nodes(count) && mp_shared_add_nodes(count);
    if (more)
        mp_arena_bind(); /* before there is memory of other nodes */
    mp_numa_use(more ? count : 1);
    if (!more)
        mp_arena_bind(); /* with numa=interleave */
}

void mp_heap_arm(void) {
    struct mp_heap *heap = mp_tls.heap;
    if (!heap)
        return;
    mp_slow_enter();
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        if (!(heap->drawn[c / 64] >> c % 64 & 1))
            continue;
        if (c < MP_SMALL_CLASSES)
            mp_pages_end_current(heap, c); /* what has been charged was not drawn for */
        draw(heap, c);
    }
    mp_slow_leave();
}

bool mp_trim(void) {
    if (mp_tls.heap) {
        mp_slow_enter();
        mp_pages_trim(mp_tls.heap);
        mp_slow_leave();
    }
    bool any = mp_rescue_all();
    mp_slow_enter();
    mp_shared_trim();
    any |= mp_pool_trim() != 0;
    mp_slow_leave();
    mp_hooks_do_what_is_asked();
    return any;
}
