/* Fragmentation over time: fill up with blocks of some sizes, free a random 70 to 90 % of them,
 * fill up with blocks of other sizes, and so on. held_kib is the memory in use when the last such
 * share has been freed: what a heap keeps for the few blocks that are left. */
#include "measure.h"

#define ROUNDS 8

static const struct {
    uint32_t low, high; /* bytes */
} sizes[ROUNDS] = {
    {16, 100}, {300, 900}, {40, 60}, {1000, 4000}, {100, 300}, {16, 2000}, {4000, 9000}, {64, 512},
};

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(7);
    size_t room = 1 << 16, count = 0, live = 0, full = (size_t)bench_scaled(&bench, 28l << 20);
    struct slot *blocks = must(malloc(room * sizeof *blocks));
    long ops = 2;
    for (int r = 0; r < ROUNDS; r++) {
        while (live < full) {
            if (count == room) {
                room *= 2;
                blocks = must(realloc(blocks, room * sizeof *blocks));
                ops++;
            }
            slot_fill(&blocks[count], rng_between(&rng, sizes[r].low, sizes[r].high));
            live += blocks[count++].size;
            ops++;
        }
        size_t keep = count * rng_between(&rng, 10, 30) / 100;
        while (count > keep) {
            struct slot *s = &blocks[rng_below(&rng, (uint32_t)count)];
            live -= s->size;
            ops += slot_drop(s);
            *s = blocks[--count];
        }
    }
    bench_hold(&bench);
    while (count > 0)
        ops += slot_drop(&blocks[--count]);
    free(blocks);
    return bench_finish(&bench, ops);
}
