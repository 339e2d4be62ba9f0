/* Random sizes and lifetimes in one thread. Half of the blocks die soon, some live for a while, and
 * a few for most of the run, so that pages of all ages are mixed. */
#include "measure.h"

#define HOT  64
#define WARM 8192
#define COLD 400000

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(1);
    long ops = 2, rounds = bench_scaled(&bench, 3500000);
    struct slot *slots = must(calloc(HOT + WARM + COLD, sizeof *slots));
    for (long i = 0; i < rounds; i++) {
        uint32_t kind = rng_below(&rng, 16), place;
        if (kind < 8)
            place = rng_below(&rng, HOT);
        else if (kind < 14)
            place = HOT + rng_below(&rng, WARM);
        else
            place = HOT + WARM + rng_below(&rng, COLD);
        ops += slot_drop(&slots[place]);
        slot_fill(&slots[place], rng_size(&rng, 8, 12));
        ops++;
    }
    bench_hold(&bench);
    for (int i = 0; i < HOT + WARM + COLD; i++)
        ops += slot_drop(&slots[i]);
    free(slots);
    return bench_finish(&bench, ops);
}
