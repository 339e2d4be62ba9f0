/*
 * Allocates and frees in waves without a pause, each wave another kind of block: what a memory
 * cgroup sees of a program whose live bytes stay well under the limit. A heap that keeps each
 * kind's freed pages to itself, or gives them back too late, grows past the limit, and the kernel
 * ends the process.
 *
 *     waves LIVE-MIB THREADS
 */
#include "../threads/probe.h"

#include <pthread.h>

enum { MAX_THREADS = 16, WAVES = 14 };

static struct probe_block *piles[MAX_THREADS];
static pthread_barrier_t barrier;
static size_t live_bytes;
static int threads;

static size_t wave_size(int wave, uint64_t *state) {
    switch (wave % 7) {
    case 0:
        return 48;
    case 1:
        return probe_kind_size(PROBE_LARGE, state);
    case 2:
        return 1000;
    case 3:
        return probe_kind_size(PROBE_HUGE, state);
    case 4:
        return probe_kind_size(PROBE_MEDIUM, state);
    case 5:
        return probe_kind_size(PROBE_SMALL, state);
    default:
        return probe_kind_size((enum probe_kind)(probe_random(state) % 3), state);
    }
}

static void *make_waves(void *argument) {
    int index = *(int *)argument;
    uint64_t state = (uint64_t)index;
    for (int wave = 0; wave < WAVES; wave++) {
        size_t bytes = 0, share = live_bytes / (size_t)threads;
        for (;;) {
            size_t size = wave_size(wave, &state);
            if (bytes + size > share)
                break;
            struct probe_block *block = probe_block_new(size);
            probe_check(block != NULL, "malloc gave NULL in a cgroup that never says no");
            block->next = piles[index];
            piles[index] = block;
            bytes += size;
        }
        /* Every other wave is freed by a neighbour. All wait, so that live bytes have one peak. */
        pthread_barrier_wait(&barrier);
        int whose = wave % 2 == 0 ? index : (index + 1) % threads;
        for (struct probe_block *b = piles[whose], *next; b != NULL; b = next) {
            next = b->next;
            probe_block_free(b);
        }
        piles[whose] = NULL;
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(int argc, char **argv) {
    probe_begin(120);
    if (argc < 3)
        probe_fail("usage: waves LIVE-MIB THREADS");
    live_bytes = strtoul(argv[1], NULL, 10) * PROBE_MIB;
    threads = atoi(argv[2]);
    probe_check(threads > 0 && threads <= MAX_THREADS, "1 to %d threads", MAX_THREADS);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    pthread_t ids[MAX_THREADS];
    int indices[MAX_THREADS];
    for (int i = 0; i < threads; i++) {
        indices[i] = i;
        probe_check(pthread_create(&ids[i], NULL, make_waves, &indices[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return 0;
}
