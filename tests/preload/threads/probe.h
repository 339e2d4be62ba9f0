/*
 * What the limit and thread programs share: how they fail, a watchdog, pseudo-random numbers,
 * blocks whose contents can be verified, and the process's own resident size.
 *
 * It is apart from the other preload tests because these programs run where the C library can do
 * little: at the end of their address space, in the child of a fork, under a seccomp filter.
 * Nothing here allocates, and only probe_begin() may be called before a limit alone.
 *
 * A program exits 0 when every promise held, 1 with the reason on stderr when one did not, 77 with
 * the reason when the machine does not allow the test, and 124 when its watchdog ended it.
 */
#ifndef MEMPROF_TESTS_PROBE_H
#define MEMPROF_TESTS_PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_KIB ((size_t)1 << 10)
#define PROBE_MIB ((size_t)1 << 20)
#define PROBE_GIB ((size_t)1 << 30)

/* Prints the reason and ends the process at once: no handlers, no flush, the same in every child.
 */
__attribute__((noreturn, format(printf, 2, 3))) static inline void probe_end(int status,
                                                                             const char *format,
                                                                             ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    if ((size_t)n > sizeof(line) - 2)
        n = (int)sizeof(line) - 2;
    line[n] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n + 1);
    (void)ignored;
    _exit(status);
}

#define probe_fail(...) probe_end(1, __VA_ARGS__)
#define probe_skip(...) probe_end(77, __VA_ARGS__)

/* The condition is a promise: the reason says in words which one was broken. */
#define probe_check(condition, ...)                                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            probe_fail(__VA_ARGS__);                                                               \
    } while (0)

static inline void probe_alarm(int signal_number) {
    (void)signal_number;
    static const char text[] = "watchdog: the program did not end in time, a deadlock\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    _exit(124);
}

/* A forked child inherits the handler but not the alarm, so each child calls this again. */
static inline void probe_watchdog(unsigned seconds) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = probe_alarm;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

/*
 * Starts the watchdog, and fails when the library should be this program's allocator and is not:
 * without it every test here would pass on the C library's own heap and prove nothing.
 */
static inline void probe_begin(unsigned seconds) {
    probe_watchdog(seconds);
    const char *preload = getenv("LD_PRELOAD");
    if (preload == NULL || strstr(preload, "libmemprof") == NULL)
        return;
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL ||
        strstr(info.dli_fname, "libmemprof") == NULL)
        probe_fail("malloc is not libmemprof's although it is preloaded");
}

/* True under the library, for what it promises and the C library does not. */
static inline bool probe_preloaded(void) {
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "libmemprof") != NULL;
}

static inline bool probe_full(void) {
    const char *full = getenv("MEMPROF_FULL");
    return full != NULL && strcmp(full, "1") == 0;
}

/* splitmix64: any seed will do, each state belongs to one thread. */
static inline uint64_t probe_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t probe_random(uint64_t *state) {
    return probe_mix(*state += 0x9e3779b97f4a7c15u);
}

static inline size_t probe_between(uint64_t *state, size_t low, size_t high) {
    return low + (size_t)(probe_random(state) % (high - low + 1));
}

static inline double probe_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void probe_sleep_ms(long ms) {
    struct timespec wait = {ms / 1000, (ms % 1000) * 1000000};
    while (nanosleep(&wait, &wait) != 0 && errno == EINTR)
        ;
}

