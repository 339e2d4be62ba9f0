/* What the unit suites share: how a suite runs and says what it skips, checks for threads and
 * forked children, where Check's own cannot be used, repeatable random numbers, and blocks whose
 * contents can be verified.
 *
 * Check runs each case in a process of its own, forked from one that has never touched the heap,
 * so a case may count on an untouched heap (UNIT_CASE_PRISTINE). With CK_FORK=no
 * (under the thread sanitizer) all cases of a suite share one process and one heap. */
#ifndef MP_TESTS_UNIT_UNIT_H
#define MP_TESTS_UNIT_UNIT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/page.h"

#if defined(__SANITIZE_THREAD__)
#define UNIT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNIT_TSAN 1
#endif
#endif
#ifndef UNIT_TSAN
#define UNIT_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define UNIT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNIT_ASAN 1
#endif
#endif
#ifndef UNIT_ASAN
#define UNIT_ASAN 0
#endif

/* Runs the suite as Check's environment variables say; the program's exit status. */
int unit_main(Suite *suite);

/* MEMPROF_FULL=1: long variants too. */
bool unit_full(void);

/* Does each case have a process of its own? */
bool unit_forks(void);

void unit_skip(const char *name, const char *reason);

/* Adds a case, or says why not. Cases that fork by themselves or stop threads by signals tell a
 * thread sanitizer nothing; cases that need an untouched heap need a process of their own. */
#define UNIT_CASE(tcase, test) tcase_add_test(tcase, test)
#define UNIT_CASE_IF(tcase, test, condition, reason)                                               \
    do {                                                                                           \
        if (condition)                                                                             \
            tcase_add_test(tcase, test);                                                           \
        else                                                                                       \
            unit_skip((test)->name, reason);                                                       \
    } while (0)
#define UNIT_CASE_FORKING(tcase, test)                                                             \
    UNIT_CASE_IF(tcase, test, !UNIT_TSAN, "it forks, which the thread sanitizer does not follow")
#define UNIT_CASE_PRISTINE(tcase, test)                                                            \
    UNIT_CASE_IF(tcase, test, unit_forks(), "it needs a heap of its own, and CK_FORK is no")

/* A check outside Check's own thread and process: says where, and aborts. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            unit_must_failed(__FILE__, __LINE__, #condition);                                      \
    } while (0)
void unit_must_failed(const char *file, int line, const char *what) __attribute__((noreturn));

/* Runs `work` in a forked child, which ends with _exit(0) when it returns; the status as waitpid
 * tells it. A child that runs longer than `seconds` is killed (SIGALRM). */
int unit_in_child(void (*work)(void *), void *context, unsigned seconds);

/* The same as the preloaded object's handlers make a fork, for 20 seconds: the calling thread's
 * batches are handed over, and nobody is in a slow section. */
int unit_gated_fork(void (*work)(void));

/* Runs `work` in a thread and waits for its end. */
void unit_in_thread(void *(*work)(void *), void *context);

/* The resident pages of a range. */
size_t unit_resident_pages(uintptr_t start, size_t size);

/* `from` .. `from + size` reads zero. */
bool unit_is_zero(const void *from, size_t size);

/* What mp_say says from here to unit_said, which returns it; longer text is cut. */
void unit_listen(void);
const char *unit_said(void);

/* ---- random numbers ---- */

static inline uint64_t unit_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. most */
static inline size_t unit_random_to(uint64_t *state, size_t most) {
    return (size_t)(unit_random(state) % (most + 1));
}

/* A size as programs ask for them: mostly small, each doubling up to `most` as likely as the
 * others, now and then exactly at the edge of a class. */
size_t unit_random_size(uint64_t *state, size_t most);

/* ---- blocks with contents ---- */

struct unit_block {
    unsigned char *at;
    size_t size;
    uint64_t seed;
};

/* Writes the whole block up to a few pages; beyond, its ends and a word per page, or, where there
 * are very many pages, one of sixteen. */
void unit_fill(struct unit_block *block, uint64_t seed);
bool unit_is_intact(const struct unit_block *block);

#endif
