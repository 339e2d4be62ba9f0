/* For programs that know which of their blocks are lost. A site is a function that allocates, and
 * its name is the verdict on all that it returns:
 *
 *   keep_*          a root leads to it for as long as the program runs
 *   lost_*          nothing leads to it: a direct leak
 *   lost_behind_*   only leaked blocks lead to it: an indirect leak
 *   loop_*          of a cycle that nothing leads to: one block of each cycle is direct
 *
 * So a report's stacks can be held against the ledger, which counts by site, and holds no address.
 * Apart from tests/profile/site.h, which tells stacks without symbols and knows nothing of
 * pointers.
 *
 * Searching is conservative: one stale copy of a pointer hides a leak. What makes a structure is
 * therefore a function of its own (MAKES), run by truth_make deep enough that no frame of the end
 * lies where it has been but those that truth_scrub has gone over; a pointer that is remembered on
 * purpose is hidden (truth_hide).
 *
 * PROGRAM list prints `NAME FACT` for each case; PROGRAM NAME runs one. It prints the ledger, one
 * line per site, then `ready`, and stays until its input ends. Then it exits from where it is, with
 * all that is on its stacks. C and C++. */
#ifndef MEMPROF_TESTS_LEAK_TRUTH_H
#define MEMPROF_TESTS_LEAK_TRUTH_H

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))
#define TRUTH_UNUSED __attribute__((unused))
#define MAKES        __attribute__((noinline)) static

struct truth_site {
    const char *name;
    uint64_t objects, bytes;
    bool unsized; /* libc, or the compiler's library, decides on the bytes */
    bool listed;
    struct truth_site *next;
};

struct truth_case {
    const char *name;
    const char *fact;
    void (*run)(void);
};

TRUTH_UNUSED __attribute__((noreturn)) static void truth_die(const char *what) {
    fprintf(stderr, "truth: %s: %s\n", what, strerror(errno));
    _exit(3);
}

/* ---- the ledger ---- */

static struct truth_site *truth_sites;
static unsigned truth_cycles; /* that nothing leads to; 0: nobody has counted them */
static unsigned truth_deaf;   /* threads, libc's own, that no signal reaches */
static bool truth_unseen;     /* a search may say that it has not seen all, and be wrong */

