/*
 * The ends of a process, while its threads allocate: exit() from main and from a thread, with exit
 * handlers and destructors that use the heap; main that ends by pthread_exit while others go on;
 * quick_exit; _exit; and detached threads that nobody waits for.
 *
 *     exits WAY       each way ends with a status of its own, which the script knows
 *
 * The heap may not tear anything down in a destructor: others still allocate then.
 */
#include "probe.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4 };

static atomic_int running, finished;
static atomic_bool stop;
static const char *way;
static struct probe_block *kept[20];

static void keep(void) {
    uint64_t state = 1;
    for (int i = 0; i < 20; i++) {
        kept[i] = probe_block_new(probe_kind_size((enum probe_kind)(i % PROBE_KINDS), &state));
        probe_check(kept[i] != NULL, "malloc");
    }
}

static void at_exit_first(void) {
    probe_exercise(1, "in an exit handler");
}

static void at_exit_last(void) {
    for (int i = 0; i < 10; i++) {
        probe_block_free(kept[i]);
        kept[i] = NULL;
    }
    /* A handler may register another one, for which the C library allocates. */
    for (int i = 0; i < 100; i++)
        atexit(at_exit_first);
}

__attribute__((destructor)) static void at_unload(void) {
    if (way == NULL)
        return;
    probe_exercise(2, "in a destructor");
    for (int i = 0; i < 20; i++)
        if (kept[i] != NULL)
            probe_block_free(kept[i]);
    char *text = strdup("the destructor ran\n");
    probe_check(text != NULL, "strdup");
    ssize_t ignored = write(STDOUT_FILENO, text, strlen(text));
    (void)ignored;
    free(text);
}

static void *allocate_on(void *argument) {
    atomic_fetch_add(&running, 1);
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    while (!atomic_load(&stop))
        probe_exercise(seed++, "while the process ends");
    atomic_fetch_add(&finished, 1);
    return NULL;
}

static void *calls_exit(void *argument) {
    (void)argument;
    probe_exercise(3, "before exit in a thread");
    exit(21);
}

/* The last thread to end gives the process its end, and runs the exit handlers. */
static void *outlives_main(void *argument) {
    /* One may join; the others learn it from that one. */
    if (argument != NULL) {
        pthread_join(*(pthread_t *)argument, NULL);
        atomic_store(&stop, true);
    }
    while (!atomic_load(&stop))
        probe_sleep_ms(1);
    for (uint64_t i = 0; i < 20; i++)
        probe_exercise(i, "after main has ended");
    return NULL;
}

static void *detached(void *argument) {
    probe_exercise((uint64_t)(uintptr_t)argument, "in a detached thread");
    void *volatile left = malloc(100);
    free(left);
    atomic_fetch_add(&finished, 1);
    return NULL;
}

static void start_threads(void) {
    pthread_t thread;
    for (uintptr_t i = 0; i < THREADS; i++)
        probe_check(pthread_create(&thread, NULL, allocate_on, (void *)i) == 0, "pthread_create");
    while (atomic_load(&running) < THREADS)
        probe_sleep_ms(1);
}

int main(int argc, char **argv) {
    probe_begin(30);
    if (argc < 2)
        probe_fail("usage: exits main|thread|pthread_exit|quick|bare|detached|abort");
    way = argv[1];
    keep();
    atexit(at_exit_last);
    at_quick_exit(at_exit_first);
    static pthread_t main_thread;
    main_thread = pthread_self();
    pthread_t thread;
    if (strcmp(way, "main") == 0) {
        start_threads();
        return 20;
    }
    if (strcmp(way, "thread") == 0) {
        start_threads();
        probe_check(pthread_create(&thread, NULL, calls_exit, NULL) == 0, "pthread_create");
        for (;;)
            probe_exercise(4, "in main while a thread calls exit");
    }
    if (strcmp(way, "pthread_exit") == 0) {
        for (int i = 0; i < THREADS - 1; i++)
            probe_check(
                pthread_create(&thread, NULL, outlives_main, i == 0 ? &main_thread : NULL) == 0,
                "pthread_create");
        pthread_exit(NULL);
    }
    if (strcmp(way, "quick") == 0) {
        start_threads();
        quick_exit(22);
    }
    if (strcmp(way, "bare") == 0) {
        start_threads();
        _exit(23);
    }
    if (strcmp(way, "abort") == 0) {
        start_threads();
        abort();
    }
    probe_check(strcmp(way, "detached") == 0, "no way %s", way);
    enum { COUNT = 300 };
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (uintptr_t i = 0; i < COUNT; i++) {
        int error = pthread_create(&thread, &attr, detached, (void *)i);
        probe_check(error == 0, "pthread_create: %s", strerror(error));
        if (i % 16 == 15)
            probe_sleep_ms(1);
    }
    while (atomic_load(&finished) < COUNT)
        probe_sleep_ms(1);
    return 24;
}
