/* What all workloads share: the command line, the random numbers, blocks that are written and
 * checked, threads that stay alive until the end, and the one line of figures:
 *
 *   cpu_ms=F wall_ms=F peak_kib=N held_kib=N freed_kib=N ops=N
 *
 * A workload is `NAME [--scale X] [--threads N] [--rest]`. It does a fixed amount of work from
 * fixed seeds, frees all it allocated, and ends with bench_finish. Measuring costs the allocator
 * nothing: no call here allocates before the figures are taken, and reading /proc is left out of
 * the times.
 *
 * C and C++. bench_* is called by the main thread only; block_*, slot_* and rng_* by any. */
#ifndef BENCH_WORKLOADS_MEASURE_H
#define BENCH_WORKLOADS_MEASURE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_PAGE = 4096, BENCH_MAX_THREADS = 256 };

/* ---- trouble ------------------------------------------------------------------------------- */

static inline void bench_die(const char *what) __attribute__((noreturn, cold));
static inline void bench_die(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* What an allocation returned, which no workload is large enough to be refused. */
static inline void *must(void *p) {
    if (__builtin_expect(p == NULL, 0))
        bench_die("out of memory");
    return p;
}

/* ---- random numbers: xorshift64*, one state per user ---------------------------------------- */

struct rng {
    uint64_t state;
};

static inline struct rng rng_make(uint64_t seed) {
    struct rng r = {(seed + 1) * 0x9e3779b97f4a7c15u};
    r.state = r.state != 0 ? r.state : 1;
    return r;
}

static inline uint64_t rng_next(struct rng *r) {
    uint64_t x = r->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * 0x2545f4914f6cdd1du;
}

/* 0 .. n-1, for n below 2^32. */
static inline uint32_t rng_below(struct rng *r, uint32_t n) {
    return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

static inline uint32_t rng_between(struct rng *r, uint32_t low, uint32_t high) {
    return low + rng_below(r, high - low + 1);
}

/* A size from `smallest` up, in so many octaves, each half as likely as the one below: many small
 * blocks and a few large ones, with the bytes spread evenly over the octaves. */
static inline uint32_t rng_size(struct rng *r, uint32_t smallest, unsigned octaves) {
    uint64_t x = rng_next(r);
    unsigned octave = (unsigned)__builtin_ctzll((x >> 8) | 1ull << (octaves - 1));
    uint64_t low = (uint64_t)smallest << octave;
    return (uint32_t)(low + (((x >> 32) * low) >> 32));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Writes as a program would that fills in a new object: its head, its tail, and a byte in each
 * page between. A block has at least 8 bytes. */
static inline void block_write(void *block, size_t size) {
    char *p = (char *)block;
    uint64_t tag = (uint64_t)(uintptr_t)p ^ size;
    memcpy(p, &tag, sizeof tag);
    for (size_t i = BENCH_PAGE; i < size; i += BENCH_PAGE)
        p[i] = (char)(i / BENCH_PAGE);
    if (size > sizeof tag)
        p[size - 1] = (char)size;
}

/* Reads the same places. A block that was given out twice is found here. */
static inline void block_read(const void *block, size_t size) {
    const char *p = (const char *)block;
    uint64_t tag;
    memcpy(&tag, p, sizeof tag);
    bool fine = tag == ((uint64_t)(uintptr_t)p ^ size);
    if (size > sizeof tag) {
        fine &= p[size - 1] == (char)size;
        for (size_t i = BENCH_PAGE; i < size - 1; i += BENCH_PAGE)
            fine &= p[i] == (char)(i / BENCH_PAGE);
    }
    if (__builtin_expect(!fine, 0))
        bench_die("a block does not hold what was written to it");
}

struct slot {
    void *block; /* NULL: free */
    size_t size; /* bytes */
};

static inline void slot_fill(struct slot *s, size_t size) {
    s->block = must(malloc(size));
    s->size = size;
    block_write(s->block, size);
}

/* Returns how many blocks it freed: 0 or 1. */
static inline long slot_drop(struct slot *s) {
    if (s->block == NULL)
        return 0;
    block_read(s->block, s->size);
    free(s->block);
    s->block = NULL;
    return 1;
}

/* ---- what the process uses --------------------------------------------------------------------
 */

/* The value of `key` in a file of /proc/self with lines "Key:   N kB"; 0 when it is not there. */
static inline long bench_proc_kib(const char *path, const char *key) {
    char text[8192];
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (;;) {
        ssize_t got = read(fd, text + used, sizeof text - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    text[used] = '\0';
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            return strtol(line + length + 1, NULL, 10);
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

/* From the page tables: the counters in /proc/self/status lag behind by some pages per CPU. */
static inline long bench_rss_kib(void) {
    long kib = bench_proc_kib("/proc/self/smaps_rollup", "Rss");
    return kib != 0 ? kib : bench_proc_kib("/proc/self/status", "VmRSS");
}

static inline double bench_cpu_ms(int who) {
    struct rusage u;
    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static inline double bench_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the run -----------------------------------------------------------------------------------
 */

struct bench;

struct worker {
    struct bench *bench;
    int index;
    long ops; /* calls of the malloc family; the thread adds to it, once, at its end */
    pthread_t thread;
};

struct bench {
    double scale;
    int threads;
    bool rest;
    bool count_children; /* their CPU time and peak are the workload's too */
    double wall_start;
    double skipped_cpu, skipped_wall; /* spent on measuring: not the workload's, ms */
    long held_kib;
    void (*work)(struct worker *);
    struct worker workers[BENCH_MAX_THREADS];
    int started;
    pthread_mutex_t lock; /* guards `working` and `over` */
    pthread_cond_t changed;
    int working;
    bool over;
};

/* Reads the command line. `threads` is the workload's own number, 0 when it cannot be changed. */
static inline void bench_start(struct bench *b, int argc, char **argv, int threads) {
    memset(b, 0, sizeof *b);
    b->wall_start = bench_wall_ms();
    b->scale = 1;
    b->threads = threads;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        bool fine = false;
        if (strcmp(argv[i], "--rest") == 0) {
            b->rest = fine = true;
        } else if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc) {
            b->scale = strtod(argv[++i], &end);
            fine = *end == '\0' && b->scale > 0 && b->scale <= 1000;
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && threads > 0) {
            b->threads = (int)strtol(argv[++i], &end, 10);
            fine = *end == '\0' && b->threads > 0 && b->threads <= BENCH_MAX_THREADS;
        }
        if (!fine) {
            fprintf(stderr, "usage: %s [--scale X]%s [--rest]\n", argv[0],
                    threads > 0 ? " [--threads N]" : "");
            exit(2);
        }
    }
}

/* So many of something, for the scale asked for. Live data is scaled too where it sets the run
 * time; a workload whose point is how much it holds scales its rounds only. */
static inline long bench_scaled(const struct bench *b, long count) {
    long scaled = (long)((double)count * b->scale);
    return scaled > 0 ? scaled : 1;
}

/* Now the program holds most, or what the workload is about. */
static inline void bench_hold(struct bench *b) {
    double wall = bench_wall_ms(), cpu = bench_cpu_ms(RUSAGE_THREAD);
    b->held_kib = bench_rss_kib();
    b->skipped_cpu += bench_cpu_ms(RUSAGE_THREAD) - cpu;
    b->skipped_wall += bench_wall_ms() - wall;
}

/* One CPU for a thread while there are enough of them: else a scheduler that cannot see what is
 * measured puts both of two threads on one CPU in some runs, and the runs fall into two heaps. */
static inline void bench_pin(int index, int threads) {
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || threads > CPU_COUNT(&all))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && index-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
        }
    }
}

static inline void *bench_thread(void *arg) {
    struct worker *w = (struct worker *)arg;
    struct bench *b = w->bench;
    bench_pin(w->index, b->threads);
    b->work(w);
    pthread_mutex_lock(&b->lock);
    b->working--;
    pthread_cond_broadcast(&b->changed);
    while (!b->over)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Starts b->threads threads that do `work`, once a run. */
static inline void bench_threads_start(struct bench *b, void (*work)(struct worker *)) {
    b->work = work;
    b->working = b->threads;
    for (; b->started < b->threads; b->started++) {
        struct worker *w = &b->workers[b->started];
        w->bench = b;
        w->index = b->started;
        if (pthread_create(&w->thread, NULL, bench_thread, w) != 0)
            bench_die("pthread_create failed");
    }
}

/* Waits until all have done their work, and returns the sum of their calls. They stay alive and
 * idle, as a server's threads would, until bench_finish. */
static inline long bench_threads_wait(struct bench *b) {
    long ops = 0;
    pthread_mutex_lock(&b->lock);
    while (b->working > 0)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < b->started; i++)
        ops += b->workers[i].ops;
    return ops;
}

/* Lets the threads go. The exit status: whether all that was printed has arrived. */
static inline int bench_threads_end(struct bench *b) {
    pthread_mutex_lock(&b->lock);
    b->over = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < b->started; i++)
        pthread_join(b->workers[i].thread, NULL);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Everything is freed: takes the figures, rests where asked to, and prints. */
static inline int bench_finish(struct bench *b, long ops) {
    double cpu = bench_cpu_ms(RUSAGE_SELF) - b->skipped_cpu;
    double wall = bench_wall_ms() - b->wall_start - b->skipped_wall;
    long peak = bench_proc_kib("/proc/self/status", "VmHWM"), freed = 0;
    if (b->count_children) {
        struct rusage children;
        getrusage(RUSAGE_CHILDREN, &children);
        cpu += bench_cpu_ms(RUSAGE_CHILDREN);
        peak = children.ru_maxrss > peak ? children.ru_maxrss : peak;
    }
    if (b->held_kib == 0)
        b->held_kib = peak;
    if (b->rest) {
        struct timespec left = {1, 0};
        while (nanosleep(&left, &left) != 0 && errno == EINTR)
            continue;
        freed = bench_rss_kib();
    }
    printf("cpu_ms=%.3f wall_ms=%.3f peak_kib=%ld held_kib=%ld freed_kib=%ld ops=%ld\n", cpu, wall,
           peak, b->held_kib, freed, ops);
    return bench_threads_end(b);
}

#endif
