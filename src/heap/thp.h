/* Huge pages by density: a 2 MiB chunk of the arena is made one huge page (MADV_COLLAPSE) only
 * after it has been almost full for a while, so that huge pages do not swell the resident set. Slow
 * paths, any thread; lock-free but for a try on its own lock. */
#ifndef MP_HEAP_THP_H
#define MP_HEAP_THP_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/chunk.h"
#include "heap/page.h"

/* A page has become full: its chunk may be worth a look later. */
void mp_thp_note_full(const struct mp_page *page, uint64_t now_ms);

/* Collapses at most one chunk that was full then and still is. */
void mp_thp_tick(uint64_t now_ms);

/* May huge pages be asked for, as far as is known? */
bool mp_thp_may_fetch(void);
/* Makes the chunk one at once, of whose parts nothing is resident; false: it is as it was. */
bool mp_thp_fetch(const struct mp_chunk *chunk);

#endif
