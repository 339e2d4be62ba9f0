/*
 * Helpers shared by the programs that run under LD_PRELOAD of the library.
 *
 * Apart from the Check suites because these programs test the allocator they themselves stand on:
 * nothing here allocates (printf to an unbuffered stdout keeps to the stack), so a broken malloc
 * cannot hide its own failure. Header only, C11 and C++17; every function is static and may stay
 * unused.
 *
 * A program is a list of cases. A case is a function; RUN prints its line:
 *     ok NAME | not ok NAME: reason | skip NAME: reason
 * and main returns t_done(): 0 when no case failed, else 1. Any other status is a crash to the
 * script.
 *
 * With MEMPROF_TEST_LIB=PATH in the environment t_init() insists that malloc comes from that file:
 * the loader only warns when a preload is missing, and most of these tests would then pass on
 * glibc. Without the variable the programs run on plain glibc, which is how the tests themselves
 * are checked.
 */
#ifndef MEMPROF_TESTS_PRELOAD_COMMON_H
#define MEMPROF_TESTS_PRELOAD_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define T_UNUSED __attribute__((unused))
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char t_reason[400];
static bool t_case_failed, t_case_skipped;
static int t_failures;
static bool t_library; /* malloc is the library's, not glibc's */
static bool t_full;    /* MEMPROF_FULL=1: the long variants too */

/* Records why the running case fails; the first reason is the one printed. */
__attribute__((format(printf, 1, 2))) static void t_fail(const char *format, ...) {
    if (t_case_failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(t_reason, sizeof(t_reason), format, args);
    va_end(args);
    t_case_failed = true;
}

__attribute__((format(printf, 1, 2))) T_UNUSED static void t_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(t_reason, sizeof(t_reason), format, args);
    va_end(args);
    t_case_skipped = true;
}

/* CHECK goes on after a failure, NEED leaves the case (which returns void), SKIP leaves it too. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            t_fail(__VA_ARGS__);                                                                   \
    } while (0)
#define NEED(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            t_fail(__VA_ARGS__);                                                                   \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        t_skip(__VA_ARGS__);                                                                       \
        return;                                                                                    \
    } while (0)

T_UNUSED static void t_run(const char *name, void (*test)(void)) {
    t_case_failed = t_case_skipped = false;
    test();
    if (t_case_failed) {
        t_failures++;
        printf("not ok %s: %s\n", name, t_reason);
    } else if (t_case_skipped) {
        printf("skip %s: %s\n", name, t_reason);
    } else {
        printf("ok %s\n", name);
    }
}
#define RUN(name, test) t_run(name, test)

T_UNUSED static void t_init(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    const char *full = getenv("MEMPROF_FULL");
    t_full = full && full[0] == '1';
    const char *want = getenv("MEMPROF_TEST_LIB");
    if (!want || !want[0])
        return;
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");
    char have[PATH_MAX], resolved[PATH_MAX];
    if (!symbol || !dladdr(symbol, &info) || !realpath(info.dli_fname, have) ||
        !realpath(want, resolved) || strcmp(have, resolved) != 0) {
        printf("not ok malloc comes from %s: it does not\n", want);
        exit(1);
    }
    t_library = true;
}

T_UNUSED static int t_done(void) {
    return t_failures ? 1 : 0;
}

/* Hides a value from the optimiser and from the compiler's warnings about sizes. */
T_UNUSED static size_t t_opaque(size_t value) {
    volatile size_t hidden = value;
    return hidden;
}

T_UNUSED static void *t_opaque_pointer(void *pointer) {
    void *volatile hidden = pointer;
    return hidden;
}

/* The start of /proc/self/FILE in `text`, always ended by a zero; its length. */
T_UNUSED static size_t t_proc_read(const char *file, char *text, size_t room) {
    size_t used = 0;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got;
        while (used + 1 < room && (got = read(fd, text + used, room - 1 - used)) > 0)
            used += (size_t)got;
        close(fd);
    }
    text[used] = 0;
    return used;
}

/* Bytes resident now. The kernel counts per CPU and folds lazily, so it is right to about 1 MiB. */
T_UNUSED static size_t t_rss(void) {
    char text[256];
    t_proc_read("/proc/self/statm", text, sizeof(text));
    unsigned long size = 0, resident = 0;
    sscanf(text, "%lu %lu", &size, &resident);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* A kB line of /proc/self/status in bytes ("VmHWM:"); 0 when it is not there. */
T_UNUSED static size_t t_status(const char *key) {
    char text[8192];
    t_proc_read("/proc/self/status", text, sizeof(text));
    const char *line = strstr(text, key);
    return line ? (size_t)strtoull(line + strlen(key), NULL, 10) * KIB : 0;
}

/* Puts the peak (VmHWM) back to what is resident now; false where the kernel does not allow it. */
T_UNUSED static bool t_peak_reset(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "5", 1) == 1;
    if (fd >= 0)
        close(fd);
    return done;
}

T_UNUSED static size_t t_peak(void) {
    return t_status("VmHWM:");
}

/* Runs `work(argument)` in a thread of its own and waits for its end. */
T_UNUSED static void *t_in_thread(void *(*work)(void *), void *argument) {
    pthread_t thread;
    void *result = NULL;
    int error = pthread_create(&thread, NULL, work, argument);
    if (error) {
        t_fail("pthread_create: error %d", error);
        return NULL;
    }
    pthread_join(thread, &result);
    return result;
}

T_UNUSED static void *t_free_in_thread(void *pointer) {
    free(pointer);
    return NULL;
}

/* A generator that is the same on every machine (splitmix64). */
T_UNUSED static uint64_t t_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/*
 * A block's contents as a function of its tag and the offset, so that a byte that came from another
 * block, or from another place in the same one, does not fit. t_stamp_check gives the first bad
 * offset, or `size`.
 */
T_UNUSED static uint64_t t_stamp_word(uint64_t tag, size_t word) {
    return (tag + 1) * 0x9e3779b97f4a7c15u + word * 0x2545f4914f6cdd1du;
}

T_UNUSED static void t_stamp(void *block, size_t size, uint64_t tag) {
    unsigned char *at = (unsigned char *)block;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = t_stamp_word(tag, i / 8);
        memcpy(at + i, &word, size - i < 8 ? size - i : 8);
    }
}

T_UNUSED static size_t t_stamp_check(const void *block, size_t size, uint64_t tag) {
    const unsigned char *at = (const unsigned char *)block;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = t_stamp_word(tag, i / 8);
        if (memcmp(at + i, &word, size - i < 8 ? size - i : 8) != 0)
            return i;
    }
    return size;
}

/* The first byte that is not `value`, or `size`. */
T_UNUSED static size_t t_first_other(const void *block, size_t size, unsigned char value) {
    const unsigned char *at = (const unsigned char *)block;
    if (size && at[0] == value && memcmp(at, at + 1, size - 1) == 0)
        return size;
    for (size_t i = 0; i < size; i++)
        if (at[i] != value)
            return i;
    return size;
}

/* Can the kernel map this much now? Tells a library that refuses from a machine that cannot. */
T_UNUSED static bool t_kernel_can_map(size_t bytes) {
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    munmap(map, bytes);
    return true;
}

#endif
