/* Who holds the memory: the samples of one or two dumps, added up by what they have in common. A
 * site is one stack, function, module or size class, or a stack's blocks on one NUMA node, with
 * what each dump knows of it.
 *
 * Sites are matched across dumps by what stays the same between runs: a frame is its module's
 * build-id and its offset there. Where the other dump has another build of the module, function
 * names take the place of offsets. */
#ifndef ANALYZE_SITES_H
#define ANALYZE_SITES_H

#include "analyze/blame.h"
#include "analyze/estimate.h"
#include "common.h"
#include "reader/dump.h"
#include "reader/symbols.h"

enum site_by { SITE_BY_STACK, SITE_BY_FUNCTION, SITE_BY_MODULE, SITE_BY_CLASS, SITE_BY_NODE };
#define SITE_BY_NAMES "stack, function, module, class or node"

bool site_parse_by(const char *text, enum site_by *out);

enum site_verdict {
    SITE_LEAKING,
    SITE_GROWING,
    SITE_WARMING,
    SITE_STEADY,
    SITE_SHRINKING,
    SITE_NOISE,
};

const char *site_verdict_name(enum site_verdict verdict);

enum { SITE_OLD, SITE_NEW, SITE_SIDES };

/* By node: what was freed of a site's blocks by threads that ran on one. */
struct site_freed {
    uint32_t on;
    struct pile pile[SITE_SIDES];
};

/* Of what was freed: estimates of objects. */
#define SITE_LIFETIMES 65
struct site_lifetimes {
    double objects[SITE_LIFETIMES]; /* [n]: that lived 2^(n-1) to 2^n - 1 ns; [0]: none */
    double elsewhere, resized;      /* freed by other threads; by realloc */
};

struct site {
    uint64_t id;             /* names it in every run of the same binaries */
    const struct dump *dump; /* the newest that has it, */
    uint32_t stack;          /* and a stack of it there */
    uint64_t class_size;     /* by class: bytes of a block; 0: larger than the classes go */
    uint32_t node;           /* by node: the kernel's number */
    struct frame name;       /* by function and by module */
    bool by_names;           /* matched by them, if at all: the other dump has another build */

    struct pile live[SITE_SIDES];    /* all that is live in the old and in the new dump */
    struct pile changed[SITE_SIDES]; /* of these, what only the old has, and only the new */
    struct pile leaked[2];           /* in the newer dump: directly, and indirectly */
    struct site_freed *freed;        /* by node: ever, in the order of `on` */
    size_t freed_count;
    double mapped_bytes;              /* where regions are asked for: resident or not */
    struct site_lifetimes *lifetimes; /* where they are asked for; NULL: nothing was freed */

    /* What analyze/diff.c makes of it. Bytes as requested; by class, exact and as rounded. */
    double old_bytes, new_bytes, bytes, objects;
    struct interval interval; /* of bytes */
    double p_value;
    enum site_verdict verdict;
};

struct sites {
    enum site_by by;
    struct site *list;
    size_t count, capacity;
    struct modules *modules;
    struct symbols *symbols;
    const struct dump *dumps[SITE_SIDES]; /* [SITE_OLD] NULL: one dump */
    bool same_process;                    /* both dumps: stacks need no names to match */
    bool blind; /* names were needed to match sites, and some of a dump's have none */
    struct tool_index index;
    struct tool_text key; /* of the site that is looked for */
    struct tool_text keys;
    struct key_place *places;
    size_t places_capacity;
    uint32_t *of_stack[SITE_SIDES];    /* a stack's site, plus one */
    uint64_t *class_sizes[SITE_SIDES]; /* by class: in ascending order */
    size_t class_counts[SITE_SIDES];
    struct frame_list frames;
};

/* `old` may be NULL. The dumps stay open while the sites are in use. */
void sites_begin(struct sites *sites, enum site_by by, const struct dump *old,
                 const struct dump *new);
void sites_free(struct sites *sites);

/* The site of a sample or of a stack of the dump on that side, which is made where there is none.
 */
struct site *sites_of_sample(struct sites *sites, int side,
                             const struct memprof_dump_sample *sample);
struct site *sites_of_stack(struct sites *sites, int side, uint32_t stack);
/* By node: of a stack's blocks on one. */
struct site *sites_of_node(struct sites *sites, int side, uint32_t stack, uint32_t node);
struct site *sites_of_class(struct sites *sites, int side, uint64_t size);

/* A site's frames, innermost first, in a list that holds until the next call. By class: none. */
const struct frame_list *sites_frames(struct sites *sites, const struct site *site);

/* Is a site one stack (on a node, or on all)? */
bool sites_are_stacks(enum site_by by);

/* Adds what was freed, by node. */
void sites_add_frees(struct sites *sites, int side);

/* Adds what was freed, with how long it lived, by anything but class. */
void sites_add_lifetimes(struct sites *sites, int side);
/* The time that this share of them did not outlive, in nanoseconds, by the middle of its step. */
double sites_lived(const struct site_lifetimes *lifetimes, double share);

/* Whether two dumps are of one process: numbers of samples mean the same in both. */
bool sites_same_process(const struct dump *a, const struct dump *b);

#endif
