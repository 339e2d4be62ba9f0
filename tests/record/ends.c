/*
 * Allocations before main and after it: constructors, destructors of thread-local objects and of
 * pthread keys, atexit handlers. The dump is the one that dump_exit=1 makes, ends.heap.
 */
#include "record.h"

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

static void *kept[8][R_KEEP];
static pthread_key_t key;

#define ALLOCATES(name, row)                                                                       \
    SHOWN void name(void) {                                                                        \
        for (int i = 0; i < R_KEEP; i++) {                                                         \
            void *block = calloc(3, 100);                                                          \
            kept[row][i] = malloc(1900 + (row));                                                   \
            free(block);                                                                           \
        }                                                                                          \
    }

ALLOCATES(in_constructor, 0)
ALLOCATES(in_thread_local, 1)
ALLOCATES(in_key, 2)
ALLOCATES(in_key_again, 3)
ALLOCATES(in_atexit, 4)
ALLOCATES(in_destructor, 5)
ALLOCATES(in_main_thread_local, 6)

static void expect_of(const char *name, void (*function)(void), unsigned row) {
    r_expect("ends.heap", name, "cfi,fp,libunwind", 1900 + row, R_KEEP, "any");
    r_in((void *)function);
    r_done("*");
}

__attribute__((constructor)) static void before_main(void) {
    in_constructor();
}

__attribute__((destructor)) static void after_main(void) {
    in_destructor();
    expect_of("in a destructor of the program", in_destructor, 5);
}

static void thread_local_ends(void *unused) {
    (void)unused;
    in_thread_local();
}

static void main_thread_local_ends(void *unused) {
    (void)unused;
    in_main_thread_local();
    expect_of("in the destructor of the main thread's object", in_main_thread_local, 6);
}

/* The second round comes after libc and others have cleaned up. */
static void key_ends(void *value) {
    if (value == (void *)1) {
        pthread_setspecific(key, (void *)2);
        in_key();
    } else {
        in_key_again();
    }
}

static void *thread_that_ends(void *unused) {
    __cxa_thread_atexit_impl(thread_local_ends, NULL, &__dso_handle);
    pthread_setspecific(key, (void *)1);
    return unused;
}

static void at_exit(void) {
    in_atexit();
    expect_of("in an atexit handler", in_atexit, 4);
}

int main(void) {
    t_init();
    r_watchdog(30);
    pthread_key_create(&key, key_ends);
    t_in_thread(thread_that_ends, NULL);
    __cxa_thread_atexit_impl(main_thread_local_ends, NULL, &__dso_handle);
    atexit(at_exit);
    expect_of("in a constructor", in_constructor, 0);
    expect_of("in the destructor of a thread's object", in_thread_local, 1);
    expect_of("in the destructor of a thread's key", in_key, 2);
    expect_of("in the second round of a thread's keys", in_key_again, 3);
    return 0;
}
