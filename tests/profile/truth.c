/* Allocations whose truth is known, for test-truth: SET DUMP. Every way to come by a block and to
 * lose it, from 1 byte to 64 MiB, each a site of its own (site.h). A set is made for a rate at
 * which each of its sites has some hundred samples in the end: small 8k, busy auto, large 1m, huge
 * 32m.
 *
 * Threads run one at a time, so that a seed gives the same samples in every run. Nothing is written
 * into the blocks: what the program does not use is not resident. */
#include "site.h"

#include <malloc.h>
#include <string.h>
#include <unistd.h>

#define MOST 70000

static struct block blocks[MOST];
static size_t block_count;

static struct block *next_block(void) {
    if (block_count == MOST)
        site_die("too many blocks");
    return &blocks[block_count++];
}

/* ---- small: up to 64 KiB ---- */

SITE(fixed);
IN_SITE(fixed) static void run_fixed(void) {
    struct block block;
    for (unsigned i = 0; i < 48000; i++)
        site_came(&fixed, &block, malloc(96), 96);
}

SITE(tiny);
IN_SITE(tiny) static void run_tiny(void) {
    struct block block;
    for (unsigned i = 0; i < 300000; i++) {
        size_t size = site_between(1, 16);
        site_came(&tiny, &block, malloc(size), size);
    }
}

SITE(mixed);
IN_SITE(mixed) static void run_mixed(void) {
    struct block block;
    for (unsigned i = 0; i < 10000; i++) {
        size_t size = site_between(1, 1024);
        site_came(&mixed, &block, malloc(size), size);
    }
}

SITE(middle);
IN_SITE(middle) static void run_middle(void) {
    struct block block;
    for (unsigned i = 0; i < 1200; i++) {
        size_t size = site_scaled(KIB, 6);
        site_came(&middle, &block, malloc(size), size);
    }
}

SITE(zeroed);
IN_SITE(zeroed) static void run_zeroed(void) {
    struct block block;
    for (unsigned i = 0; i < 5000; i++) {
        size_t count = site_between(1, 100), size = site_between(1, 40);
        site_came(&zeroed, &block, calloc(count, size), count * size);
    }
}

/* From a few bytes in four steps to some KiB: through small classes into medium ones. Some go on to
 * be large. */
SITE(grown);
IN_SITE(grown) static void run_grown(void) {
    struct block block;
    for (unsigned i = 0; i < 900; i++) {
        size_t size = site_between(1, 60);
        site_came(&grown, &block, realloc(NULL, size), size);
        for (unsigned step = 0; step < 4; step++) {
            size = site_between(2 * size, 4 * size + 100);
            site_resize(&block, size);
        }
        if (i % 50 == 0)
            site_resize(&block, site_between(66 * KIB, 140 * KIB));
    }
}

/* To between a tenth and all of it, so half of them in their place; twice. */
SITE(shrunk);
IN_SITE(shrunk) static void run_shrunk(void) {
    struct block block;
    for (unsigned i = 0; i < 1500; i++) {
        size_t size = site_scaled(2 * KIB, 4);
        site_came(&shrunk, &block, malloc(size), size);
        for (unsigned step = 0; step < 2; step++) {
            size = site_between(size / 10, size);
            site_resize(&block, size);
        }
    }
}

SITE(aligned);
IN_SITE(aligned) static void run_aligned(void) {
    struct block block;
    for (unsigned i = 0; i < 3000; i++) {
        size_t align = (size_t)16 << site_between(0, 8), size = site_between(1, 3000);
        site_came(&aligned, &block, memalign(align, size), size);
    }
}

/* 400 threads, one after the other, with a few blocks each. */
SITE(brief);
IN_SITE(brief) static void *brief_thread(void *unused) {
    struct block block;
    for (unsigned i = 0; i < 6; i++) {
        size_t size = site_between(1000, 3000);
        site_came(&brief, &block, malloc(size), size);
    }
    return unused;
}

static void run_brief(void) {
    for (unsigned i = 0; i < 400; i++)
        site_in_thread(brief_thread, NULL);
}

