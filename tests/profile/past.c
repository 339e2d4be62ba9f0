/* What is no more: a heap that has been higher than it is, blocks of known lifetimes, blocks that
 * others free, blocks that were resized. For test-past, which knows the figures. Each function
 * stands for one stack. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <memprof/memprof.h>

enum { BLOCKS = 2000, SIZE = 1000, ROUNDS = 300, CHAINS = 10, THREADS = 4 };
#define SITE __attribute__((noinline))

static char *blocks[BLOCKS];

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void *kept(void *block) {
    if (!block)
        abort();
    memset(block, 1, 16);
    return block;
}

/* 2 MB, at the highest. */
SITE static void hold_much(int from, int to) {
    for (int i = from; i < to; i++)
        blocks[i] = kept(malloc(SIZE));
}

/* 500 kB then, and still. */
SITE static void *hold_on(void) {
    return kept(malloc(500000));
}

/* Only after that: 1 MB. */
SITE static void *come_late(void) {
    return kept(malloc(1000000));
}

static void free_blocks(int from, int to) {
    for (int i = from; i < to; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
}

SITE static void use_briefly(void) {
    for (int i = 0; i < ROUNDS; i++) {
        char *block = kept(malloc(64));
        free(block);
    }
}

SITE static char *take_for_a_while(void) {
    return kept(malloc(200));
}

static void use_for_a_while(void) {
    char *list[100];
    for (int i = 0; i < 100; i++)
        list[i] = take_for_a_while();
    sleep_ms(300);
    for (int i = 0; i < 100; i++)
        free(list[i]);
}

SITE static void make_for_others(void) {
    for (int i = 0; i < ROUNDS; i++)
        blocks[i] = kept(malloc(300));
}

static void *free_half(void *unused) {
    (void)unused;
    free_blocks(0, ROUNDS / 2);
    return NULL;
}

SITE static void grow(void) {
    for (int i = 0; i < CHAINS; i++) {
        char *block = kept(malloc(100));
        for (size_t size = 1000; size <= 100000; size *= 10)
            block = kept(realloc(block, size));
        blocks[i] = block;
    }
}

static pthread_barrier_t barrier;

/* All of them together are the highest. */
SITE static char *hold_in_thread(void) {
    return kept(malloc(20000));
}

static void *hold_and_free(void *unused) {
    char *list[100];
    (void)unused;
    for (int i = 0; i < 100; i++)
        list[i] = hold_in_thread();
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 100; i++)
        free(list[i]);
    return NULL;
}

static void dump(const char *path) {
    if (!memprof_dump || memprof_dump(path) != 0) {
        fprintf(stderr, "no dump\n");
        abort();
    }
}

int main(void) {
    pthread_t threads[THREADS];
    hold_much(0, BLOCKS / 2);
    char *on = hold_on();
    hold_much(BLOCKS / 2, BLOCKS);
    free_blocks(0, BLOCKS);
    char *late = come_late();
    dump("first.heap");

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, hold_and_free, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    dump("second.heap");

    use_briefly();
    use_for_a_while();
    make_for_others();
    pthread_create(&threads[0], NULL, free_half, NULL);
    pthread_join(threads[0], NULL);
    free_blocks(ROUNDS / 2, ROUNDS);
    grow();
    dump("third.heap");
    free_blocks(0, CHAINS);
    free(on);
    free(late);
    return 0;
}
