/*
 * Forks from a program whose threads allocate all the time. In the child only the forking thread is
 * left, and everything it may do elsewhere must work: allocate and free all kinds, free what any
 * other thread allocated, use stdio, create threads, fork again, exec, exit.
 *
 *     forkstorm FORKS
 *
 * Some threads hold the C library's own locks while they allocate: a stream whose write function
 * calls malloc is flushed by fflush(NULL), which holds the list of all streams, and that list is
 * locked by fork itself. An allocator that takes its locks before fork takes that one deadlocks.
 */
#include "probe.h"

#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <sys/prctl.h>

enum { THREADS = 8, STABLE = 40 };

/* Made before the first fork and never changed: a child can verify and free them at any moment. */
static struct probe_block *stable[THREADS][STABLE];
static pthread_barrier_t ready;
static atomic_bool stop;
static atomic_int forks_left, handlers_run;
static const char *own_path;

/* Handlers that a program registers run outside the heap's own, and may use it. */
static _Atomic(void *) handler_block;

static void prepare(void) {
    free(atomic_exchange(&handler_block, malloc(300)));
    atomic_fetch_add(&handlers_run, 1);
}

static void in_parent(void) {
    free(atomic_exchange(&handler_block, malloc(3000)));
}

static void in_child(void) {
    free(atomic_exchange(&handler_block, calloc(1, 70000)));
}

/* All kinds, so that the heap has to go to its pools while the C library's lock is held. */
static ssize_t stream_write(void *cookie, const char *text, size_t size) {
    (void)cookie;
    (void)text;
    probe_exercise(size, "in a stream's write function");
    return (ssize_t)size;
}

static FILE *open_stream(void) {
    cookie_io_functions_t functions = {.write = stream_write};
    FILE *stream = fopencookie(NULL, "w", functions);
    probe_check(stream != NULL, "fopencookie");
    return stream;
}

static void *thread_in_child(void *argument) {
    probe_exercise(5, "in a thread of a child");
    if (argument != NULL) {
        pid_t pid = fork();
        if (pid == 0) {
            probe_watchdog(20);
            probe_exercise(6, "in a child of a child's thread");
            _exit(0);
        }
        int status = probe_wait(pid);
        probe_check(status == 0, "a child of a child's thread ended with %d", status);
    }
    return NULL;
}

static void child(int number) {
    probe_watchdog(20);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < STABLE; i++)
            probe_block_verify(stable[t][i]);
    probe_exercise((uint64_t)number, "in a child");
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < STABLE; i++)
            probe_block_free(stable[t][i]);
    probe_exercise((uint64_t)number + 1, "in a child, after it freed its parent's blocks");

    FILE *stream = open_stream();
    fprintf(stream, "child %d\n", number);
    fflush(NULL);
    fclose(stream);
    if (number % 4 == 1) {
        pthread_t thread;
        int error =
            pthread_create(&thread, NULL, thread_in_child, number % 8 == 1 ? &number : NULL);
        probe_check(error == 0, "pthread_create in a child: %s", strerror(error));
        pthread_join(thread, NULL);
    }
    if (number % 4 == 2) {
        pid_t pid = fork();
        if (pid == 0) {
            probe_watchdog(20);
            probe_exercise(3, "in a grandchild");
            _exit(0);
        }
        probe_check(probe_wait(pid) == 0, "a grandchild failed");
    }
    if (number % 4 == 3) {
        execl(own_path, own_path, "exec", (char *)NULL);
        probe_fail("exec: %s", strerror(errno));
    }
    if (number % 8 == 0)
        exit(0);
    _exit(0);
}

/* Another thing each thread does beside the heap, where the C library calls malloc under a lock. */
static void use_libc(int index, FILE *stream, uint64_t *state) {
    switch (index % 4) {
    case 0:
        fprintf(stream, "%llu\n", (unsigned long long)probe_random(state));
        fflush(NULL);
        break;
    case 1: {
        FILE *file = fopen("/dev/null", "w");
        if (file != NULL) {
            fprintf(file, "%d\n", index);
            fclose(file);
        }
        break;
    }
    case 2: {
        struct passwd entry, *found;
        char text[2048];
        getpwuid_r(0, &entry, text, sizeof(text), &found);
        break;
    }
    default:
        free(strdup("a copy"));
    }
}

static void *live(void *argument) {
    int index = *(int *)argument;
    uint64_t state = (uint64_t)index * 77;
    for (int i = 0; i < STABLE; i++) {
        enum probe_kind kind = i == 0 ? PROBE_HUGE
                                      : (enum probe_kind)(i % 8 == 1   ? PROBE_LARGE
                                                          : i % 4 == 2 ? PROBE_MEDIUM
                                                                       : PROBE_SMALL);
        size_t size = probe_kind_size(kind, &state);
        /* Little memory in all, since each fork copies the page tables of all of it. */
        stable[index][i] = probe_block_new(kind == PROBE_HUGE ? 600 * PROBE_KIB : size / 4 + 16);
        probe_check(stable[index][i] != NULL, "malloc");
    }
    FILE *stream = open_stream();
    pthread_barrier_wait(&ready);

    struct probe_block *held[64] = {NULL};
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 200; i++) {
            struct probe_block **place = &held[probe_random(&state) % 64];
            if (*place != NULL)
                probe_block_free(*place);
            uint64_t which = probe_random(&state) % 256;
            size_t size = which == 0  ? 300 * PROBE_KIB
                          : which < 8 ? probe_kind_size(PROBE_MEDIUM, &state)
                                      : probe_kind_size(PROBE_SMALL, &state);
            *place = probe_block_new(size);
            probe_check(*place != NULL, "malloc");
        }
        use_libc(index, stream, &state);
        int number = atomic_fetch_sub(&forks_left, 1);
        if (number <= 0) {
            atomic_store(&stop, true);
            break;
        }
        pid_t pid = fork();
        probe_check(pid >= 0, "fork: %s", strerror(errno));
        if (pid == 0)
            child(number);
        /* The others go on while this one waits. */
        int status = probe_wait(pid);
        probe_check(status == 0, "child %d ended with %d", number, status);
    }
    for (int i = 0; i < 64; i++)
        if (held[i] != NULL)
            probe_block_free(held[i]);
    fclose(stream);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "exec") == 0) {
        probe_begin(20);
        probe_exercise(1, "after exec");
        return 0;
    }
    int forks = argc > 1 ? atoi(argv[1]) : 300;
    probe_begin(30 + (unsigned)forks / 10);
    own_path = argv[0];
    probe_check(pthread_atfork(prepare, in_parent, in_child) == 0, "pthread_atfork");
    atomic_init(&forks_left, forks);
    pthread_barrier_init(&ready, NULL, THREADS);
    pthread_t ids[THREADS];
    int indices[THREADS];
    for (int i = 0; i < THREADS; i++) {
        indices[i] = i;
        probe_check(pthread_create(&ids[i], NULL, live, &indices[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    probe_check(atomic_load(&handlers_run) == forks, "%d fork handlers for %d forks",
                atomic_load(&handlers_run), forks);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < STABLE; i++)
            probe_block_free(stable[t][i]);
    probe_exercise(2, "after all forks");
    return 0;
}
