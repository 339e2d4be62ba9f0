/*
 * What runs when a thread ends, and in which order: destructors of C++ thread_local objects (here
 * registered by hand, as the compiler does), then of pthread keys, over as many rounds as they
 * ask for, then the C library frees what it kept for the thread. A heap that clears a thread's
 * lists in a key's destructor of its own must survive all that comes later.
 */
#include "probe.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum { KEYS = 40 };

extern int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *dso);
extern void *__dso_handle;

static pthread_key_t keys[KEYS];
static atomic_int key_calls, object_calls;

struct value {
    int rounds;
    uint64_t state;
    struct probe_block *block;
};

static struct value *new_value(int rounds, uint64_t seed) {
    struct value *value = malloc(sizeof(*value));
    probe_check(value != NULL, "malloc");
    value->rounds = rounds;
    value->state = seed;
    value->block = probe_block_new(probe_kind_size((enum probe_kind)(seed % 3), &value->state));
    probe_check(value->block != NULL, "malloc");
    return value;
}

/* Frees, allocates, and asks to be called again: up to the limit that POSIX sets. */
static void key_ends(void *argument) {
    struct value *value = argument;
    atomic_fetch_add(&key_calls, 1);
    probe_block_free(value->block);
    probe_exercise(value->state, "in a key's destructor");
    int rounds = value->rounds;
    uint64_t seed = value->state;
    free(value);
    if (rounds > 1)
        pthread_setspecific(keys[seed % KEYS], new_value(rounds - 1, seed));
}

static void object_ends(void *argument) {
    atomic_fetch_add(&object_calls, 1);
    struct value *value = argument;
    probe_block_free(value->block);
    free(value);
    probe_exercise(3, "in a thread-local object's destructor");
    /* The thread goes on to use what it has not used yet: a key, stdio. */
    pthread_setspecific(keys[KEYS - 1], new_value(1, KEYS - 1));
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    probe_check(stream != NULL, "open_memstream");
    fprintf(stream, "%d", object_calls);
    fclose(stream);
    free(text);
}

static void *live(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    for (uint64_t i = 0; i < 6; i++) {
        uint64_t key = (seed + i * 7) % (KEYS - 1);
        if (pthread_getspecific(keys[key]) == NULL) {
            /* A seed that leads back to the same key. */
            pthread_setspecific(keys[key],
                                new_value((int)(i % PTHREAD_DESTRUCTOR_ITERATIONS) + 1, key));
        }
    }
    __cxa_thread_atexit_impl(object_ends, new_value(1, seed), &__dso_handle);
    if (seed % 3 == 0)
        pthread_exit(NULL);
    return NULL;
}

/* No call of malloc in its life but those of the destructor: the heap meets the thread as it ends.
 */
static void late_start(void *argument) {
    (void)argument;
    probe_exercise(5, "in a destructor, for the first time in the thread");
    atomic_fetch_add(&key_calls, 1);
}

static pthread_key_t late_key;

static void *live_without(void *argument) {
    pthread_setspecific(late_key, argument);
    return NULL;
}

int main(void) {
    probe_begin(60);
    for (int i = 0; i < KEYS; i++)
        probe_check(pthread_key_create(&keys[i], key_ends) == 0, "pthread_key_create");
    probe_check(pthread_key_create(&late_key, late_start) == 0, "pthread_key_create");
    size_t early = 0;
    enum { ROUNDS = 150, AT_ONCE = 4 };
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        pthread_t ids[AT_ONCE];
        for (uintptr_t i = 0; i < AT_ONCE; i++)
            probe_check(pthread_create(&ids[i], NULL, i == 3 ? live_without : live,
                                       (void *)(round * AT_ONCE + i + 1)) == 0,
                        "pthread_create");
        for (int i = 0; i < AT_ONCE; i++)
            pthread_join(ids[i], NULL);
        if (round == ROUNDS / 2)
            early = probe_rss();
    }
    probe_check(object_calls == ROUNDS * 3, "%d object destructors ran", object_calls);
    probe_check(key_calls > ROUNDS * 4, "only %d key destructors ran", key_calls);
    size_t late = probe_rss();
    probe_check(late <= early + early / 4 + 8 * PROBE_MIB, "%zu KiB at the end, %zu KiB half-way",
                late / PROBE_KIB, early / PROBE_KIB);
    return 0;
}
