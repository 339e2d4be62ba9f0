/*
 * Freed memory goes back: 3 seconds after everything is freed, at most 10 % of the peak is still
 * resident. The program calls neither malloc_trim nor malloc nor free in those seconds: a heap
 * that purges only when it is called would keep a service's peak for the whole night.
 *
 *     goback CASE [MIB]
 *
 * MIB: of the peak, 256 unless told.
 * The cases differ in the size of the blocks, in who frees them, and in what the threads do then.
 */
#include "../threads/probe.h"

#include <pthread.h>

enum { TEAM = 8, CROWD = 64, CHAINS = 64 };

/* Bytes of a block; the state makes it random where it is. */
static size_t size_tiny(uint64_t *state) {
    (void)state;
    return 16;
}
static size_t size_fixed(uint64_t *state) {
    (void)state;
    return 64;
}
static size_t size_mixed(uint64_t *state) {
    return probe_between(state, 16, 1024);
}
static size_t size_medium(uint64_t *state) {
    return probe_between(state, 8 * PROBE_KIB, 64 * PROBE_KIB);
}
static size_t size_large(uint64_t *state) {
    return probe_between(state, 100 * PROBE_KIB, 8 * PROBE_MIB);
}
static size_t size_huge(uint64_t *state) {
    return probe_between(state, 24 * PROBE_MIB, 40 * PROBE_MIB);
}
static size_t size_all(uint64_t *state) {
    uint64_t which = probe_random(state) % 1000;
    return which < 900   ? size_mixed(state)
           : which < 996 ? size_medium(state)
                         : probe_between(state, 100 * PROBE_KIB, 2 * PROBE_MIB);
}

/* Blocks hang in many chains and each joins one by chance, so that the order of frees is no order.
 */
struct heap {
    struct probe_block *chains[CHAINS];
    size_t bytes;
};

static struct heap heaps[CROWD];
static int threads = TEAM;
static size_t (*next_size)(uint64_t *);
static pthread_barrier_t barrier;
static size_t whole = 256 * PROBE_MIB; /* allocated in all */
static size_t peak;

static void grow(struct heap *heap, size_t bytes, uint64_t seed) {
    while (heap->bytes < bytes) {
        struct probe_block *block = probe_block_new(next_size(&seed));
        probe_check(block != NULL, "malloc");
        struct probe_block **chain = &heap->chains[probe_random(&seed) % CHAINS];
        block->next = *chain;
        *chain = block;
        heap->bytes += block->size;
    }
}

/* Frees all, or a random `percent`. */
static void shrink(struct heap *heap, unsigned percent, uint64_t seed) {
    for (int i = 0; i < CHAINS; i++)
        for (struct probe_block **at = &heap->chains[i]; *at != NULL;) {
            struct probe_block *block = *at;
            if (percent >= 100 || probe_random(&seed) % 100 < percent) {
                *at = block->next;
                heap->bytes -= block->size;
                probe_block_free(block);
            } else {
                at = &block->next;
            }
        }
}

static void expect_back(void) {
    size_t now = 0;
    double start = probe_seconds(), last = 0;
    /* Looking earlier only saves time: nothing in this loop calls the heap. */
    do {
        probe_sleep_ms(50);
        last = probe_seconds() - start;
        now = probe_rss();
    } while (now > peak / 10 && last < 3.0);
    probe_check(now <= peak / 10, "%zu MiB of %zu MiB are resident %.1f s after all was freed",
                now / PROBE_MIB, peak / PROBE_MIB, last);
    printf("%zu MiB of %zu MiB after %.2f s\n", now / PROBE_MIB, peak / PROBE_MIB, last);
}

static void alone(void) {
    grow(&heaps[0], whole, 1);
    peak = probe_rss();
    shrink(&heaps[0], 100, 1);
    expect_back();
    /* And it can be had again, and goes back again. */
    grow(&heaps[0], whole / 4, 2);
    shrink(&heaps[0], 100, 2);
    expect_back();
}

/* Nine of ten go, at random: what is left pins pages, but the holes serve the next requests. */
static void reuse(void) {
    next_size = size_mixed;
    grow(&heaps[0], whole, 1);
    peak = probe_rss();
    for (uint64_t round = 0; round < 4; round++) {
        shrink(&heaps[0], 90, round);
        if (round % 2 == 1)
            probe_sleep_ms(200);
        grow(&heaps[0], whole, 10 + round);
        size_t now = probe_rss();
        /* Random survivors of one size do not fit the next sizes exactly. */
        probe_check(now <= peak + peak / 16, "%zu MiB for what took %zu MiB before",
                    now / PROBE_MIB, peak / PROBE_MIB);
    }
    shrink(&heaps[0], 100, 0);
    expect_back();
}

