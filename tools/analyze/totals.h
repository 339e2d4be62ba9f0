/* What is exact in a dump: the heap's census by size class, and what each part of the process's
 * resident memory is. */
#ifndef ANALYZE_TOTALS_H
#define ANALYZE_TOTALS_H

#include <stddef.h>
#include <stdint.h>

#include "analyze/fail_on.h"
#include "common.h"
#include "reader/dump.h"

/* Bytes of resident memory. The parts add up to `total`, which is the kernel's figure. */
struct rss_parts {
    uint64_t live;       /* blocks in the heap's pages and spans */
    uint64_t cached;     /* free blocks at the threads' hands */
    uint64_t fragmented; /* other free blocks in pages where some are live */
    uint64_t purgeable;  /* free pages that have not gone back yet */
    uint64_t metadata;   /* the heap's and the profiler's structures */
    uint64_t mapped;     /* blocks with a mapping of their own */
    uint64_t stacks;
    uint64_t files;
    uint64_t other;
    uint64_t total;
};

struct rss_parts totals_rss(const struct dump *dump);

/* The names of the parts and where they are, in the order above, for who prints them. */
struct rss_name {
    const char *name;
    size_t offset;
};
#define RSS_NAMES 10
extern const struct rss_name totals_rss_names[RSS_NAMES];
uint64_t totals_rss_part(const struct rss_parts *parts, size_t part);

/* Estimates since the start, in bytes as requested. */
struct totals_of_stacks {
    double allocated, freed;
};
struct totals_of_stacks totals_stacks(const struct dump *dump);

/* A size class in both dumps; `old` is zero where there is but one. */
struct class_row {
    uint64_t size; /* 0: sizes differ */
    uint32_t kind; /* enum memprof_dump_class_kind */
    struct memprof_dump_class old, new;
};

/* Those that have pages in either, by kind and size; with malloc. */
size_t totals_classes(const struct dump *old, const struct dump *new, struct class_row **out);
const char *totals_class_name(uint32_t kind);

/* ---- --fail-on ---- */

enum totals_name { TOTALS_GROWTH, TOTALS_OBJECTS, TOTALS_RSS, TOTALS_LEAKED };
extern const struct fail_on_rules totals_rules;

/* 1: it does; 0; -1 with the error: the dump does not say. */
int totals_exceed(const struct fail_on *limit, const struct dump *old, const struct dump *new,
                  struct tool_error *error);

#endif
