/*
 * Opens a library by dlopen in a program that was started without it. The heap cannot become the
 * program's then, since blocks of another one are in use already: it must say so once and change
 * nothing.
 *
 *     lateload LIBRARY now|global|deepbind|thread
 */
#include "probe.h"

#include <pthread.h>

static const char *path;

static void *open_it(void *argument) {
    void *handle = dlopen(path, *(int *)argument);
    probe_check(handle != NULL, "dlopen: %s", dlerror());
    return handle;
}

static void *use_heap(void *argument) {
    probe_exercise(1, "in a thread after the late load");
    return argument;
}

int main(int argc, char **argv) {
    probe_watchdog(30);
    if (argc < 3)
        probe_fail("usage: lateload LIBRARY now|global|deepbind|thread");
    path = argv[1];
    struct probe_block *before[50];
    uint64_t state = 1;
    for (int i = 0; i < 50; i++)
        before[i] = probe_block_new(probe_kind_size((enum probe_kind)(i % PROBE_KINDS), &state));

    int flags = strcmp(argv[2], "global") == 0     ? RTLD_NOW | RTLD_GLOBAL
                : strcmp(argv[2], "deepbind") == 0 ? RTLD_LAZY | RTLD_DEEPBIND
                                                   : RTLD_NOW;
    void *handle;
    pthread_t thread;
    if (strcmp(argv[2], "thread") == 0) {
        probe_check(pthread_create(&thread, NULL, open_it, &flags) == 0, "pthread_create");
        pthread_join(thread, &handle);
    } else {
        handle = open_it(&flags);
    }
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    Dl_info info;
    probe_check(address != NULL && dladdr(address, &info) != 0 &&
                    strstr(info.dli_fname, "libmemprof") == NULL,
                "the program's malloc changed");

    for (int i = 0; i < 50; i++)
        probe_block_free(before[i]);
    probe_exercise(2, "after the late load");
    probe_check(pthread_create(&thread, NULL, use_heap, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        probe_exercise(3, "in a child after the late load");
        exit(0);
    }
    probe_check(probe_wait(pid) == 0, "a child after the late load failed");
    dlclose(handle);
    probe_exercise(4, "after dlclose");
    puts("went on");
    return 0;
}
