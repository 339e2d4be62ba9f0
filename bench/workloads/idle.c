/* Threads that have worked and now wait: each fills some MiB with blocks of all sizes and frees
 * them, twice, all at the same time, and stays. held_kib is at the second high tide; with --rest,
 * freed_kib is what 32 idle threads and their caches keep. */
#include "measure.h"

#define TIDES 2

static pthread_barrier_t barrier;
static size_t each; /* bytes per thread */

static void work(struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index + 1000);
    size_t room = each / 64 + 1;
    struct slot *blocks = must(malloc(room * sizeof *blocks));
    long ops = 2;
    for (int tide = 0; tide < TIDES; tide++) {
        size_t count = 0;
        for (size_t live = 0; live < each && count < room; live += blocks[count++].size)
            slot_fill(&blocks[count], rng_size(&rng, 16, 11));
        ops += 2 * (long)count;
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        while (count > 0) {
            uint32_t i = rng_below(&rng, (uint32_t)count);
            slot_drop(&blocks[i]);
            blocks[i] = blocks[--count];
        }
    }
    free(blocks);
    w->ops = ops;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 32);
    each = (size_t)bench_scaled(&bench, 3l << 20);
    pthread_barrier_init(&barrier, NULL, (unsigned)bench.threads + 1);
    bench_threads_start(&bench, work);
    for (int tide = 0; tide < TIDES; tide++) {
        pthread_barrier_wait(&barrier);
        if (tide == TIDES - 1)
            bench_hold(&bench);
        pthread_barrier_wait(&barrier);
    }
    long ops = bench_threads_wait(&bench);
    return bench_finish(&bench, ops);
}
