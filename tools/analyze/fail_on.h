/* What --fail-on says: a figure, and the most that it may be.
 *
 *     NAME > NUMBER [k|m|g] [%] [/s|/m|/h|/d]
 *
 * without blanks: "growth>1m/h", "live>2g", "rss>10%". Which names and forms make sense is the
 * command's to say, and what they are compared with; the arithmetic of that is its own, too. */
#ifndef ANALYZE_FAIL_ON_H
#define ANALYZE_FAIL_ON_H

#include <stdbool.h>
#include <stddef.h>

#include "common.h"

enum fail_on_form {
    FAIL_ON_AMOUNT = 1,  /* 1m: bytes, or a number of objects */
    FAIL_ON_PERCENT = 2, /* 10%: of what there was before */
    FAIL_ON_RATE = 4,    /* 1m/h */
};

struct fail_on_name {
    const char *name;
    unsigned forms; /* of enum fail_on_form, or'ed */
};

/* What a command knows: its names, and how to say so: "it is growth>1m/h, or live>2g". */
struct fail_on_rules {
    const struct fail_on_name *names;
    size_t count;
    const char *examples;
};

struct fail_on {
    unsigned name; /* its number in the rules */
    enum fail_on_form form;
    double limit; /* bytes or objects; per cent; bytes a second */
};

/* 0, or -1 with the error. */
int fail_on_parse(const char *text, const struct fail_on_rules *rules, struct fail_on *out,
                  struct tool_error *error);

#endif
