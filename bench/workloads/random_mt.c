/* Random sizes and lifetimes in several threads. Each has a table of its own; one block in eight
 * goes through a table that all share, so that some are freed by another thread than made them. */
#include "measure.h"

#define OWN    100000
#define SHARED 4096

/* What is shared is one pointer to a block that knows its size. */
struct parcel {
    size_t size; /* bytes, this head included */
};

static struct parcel *shared[SHARED];
static long rounds;

static void parcel_drop(struct parcel *p) {
    volatile char *bytes = (char *)p;
    if (p->size < sizeof *p || bytes[p->size - 1] != (char)p->size)
        bench_die("a parcel was written over");
    free(p);
}

static long parcel_pass(struct rng *rng, size_t size) {
    struct parcel *p = must(malloc(size)), *old;
    p->size = size;
    ((char *)p)[size - 1] = (char)size;
    old = __atomic_exchange_n(&shared[rng_below(rng, SHARED)], p, __ATOMIC_ACQ_REL);
    if (old == NULL)
        return 1;
    parcel_drop(old);
    return 2;
}

static void work(struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index + 10);
    struct slot *own = must(calloc(OWN, sizeof *own));
    long ops = 2;
    for (long i = 0; i < rounds; i++) {
        uint32_t kind = rng_below(&rng, 8), place;
        if (kind == 0) {
            ops += parcel_pass(&rng, rng_size(&rng, 16, 11));
            continue;
        }
        place = kind < 5 ? rng_below(&rng, 64) : rng_below(&rng, OWN);
        ops += slot_drop(&own[place]);
        slot_fill(&own[place], rng_size(&rng, 8, 12));
        ops++;
    }
    for (int i = 0; i < OWN; i++)
        ops += slot_drop(&own[i]);
    free(own);
    w->ops = ops;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 2);
    rounds = bench_scaled(&bench, 3000000) / bench.threads;
    bench_threads_start(&bench, work);
    long ops = bench_threads_wait(&bench);
    for (int i = 0; i < SHARED; i++) {
        if (shared[i] != NULL) {
            parcel_drop(shared[i]);
            ops++;
        }
    }
    return bench_finish(&bench, ops);
}