/* Every third of what one thread allocates is freed by a second and one more by a third. */
SITE(elsewhere);
IN_SITE(elsewhere) static void *elsewhere_allocates(void *unused) {
    for (unsigned i = 0; i < 6000; i++) {
        size_t size = i % 60 ? site_between(1, 2000) : site_between(9000, 60000);
        site_came(&elsewhere, next_block(), malloc(size), size);
    }
    return unused;
}

static void *elsewhere_frees(void *argument) {
    const size_t *first = argument;
    for (size_t i = *first; i < block_count; i += 3)
        site_free(&blocks[i]);
    return NULL;
}

static void run_elsewhere(void) {
    size_t first = block_count;
    site_in_thread(elsewhere_allocates, NULL);
    site_in_thread(elsewhere_frees, &first);
    first++;
    site_in_thread(elsewhere_frees, &first);
}

/* First in, first out, 4,000 live; what it has allocated is five times as much in the end. */
SITE(churn);
IN_SITE(churn) static void run_churn(void) {
    struct block *queue = &blocks[block_count];
    for (unsigned i = 0; i < 20000; i++) {
        struct block *block = i < 4000 ? next_block() : &queue[i % 4000];
        size_t size = site_between(100, 2000);
        if (i >= 4000)
            site_free(block);
        site_came(&churn, block, malloc(size), size);
    }
}

/* ---- busy: so much at once that rate=auto grows coarser, and finer again in between ---- */

SITE(rush);
IN_SITE(rush) static void run_rush(void) {
    struct block block;
    for (unsigned burst = 0; burst < 3; burst++) {
        usleep(20000);
        for (unsigned i = 0; i < 30000; i++) {
            size_t size = site_between(KIB, 3 * KIB);
            site_came(&rush, &block, malloc(size), size);
            if (i % 2)
                site_free(&block);
        }
    }
}

SITE(rush_large); /* a block of its own by its alignment, though of a size that has a class */
IN_SITE(rush_large) static void run_rush_large(void) {
    struct block block, other;
    for (unsigned i = 0; i < 60000; i++) {
        site_came(&rush_large, &other, malloc(2 * KIB), 2 * KIB);
        site_free(&other);
        if (i % 10 == 0)
            site_came(&rush_large, &block, aligned_alloc(128 * KIB, 4 * KIB), 4 * KIB);
    }
}

SITE(after_rush); /* of the classes that were in demand, and of one that was not */
IN_SITE(after_rush) static void run_after_rush(void) {
    struct block block;
    usleep(40000);
    for (unsigned i = 0; i < 20000; i++) {
        size_t size = i % 2 ? 2 * KIB : 6 * KIB;
        site_came(&after_rush, &block, malloc(size), size);
    }
}

/* ---- large: 64 KiB to 8 MiB ---- */

SITE(large);
IN_SITE(large) static void run_large(void) {
    struct block block;
    for (unsigned i = 0; i < 400; i++) {
        size_t size = site_scaled(64 * KIB + 1, 7);
        site_came(&large, &block, malloc(size), size);
    }
}

SITE(large_mixed); /* calloc, memalign and half of it freed */
IN_SITE(large_mixed) static void run_large_mixed(void) {
    struct block *first = &blocks[block_count];
    for (unsigned i = 0; i < 600; i++) {
        size_t size = site_scaled(70 * KIB, 4);
        void *at = i % 2 ? calloc(1, size) : memalign((size_t)4096 << i % 8, size);
        site_came(&large_mixed, next_block(), at, size);
    }
    for (unsigned i = 0; i < 600; i += 2)
        site_free(&first[i]);
}

/* In its place, or moved by copying or by its pages. */
SITE(large_grown);
IN_SITE(large_grown) static void run_large_grown(void) {
    struct block block;
    for (unsigned i = 0; i < 250; i++) {
        site_came(&large_grown, &block, malloc(70 * KIB), 70 * KIB);
        site_resize(&block, site_between(80 * KIB, 300 * KIB));
        site_resize(&block, site_between(300 * KIB, 600 * KIB));
        site_resize(&block, site_between(300 * KIB, 1600 * KIB));
    }
}

