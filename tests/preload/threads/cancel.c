/*
 * malloc and free are no cancellation points. A thread with a cancellation pending goes on to
 * allocate and free everything and ends only where pthreads(7) says it may; and a thread that is
 * cancelled there gives its blocks back in a clean-up handler, after which nothing is locked.
 */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static atomic_int passed, ready, cleaned;
static atomic_bool requested;

static void *goes_on(void *argument) {
    (void)argument;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&requested))
        probe_exercise(1, "before a cancellation");
    for (uint64_t i = 0; i < 10; i++)
        probe_exercise(i, "with a cancellation pending");
    atomic_fetch_add(&passed, 1);
    pthread_testcancel();
    probe_fail("the cancellation was lost");
}

static void clean(void *argument) {
    probe_block_free(argument);
    probe_exercise(1, "in a clean-up handler");
    atomic_fetch_add(&cleaned, 1);
}

static struct probe_block *a_block(uint64_t state) {
    struct probe_block *block =
        probe_block_new(probe_kind_size((enum probe_kind)(state % 3), &state));
    probe_check(block != NULL, "malloc");
    return block;
}

static void *ends_here(void *argument) {
    struct probe_block *block = a_block((uint64_t)(uintptr_t)argument);
    pthread_cleanup_push(clean, block);
    for (uint64_t other = 1;;) {
        free(malloc(probe_kind_size((enum probe_kind)(other++ % 3), &other)));
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

int main(void) {
    probe_begin(60);
    enum { ROUNDS = 20, AT_ONCE = 4 };
    pthread_t ids[AT_ONCE];
    void *result;
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&ready, 0);
        atomic_store(&requested, false);
        for (int i = 0; i < AT_ONCE; i++)
            probe_check(pthread_create(&ids[i], NULL, goes_on, NULL) == 0, "pthread_create");
        while (atomic_load(&ready) < AT_ONCE)
            sched_yield();
        for (int i = 0; i < AT_ONCE; i++)
            pthread_cancel(ids[i]);
        atomic_store(&requested, true);
        for (int i = 0; i < AT_ONCE; i++) {
            pthread_join(ids[i], &result);
            probe_check(result == PTHREAD_CANCELED, "a thread was not cancelled");
        }
    }
    probe_check(atomic_load(&passed) == ROUNDS * AT_ONCE,
                "%d of %d threads ended inside malloc or free", ROUNDS * AT_ONCE - passed,
                ROUNDS * AT_ONCE);
    for (uintptr_t round = 0; round < 100; round++) {
        for (uintptr_t i = 0; i < AT_ONCE; i++)
            probe_check(pthread_create(&ids[i], NULL, ends_here, (void *)(round * AT_ONCE + i)) ==
                            0,
                        "pthread_create");
        if (round % 4 == 0)
            probe_sleep_ms(1);
        for (int i = 0; i < AT_ONCE; i++)
            pthread_cancel(ids[i]);
        for (int i = 0; i < AT_ONCE; i++)
            pthread_join(ids[i], &result);
        probe_exercise(round, "after a cancelled thread");
    }
    probe_check(atomic_load(&cleaned) > 0, "no clean-up handler ran");
    return 0;
}
