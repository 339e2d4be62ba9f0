/* Large blocks, 1 to 30 MiB: a few live at a time, each replaced by one of another size. Each is
 * filled, and read before it goes, as an image or a frame would be. */
#include "measure.h"

#define LIVE 6

static void check_and_free(struct slot *s) {
    uint64_t sum = 0;
    for (size_t at = 0; at < s->size; at += 64)
        sum += ((unsigned char *)s->block)[at];
    if (sum != (s->size + 63) / 64 * (s->size % 251))
        bench_die("a block does not hold what was written to it");
    free(s->block);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(4);
    static struct slot slots[LIVE];
    long ops = 0, rounds = bench_scaled(&bench, 120);
    for (long i = 0; i < rounds; i++) {
        struct slot *s = &slots[i < LIVE ? (uint32_t)i : rng_below(&rng, LIVE)];
        /* 1 to 30 MiB, evenly on the logarithm, and seldom a round number. */
        size_t low = (size_t)1 << (20 + rng_below(&rng, 5));
        size_t size = low + rng_below(&rng, (uint32_t)(low == 16u << 20 ? low / 8 * 7 : low));
        if (s->block != NULL)
            check_and_free(s);
        s->block = must(malloc(size));
        s->size = size;
        memset(s->block, (int)(size % 251), size);
        ops += 2;
    }
    bench_hold(&bench);
    for (int i = 0; i < LIVE && slots[i].block != NULL; i++)
        check_and_free(&slots[i]);
    return bench_finish(&bench, ops);
}
