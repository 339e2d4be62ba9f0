/*
 * Stacks that are known: three functions, one for each way to allocate, on the main thread and on
 * another; and a recursion of 10,000.
 *
 *     chain DEPTH     what the option depth says
 */
#include "record.h"

enum way {
    MALLOC,
    CALLOC,
    REALLOC,
    GROW,
    SHRINK,
    MEMALIGN,
    ALIGNED,
    POSIX,
    LARGE,
    HUGE_ONE,
    NEW_BLOCK_AFTER_FREE,
    WAYS
};

static const char *const names[] = {
    "malloc",
    "calloc",
    "realloc of NULL",
    "realloc that grows",
    "realloc that shrinks",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "a block of 300 KB",
    "a block of 5 MB",
    "malloc after free",
};

static void *kept[2 * WAYS][R_KEEP], *deep[R_KEEP];
static const void *callers[3];
static unsigned depth;

static size_t size_of(unsigned way) {
    unsigned kind = way % WAYS;
    return (kind == LARGE ? 300000 : kind == HUGE_ONE ? 5000000 : 1000) + way;
}

static int count_of(unsigned way) {
    return way % WAYS == HUGE_ONE ? 3 : R_KEEP;
}

/* One call site for each way: SIZE is met at no other. */
SHOWN void innermost(unsigned way) {
    size_t size = size_of(way);
    callers[0] = CALLER;
    for (int i = 0; i < count_of(way); i++) {
        void *block = NULL;
        switch (way % WAYS) {
        case CALLOC:
            block = calloc(1, size);
            break;
        case REALLOC:
            block = realloc(NULL, size);
            break;
        case GROW:
            block = realloc(malloc(40), size);
            break;
        case SHRINK:
            block = realloc(malloc(60000), size);
            break;
        case MEMALIGN:
            block = memalign(64, size);
            break;
        case ALIGNED:
            block = aligned_alloc(4096, size);
            break;
        case POSIX:
            if (posix_memalign(&block, 128, size) != 0)
                block = NULL;
            break;
        case NEW_BLOCK_AFTER_FREE:
            free(malloc(size));
            block = malloc(size);
            break;
        default:
            block = malloc(size);
        }
        kept[way][i] = block;
    }
}

SHOWN void middle(unsigned way) {
    callers[1] = CALLER;
    innermost(way);
}

SHOWN void outermost(unsigned way) {
    callers[2] = CALLER;
    middle(way);
}

/* On another thread everything ends with libc's start of it. */
static void all_ways(unsigned first) {
    for (unsigned i = 0; i < WAYS; i++) {
        unsigned way = first + i;
        char name[100];
        outermost(way);
        snprintf(name, sizeof(name), "%s%s: the frames of the call, and up to the stack's end",
                 names[i], first ? " on a thread" : "");
        r_expect("chain.heap", name, "cfi", size_of(way), count_of(way), "whole");
        r_in((void *)innermost);
        for (int c = 0; c < 3; c++)
            r_at(callers[c]);
        r_done("*");
        /* The others may see less of libc's own frames. */
        r_expect("chain.heap", name, "fp,libunwind", size_of(way), count_of(way), "any");
        r_in((void *)innermost);
        for (int c = 0; c < 3; c++)
            r_at(callers[c]);
        r_done("*");
    }
}

static void *on_thread(void *unused) {
    all_ways(WAYS);
    return unused;
}

/* The recursion: 10,000 levels by one call instruction, and allocate_deep by another. */
#define LEVELS 10000

static const void *to_down, *half_way, *to_allocate_deep;

SHOWN void down(unsigned levels, void (*last)(void)) {
    volatile char room[16] = {0};
    if (levels == 0) {
        to_down = CALLER;
        last();
    } else {
        if (levels == LEVELS / 2)
            half_way = CALLER;
        down(levels - 1, last);
    }
    room[0] = room[1];
}

SHOWN void allocate_deep(void) {
    to_allocate_deep = CALLER;
    for (int i = 0; i < R_KEEP; i++)
        deep[i] = malloc(1777);
}

static void deep_recursion(void) {
    down(LEVELS, allocate_deep);
    CHECK(to_down == half_way, "the recursion is not the same at each level");
    r_expect("chain.heap", "of 10,000 frames the innermost are kept, and it is marked as cut",
             "cfi,fp,libunwind", 1777, R_KEEP, "cut");
    r_in((void *)allocate_deep);
    r_at(to_allocate_deep);
    r_at(to_down);
    r_times(depth - 2);
    r_done("");
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(60);
    if (argc != 2)
        return 2;
    depth = (unsigned)atoi(argv[1]);
    all_ways(0);
    t_in_thread(on_thread, NULL);
    RUN("a recursion of 10,000 ends", deep_recursion);
    r_dump("chain.heap");
    return t_done();
}
