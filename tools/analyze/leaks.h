/* What a dump says has leaked: by stack, directly and indirectly, with what a file of suppressions
 * lets pass. What is counted is the library's; the stacks are those of the samples, brought to
 * these counts (calibrate.h), and exact where every block is a sample. */
#ifndef ANALYZE_LEAKS_H
#define ANALYZE_LEAKS_H

#include "analyze/calibrate.h"
#include "analyze/growing.h"
#include "analyze/sites.h"
#include "analyze/suppress.h"

struct leak {
    const struct site *site; /* NULL: of blocks of which none was a sample */
    bool indirect;
    bool estimated; /* or exact */
    double bytes;   /* as requested; without a site, as rounded up */
    double objects;
    const struct suppression *suppressed; /* NULL: it is not */
};

struct leaks {
    const struct dump *dump;
    struct sites sites;
    struct leak *list; /* the largest first, direct ones before indirect ones */
    size_t count;
    struct growing *growing; /* reachable, and ever more */
    size_t growing_count;
    size_t found; /* of the leaks, not suppressed */
    double found_bytes, found_objects;
};

/* 0; -1 with the error: leaks were not looked for when the dump was made. The dump stays open, and
 * the suppressions (NULL: none) as they are, as long as the result is in use. Leaks of less than
 * `min_bytes` are left out. */
int leaks_find(struct leaks *leaks, const struct dump *dump, struct suppressions *suppressions,
               uint64_t min_bytes, struct tool_error *error);
void leaks_free(struct leaks *leaks);

/* Bytes that are resident and were not gone through: a copy of the process does not have them. */
uint64_t leaks_unseen(const struct dump *dump);

#endif
