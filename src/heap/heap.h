/* The allocator: malloc and free as programs call them, less errno and the names. The fast paths
 * are here, to be inlined into the exported symbols; read this file first, then heap.c, pages.h,
 * queue.h, elsewhere.h, remote.h, home.h, rescue.h. Any thread; not from a signal handler. */
#ifndef MP_HEAP_HEAP_H
#define MP_HEAP_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/oracle.h"
#include "heap/page.h"
#include "heap/thread.h"

/* Where the fast path ends. `caller`: the program's return address, for reports. */
void *mp_malloc_slow(size_t size, const void *caller);
void mp_free_slow(void *pointer, const void *caller);
/* The same for another call that frees: reports name it. */
void mp_free_as(const char *verb, void *pointer, const void *caller);
void mp_free_event(struct mp_page *page);

/* malloc's fast path: the head of the current page's list, if its key is right, which of an empty
 * list it is not, nor of one that the program has overwritten. No counter, no atomic. The block is
 * the one that was freed last, if it was this page's. NULL: mp_malloc_slow is to be asked. */
MP_INLINE void *mp_malloc_class_fast(unsigned class) {
    struct mp_page *page = mp_tls.page[class];
    struct mp_block *block = page->local_free;
    if (MP_UNLIKELY(MP_ORACLE || !mp_block_is_free(block)))
        return NULL;
    mp_page_pop(page, block);
    return block;
}

MP_INLINE void *mp_malloc_fast(size_t size) {
    if (MP_LIKELY(size <= MP_TABLE_MAX))
        return mp_malloc_class_fast(mp_class_table[size]);
    return size <= MP_SMALL_MAX ? mp_malloc_class_fast(mp_class_computed(size)) : NULL;
}

/* free's fast path, for a block of a small page that this thread owns and that holds no sample.
 * One compare says so: it fails for any other pointer whatever (see MP_INVERSE_LIMIT). A block that
 * has a key is free already. */
MP_INLINE bool mp_free_fast(void *pointer) {
    struct mp_page *page = mp_page_guess((uintptr_t)pointer);
    uint64_t product = ((uintptr_t)pointer - mp_page_start_hot(page)) * mp_page_inverse_hot(page);
    if (MP_UNLIKELY(
            !mp_arch_is_thread_plus_below(mp_page_owner_hot(page), product, MP_INVERSE_LIMIT)))
        return false;
    struct mp_block *block = pointer;
    uintptr_t key = mp_block_key(block);
    if (MP_UNLIKELY(block->key == key))
        return false;
    block->link = (uint16_t)(uintptr_t)page->local_free;
    block->key = key;
    page->local_free = block;
    if (MP_UNLIKELY(mp_page_count_free(page)))
        mp_free_event(page);
    return true;
}

void *mp_calloc(size_t count, size_t size, const void *caller);
/* `pointer` not NULL, size not 0. NULL: no memory, and `pointer` is as it was; or `pointer` was no
 * block, this has been said, and the call is to be ignored. */
void *mp_realloc(void *pointer, size_t size, const void *caller);
/* `align`: a power of two. */
void *mp_memalign(size_t align, size_t size, const void *caller);
/* 0 for NULL and for what is no live block. */
size_t mp_usable_size(const void *pointer);
/* At start-up, the options read: which nodes the machine has. `root`: see mp_numa_start. */
void mp_heap_find_nodes(const char *root);
/* The hooks are set: the heap that the only thread may have by now samples too. */
void mp_heap_arm(void);
/* Gives back what can be; true if any did. */
bool mp_trim(void);

#endif
