/* Many threads on few cores: 64 by default, with a mix of short-lived and longer-lived blocks, and
 * one in sixteen handed to another thread. Every few thousand operations, as between two requests,
 * a thread lets others run, so that all are in the midst of their work at the same time. The work
 * and what is live are the same whatever --threads says: runs with 2 and with 64 can be held
 * against each other. */
#include "measure.h"

#define LIVE    131072 /* blocks in the tables of all threads together */
#define HOT     4096   /* those that are soon replaced */
#define SHARED  1024
#define REQUEST 3000 /* operations */

static struct slot *shared[SHARED]; /* each a block that holds a slot with another */
static long rounds;
static pthread_barrier_t barrier;

static long hand_over(struct rng *rng) {
    struct slot *parcel = must(malloc(sizeof *parcel)), *old;
    slot_fill(parcel, rng_size(rng, 16, 8));
    old = __atomic_exchange_n(&shared[rng_below(rng, SHARED)], parcel, __ATOMIC_ACQ_REL);
    if (old == NULL)
        return 2;
    slot_drop(old);
    free(old);
    return 4;
}

static void work(struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index + 2000);
    uint32_t live = LIVE / (uint32_t)w->bench->threads;
    uint32_t hot = HOT / (uint32_t)w->bench->threads;
    struct slot *own = must(calloc(live, sizeof *own));
    long ops = 2;
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < rounds; i++) {
        if (i % REQUEST == 0)
            sched_yield();
        uint32_t kind = rng_below(&rng, 16);
        if (kind == 0) {
            ops += hand_over(&rng);
            continue;
        }
        struct slot *s = &own[rng_below(&rng, kind < 10 ? hot : live)];
        ops += slot_drop(s);
        slot_fill(s, rng_size(&rng, 16, 10));
        ops++;
    }
    for (uint32_t i = 0; i < live; i++)
        ops += slot_drop(&own[i]);
    free(own);
    w->ops = ops;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 64);
    rounds = bench_scaled(&bench, 4000000) / bench.threads;
    pthread_barrier_init(&barrier, NULL, (unsigned)bench.threads);
    bench_threads_start(&bench, work);
    long ops = bench_threads_wait(&bench);
    for (int i = 0; i < SHARED; i++) {
        if (shared[i] != NULL) {
            slot_drop(shared[i]);
            free(shared[i]);
            ops += 2;
        }
    }
    return bench_finish(&bench, ops);
}
