/*
 * A library that registers fork handlers in its constructor, which runs before the constructors of
 * a preloaded library. Its handlers use the heap: they must run before the heap is locked for the
 * fork, and after it is unlocked. Apart from forkstorm.c because the order is what is tested.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

__attribute__((visibility("default"))) int atfork_library_calls(void);

static atomic_int calls;
static _Atomic(void *) block;

static void prepare(void) {
    free(atomic_exchange(&block, malloc(5000)));
    atomic_fetch_add(&calls, 1);
}

static void finish(void) {
    free(atomic_exchange(&block, calloc(10, 10)));
}

__attribute__((constructor)) static void start(void) {
    pthread_atfork(prepare, finish, finish);
}

int atfork_library_calls(void) {
    return atomic_load(&calls);
}
