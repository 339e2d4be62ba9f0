/*
 * Threads that end while others free into them. Each thread of a ring makes blocks of every kind,
 * hands them to its neighbour and ends at once; the neighbour frees them while their maker is
 * ending, and after. What the dead left must be usable by the living: the heap does not grow from
 * generation to generation.
 *
 *     exitfree [GENERATIONS]
 */
#include "probe.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RING = 8, HELD = 220 };

struct box {
    _Atomic(struct probe_block *) list;
};

static struct box boxes[2][RING];

struct seat {
    int index, generation;
};

static void put(struct box *box, struct probe_block *block) {
    block->next = atomic_load_explicit(&box->list, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&box->list, &block->next, block,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

static size_t empty(struct box *box) {
    struct probe_block *block = atomic_exchange_explicit(&box->list, NULL, memory_order_acquire);
    size_t freed = 0;
    while (block != NULL) {
        struct probe_block *next = block->next;
        probe_block_free(block);
        block = next;
        freed++;
    }
    return freed;
}

/*
 * A thread frees what the generation before it left, while that one's threads are ending, then
 * what its own generation passes to it, and leaves a part of its own work to the next.
 */
static void *live(void *argument) {
    struct seat seat = *(struct seat *)argument;
    struct box *now = boxes[seat.generation % 2], *then = boxes[(seat.generation + 1) % 2];
    uint64_t state = (uint64_t)seat.generation * RING + (uint64_t)seat.index;
    for (int i = 0; i < HELD; i++) {
        enum probe_kind kind = i % 64 == 63   ? PROBE_LARGE
                               : i % 16 == 15 ? PROBE_MEDIUM
                                              : PROBE_SMALL;
        struct probe_block *block = probe_block_new(probe_kind_size(kind, &state));
        probe_check(block != NULL, "malloc");
        put(&now[(seat.index + 1 + i) % RING], block);
        if (i % 8 == 0)
            empty(&then[(seat.index + i / 8) % RING]);
        if (i % 32 == 0)
            empty(&now[seat.index]);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int generations = argc > 1 ? atoi(argv[1]) : 200;
    probe_begin(30 + (unsigned)generations / 10);
    static struct seat seats[2][RING];
    pthread_t ids[2][RING];
    size_t early = 0;
    for (int g = 0; g < generations; g++) {
        for (int i = 0; i < RING; i++) {
            seats[g % 2][i] = (struct seat){i, g};
            probe_check(pthread_create(&ids[g % 2][i], NULL, live, &seats[g % 2][i]) == 0,
                        "pthread_create");
        }
        /* Two generations overlap: the older one ends while the younger frees into it. */
        for (int i = 0; g > 0 && i < RING; i++)
            pthread_join(ids[(g - 1) % 2][i], NULL);
        if (g == generations / 4)
            early = probe_rss();
    }
    for (int i = 0; i < RING; i++)
        pthread_join(ids[(generations - 1) % 2][i], NULL);
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < RING; i++)
            empty(&boxes[g][i]);
    size_t late = probe_rss();
    probe_check(late <= early + early / 2 + 16 * PROBE_MIB,
                "%zu MiB at the end, %zu MiB after a quarter", late / PROBE_MIB, early / PROBE_MIB);
    printf("%zu MiB, then %zu MiB\n", early / PROBE_MIB, late / PROBE_MIB);
    return 0;
}
