/* Passive false sharing: one thread allocates small objects side by side and deals them out in
 * turn; each thread frees what it was dealt and goes on with objects of its own, more than it was
 * dealt, which it writes often. A heap that gives a thread such a place again leaves it on a line
 * with a neighbour's object. */
#include "measure.h"

#define OBJECTS 8
#define WRITES  20
#define DEALT   2 /* objects, to each thread in each deal */
#define DEALS   14

static void *dealt[BENCH_MAX_THREADS][DEALT];
static pthread_barrier_t barrier;
static long rounds; /* in each deal */

static void use(struct worker *w) {
    volatile long *objects[OBJECTS];
    for (int i = 0; i < DEALT; i++)
        free(dealt[w->index][i]);
    for (long r = 0; r < rounds; r++) {
        for (int i = 0; i < OBJECTS; i++) {
            objects[i] = must(malloc(8));
            *objects[i] = 0;
        }
        for (int k = 0; k < WRITES; k++) {
            for (int i = 0; i < OBJECTS; i++)
                *objects[i] += k;
        }
        for (int i = 0; i < OBJECTS; i++) {
            if (*objects[i] != (long)WRITES * (WRITES - 1) / 2)
                bench_die("a counter was written over");
            free((void *)objects[i]);
        }
    }
    w->ops += DEALT + 2 * OBJECTS * rounds;
}

static void work(struct worker *w) {
    for (int d = 0; d < DEALS; d++) {
        pthread_barrier_wait(&barrier);
        use(w);
        pthread_barrier_wait(&barrier);
    }
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 2);
    rounds = bench_scaled(&bench, 100000) / bench.threads;
    pthread_barrier_init(&barrier, NULL, (unsigned)bench.threads + 1);
    bench_threads_start(&bench, work);
    for (int d = 0; d < DEALS; d++) {
        for (int i = 0; i < DEALT; i++) {
            for (int t = 0; t < bench.threads; t++) {
                dealt[t][i] = must(malloc(8));
                *(long *)dealt[t][i] = d;
            }
        }
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    long ops = bench_threads_wait(&bench) + (long)DEALS * DEALT * bench.threads;
    return bench_finish(&bench, ops);
}
