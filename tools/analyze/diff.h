/* The comparison of two dumps, and the view of one: sites with their figures, chosen, judged and in
 * order. What is printed of them is the business of render/. */
#ifndef ANALYZE_DIFF_H
#define ANALYZE_DIFF_H

#include <regex.h>

#include "analyze/calibrate.h"
#include "analyze/sites.h"
#include "common.h"
#include "reader/dump.h"

enum site_sort {
    SITE_SORT_GROWTH, /* what surely grew first */
    SITE_SORT_BYTES,
    SITE_SORT_OBJECTS,
    SITE_SORT_NEW,
    SITE_SORT_OLD,
};

bool site_parse_sort(const char *text, enum site_sort *out);

enum view_of {
    VIEW_LIVE,
    VIEW_ALLOCATED, /* all since the start, freed or not */
    VIEW_PEAK,      /* what was live when the heap was at its highest */
    VIEW_MAPPED,    /* what the program has mapped itself */
    VIEW_LIFETIMES, /* what was freed, and how long it had lived */
};

struct view_options {
    enum site_by by;
    enum site_sort sort;
    double confidence;
    uint64_t min_bytes;   /* sites below are left out; of the difference, where there are two */
    const regex_t *focus; /* NULL: all */
    const regex_t *ignore;
    enum view_of of; /* one dump */
};

struct view {
    struct view_options options;
    const struct dump *old, *new; /* old is NULL where there is but one */
    struct sites sites;
    struct site **order; /* those that were chosen, in their order */
    size_t count;
    size_t growing;                 /* of these: growing or leaking */
    struct calibration calibration; /* of what is live in one dump */
};

/* The dumps stay open while the view is in use. `old` may be NULL. */
int view_make(struct view *view, const struct dump *old, const struct dump *new,
              const struct view_options *options, struct tool_error *error);
void view_free(struct view *view);

/* A POSIX extended regular expression for function names and modules' paths. */
int view_parse_regex(const char *option, const char *text, regex_t *out, struct tool_error *error);

#endif
