/* What a capture of a stack of 20 frames costs, by backend: nanoseconds, hot (the same stack again
 * and again) and cold (8 MiB touched between, so that code, tables and cache come from memory); and
 * the first one of a new thread.
 *   gcc -O2 -g -fno-omit-frame-pointer -Isrc -Iinclude bench/unwind.c \
 *       build/src/libmemprof_core.a -pthread -lunwind -o /tmp/bench-unwind && /tmp/bench-unwind
 * libunwind's own figure is unw_backtrace's, its quickest way, which needs no more than the program
 * linked with it; unwind=libunwind takes its steps one by one. */
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "profile/unwind.h"

#define FRAMES 20
#define HOT    200000
#define COLD   300
#define RUNS   7
#define FIRST  200 /* threads */

enum how { CFI, FP, STEPS, BACKTRACE, HOWS };
static const char *const names[] = {"cfi", "fp", "libunwind, by step", "unw_backtrace"};

static uint64_t frames[256];
static unsigned depth;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static __attribute__((noinline)) void capture(enum how how) {
    if (how == BACKTRACE)
        depth = (unsigned)unw_backtrace((void **)frames, 256);
    else
        depth = mp_unwind(frames, 256, __builtin_return_address(0)).depth;
}

/* Reads and writes: what was in the caches is not. */
static void evict(void) {
    static char memory[8 << 20];
    for (size_t i = 0; i < sizeof memory; i += 64)
        memory[i]++;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(enum how how) {
    double hot[RUNS], cold[COLD];
    for (int run = 0; run < RUNS; run++) {
        double start = now();
        for (int i = 0; i < HOT; i++)
            capture(how);
        hot[run] = (now() - start) / HOT;
    }
    for (int i = 0; i < COLD; i++) {
        evict();
        double start = now();
        capture(how);
        cold[i] = now() - start;
    }
    qsort(hot, RUNS, sizeof *hot, compare);
    qsort(cold, COLD, sizeof *cold, compare);
    printf("%-20s %3u frames   hot %7.1f ns   cold %7.0f ns", names[how], depth, hot[RUNS / 2],
           cold[COLD / 2]);
}

static void *time_first(void *how) {
    static double took;
    double start = now();
    capture(*(enum how *)how);
    took = now() - start;
    return &took;
}

static void measure_first(enum how how) {
    double first[FIRST];
    for (int i = 0; i < FIRST; i++) {
        pthread_t thread;
        void *took;
        if (pthread_create(&thread, NULL, time_first, &how) != 0)
            exit(1);
        pthread_join(thread, &took);
        first[i] = *(double *)took;
    }
    qsort(first, FIRST, sizeof *first, compare);
    printf("   first of a thread %5.1f us, at most %5.1f us\n", first[FIRST / 2] / 1000,
           first[FIRST - 1] / 1000);
}

/* Frames of a few shapes, as programs have them. */
static __attribute__((noinline)) void descend(unsigned more, enum how how);

static __attribute__((noinline)) void small(unsigned more, enum how how) {
    descend(more, how);
    __asm__ volatile("");
}

static __attribute__((noinline)) void large(unsigned more, enum how how) {
    char buffer[200];
    __asm__ volatile("" : : "r"(buffer) : "memory");
    descend(more, how);
    __asm__ volatile("" : : "r"(buffer) : "memory");
}

static void descend(unsigned more, enum how how) {
    if (more == 0)
        measure(how);
    else if (more % 3)
        small(more - 1, how);
    else
        large(more - 1, how);
    __asm__ volatile("");
}

int main(void) {
    static const int wanted[] = {MP_UNWIND_CFI, MP_UNWIND_FP, MP_UNWIND_LIBUNWIND, MP_UNWIND_CFI};
    for (enum how how = CFI; how < HOWS; how++) {
        mp_unwind_start(wanted[how]);
        /* capture's caller is measure; main, and two of libc's and _start, are at the other end */
        capture(how);
        unsigned base = depth + 1; /* with measure */
        descend((FRAMES - base) / 2, how);
        measure_first(how);
    }
    return 0;
}