SITE(large_shrunk);
IN_SITE(large_shrunk) static void run_large_shrunk(void) {
    struct block block;
    for (unsigned i = 0; i < 300; i++) {
        site_came(&large_shrunk, &block, malloc(3 * MIB), 3 * MIB);
        site_resize(&block, site_between(400 * KIB, 2 * MIB));
        site_resize(&block, site_between(100 * KIB, 400 * KIB));
        if (i % 2)
            site_resize(&block, site_between(100 * KIB, 600 * KIB));
    }
}

/* Threads whose first and only block is large: they never have lists, or draws, of their own. */
SITE(large_brief);
IN_SITE(large_brief) static void *large_brief_thread(void *unused) {
    struct block block;
    size_t size = site_between(200 * KIB, 800 * KIB);
    site_came(&large_brief, &block, malloc(size), size);
    return unused;
}

static void run_large_brief(void) {
    for (unsigned i = 0; i < 300; i++)
        site_in_thread(large_brief_thread, NULL);
}

/* ---- huge: above 32 MiB, a mapping each ---- */

SITE(huge);
IN_SITE(huge) static void run_huge(void) {
    struct block block;
    for (unsigned i = 0; i < 60; i++) {
        size_t size = site_between(33 * MIB, 40 * MIB);
        site_came(&huge, &block, malloc(size), size);
    }
}

SITE(huge_grown);
IN_SITE(huge_grown) static void run_huge_grown(void) {
    struct block block;
    for (unsigned i = 0; i < 60; i++) {
        site_came(&huge_grown, &block, malloc(MIB), MIB);
        site_resize(&block, site_between(4 * MIB, 20 * MIB));
        site_resize(&block, site_between(33 * MIB, 36 * MIB));
        if (i % 2)
            site_resize(&block, site_between(36 * MIB, 48 * MIB));
    }
}

SITE(huge_shrunk);
IN_SITE(huge_shrunk) static void run_huge_shrunk(void) {
    struct block block;
    for (unsigned i = 0; i < 110; i++) {
        site_came(&huge_shrunk, &block, malloc(50 * MIB), 50 * MIB);
        site_resize(&block, site_between(33 * MIB, 40 * MIB));
        site_resize(&block, site_between(8 * MIB, 24 * MIB));
    }
}

/* ---- sets ---- */

static const struct {
    const char *set;
    struct site *site;
    void (*run)(void);
} runs[] = {
    {"small", &fixed, run_fixed},
    {"small", &tiny, run_tiny},
    {"small", &mixed, run_mixed},
    {"small", &middle, run_middle},
    {"small", &zeroed, run_zeroed},
    {"small", &grown, run_grown},
    {"small", &shrunk, run_shrunk},
    {"small", &aligned, run_aligned},
    {"small", &brief, run_brief},
    {"small", &elsewhere, run_elsewhere},
    {"small", &churn, run_churn},
    {"busy", &rush, run_rush},
    {"busy", &rush_large, run_rush_large},
    {"busy", &after_rush, run_after_rush},
    {"large", &large, run_large},
    {"large", &large_mixed, run_large_mixed},
    {"large", &large_grown, run_large_grown},
    {"large", &large_shrunk, run_large_shrunk},
    {"large", &large_brief, run_large_brief},
    {"huge", &huge, run_huge},
    {"huge", &huge_grown, run_huge_grown},
    {"huge", &huge_shrunk, run_huge_shrunk},
};

int main(int argc, char **argv) {
    if (argc != 3)
        site_die("usage: truth small|busy|large|huge DUMP");
    for (size_t i = 0; i < COUNT(runs); i++) {
        if (strcmp(runs[i].set, argv[1]) == 0)
            runs[i].run();
    }
    site_dump(argv[2]);
    for (size_t i = 0; i < COUNT(runs); i++) {
        if (strcmp(runs[i].set, argv[1]) == 0)
            site_print(stdout, runs[i].site);
    }
    return 0;
}
