/*
 * A great many threads, created and ended, each of which allocates and frees a little: some join,
 * some are detached, some leave a block to be freed by the next. What the heap keeps for a thread
 * must end with it.
 *
 *     manythreads COUNT
 */
#include "probe.h"

#include <pthread.h>
#include <semaphore.h>

enum { BATCH = 16 };

static sem_t done;

static void *live(void *argument) {
    uint64_t state = (uint64_t)(uintptr_t)argument;
    bool leave = state % 2 == 1;
    struct probe_block *blocks[8];
    for (int i = 0; i < 8; i++) {
        blocks[i] = probe_block_new(i == 7 ? probe_kind_size(PROBE_MEDIUM, &state)
                                           : probe_kind_size(PROBE_SMALL, &state));
        probe_check(blocks[i] != NULL, "malloc");
    }
    for (int i = 1; i < 8; i++)
        probe_block_free(blocks[i]);
    struct probe_block *left = blocks[0];
    if (!leave) {
        probe_block_free(left);
        left = NULL;
    }
    sem_post(&done);
    return left;
}

int main(int argc, char **argv) {
    uintptr_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    probe_begin(30 + (unsigned)count / 500);
    sem_init(&done, 0, 0);
    size_t early = 0;
    for (uintptr_t at = 0; at < count; at += BATCH) {
        pthread_t ids[BATCH];
        for (uintptr_t i = 0; i < BATCH; i++) {
            /* Detached ones must not leave a block: nobody would get it. An even number frees it.
             */
            uintptr_t number = (at + i) * 2 + (i % 4 == 0 ? 0 : i % 2);
            int error = pthread_create(&ids[i], NULL, live, (void *)number);
            probe_check(error == 0, "pthread_create %zu: %s", (size_t)(at + i), strerror(error));
            if (i % 4 == 0)
                pthread_detach(ids[i]);
        }
        for (uintptr_t i = 0; i < BATCH; i++) {
            void *left = NULL;
            if (i % 4 != 0)
                pthread_join(ids[i], &left);
            if (left != NULL)
                probe_block_free(left);
        }
        for (int i = 0; i < BATCH; i++)
            sem_wait(&done);
        if (early == 0 && at >= count / 10)
            early = probe_rss();
    }
    size_t late = probe_rss();
    probe_check(late <= early + 8 * PROBE_MIB, "%zu KiB after all, %zu KiB after a tenth",
                late / PROBE_KIB, early / PROBE_KIB);
    printf("%zu KiB, then %zu KiB\n", early / PROBE_KIB, late / PROBE_KIB);
    return 0;
}
