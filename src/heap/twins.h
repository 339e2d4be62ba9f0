/* Which block of an ordinary page stands behind each sample: a table per page of samples, apart
 * from the pages because it is as large as the smallest class needs. Under the lock of the page's
 * shard, but for mp_twins_get, which reads the entry of a block that its caller holds. */
#ifndef MP_HEAP_TWINS_H
#define MP_HEAP_TWINS_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"

/* False: no memory. */
bool mp_twins_set(struct mp_page *page, uint32_t index, struct mp_block *twin);
/* NULL: it has none (mp_hooks.every). */
struct mp_block *mp_twins_get(const struct mp_page *page, uint32_t index);

/* The page is empty: its table, if it has one, is for others to use. */
void mp_twins_drop(struct mp_page *page);

#endif
