/* For bench/heaptrack.py: allocates from many different stacks, as a program of some size does.
 *
 *     tracked live N        builds N live blocks, replaces half of them, and frees all
 *     tracked threads K N   K threads, each of which has N blocks come and go, 1000 live at a time
 *
 * A block comes from one of 4^DEPTH call paths, chosen by a fixed series of numbers. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 5
#define CALL  __attribute__((noinline))

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void *walk(uint64_t path, unsigned depth, size_t size);

/* Four functions, so that each level has four return addresses. */
#define STEP(name)                                                                                 \
    static CALL void *name(uint64_t path, unsigned depth, size_t size) {                           \
        void *got = depth ? walk(path >> 2, depth - 1, size) : malloc(size);                       \
        __asm__ volatile("" : : "r"(got) : "memory"); /* no tail call */                           \
        return got;                                                                                \
    }
STEP(read_request)
STEP(parse_field)
STEP(store_entry)
STEP(index_word)

static CALL void *walk(uint64_t path, unsigned depth, size_t size) {
    switch (path & 3) {
    case 0:
        return read_request(path, depth, size);
    case 1:
        return parse_field(path, depth, size);
    case 2:
        return store_entry(path, depth, size);
    default:
        return index_word(path, depth, size);
    }
}

static char *allocate(uint64_t *state) {
    uint64_t random = next(state);
    size_t size = 16 + random % 240;
    char *block = walk(random >> 8, DEPTH, size);
    if (!block)
        abort();
    memset(block, 1, size < 32 ? size : 32);
    return block;
}

static void live(size_t count) {
    uint64_t state = 1;
    char **blocks = malloc(count * sizeof *blocks);
    for (size_t i = 0; i < count; i++)
        blocks[i] = allocate(&state);
    for (size_t i = 0; i < count / 2; i++) {
        size_t which = next(&state) % count;
        free(blocks[which]);
        blocks[which] = allocate(&state);
    }
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    free(blocks);
}

static size_t per_thread;

static void *churn(void *number) {
    enum { LIVE = 1000 };
    char *blocks[LIVE] = {0};
    uint64_t state = (uintptr_t)number;
    for (size_t i = 0; i < per_thread; i++) {
        free(blocks[i % LIVE]);
        blocks[i % LIVE] = allocate(&state);
    }
    for (size_t i = 0; i < LIVE; i++)
        free(blocks[i]);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "live") == 0) {
        live(strtoul(argv[2], NULL, 10));
    } else if (argc == 4 && strcmp(argv[1], "threads") == 0) {
        enum { MOST = 64 };
        pthread_t threads[MOST];
        unsigned long count = strtoul(argv[2], NULL, 10);
        per_thread = strtoul(argv[3], NULL, 10);
        for (unsigned long i = 0; i < count && i < MOST; i++)
            pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1));
        for (unsigned long i = 0; i < count && i < MOST; i++)
            pthread_join(threads[i], NULL);
    } else {
        return 2;
    }
    return 0;
}
