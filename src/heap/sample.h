/* Which blocks are samples: a bitmap per page, so that a sampled block stays in its ordinary place
 * and costs its neighbours nothing. A page with a bitmap carries MP_OWNER_SAMPLED in its owner
 * word, which sends every free in it down the slow path; the bit tells which of them concern the
 * profiler. Marked by the thread that is about to hand the block out, tested by whoever frees it.
 */
#ifndef MP_HEAP_SAMPLE_H
#define MP_HEAP_SAMPLE_H

#include <stdbool.h>

#include "heap/page.h"

/* False: no memory for the bitmap; the block is then no sample. */
bool mp_sample_mark(struct mp_page *page, const struct mp_block *block);

/* Clears the mark; true if there was one. */
bool mp_sample_take(struct mp_page *page, const struct mp_block *block);

/* The page is empty: its bitmap is for others to use. */
void mp_sample_drop(struct mp_page *page);

#endif