/* Every thread frees an eighth of what each has, so that all of them free into each page. */
static void shrink_across(int index) {
    for (int h = 0; h < threads; h++)
        for (int c = index; c < CHAINS; c += threads)
            for (struct probe_block *block; (block = heaps[h].chains[c]) != NULL;) {
                heaps[h].chains[c] = block->next;
                probe_block_free(block);
            }
}

enum who { OWN, OTHER, CROSSED, MAIN };
static enum who who_frees;
static bool threads_stay;

static void *work(void *argument) {
    int index = *(int *)argument;
    grow(&heaps[index], whole / (size_t)threads, 100 + (uint64_t)index);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* the first thread measures the peak in between */
    if (who_frees == OWN)
        shrink(&heaps[index], 100, 0);
    if (who_frees == OTHER)
        shrink(&heaps[(index + 1) % threads], 100, 0);
    if (who_frees == CROSSED)
        shrink_across(index);
    if (threads_stay) {
        pthread_barrier_wait(&barrier);
        pause(); /* alive, and never to call the heap again */
    }
    return NULL;
}

static void together(enum who who, bool stay) {
    next_size = size_all;
    who_frees = who;
    threads_stay = stay;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    pthread_t ids[CROWD];
    int indices[CROWD];
    for (int i = 0; i < threads; i++) {
        indices[i] = i;
        probe_check(pthread_create(&ids[i], NULL, work, &indices[i]) == 0, "pthread_create");
    }
    pthread_barrier_wait(&barrier);
    peak = probe_rss();
    pthread_barrier_wait(&barrier);
    if (stay)
        pthread_barrier_wait(&barrier);
    else
        for (int i = 0; i < threads; i++)
            pthread_join(ids[i], NULL);
    /* Asleep or gone, the threads that allocated do nothing more: this one frees for them. */
    if (who == MAIN)
        for (int i = 0; i < threads; i++)
            shrink(&heaps[i], 100, 0);
    expect_back();
}

/* Producers sleep from the start of the frees, and consumers that never allocated free everything.
 */
static void *consume(void *argument) {
    int index = *(int *)argument;
    shrink(&heaps[index], 100, 0);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

static void *produce(void *argument) {
    int index = *(int *)argument;
    grow(&heaps[index], whole / (size_t)threads, 100 + (uint64_t)index);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

static void consumers(void) {
    next_size = size_all;
    pthread_t ids[CROWD];
    int indices[CROWD];
    for (int side = 0; side < 2; side++) {
        pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
        for (int i = 0; i < threads; i++) {
            indices[i] = i;
            probe_check(pthread_create(&ids[i], NULL, side == 0 ? produce : consume, &indices[i]) ==
                            0,
                        "pthread_create");
        }
        pthread_barrier_wait(&barrier);
        if (side == 0)
            peak = probe_rss();
        /* Every thread has left the barrier before it is made anew. */
        pthread_barrier_destroy(&barrier);
    }
    expect_back();
}

int main(int argc, char **argv) {
    probe_begin(60);
    static const struct {
        const char *name;
        size_t (*size)(uint64_t *);
    } singles[] = {{"tiny", size_tiny},     {"fixed", size_fixed}, {"mixed", size_mixed},
                   {"medium", size_medium}, {"large", size_large}, {"huge", size_huge},
                   {"all", size_all}};
    static const struct {
        const char *name;
        enum who who;
        bool stay;
        int threads;
    } teams[] = {{"threads-own-asleep", OWN, true, TEAM},
                 {"threads-own-gone", OWN, false, TEAM},
                 {"threads-other-asleep", OTHER, true, TEAM},
                 {"threads-other-gone", OTHER, false, TEAM},
                 {"threads-crossed-asleep", CROSSED, true, TEAM},
                 {"threads-crossed-gone", CROSSED, false, TEAM},
                 {"main-asleep", MAIN, true, TEAM},
                 {"main-gone", MAIN, false, TEAM},
                 {"crowd-own-asleep", OWN, true, CROWD},
                 {"crowd-other-asleep", OTHER, true, CROWD},
                 {"crowd-crossed-asleep", CROSSED, true, CROWD},
                 {"crowd-main-asleep", MAIN, true, CROWD}};
    if (argc < 2)
        probe_fail("usage: goback CASE [MIB]");
    if (argc > 2)
        whole = (size_t)atol(argv[2]) * PROBE_MIB;
    const char *name = argv[1];
    for (size_t i = 0; i < sizeof(singles) / sizeof(*singles); i++)
        if (strcmp(name, singles[i].name) == 0) {
            next_size = singles[i].size;
            alone();
            return 0;
        }
    for (size_t i = 0; i < sizeof(teams) / sizeof(*teams); i++)
        if (strcmp(name, teams[i].name) == 0) {
            threads = teams[i].threads;
            together(teams[i].who, teams[i].stay);
            return 0;
        }
    if (strcmp(name, "consumers") == 0)
        consumers();
    else if (strcmp(name, "reuse") == 0)
        reuse();
    else
        probe_fail("no case %s", name);
    return 0;
}
