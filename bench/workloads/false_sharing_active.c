/* Active false sharing: each thread allocates small objects of its own, writes them often, and
 * frees them. A heap that deals neighbouring objects to different threads makes them fight for
 * lines. */
#include "measure.h"

#define OBJECTS 8
#define WRITES  20

static long rounds;

static void work(struct worker *w) {
    volatile long *objects[OBJECTS];
    for (long r = 0; r < rounds; r++) {
        for (int i = 0; i < OBJECTS; i++) {
            objects[i] = must(malloc(8u + 8u * ((unsigned)i % 4)));
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
    w->ops = 2 * OBJECTS * rounds;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 2);
    rounds = bench_scaled(&bench, 2000000) / bench.threads;
    bench_threads_start(&bench, work);
    long ops = bench_threads_wait(&bench);
    return bench_finish(&bench, ops);
}
