/* Blocks above MP_MEDIUM_MAX: spans of slices up to MP_LARGE_MAX, mappings of their own above; each
 * stands in for the other when it cannot be had. Slow paths, any thread. */
#ifndef MP_HEAP_LARGE_H
#define MP_HEAP_LARGE_H

#include <stdbool.h>
#include <stddef.h>

#include "heap/page.h"

/* `align`: a power of two. */
void *mp_large_alloc(size_t size, size_t align, bool zero);
void mp_large_free(struct mp_page *page);
/* The same of a block with a mapping of its own; false: `pointer` is none. */
bool mp_large_free_huge(void *pointer);
/* Resizes the block (page NULL: a huge one) from usable size `old`, in place or by moving its
 * pages. NULL: it has to be copied. */
void *mp_large_resize(void *pointer, struct mp_page *page, size_t old, size_t size);

#endif