/* Field 0 of statm is the address space, field 1 the resident set; read without any allocation. */
static inline size_t probe_statm(int field) {
    char text[256];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *at = text;
    size_t pages = 0;
    for (int i = 0; i <= field; i++)
        pages = strtoul(at, &at, 10);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static inline size_t probe_rss(void) {
    return probe_statm(1);
}

/* A word wherever it lies: without the compiler's built-ins memcpy would be a call for each. */
typedef uint64_t __attribute__((may_alias, aligned(1))) probe_word;

static inline void probe_fill(void *memory, size_t size, uint64_t seed) {
    unsigned char *at = memory;
    uint64_t word = probe_mix(seed + 1);
    for (; size >= sizeof(word); size -= sizeof(word), at += sizeof(word)) {
        *(probe_word *)at = word;
        word += 0x9e3779b97f4a7c15u;
    }
    memcpy(at, &word, size);
}

static inline bool probe_intact(const void *memory, size_t size, uint64_t seed) {
    const unsigned char *at = memory;
    uint64_t word = probe_mix(seed + 1);
    for (; size >= sizeof(word); size -= sizeof(word), at += sizeof(word)) {
        if (*(const probe_word *)at != word)
            return false;
        word += 0x9e3779b97f4a7c15u;
    }
    return memcmp(at, &word, size) == 0;
}

static inline bool probe_zero(const void *memory, size_t size) {
    const unsigned char *at = memory;
    return size == 0 || (at[0] == 0 && memcmp(at, at + 1, size - 1) == 0);
}

/*
 * A block that carries its own bookkeeping, so that a test needs none outside the heap it measures.
 * The contents follow from address and size: two blocks that overlap cannot both be intact.
 *
 *   | next | size | contents ... |
 */
struct probe_block {
    struct probe_block *next;
    size_t size; /* bytes asked for, these 16 included */
    unsigned char contents[];
};

static inline uint64_t probe_block_seed(const struct probe_block *block) {
    return (uint64_t)(uintptr_t)block * 31 + block->size;
}

/* NULL, with errno for the caller to judge, when the allocator has none. */
static inline struct probe_block *probe_block_new(size_t size) {
    if (size < sizeof(struct probe_block))
        size = sizeof(struct probe_block);
    struct probe_block *block = malloc(size);
    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->size = size;
    probe_fill(block->contents, size - sizeof(*block), probe_block_seed(block));
    return block;
}

static inline void probe_block_verify(const struct probe_block *block) {
    if (!probe_intact(block->contents, block->size - sizeof(*block), probe_block_seed(block)))
        probe_fail("the contents of a %zu-byte block at %p changed", block->size,
                   (const void *)block);
}

static inline void probe_block_free(struct probe_block *block) {
    probe_block_verify(block);
    free(block);
}

/* The size ranges the tests speak of, by what kind of memory serves them. */
enum probe_kind { PROBE_SMALL, PROBE_MEDIUM, PROBE_LARGE, PROBE_HUGE, PROBE_KINDS };

static inline size_t probe_kind_size(enum probe_kind kind, uint64_t *state) {
    switch (kind) {
    case PROBE_SMALL:
        return probe_between(state, 16, 1024);
    case PROBE_MEDIUM:
        return probe_between(state, 8 * PROBE_KIB, 64 * PROBE_KIB);
    case PROBE_LARGE:
        return probe_between(state, 100 * PROBE_KIB, 2 * PROBE_MIB);
    default:
        return probe_between(state, 4 * PROBE_MIB, 6 * PROBE_MIB);
    }
}

/* Some of everything in well under a millisecond, where a test only asks: does the heap still work?
 */
static inline void probe_exercise(uint64_t seed, const char *where) {
    struct probe_block *list = NULL;
    for (int round = 0; round < 24; round++) {
        size_t size = round == 23      ? 200 * PROBE_KIB
                      : round % 8 == 7 ? probe_kind_size(PROBE_MEDIUM, &seed)
                                       : probe_kind_size(PROBE_SMALL, &seed);
        struct probe_block *block = probe_block_new(size);
        probe_check(block != NULL, "%s: malloc returned NULL", where);
        block->next = list;
        list = block;
    }
    /* Touched at its ends alone: to fill it would take longer than all the rest. */
    size_t huge = probe_kind_size(PROBE_HUGE, &seed);
    unsigned char *ends = malloc(huge);
    probe_check(ends != NULL, "%s: malloc returned NULL", where);
    ends[0] = ends[huge - 1] = 1;
    free(ends);
    unsigned char *zero = calloc(3, 1000);
    probe_check(zero != NULL && probe_zero(zero, 3000), "%s: calloc is not zero", where);
    memset(zero, 0x5a, 3000);
    unsigned char *grown = realloc(zero, 300000);
    probe_check(grown != NULL && grown[0] == 0x5a && grown[2999] == 0x5a,
                "%s: realloc lost the contents", where);
    free(grown);
    void *aligned = NULL;
    probe_check(posix_memalign(&aligned, 4096, 5000) == 0 && (uintptr_t)aligned % 4096 == 0,
                "%s: posix_memalign", where);
    free(aligned);
    while (list != NULL) {
        struct probe_block *next = list->next;
        probe_block_free(list);
        list = next;
    }
}

/* Waits for a child and tells how it ended: its status, or 128 + the signal. */
static inline int probe_wait(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            probe_fail("waitpid: %s", strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
