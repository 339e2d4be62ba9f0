/* Free spans of slices, by what they are and how long: those that a pool has. Best fit, nearly;
 * spans merge with neighbours in the same state only, so that one purge is one call and a clean
 * span is known to read zero. Under the pool's lock. */
#ifndef MP_HEAP_SPANS_H
#define MP_HEAP_SPANS_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/page.h"

#define MP_SPAN_BINS 112

enum mp_spans_state {
    MP_DIRTY, /* resident, holds old bytes; aged */
    MP_CLEAN, /* mapped, reads zero */
    MP_GONE,  /* unmapped, when addresses were short; mapped again when taken */
    MP_SPANS_STATES,
};

struct mp_span_bins {
    uint64_t filled[2];          /* bit b: bin b is not empty */
    uint32_t head[MP_SPAN_BINS]; /* page numbers */
};

struct mp_spans {
    struct mp_span_bins bins[MP_SPANS_STATES];
    uint32_t slices[MP_SPANS_STATES];
    _Atomic(uint32_t) oldest; /* dirty spans by age; looked at without the lock */
    uint32_t newest;
};

enum mp_spans_state mp_spans_state(const struct mp_page *page);

/* Inserts a free span, merged with its neighbours of the same state. */
void mp_spans_insert(struct mp_spans *spans, struct mp_page *page, uint32_t slices,
                     enum mp_spans_state state);
void mp_spans_remove(struct mp_spans *spans, struct mp_page *page);

/* Takes `slices` of a free span out, from `skip` on; what is left of it stays as it was. They are
 * in no list then, and their kind lets no neighbour merge with them, so the lock may be dropped. */
void mp_spans_cut(struct mp_spans *spans, struct mp_page *page, uint32_t skip, uint32_t slices);

/* A span of at least `slices`: the smallest bin that surely fits, after a few tries in the bin
 * that may. It stays where it is. NULL: there is none. */
struct mp_page *mp_spans_find(struct mp_spans *spans, enum mp_spans_state state, uint32_t slices);

/* Makes a dirty span of `want` slices out of one and its clean neighbours: of the pages that the
 * program is about to touch, at least a quarter need not be had from the system. NULL: none. */
struct mp_page *mp_spans_join(struct mp_spans *spans, uint32_t want);

/* One after the other, from NULL to NULL. */
struct mp_page *mp_spans_next(const struct mp_spans *spans, enum mp_spans_state state,
                              const struct mp_page *page);

#endif
