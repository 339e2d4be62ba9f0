#include "heap/large.h"

#include <string.h>
#include <sys/mman.h>

#include "heap/hooks.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/thread.h"
#include "platform/options.h"
#include "platform/sys.h"

#define OS_PAGE    ((size_t)4096)
#define SPAN_MOST  ((size_t)1 << 36) /* what a span may be when no mapping is to be had */
#define ZERO_DROP  ((size_t)1 << 20) /* from here on, dropping pages beats writing zeroes */
#define MOVE_LEAST ((size_t)1 << 19) /* from here on, moving pages beats copying them */
#define HUGE_LEAST                                                                                 \
    ((size_t)1 << 20) /* a huge block that shrinks below is copied to a smaller one */

static uint32_t slices_of(size_t bytes) {
    return (uint32_t)((bytes + MP_SLICE_SIZE - 1) >> MP_SLICE_SHIFT);
}

/* Old bytes must read zero; memory that the program never touches must not become resident for it.
 */
static void make_zero(uintptr_t start, size_t bytes) {
    if (bytes < ZERO_DROP || mp_sys_madvise(start, bytes, MADV_DONTNEED) != 0)
        memset((void *)start, 0, bytes);
}

static void *take_span(size_t bytes, size_t align, bool zero, bool sampled) {
    if (bytes > SPAN_MOST || align > SPAN_MOST)
        return NULL;
    /* A thread that begins with this is asked for its policy when it has a heap. */
    struct mp_heap *heap = mp_numa_count() > 1 ? mp_thread_heap() : mp_tls.heap;
    bool is_zero;
    mp_slow_enter();
    struct mp_page *page = mp_pool_take(heap ? mp_heap_here(heap) : mp_numa_here(),
                                        slices_of(bytes), slices_of(align), &is_zero);
    if (page) {
        page->bytes = bytes;
        page->sampled = sampled;
        mp_page_set_kind(page, MP_KIND_LARGE);
        if (heap) {
            heap->large_allocated++;
            heap->large_bytes += bytes;
        }
    }
    mp_slow_leave();
    if (!page)
        return NULL;
    if (!is_zero) {
        if (zero)
            make_zero(page->start, bytes);
        else /* perhaps that of a free block which stood here: it must not be copied about */
            ((struct mp_block *)page->start)->key = 0;
    }
    return (void *)page->start;
}

/* The end of a path that has no slow section of its own to look at the clock in. */
static void look_at_clock(void) {
    if (MP_UNLIKELY(mp_hooks.tick != NULL)) {
        mp_slow_enter();
        mp_pool_tick(mp_sys_now_ms());
        mp_slow_leave();
    }
    mp_hooks_do_what_is_asked();
}

void *mp_large_alloc(size_t size, size_t align, bool zero) {
    if (size > PTRDIFF_MAX - OS_PAGE || align > PTRDIFF_MAX - OS_PAGE - size)
        return NULL;
    size_t bytes = size ? (size + OS_PAGE - 1) & ~(OS_PAGE - 1) : OS_PAGE;
    bool sampled = mp_hooks.toss_large && mp_hooks.toss_large(bytes);
    bool small = bytes <= MP_LARGE_MAX && align <= MP_LARGE_MAX;
    void *block = small ? take_span(bytes, align, zero, sampled) : NULL;
    if (!block)
        block = mp_huge_alloc(bytes, align, sampled);
    if (!block && !small)
        block = take_span(bytes, align, zero, sampled);
    if (!block) {
        mp_slow_enter();
        mp_pool_let_go();
        mp_slow_leave();
        block = mp_huge_alloc(bytes, align, sampled);
    }
    if (block && sampled)
        mp_hooks.sampled(block, block, size, bytes);
    look_at_clock();
    return block;
}

bool mp_large_free_huge(void *pointer) {
    bool sampled;
    if (MP_UNLIKELY(mp_hooks.freed && mp_huge_is_sampled(pointer)))
        mp_hooks.freed(pointer);
    if (!mp_huge_free(pointer, &sampled))
        return false;
    look_at_clock();
    return true;
}

void mp_large_free(struct mp_page *page) {
    if (page->sampled)
        mp_hooks.freed((void *)page->start);
    mp_slow_enter();
    page->last_pages = (uint32_t)(page->bytes / OS_PAGE);
    mp_pool_note_freed(page, 1, page->bytes);
    mp_pool_give(page, page->slices);
    mp_pool_tick(mp_sys_now_ms());
    mp_slow_leave();
    mp_hooks_do_what_is_asked();
}

/* A block has been resized: is it a sample now? One that grows has the chance of what is new, so
 * that a block is a sample with the chance of its size, however it came to that; the hook sees to
 * the same when it shrinks. */
static bool sample_resized(bool sampled, void *block, size_t size, size_t old, size_t bytes) {
    if (sampled)
        return mp_hooks.resized(block, size, bytes) != 0;
    if (bytes <= old || !mp_hooks.toss_large || !mp_hooks.toss_large(bytes - old))
        return false;
    mp_hooks.sampled(block, block, size, bytes);
    return true;
}

static void *resize_span(struct mp_page *page, size_t bytes, size_t size) {
    uint32_t want = slices_of(bytes), have = page->slices;
    size_t old = page->bytes;
    bool sampled = page->sampled;
    bool zero;
    bool fits = true;
    if (sampled)
        mp_hooks.resizing((void *)page->start);
    mp_slow_enter();
    if (want < have)
        mp_pool_shrink(page, want);
    else if (want > have)
        fits = mp_pool_extend(page, want, &zero);
    if (fits)
        page->bytes = bytes;
    mp_slow_leave();
    if (fits) {
        page->sampled = sample_resized(sampled, (void *)page->start, size, old, bytes);
        return (void *)page->start;
    }
    void *moved = old < MOVE_LEAST ? NULL : mp_huge_move_in(page->start, old, bytes, sampled);
    if (moved) {
        bool still = sample_resized(sampled, moved, size, old, bytes);
        if (still != sampled)
            mp_huge_set_sampled(moved, still);
        page->sampled = 0;
        mp_large_free(page);
    } else if (sampled) {
        mp_hooks.resized(NULL, 0, 0);
    }
    return moved;
}

static void *resize_huge(void *pointer, size_t old, size_t bytes, size_t size) {
    bool sampled = mp_hooks.resizing && mp_huge_is_sampled(pointer);
    if (sampled)
        mp_hooks.resizing(pointer);
    void *resized = mp_huge_resize(pointer, bytes);
    if (resized) {
        bool still = sample_resized(sampled, resized, size, old, bytes);
        if (still != sampled)
            mp_huge_set_sampled(resized, still);
    } else if (sampled) {
        mp_hooks.resized(NULL, 0, 0);
    }
    return resized;
}

void *mp_large_resize(void *pointer, struct mp_page *page, size_t old, size_t size) {
    if (size > PTRDIFF_MAX - OS_PAGE)
        return NULL;
    size_t bytes = (size + OS_PAGE - 1) & ~(OS_PAGE - 1);
    if (bytes == old && !mp_hooks.resized)
        return pointer;
    if (page)
        return bytes <= SPAN_MOST ? resize_span(page, bytes, size) : NULL;
    return bytes < HUGE_LEAST ? NULL : resize_huge(pointer, old, bytes, size);
}
