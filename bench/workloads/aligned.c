/* Aligned blocks of random sizes and lifetimes, by each of the three calls: vectors of numbers,
 * objects that own their cache lines, buffers for direct I/O. */
#include <malloc.h>
#include "measure.h"

#define LIVE 24000

static void *allocate(uint32_t how, size_t alignment, size_t size) {
    void *p = NULL;
    switch (how) {
    case 0:
        return aligned_alloc(alignment, size);
    case 1:
        return memalign(alignment, size);
    default:
        return posix_memalign(&p, alignment, size) == 0 ? p : NULL;
    }
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(8);
    struct slot *slots = must(calloc(LIVE, sizeof *slots));
    long ops = 2, rounds = bench_scaled(&bench, 1600000);
    for (long i = 0; i < rounds; i++) {
        struct slot *s = &slots[rng_below(&rng, LIVE)];
        /* 16 to 4096, each half as likely as the one below. */
        size_t alignment = (size_t)16 << __builtin_ctz((unsigned)(rng_next(&rng) >> 32) | 1u << 8);
        size_t size = rng_size(&rng, 32, 9);
        size = (size + alignment - 1) & -alignment;
        /* What is aligned so far is large: a buffer for I/O, a table. (And mimalloc 2.0.9 misplaces
         * blocks of 256, 512 and 1024 bytes that are to be aligned to 256 or more.) */
        size += alignment >= 256 && size <= 1024 ? 1024 : 0;
        ops += slot_drop(s);
        s->block = must(allocate(rng_below(&rng, 3), alignment, size));
        s->size = size;
        if (((uintptr_t)s->block & (alignment - 1)) != 0)
            bench_die("a block is not aligned");
        block_write(s->block, size);
        ops++;
    }
    bench_hold(&bench);
    for (int i = 0; i < LIVE; i++)
        ops += slot_drop(&slots[i]);
    free(slots);
    return bench_finish(&bench, ops);
}
