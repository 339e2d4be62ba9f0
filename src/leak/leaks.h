/* One check for leaks, in a copy of the process: which blocks no root leads to, block by block and
 * added up. */
#ifndef MP_LEAK_LEAKS_H
#define MP_LEAK_LEAKS_H

#include "heap/census.h"
#include "leak/roots.h"
#include "leak/twice.h"
#include "leak/verdict.h"

struct mp_leaks_sums {
    uint64_t objects[3], bytes[3]; /* by enum mp_verdict; bytes as the heap has rounded them up */
};

struct mp_leaks {
    struct mp_marks reached;
    struct mp_verdicts verdicts;
    struct mp_leaks_sums classes[MP_CLASSES], large, mapped; /* [MP_REACHABLE]: 0 */
    struct mp_leaks_sums all;
    struct mp_census census;
    struct mp_roots_seen roots;
    uint64_t scan_ns; /* that it took */
};

/* What the copy was made of. */
struct mp_leaks_way {
    const struct mp_stopped *stopped;
    struct mp_roots_caller caller;
    struct mp_twice *twice; /* NULL: all threads stood still */
    long first;             /* else the pid of the copy that was made first */
};

/* 0 or -errno. What it says holds until mp_leaks_end, or the end of the copy. */
int mp_leaks_find(struct mp_leaks *leaks, const struct mp_leaks_way *way);

/* All that the first of two copies has to do. */
void mp_leaks_find_first(struct mp_leaks *leaks, const struct mp_leaks_way *way);

void mp_leaks_end(struct mp_leaks *leaks);

/* Of the block at that address. */
enum mp_verdict mp_leaks_of(const struct mp_leaks *leaks, uintptr_t address);

#endif
