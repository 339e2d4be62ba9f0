/* A program whose heap goes up and down, for test-watch: a working set of some 50 MiB in blocks of
 * all sizes, whose level swings by some MiB and hangs together from one second to the next; on top
 * of it a leak of 64 KiB a second, a cache that fills to 20 MiB, or nothing.
 *
 *     swing leak|warm|flat SECONDS SEED */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TICKS = 50, /* a second */
    SLOTS = 200000,
    LEVEL = 50 << 20,
    SWING = 3 << 19, /* standard deviation */
    CACHE = 20 << 20,
    LEAK = 65536, /* a second */
    BLOCK = 400,
};
#define LASTS 1.0 /* seconds for which the level is alike */
#define FILLS 6.0 /* of the cache, exponentially */

static struct {
    void *at;
    size_t size;
} slots[SLOTS];
static size_t used, held, seed;

static double uniform(void) {
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void) {
    return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

static void *allocate(size_t size) {
    char *block = malloc(size);
    if (!block)
        abort();
    memset(block, 1, size);
    return block;
}

static void add(void) {
    size_t size = (size_t)(16 * exp(uniform() * log(1024)));
    if (used == SLOTS)
        return;
    slots[used].at = allocate(size);
    slots[used++].size = size;
    held += size;
}

static void drop(void) {
    size_t i = (size_t)(uniform() * (double)used);
    held -= slots[i].size;
    free(slots[i].at);
    slots[i] = slots[--used];
}

/* Up to the level, or down to it, and some blocks anew. */
static void work(double level) {
    for (int i = 0; i < 200 && used > 0; i++)
        drop();
    while (held > level && used > 0)
        drop();
    while (held < level && used < SLOTS)
        add();
}

/* What is kept for good: a list, so that only its owner knows whether it is lost. */
static void *kept;
static void keep(size_t *bytes, double until) {
    while ((double)*bytes < until) {
        void **block = allocate(BLOCK);
        *block = kept;
        kept = block;
        *bytes += BLOCK;
    }
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    const double seconds = atof(argv[2]), step = 1.0 / TICKS, stays = exp(-step / LASTS);
    const struct timespec pause = {0, 1000000000 / TICKS};
    struct timespec began, now;
    double swing = 0;
    size_t bytes = 0;
    seed = (size_t)atoi(argv[3]);
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (double time = 0; time < seconds;) {
        swing = stays * swing + sqrt(1 - stays * stays) * normal();
        work(LEVEL + SWING * swing);
        if (strcmp(argv[1], "leak") == 0)
            keep(&bytes, LEAK * time);
        else if (strcmp(argv[1], "warm") == 0)
            keep(&bytes, CACHE * (1 - exp(-time / FILLS)));
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        time = (double)(now.tv_sec - began.tv_sec) + (double)(now.tv_nsec - began.tv_nsec) / 1e9;
    }
    return 0;
}
