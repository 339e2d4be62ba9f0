/* Suppressions of leaks, as LeakSanitizer reads them: a line `leak:PATTERN` each, and lines that
 * begin with # or are empty. A pattern is a part of the name of a function, of a source file or of
 * a module of the stack; * stands for anything, ^ for the name's begin and $ for its end. */
#ifndef ANALYZE_SUPPRESS_H
#define ANALYZE_SUPPRESS_H

#include "analyze/blame.h"
#include "common.h"

struct suppression {
    char *pattern;
    double bytes, objects; /* that it has let pass */
};

struct suppressions {
    struct suppression *list;
    size_t count, capacity;
};

/* Adds what a file says. 0; -1 with the error, which names the line. */
int suppressions_read(struct suppressions *suppressions, const char *path,
                      struct tool_error *error);

void suppressions_free(struct suppressions *suppressions);

/* The first that fits a frame of the stack, which is counted; NULL: none. */
const struct suppression *suppressions_match(struct suppressions *suppressions,
                                             const struct frame_list *frames, double bytes,
                                             double objects);

/* Has any of them let something pass? */
bool suppressions_were_used(const struct suppressions *suppressions);

/* Does a pattern fit a name? */
bool suppression_fits(const char *pattern, const char *name);

#endif
