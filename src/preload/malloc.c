/* The allocator's symbols, as programs call them: errno, the standards' corner cases, and nothing
 * else. Apart from heap/ because nothing else in the tree may define malloc.
 * Any thread; no locks of its own. free preserves errno: nothing below it writes errno, since all
 * system calls are raw. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/heap.h"
#include "preload/preload.h"

#define CALLER  __builtin_return_address(0)
#define OS_PAGE ((size_t)4096)

/* Declared here: <malloc.h> marks some of them in ways that let the compiler drop our checks. */
MP_EXPORT void *malloc(size_t size);
MP_EXPORT void free(void *pointer);
MP_EXPORT void cfree(void *pointer);
MP_EXPORT void *calloc(size_t count, size_t size);
MP_EXPORT void *realloc(void *pointer, size_t size);
MP_EXPORT void *reallocarray(void *pointer, size_t count, size_t size);
MP_EXPORT void *memalign(size_t align, size_t size);
MP_EXPORT void *aligned_alloc(size_t align, size_t size);
MP_EXPORT int posix_memalign(void **out, size_t align, size_t size);
MP_EXPORT void *valloc(size_t size);
MP_EXPORT void *pvalloc(size_t size);
MP_EXPORT size_t malloc_usable_size(void *pointer);
MP_EXPORT void free_sized(void *pointer, size_t size);
MP_EXPORT void free_aligned_sized(void *pointer, size_t align, size_t size);

static inline void *or_enomem(void *block) {
    if (MP_UNLIKELY(!block))
        errno = ENOMEM;
    return block;
}

static MP_NOINLINE void *malloc_slow(size_t size, const void *caller) {
    return or_enomem(mp_malloc_slow(size, caller));
}

void *malloc(size_t size) {
    void *block = mp_malloc_fast(size);
    if (MP_LIKELY(block != NULL))
        return block;
    return malloc_slow(size, CALLER);
}

void free(void *pointer) {
    if (MP_LIKELY(mp_free_fast(pointer)))
        return;
    mp_free_slow(pointer, CALLER);
}

void cfree(void *pointer) {
    if (!mp_free_fast(pointer))
        mp_free_slow(pointer, CALLER);
}

/* C23: the sizes are promises of the caller's that we have no use for. */
void free_sized(void *pointer, size_t size) {
    (void)size;
    if (!mp_free_fast(pointer))
        mp_free_slow(pointer, CALLER);
}

void free_aligned_sized(void *pointer, size_t align, size_t size) {
    (void)align;
    (void)size;
    if (!mp_free_fast(pointer))
        mp_free_slow(pointer, CALLER);
}

void *calloc(size_t count, size_t size) {
    return or_enomem(mp_calloc(count, size, CALLER));
}

static inline void *resize(void *pointer, size_t size, const void *caller) {
    if (!pointer)
        return or_enomem(mp_malloc_slow(size, caller));
    if (size == 0) { /* as glibc: the block is freed */
        if (!mp_free_fast(pointer))
            mp_free_as("realloc", pointer, caller);
        return NULL;
    }
    return or_enomem(mp_realloc(pointer, size, caller));
}

void *realloc(void *pointer, size_t size) {
    return resize(pointer, size, CALLER);
}

void *reallocarray(void *pointer, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return resize(pointer, bytes, CALLER);
}

static bool is_power_of_two(size_t n) {
    return n && !(n & (n - 1));
}

/* As glibc's memalign: an alignment that is no power of two is rounded up to one. */
static void *align_any(size_t align, size_t size, const void *caller) {
    if (align > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    size_t rounded = 16;
    while (rounded < align)
        rounded *= 2;
    return or_enomem(mp_memalign(rounded, size, caller));
}

void *memalign(size_t align, size_t size) {
    return align_any(align, size, CALLER);
}

/* glibc 2.36's aligned_alloc is its memalign: programs pass sizes that are no multiple. */
void *aligned_alloc(size_t align, size_t size) {
    return align_any(align, size, CALLER);
}

int posix_memalign(void **out, size_t align, size_t size) {
    if (!is_power_of_two(align) || align % sizeof(void *) != 0)
        return EINVAL;
    void *block = mp_memalign(align < 16 ? 16 : align, size, CALLER);
    if (!block)
        return ENOMEM;
    *out = block;
    return 0;
}

void *valloc(size_t size) {
    return or_enomem(mp_memalign(OS_PAGE, size, CALLER));
}

void *pvalloc(size_t size) {
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return or_enomem(mp_memalign(OS_PAGE, (size + OS_PAGE - 1) & ~(OS_PAGE - 1), CALLER));
}

size_t malloc_usable_size(void *pointer) {
    return mp_usable_size(pointer);
}