TRUTH_UNUSED static void truth_came(struct truth_site *site, size_t size) {
    __atomic_fetch_add(&site->bytes, size, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->objects, 1, __ATOMIC_RELAXED);
    if (__atomic_exchange_n(&site->listed, true, __ATOMIC_RELAXED))
        return;
    struct truth_site *first = __atomic_load_n(&truth_sites, __ATOMIC_RELAXED);
    do
        site->next = first;
    while (!__atomic_compare_exchange_n(&truth_sites, &first, site, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
}

TRUTH_UNUSED static void truth_came_unsized(struct truth_site *site) {
    __atomic_store_n(&site->unsized, true, __ATOMIC_RELAXED);
    truth_came(site, 0);
}

TRUTH_UNUSED static void truth_went(struct truth_site *site, size_t size) {
    __atomic_fetch_sub(&site->objects, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&site->bytes, size, __ATOMIC_RELAXED);
}

/* A site, and how it comes by a block of `size` bytes. The ledger first: the block's address comes
 * last, so no frame has had it. */
#define SITE(id, ...)                                                                              \
    static struct truth_site id##_site = {#id, 0, 0, false, false, NULL};                          \
    TRUTH_UNUSED __attribute__((noinline)) static void *id(size_t size) {                          \
        truth_came(&id##_site, size);                                                              \
        return __VA_ARGS__;                                                                        \
    }
/* One whose blocks have the size that somebody else has chosen. */
#define SITE_UNSIZED(id, type, ...)                                                                \
    static struct truth_site id##_site = {#id, 0, 0, false, false, NULL};                          \
    TRUTH_UNUSED __attribute__((noinline)) static type id(void) {                                  \
        truth_came_unsized(&id##_site);                                                            \
        return __VA_ARGS__;                                                                        \
    }
/* Empty, with what the heap has rounded its size up by: what was there before may be a pointer. */
TRUTH_UNUSED static void *truth_clear(void *block) {
    return memset(block, 0, malloc_usable_size(block));
}
#define BLOCK(id) SITE(id, truth_clear(malloc(size)))

/* ---- pointers ---- */

/* Stores that no compiler leaves out, though nobody reads them. */
TRUTH_UNUSED static void truth_point(void *from, size_t slot, const void *to) {
    ((const void *volatile *)from)[slot] = to;
}

TRUTH_UNUSED static void *truth_at(const void *from, size_t slot) {
    return ((void *const volatile *)from)[slot];
}

/* As no search would know it. */
TRUTH_UNUSED static uintptr_t truth_hide(const void *pointer) {
    return ~(uintptr_t)pointer;
}

TRUTH_UNUSED static void *truth_unhide(uintptr_t hidden) {
    return (void *)~hidden; /* NOLINT */
}

/* What frames that are gone have left below the caller's. */
TRUTH_UNUSED __attribute__((noinline)) static void truth_scrub(void) {
    volatile uintptr_t words[6144];
    for (size_t i = 0; i < COUNT(words); i++)
        words[i] = 0;
}

/* The registers that a function leaves as it likes. A search that interrupts a thread finds them on
 * its stack, the wide ones as well. */
TRUTH_UNUSED __attribute__((noinline)) static void truth_clear_registers(void) {
#if defined(__x86_64__)
    static struct { char legacy[512], header[64], rest[2432]; } __attribute__((aligned(64))) state;
    state.legacy[24] = (char)0x80; /* MXCSR, as it is at the start */
    state.legacy[25] = 0x1f;
    uint32_t low, high;
    __asm__ volatile("cpuid" : "=a"(low), "=c"(high) : "0"(1), "1"(0) : "rbx", "rdx");
    if (high >> 27 & 1) /* OSXSAVE */
        __asm__ volatile("xrstor %0" : : "m"(state), "a"(0xe6), "d"(0));
    __asm__ volatile("xorl %%ecx, %%ecx; xorl %%esi, %%esi; xorl %%edi, %%edi; xorl %%r8d, %%r8d;"
                     "xorl %%r9d, %%r9d; xorl %%r10d, %%r10d; xorl %%r11d, %%r11d"
                     :
                     :
                     : "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11");
#endif
}

/* Frames have holes, and a hole in a frame in use shows what was there before: so what is in use at
 * the end stands above all that `make` has touched. */
TRUTH_UNUSED __attribute__((noinline)) static void truth_make(void (*make)(void)) {
    volatile uintptr_t words[512];
    for (size_t i = 0; i < COUNT(words); i++)
        words[i] = 0;
    make();
    words[0] = words[1];
}

/* ---- threads ---- */

static int truth_never[2]; /* a pipe that nobody writes to */
static sem_t truth_started_count;

/* A wait that goes on after whatever interrupts it. */
TRUTH_UNUSED __attribute__((noreturn)) static void truth_block(void) {
    char byte;
    truth_clear_registers();
    for (;;) {
        if (read(truth_never[0], &byte, 1) < 0 && errno != EINTR)
            truth_die("read");
    }
}

/* A thread holds what it is to hold. */
TRUTH_UNUSED static void truth_started(void) {
    sem_post(&truth_started_count);
}

TRUTH_UNUSED static void truth_await(unsigned count) {
    while (count) {
        if (sem_wait(&truth_started_count) == 0)
            count--;
        else if (errno != EINTR)
            truth_die("sem_wait");
    }
}

TRUTH_UNUSED static pthread_t truth_thread(void *(*work)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) != 0)
        truth_die("pthread_create");
    return thread;
}

TRUTH_UNUSED static void truth_in_thread(void *(*work)(void *), void *argument) {
    pthread_join(truth_thread(work, argument), NULL);
}

TRUTH_UNUSED static unsigned long truth_thread_count(void) {
    struct stat tasks;
    if (stat("/proc/self/task", &tasks) != 0)
        truth_die("/proc/self/task");
    return tasks.st_nlink;
}

static unsigned long truth_threads_at_first; /* one may be memprof's own */

/* Until the kernel has none of those any more that the case has started. */
TRUTH_UNUSED static void truth_await_alone(void) {
    while (truth_thread_count() != truth_threads_at_first)
        usleep(500);
}

/* ---- the end ---- */

TRUTH_UNUSED static const char *truth_verdict(const char *site) {
    static const char *const verdicts[][2] = {
        {"keep_", "reachable"},
        {"lost_behind_", "indirect"},
        {"lost_", "direct"},
        {"loop_", "cycle"},
    };
    for (size_t i = 0; i < COUNT(verdicts); i++) {
        if (strncmp(site, verdicts[i][0], strlen(verdicts[i][0])) == 0)
            return verdicts[i][1];
    }
    return "?";
}

/* Without stdio, which would have a block of its own. */
TRUTH_UNUSED __attribute__((noinline)) static void truth_tell(void) {
    char line[200];
    int length;
    for (struct truth_site *site = truth_sites; site; site = site->next) {
        if (!site->objects)
            continue;
        length = site->unsized
                     ? snprintf(line, sizeof line, "%s %s %" PRIu64 " ?\n",
                                truth_verdict(site->name), site->name, site->objects)
                     : snprintf(line, sizeof line, "%s %s %" PRIu64 " %" PRIu64 "\n",
                                truth_verdict(site->name), site->name, site->objects, site->bytes);
        if (write(1, line, (size_t)length) != length)
            truth_die("write");
    }
    length = snprintf(line, sizeof line, "cycles %u\ndeaf %u\nunseen %d\n", truth_cycles,
                      truth_deaf, truth_unseen);
    if (write(1, line, (size_t)length) != length)
        truth_die("write");
}

/* Each case ends with this, in the frame that holds what it holds. From `ready` on it is searched.
 */
TRUTH_UNUSED __attribute__((noreturn, noinline)) static void truth_rest(void) {
    char byte;
    ssize_t got;
    truth_scrub();
    truth_tell();
    truth_scrub();
    truth_clear_registers();
    if (write(1, "ready\n", 6) != 6)
        truth_die("write");
    do
        got = read(0, &byte, 1);
    while (got > 0 || (got < 0 && errno == EINTR));
    exit(0);
}

/* Opens the plug-in that lies beside this program. */
TRUTH_UNUSED static void *truth_plug(void) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 32);
    if (length < 0)
        truth_die("/proc/self/exe");
    path[length] = 0;
    strcpy(strrchr(path, '/'), "/leak-plug.so");
    void *plug = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plug)
        truth_die(path);
    return plug;
}

TRUTH_UNUSED static int truth_main(int argc, char **argv, const struct truth_case *cases,
                                   size_t count) {
    if (argc != 2)
        truth_die("usage: PROGRAM list|CASE");
    if (pipe(truth_never) != 0 || sem_init(&truth_started_count, 0, 0) != 0)
        truth_die("pipe");
    truth_threads_at_first = truth_thread_count();
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[1], "list") == 0)
            printf("%s %s\n", cases[i].name, cases[i].fact);
        else if (strcmp(argv[1], cases[i].name) == 0)
            cases[i].run();
    }
    return strcmp(argv[1], "list") != 0;
}

#endif
