/* What a search for leaks costs, on a heap of small linked blocks that are all reachable, with many
 * threads: for how long these stand still, and how fast the copy goes through the heap. Under
 * memprof it asks by memprof_leaks; built with LeakSanitizer it measures that one's check, in which
 * threads are stopped from its begin to its end.
 *
 *     leaks graph|list MIB THREADS CHECKS
 *
 * graph: each block points to three others, at random, and to one that it hangs from in a tree;
 * list: each to the next, in the order of a shuffle. One line for each check: microseconds that
 * threads stood still, microseconds of the search, and how many blocks were reachable. */
#include <memprof/lsan.h>
#include <memprof/memprof.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 64u

struct block {
    struct block *child, *sibling, *links[3];
    uint64_t words[3];
};

_Static_assert(sizeof(struct block) == BLOCK, "a block of a class");

struct block *volatile root; /* nobody reads it but the search */

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct block **make_blocks(size_t count) {
    struct block **blocks = malloc(count * sizeof *blocks);
    if (!blocks)
        abort();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = calloc(1, sizeof **blocks);
        if (!blocks[i])
            abort();
    }
    for (size_t i = count; i-- > 1;) {
        size_t other = random_below(i + 1);
        struct block *swapped = blocks[i];
        blocks[i] = blocks[other];
        blocks[other] = swapped;
    }
    return blocks;
}

static void link_graph(struct block **blocks, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct block *parent = blocks[random_below(i)];
        blocks[i]->sibling = parent->child;
        parent->child = blocks[i];
    }
    for (size_t i = 0; i < count; i++) {
        for (int link = 0; link < 3; link++)
            blocks[i]->links[link] = blocks[random_below(count)];
    }
}

static void link_list(struct block **blocks, size_t count) {
    for (size_t i = 0; i + 1 < count; i++)
        blocks[i]->child = blocks[i + 1];
}

/* Threads as servers have them: they wait, and now and then do a little. */
static void *serve(void *unused) {
    for (;;) {
        free(malloc(100));
        usleep(20000);
    }
    return unused;
}

static void check(void) {
    struct memprof_leaks leaks;
    if (memprof_leaks) {
        if (memprof_leaks(&leaks) != 0) {
            perror("memprof_leaks");
            exit(1);
        }
        printf("%llu %llu %llu\n", (unsigned long long)leaks.pause_ns / 1000,
               (unsigned long long)leaks.scan_ns / 1000,
               (unsigned long long)leaks.reachable_objects);
    } else if (__lsan_do_recoverable_leak_check) {
        uint64_t began = now_us();
        int found = __lsan_do_recoverable_leak_check();
        uint64_t took = now_us() - began;
        printf("%llu %llu %d\n", (unsigned long long)took, (unsigned long long)took, -found);
    } else {
        fputs("leaks: nobody is there to ask\n", stderr);
        exit(1);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fputs("usage: leaks graph|list MIB THREADS CHECKS\n", stderr);
        return 2;
    }
    size_t count = strtoul(argv[2], NULL, 10) * 1048576 / BLOCK;
    struct block **blocks = make_blocks(count);
    if (strcmp(argv[1], "graph") == 0)
        link_graph(blocks, count);
    else
        link_list(blocks, count);
    root = blocks[0];
    free(blocks);
    for (long threads = atol(argv[3]); threads > 0; threads--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            return 1;
    }
    usleep(100000);
    for (long checks = atol(argv[4]); checks > 0; checks--)
        check();
    return 0;
}
