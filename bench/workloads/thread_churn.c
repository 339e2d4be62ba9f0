/* Threads that come and go: each allocates a few hundred blocks, frees most, and leaves the rest to
 * the main thread, which frees them once the thread is gone. A few are alive at a time. */
#include "measure.h"

#define BLOCKS 400
#define LEFT   40 /* of them, freed after the thread's end */

struct visitor {
    pthread_t thread;
    uint64_t number;
    struct slot left[LEFT];
};

static void *visit(void *arg) {
    struct visitor *v = arg;
    struct rng rng = rng_make(v->number);
    struct slot blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        slot_fill(&blocks[i], rng_size(&rng, 16, 9));
    for (int i = 0; i < BLOCKS; i++) {
        if (i % (BLOCKS / LEFT) == 0)
            v->left[i / (BLOCKS / LEFT)] = blocks[i];
        else
            slot_drop(&blocks[i]);
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 4);
    static struct visitor visitors[BENCH_MAX_THREADS];
    long ops = 0, rounds = bench_scaled(&bench, 7000) / bench.threads;
    for (long r = 0; r <= rounds; r++) {
        for (int i = 0; i < bench.threads; i++) {
            visitors[i].number = (uint64_t)(r * bench.threads + i);
            if (pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]) != 0)
                bench_die("pthread_create failed");
        }
        for (int i = 0; i < bench.threads; i++)
            pthread_join(visitors[i].thread, NULL);
        for (int i = 0; i < bench.threads; i++) {
            for (int k = 0; k < LEFT; k++)
                slot_drop(&visitors[i].left[k]);
            ops += 2 * BLOCKS;
        }
    }
    return bench_finish(&bench, ops);
}
