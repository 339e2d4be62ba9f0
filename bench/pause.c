/* What a dump costs the process, as its threads see it: threads allocate, free and look at the
 * clock after each pair, beside a heap of some size, while dumps are written. Prints, as medians
 * over the dumps: the worst gap of any thread in the second around a dump, the same in a second
 * without one, how long the dump took until its file was there, and the file's size.
 *
 *     pause MIB THREADS DUMPS FILE */
#include <memprof/memprof.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static _Atomic(int) ended;
static _Atomic(uint64_t) worst; /* ns, since it was last taken */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *serve(void *seed) {
    uint64_t state = (uintptr_t)seed, last = now_ns();
    while (!ended) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        char *block = malloc(16 + (state >> 40) % 2000);
        block[0] = 1;
        free(block);
        uint64_t now = now_ns(), gap = now - last, seen = worst;
        while (gap > seen && !atomic_compare_exchange_weak(&worst, &seen, gap)) {
        }
        last = now;
        if (state >> 56 == 0) { /* not all the time, as services do not */
            usleep(1000);
            last = now_ns();
        }
    }
    return NULL;
}

/* `bytes` in blocks of the sizes that programs have most, all touched. */
static void fill(size_t bytes) {
    uint64_t state = 1;
    for (size_t done = 0; done < bytes;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t size = 32 + (state >> 40) % 1000;
        void **block = malloc(size);
        memset(block, 1, size);
        static void *last;
        *block = last;
        last = block;
        done += size;
    }
}

static int compare(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median_ms(uint64_t *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return (double)values[count / 2] / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 5 || !memprof_dump)
        return fprintf(stderr, "usage: under memprof: pause MIB THREADS DUMPS FILE\n"), 2;
    int threads = atoi(argv[2]), dumps = atoi(argv[3]);
    uint64_t with[100], without[100], took[100];
    if (threads < 1 || dumps < 1 || dumps > 100)
        return 2;
    fill((size_t)atoi(argv[1]) << 20);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)(uintptr_t)(i + 1));
    }
    for (int i = 0; i < dumps; i++) {
        worst = 0;
        usleep(1000000);
        without[i] = atomic_exchange(&worst, 0);
        usleep(200000);
        worst = 0;
        uint64_t start = now_ns();
        if (memprof_dump(argv[4]) != 0)
            return perror(argv[4]), 1;
        took[i] = now_ns() - start;
        if (took[i] < 1000000000)
            usleep((useconds_t)((1000000000 - took[i]) / 1000));
        with[i] = atomic_exchange(&worst, 0);
    }
    ended = 1;
    struct stat info;
    stat(argv[4], &info);
    printf("%s %.2f %.2f %.1f %lld\n", argv[1], median_ms(with, dumps), median_ms(without, dumps),
           median_ms(took, dumps), (long long)info.st_size);
    return 0;
}
