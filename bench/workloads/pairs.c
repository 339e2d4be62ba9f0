/* Fixed-size pairs: one block is allocated, written and freed at once, again and again, while a few
 * hundred of its size live. Temporaries in a loop do this. (With none alive some allocators give
 * the page back each time, which no program of any size shows.) */
#include "measure.h"

#define LIVE 300

static const size_t sizes[] = {16, 24, 32, 48, 64, 80, 128, 200, 256, 512, 1024, 4000};

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    static struct slot live[LIVE];
    long rounds = bench_scaled(&bench, 2000000), ops = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int i = 0; i < LIVE; i++)
            slot_fill(&live[i], sizes[s]);
        for (long i = 0; i < rounds; i++) {
            void *p = must(malloc(sizes[s]));
            block_write(p, sizes[s]);
            block_read(p, sizes[s]);
            free(p);
        }
        for (int i = 0; i < LIVE; i++)
            slot_drop(&live[i]);
        ops += 2 * (rounds + LIVE);
    }
    return bench_finish(&bench, ops);
}
