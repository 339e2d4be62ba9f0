/* Zeroed blocks, small to a mebibyte: tables and buffers that programs ask for by calloc. What is
 * handed out is checked to be zero at a few places, and then dirtied. */
#include "measure.h"

#define LIVE 16000

static void dirty(unsigned char *p, size_t size) {
    if ((p[0] | p[size / 2] | p[size - 1]) != 0)
        bench_die("calloc gave a block that is not zero");
    if (size <= 512)
        memset(p, 0xa5, size);
    /* A table is seldom filled: every other page, from its middle, and the very ends. */
    for (size_t at = size / 2; at < size; at += 2 * (size_t)BENCH_PAGE)
        p[at] = 1;
    p[0] = p[size - 1] = 1;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(5);
    void **blocks = must(calloc(LIVE, sizeof *blocks));
    long ops = 2, rounds = bench_scaled(&bench, 2500000);
    for (long i = 0; i < rounds; i++) {
        uint32_t place = rng_below(&rng, LIVE), count;
        size_t each = (size_t)8 << rng_below(&rng, 4);
        if (rng_below(&rng, 1000) == 0)
            count = rng_between(&rng, 1024, 16384); /* up to 1 MiB */
        else
            count = rng_size(&rng, 1, 9);
        ops += blocks[place] != NULL;
        free(blocks[place]);
        blocks[place] = must(calloc(count, each));
        dirty(blocks[place], count * each);
        ops++;
    }
    bench_hold(&bench);
    for (int i = 0; i < LIVE; i++) {
        ops += blocks[i] != NULL;
        free(blocks[i]);
    }
    free(blocks);
    return bench_finish(&bench, ops);
}
