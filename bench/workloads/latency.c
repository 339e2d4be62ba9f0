/* How long single calls take where blocks cross threads:
 *   latency --mode producer_consumer|sessions [--calls N]
 * N calls of malloc (a million when not said) and as many of free are each timed by the processor's
 * clock and counted in buckets of at most 1.6 %. On stdout, per bucket that is not empty, by its
 * middle: `malloc NS COUNT` and `free NS COUNT`; and first `overhead NS`, the median of what is
 * read with nothing between the two looks at the clock. That much is in each figure; it is not
 * taken off. What the program does besides, the first write to a block included, is not timed.
 *
 * Locks: a queue's own, and the table of sessions is of atomics; histograms belong to one thread.
 */
#include "measure.h"

#define THREADS 2

/* ---- clock --------------------------------------------------------------------------------- */

/* The fences keep the call from reaching out of the two looks, and what is before it from reaching
 * in. */
static inline uint64_t clock_before(void) {
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks)::"memory");
    return ticks;
#else
#error "no clock for this processor"
#endif
}

static inline uint64_t clock_after(void) {
#if defined(__x86_64__)
    uint32_t low, high, cpu;
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high), "=c"(cpu)::"memory");
    return (uint64_t)high << 32 | low;
#else
    return clock_before();
#endif
}

/* ---- histograms ---------------------------------------------------------------------------- */

#define PARTS_LOG 6 /* 64 buckets an octave */
#define PARTS     (1u << PARTS_LOG)

struct histogram {
    uint64_t counts[(64 - PARTS_LOG + 1) * PARTS];
};

static struct histogram mallocs[THREADS + 1], frees[THREADS + 1]; /* the last: main's */

static inline void count_ticks(struct histogram *h, uint64_t ticks) {
    unsigned shift = 0;
    if (ticks >= PARTS)
        shift = 63 - PARTS_LOG - (unsigned)__builtin_clzll(ticks);
    /* Below 2 * PARTS a bucket is one tick; above, each octave begins where the last one ends. */
    h->counts[shift * PARTS + (ticks >> shift)]++;
}

static double bucket_middle(unsigned bucket) {
    unsigned shift = bucket < 2 * PARTS ? 0 : bucket / PARTS - 1;
    uint64_t low = (uint64_t)(bucket - shift * PARTS) << shift;
    return (double)low + ((double)(1ull << shift) - 1) / 2;
}

static void *timed_malloc(int who, size_t size) {
    uint64_t before = clock_before();
    void *p = malloc(size);
    uint64_t after = clock_after();
    count_ticks(&mallocs[who], after - before);
    block_write(must(p), size);
    return p;
}

static void timed_free(int who, void *p) {
    uint64_t before = clock_before();
    free(p);
    uint64_t after = clock_after();
    count_ticks(&frees[who], after - before);
}

/* ---- producer and consumer ------------------------------------------------------------------ */

#define GROUP  64
#define DEPTH  64
#define ENOUGH 16 /* groups, or free places, for which it is worth being woken */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long put, taken; /* groups, under the lock */
    bool hungry, congested;
    struct slot ring[DEPTH][GROUP];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static long calls; /* of malloc, of all threads */

static void produce(long groups) {
    struct rng rng = rng_make(20);
    for (long g = 0; g < groups; g++) {
        pthread_mutex_lock(&queue.lock);
        queue.congested = queue.put - queue.taken == DEPTH;
        while (queue.congested)
            pthread_cond_wait(&queue.changed, &queue.lock);
        pthread_mutex_unlock(&queue.lock);
        for (struct slot *s = queue.ring[g % DEPTH], *end = s + GROUP; s < end; s++) {
            s->size = rng_size(&rng, 16, 8);
            s->block = timed_malloc(0, s->size);
        }
        pthread_mutex_lock(&queue.lock);
        queue.put++;
        if (queue.hungry && (queue.put - queue.taken >= ENOUGH || queue.put == groups)) {
            queue.hungry = false;
            pthread_cond_signal(&queue.changed);
        }
        pthread_mutex_unlock(&queue.lock);
    }
}

static void consume(long groups) {
    for (long g = 0; g < groups; g++) {
        pthread_mutex_lock(&queue.lock);
        queue.hungry = queue.put == queue.taken;
        while (queue.hungry)
            pthread_cond_wait(&queue.changed, &queue.lock);
        pthread_mutex_unlock(&queue.lock);
        for (struct slot *s = queue.ring[g % DEPTH], *end = s + GROUP; s < end; s++) {
            block_read(s->block, s->size);
            timed_free(1, s->block);
        }
        pthread_mutex_lock(&queue.lock);
        queue.taken++;
        if (queue.congested && queue.put - queue.taken <= DEPTH - ENOUGH) {
            queue.congested = false;
            pthread_cond_signal(&queue.changed);
        }
        pthread_mutex_unlock(&queue.lock);
    }
}

