/* The allocator's symbols, as programs call them: errno, the standards' corner cases, and nothing
 * else. Apart from heap/ because nothing else in the tree may define malloc.
 * Any thread; no locks of its own. free preserves errno: nothing below it writes errno, since all
 * system calls are raw. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/heap.h"
#include "leak/told.h"
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

/* A sanitizer's run-time in the process: its allocator serves, and our names only lead to it. No
 * block is ever ours then, so the fast paths find nothing and every call comes past here. */
#define FORWARDED(name, result, ...)                                                               \
    extern result __interceptor_##name(__VA_ARGS__) __attribute__((weak, visibility("default")))

FORWARDED(malloc, void *, size_t);
FORWARDED(free, void, void *);
FORWARDED(calloc, void *, size_t, size_t);
FORWARDED(realloc, void *, void *, size_t);
FORWARDED(memalign, void *, size_t, size_t);
FORWARDED(posix_memalign, int, void **, size_t, size_t);
FORWARDED(malloc_usable_size, size_t, void *);

static inline void *or_enomem(void *block) {
    if (MP_UNLIKELY(!block))
        errno = ENOMEM;
    return block;
}

/* The program may have said of what it allocates now that it is no leak. */
static inline void *told(void *block, size_t size) {
    if (MP_UNLIKELY(atomic_load_explicit(&mp_told_quiet, memory_order_relaxed)))
        mp_told_handed_out(block, size);
    return block;
}

static MP_NOINLINE void free_slow(const char *verb, void *pointer, const void *caller) {
    if (MP_UNLIKELY(__interceptor_free != NULL))
        __interceptor_free(pointer);
    else
        mp_free_as(verb, pointer, caller);
}

static MP_NOINLINE void *malloc_slow(size_t size, const void *caller) {
    if (MP_UNLIKELY(__interceptor_malloc != NULL))
        return __interceptor_malloc(size);
    return or_enomem(told(mp_malloc_slow(size, caller), size));
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
    free_slow("free", pointer, CALLER);
}

void cfree(void *pointer) {
    if (!mp_free_fast(pointer))
        free_slow("free", pointer, CALLER);
}

/* C23: the sizes are promises of the caller's that we have no use for. */
void free_sized(void *pointer, size_t size) {
    (void)size;
    if (!mp_free_fast(pointer))
        free_slow("free", pointer, CALLER);
}

void free_aligned_sized(void *pointer, size_t align, size_t size) {
    (void)align;
    (void)size;
    if (!mp_free_fast(pointer))
        free_slow("free", pointer, CALLER);
}

void *calloc(size_t count, size_t size) {
    if (MP_UNLIKELY(__interceptor_calloc != NULL))
        return __interceptor_calloc(count, size);
    return or_enomem(told(mp_calloc(count, size, CALLER), count * size));
}

static inline void *resize(void *pointer, size_t size, const void *caller) {
    if (!pointer)
        return malloc_slow(size, caller);
    if (size == 0) { /* as glibc: the block is freed */
        if (!mp_free_fast(pointer))
            free_slow("realloc", pointer, caller);
        return NULL;
    }
    if (MP_UNLIKELY(__interceptor_realloc != NULL))
        return __interceptor_realloc(pointer, size);
    return or_enomem(told(mp_realloc(pointer, size, caller), size));
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
    size_t rounded = align < 16 ? 16 : align;
    if (MP_UNLIKELY(!is_power_of_two(rounded))) {
        for (rounded = 16; rounded < align;)
            rounded *= 2;
    }
    if (MP_UNLIKELY(__interceptor_memalign != NULL))
        return __interceptor_memalign(rounded, size);
    return or_enomem(told(mp_memalign(rounded, size, caller), size));
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
    if (MP_UNLIKELY(__interceptor_posix_memalign != NULL))
        return __interceptor_posix_memalign(out, align, size);
    void *block = mp_memalign(align < 16 ? 16 : align, size, CALLER);
    if (!block)
        return ENOMEM;
    *out = told(block, size);
    return 0;
}

void *valloc(size_t size) {
    return align_any(OS_PAGE, size, CALLER);
}

void *pvalloc(size_t size) {
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return align_any(OS_PAGE, (size + OS_PAGE - 1) & ~(OS_PAGE - 1), CALLER);
}

size_t malloc_usable_size(void *pointer) {
    if (MP_UNLIKELY(__interceptor_malloc_usable_size != NULL))
        return __interceptor_malloc_usable_size(pointer);
    return mp_usable_size(pointer);
}
