/*
 * A thread that holds the loader's lock waits for another, which allocates, frees and dumps: the
 * way in which profilers that ask the loader about stacks hang their programs.
 *
 *     loader MODULE
 */
#include "record.h"

static const char *module;
static void *kept[2][R_KEEP];
static sem_t go, done;

SHOWN void helper_allocates(int row) {
    for (int i = 0; i < R_KEEP; i++) {
        free(kept[row][i]);
        kept[row][i] = malloc((size_t)(2100 + row));
        free(malloc(100));
    }
}

SHOWN void *helper(void *row) {
    sem_wait(&go);
    helper_allocates((int)(uintptr_t)row);
    if (memprof_dump && memprof_dump("loader-locked.heap") != 0)
        t_fail("no dump: %s", strerror(errno));
    sem_post(&done);
    return NULL;
}

/* Others find no way into the loader now; `done` must come all the same. */
static void have_it_done(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    sem_post(&go);
    if (sem_timedwait(&done, &until) != 0)
        t_fail("the other thread waits for the loader's lock");
}

static int in_callback(struct dl_phdr_info *info, size_t size, void *count) {
    (void)info;
    (void)size;
    if (++*(int *)count == 2)
        have_it_done();
    return 0;
}

static void in_dl_iterate_phdr(void) {
    pthread_t thread;
    int count = 0;
    NEED(pthread_create(&thread, NULL, helper, (void *)0) == 0, "pthread_create");
    dl_iterate_phdr(in_callback, &count);
    pthread_join(thread, NULL);
    CHECK(count >= 2, "%d modules", count);
    r_expect("loader.heap", "a sample of a thread while another is in dl_iterate_phdr", "cfi,fp",
             2100, R_KEEP, "any");
    r_in((void *)helper_allocates);
    r_in((void *)helper);
    r_done("*");
}

static void *starts(void *unused) {
    helper_allocates(1);
    return unused;
}

/* The thread begins inside: its first sample, with all that is made for it, comes under the lock.
 */
static int in_other_callback(struct dl_phdr_info *info, size_t size, void *count) {
    (void)info;
    (void)size;
    if (++*(int *)count == 1)
        t_in_thread(starts, NULL);
    return 0;
}

static void thread_in_dl_iterate_phdr(void) {
    int count = 0;
    dl_iterate_phdr(in_other_callback, &count);
}

/* Called by the module's constructor. */
SHOWN void loader_hook(void) {
    have_it_done();
}

static void in_dlopen(void) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, helper, (void *)1) == 0, "pthread_create");
    void *handle = dlopen(module, RTLD_NOW);
    CHECK(handle != NULL, "%s", dlerror());
    pthread_join(thread, NULL);
    if (handle)
        dlclose(handle);
    r_expect("loader.heap", "a sample of a thread while another is in dlopen", "cfi,fp", 2101,
             R_KEEP, "any");
    r_in((void *)helper_allocates);
    r_in((void *)helper);
    r_done("*");
}

static _Atomic bool stop;

static void *allocates_on(void *unused) {
    while (!stop) {
        void *block = malloc(333);
        free(block);
    }
    return unused;
}

/* For libunwind too: no thread waits for another here. */
static void loading_and_allocating(void) {
    pthread_t threads[3];
    unsigned count = 0, opened = 0;
    stop = false;
    sem_init(&go, 0, 0);
    for (; count < COUNT(threads); count++)
        if (pthread_create(&threads[count], NULL, allocates_on, NULL) != 0)
            break;
    for (double end = r_seconds() + (t_full ? 10 : 0.3); r_seconds() < end;) {
        sem_init(&done, 0, 1);
        void *handle = dlopen(module, RTLD_NOW);
        if (handle)
            opened += dlclose(handle) == 0;
    }
    stop = true;
    while (count > 0)
        pthread_join(threads[--count], NULL);
    CHECK(opened > 3, "opened %u times", opened);
}

int main(int argc, char **argv) {
    t_init();
    r_watchdog(60);
    module = argc > 1 ? argv[1] : "waitlib.so";
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
    if (!strcmp(r_option("unwind="), "libunwind")) {
        printf("skip others allocate while a thread has the loader's lock: libunwind takes it\n");
    } else {
        RUN("while a thread is in dl_iterate_phdr another can allocate and dump",
            in_dl_iterate_phdr);
        RUN("a thread that is started in dl_iterate_phdr can allocate", thread_in_dl_iterate_phdr);
        RUN("while a thread is in dlopen another can allocate and dump", in_dlopen);
    }
    RUN("modules come and go while threads allocate", loading_and_allocating);
    r_dump("loader.heap");
    return t_done();
}
