/*
 * A program that ends in the way that its argument names, always with status 7 where there is one.
 * What runs at a normal exit must run once in the first ways and never in the others.
 */
#include "common.h"

static void *exit_here(void *unused) {
    (void)unused;
    exit(7);
}

static void exit_late(void) {
    free(malloc(100));
}

int main(int argc, char **argv) {
    t_init();
    const char *way = argc > 1 ? argv[1] : "";
    static char *kept[100];
    for (size_t i = 0; i < COUNT(kept); i++)
        kept[i] = malloc(5000);
    pthread_t thread;
    if (!strcmp(way, "return")) {
        return 7;
    } else if (!strcmp(way, "exit")) {
        exit(7);
    } else if (!strcmp(way, "exit-in-handler")) {
        atexit(exit_late);
        exit(7);
    } else if (!strcmp(way, "exit-in-thread")) {
        if (pthread_create(&thread, NULL, exit_here, NULL) == 0)
            pthread_join(thread, NULL);
    } else if (!strcmp(way, "last-thread-ends")) {
        /* The process ends with status 0 when its last thread does. */
        pthread_exit(NULL);
    } else if (!strcmp(way, "_exit")) {
        _exit(7);
    } else if (!strcmp(way, "_Exit")) {
        _Exit(7);
    } else if (!strcmp(way, "quick_exit")) {
        quick_exit(7);
    } else if (!strcmp(way, "abort")) {
        abort();
    } else if (!strcmp(way, "exec")) {
        execl("/bin/false", "false", (char *)NULL);
    }
    return 2;
}
