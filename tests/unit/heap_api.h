/* The allocator as programs call it, under names that do not replace the test's own heap: the fast
 * path, then the slow one, as src/preload/malloc.c puts them together. errno stays out of it. */
#ifndef MP_TESTS_UNIT_HEAP_API_H
#define MP_TESTS_UNIT_HEAP_API_H

#include "heap/heap.h"

#define T_CALLER __builtin_return_address(0)

static inline void *t_malloc(size_t size) {
    void *block = mp_malloc_fast(size);
    return block ? block : mp_malloc_slow(size, T_CALLER);
}

static inline void t_free(void *pointer) {
    if (!mp_free_fast(pointer))
        mp_free_slow(pointer, T_CALLER);
}

static inline void *t_calloc(size_t count, size_t size) {
    return mp_calloc(count, size, T_CALLER);
}

static inline void *t_memalign(size_t align, size_t size) {
    return mp_memalign(align, size, T_CALLER);
}

static inline void *t_realloc(void *pointer, size_t size) {
    if (!pointer)
        return mp_malloc_slow(size, T_CALLER);
    if (size == 0) {
        t_free(pointer);
        return NULL;
    }
    return mp_realloc(pointer, size, T_CALLER);
}

#endif