static void producer_consumer(struct worker *w) {
    long groups = (calls + GROUP - 1) / GROUP;
    if (w->index == 0)
        produce(groups);
    else
        consume(groups);
}

/* ---- sessions -------------------------------------------------------------------------------- */

#define PLACES 4000

struct session {
    struct slot parts[60]; /* the block is NULL where there is none */
    struct rng rng;
    int turns_left;
};

static struct session *places[PLACES];

/* Some parts are replaced, some only dropped; whoever serves the session frees what others made.
 * Returns how many blocks it made. */
static long serve(int who, struct session *s) {
    long made = 0;
    for (uint32_t n = rng_between(&s->rng, 8, 24); n > 0; n--) {
        struct slot *part = &s->parts[rng_below(&s->rng, sizeof s->parts / sizeof s->parts[0])];
        if (part->block != NULL) {
            block_read(part->block, part->size);
            timed_free(who, part->block);
            part->block = NULL;
        }
        if (rng_below(&s->rng, 4) != 0) {
            part->size = rng_size(&s->rng, 16, 8);
            part->block = timed_malloc(who, part->size);
            made++;
        }
    }
    s->turns_left--;
    return made;
}

static void end_session(int who, struct session *s) {
    for (size_t i = 0; i < sizeof s->parts / sizeof s->parts[0]; i++) {
        if (s->parts[i].block != NULL)
            timed_free(who, s->parts[i].block);
    }
    timed_free(who, s);
}

static void sessions(struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index + 30);
    for (long left = calls / THREADS; left > 0;) {
        struct session **place = &places[rng_below(&rng, PLACES)];
        struct session *s = __atomic_exchange_n(place, NULL, __ATOMIC_ACQUIRE);
        if (s == NULL) {
            s = timed_malloc(w->index, sizeof *s);
            memset(s, 0, sizeof *s);
            s->rng = rng_make(rng_next(&rng));
            s->turns_left = (int)rng_between(&s->rng, 5, 15);
            left--;
        }
        left -= serve(w->index, s);
        if (s->turns_left > 0)
            s = __atomic_exchange_n(&places[rng_below(&rng, PLACES)], s, __ATOMIC_ACQ_REL);
        if (s != NULL) /* it is done, or the place was taken */
            end_session(w->index, s);
    }
}

/* ---- the run -----------------------------------------------------------------------------------
 */

static double median_overhead(void) {
    static struct histogram empty;
    uint64_t seen = 0, looks = 100001;
    unsigned bucket = 0;
    for (uint64_t i = 0; i < looks; i++) {
        uint64_t before = clock_before(), after = clock_after();
        count_ticks(&empty, after - before);
    }
    while ((seen += empty.counts[bucket]) <= looks / 2)
        bucket++;
    return bucket_middle(bucket);
}

static void print(const char *call, const struct histogram *per_thread, double ns_per_tick) {
    for (unsigned b = 0; b < sizeof per_thread->counts / sizeof per_thread->counts[0]; b++) {
        uint64_t count = 0;
        for (int i = 0; i <= THREADS; i++)
            count += per_thread[i].counts[b];
        if (count != 0)
            printf("%s %.2f %llu\n", call, bucket_middle(b) * ns_per_tick,
                   (unsigned long long)count);
    }
}

static int usage(void) {
    fprintf(stderr, "usage: latency --mode producer_consumer|sessions [--calls N]\n");
    return 2;
}

int main(int argc, char **argv) {
    static struct bench bench;
    void (*work)(struct worker *) = NULL;
    calls = 1000000;
    for (int i = 1; i < argc; i += 2) {
        char *end = NULL;
        if (i + 1 == argc)
            return usage();
        if (strcmp(argv[i], "--calls") == 0) {
            calls = strtol(argv[i + 1], &end, 10);
            if (*end != '\0' || calls < 1)
                return usage();
        } else if (strcmp(argv[i], "--mode") == 0) {
            if (strcmp(argv[i + 1], "sessions") == 0)
                work = sessions;
            else if (strcmp(argv[i + 1], "producer_consumer") == 0)
                work = producer_consumer;
        } else {
            return usage();
        }
    }
    if (work == NULL)
        return usage();
    bench_start(&bench, 1, argv, THREADS);
    uint64_t ticks = clock_before();
    double overhead = median_overhead();
    bench_threads_start(&bench, work);
    bench_threads_wait(&bench);
    for (int i = 0; i < PLACES; i++) {
        if (places[i] != NULL)
            end_session(THREADS, places[i]);
    }
    double ns = (bench_wall_ms() - bench.wall_start) * 1e6;
    double ns_per_tick = ns / (double)(clock_after() - ticks);
    printf("overhead %.2f\n", overhead * ns_per_tick);
    print("malloc", mallocs, ns_per_tick);
    print("free", frees, ns_per_tick);
    return bench_threads_end(&bench);
}
