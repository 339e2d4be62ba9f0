/*
 * Fork handlers that use the heap, registered by a library's constructor (atforklib.c) and by the
 * program: whichever were registered first, the heap's own must lock after the last of them and
 * unlock before the first.
 */
#include "probe.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FORKS = 60, THREADS = 3 };

extern int atfork_library_calls(void);

static _Atomic(void *) block;
static atomic_bool stop;

static void prepare(void) {
    free(atomic_exchange(&block, malloc(300)));
    probe_exercise(1, "in a prepare handler");
}

static void finish(void) {
    free(atomic_exchange(&block, calloc(1, 70000)));
    probe_exercise(2, "in a handler after the fork");
}

static void *live(void *argument) {
    while (!atomic_load(&stop))
        probe_exercise((uint64_t)(uintptr_t)argument, "beside a fork");
    return NULL;
}

int main(void) {
    probe_begin(30);
    probe_check(pthread_atfork(prepare, finish, finish) == 0, "pthread_atfork");
    pthread_t ids[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        probe_check(pthread_create(&ids[i], NULL, live, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        probe_check(pid >= 0, "fork");
        if (pid == 0) {
            probe_watchdog(10);
            probe_exercise(3, "in a child");
            exit(0);
        }
        int status = probe_wait(pid);
        probe_check(status == 0, "a child ended with %d", status);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    probe_check(atfork_library_calls() == FORKS, "the library's fork handlers did not run");
    return 0;
}
