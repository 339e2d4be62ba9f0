/* What is kept of each block of a page of samples: which block of an ordinary page stands behind
 * it, its twin, or, where every block is a sample, the profiler's record of it. In a table per
 * page, apart from the pages, so that a program's overruns cannot reach it.
 *
 * Tables come and go with pages; their lock (rank BESIDE) is taken inside. What is in an entry is
 * up to who holds the block. */
#ifndef MP_HEAP_BESIDE_H
#define MP_HEAP_BESIDE_H

#include <stdint.h>

#include "heap/page.h"

/* For a page that is being made: without memory it has none. */
void mp_beside_make(struct mp_page *page);

/* The page is empty, and so are its entries, or nobody cares: its table is for others to use. */
void mp_beside_drop(struct mp_page *page);

/* A block's twin; NULL: it has none (mp_hooks.every), or the page has no table. */
struct mp_block *mp_beside_twin(const struct mp_page *page, uint32_t index);

/* False: the page has no table. */
bool mp_beside_set_twin(const struct mp_page *page, uint32_t index, struct mp_block *twin);

/* With mp_hooks.every: so many bytes. NULL: the page has no table. */
void *mp_beside_record(const struct mp_page *page, uint32_t index);

#endif
