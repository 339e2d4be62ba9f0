/*
 * The order of locks at a fork. fork locks the list of all streams after it has run the fork
 * handlers, and fflush(NULL) holds that list while it calls a stream's write function, which may
 * allocate. A heap whose handler closes it before the list is locked waits for the thread that
 * flushes, which waits for the heap.
 *
 * Apart from forkstorm.c, which meets the same by chance only: here one thread is held in the write
 * function until the other is on its way into fork.
 */
#include "probe.h"

#include <pthread.h>
#include <semaphore.h>

enum { ROUNDS = 5 };

static sem_t flushing;

static ssize_t slow_write(void *cookie, const char *text, size_t size) {
    (void)cookie;
    (void)text;
    sem_post(&flushing);
    /* Long enough for the other thread to get as far into fork as it can. */
    probe_sleep_ms(100);
    probe_exercise(size, "in a write function while another thread forks");
    return (ssize_t)size;
}

static void *flush_all(void *argument) {
    fprintf(argument, "text");
    fflush(NULL);
    return NULL;
}

int main(void) {
    probe_begin(20);
    sem_init(&flushing, 0, 0);
    for (int round = 0; round < ROUNDS; round++) {
        /* A new thread each time: its first blocks of each kind come from the heap's pools. */
        cookie_io_functions_t functions = {.write = slow_write};
        FILE *stream = fopencookie(NULL, "w", functions);
        probe_check(stream != NULL, "fopencookie");
        pthread_t thread;
        probe_check(pthread_create(&thread, NULL, flush_all, stream) == 0, "pthread_create");
        sem_wait(&flushing);
        pid_t pid = fork();
        probe_check(pid >= 0, "fork");
        if (pid == 0) {
            probe_watchdog(10);
            probe_exercise(1, "in a child");
            /* The list must be free in the child too. */
            FILE *file = fopen("/dev/null", "w");
            probe_check(file != NULL && fputs("text", file) >= 0, "fopen in a child");
            fflush(NULL);
            fclose(file);
            exit(0);
        }
        int status = probe_wait(pid);
        probe_check(status == 0, "the child ended with %d", status);
        pthread_join(thread, NULL);
        /* And in the parent, more than once: a lock that is taken twice must be dropped twice. */
        probe_check(pthread_create(&thread, NULL, flush_all, stream) == 0, "pthread_create");
        pthread_join(thread, NULL);
        sem_wait(&flushing);
        fclose(stream);
    }
    return 0;
}
