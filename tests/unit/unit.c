#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/elsewhere.h"
#include "heap/thread.h"
#include "platform/say.h"

int unit_main(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

bool unit_full(void) {
    const char *full = getenv("MEMPROF_FULL");
    return full && strcmp(full, "1") == 0;
}

bool unit_forks(void) {
    const char *fork = getenv("CK_FORK");
    return !fork || strcmp(fork, "no") != 0;
}

void unit_skip(const char *name, const char *reason) {
    printf("skip %s: %s\n", name, reason);
    fflush(stdout);
}

void unit_must_failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

int unit_in_child(void (*work)(void *), void *context, unsigned seconds) {
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(seconds);
        work(context);
        _exit(0);
    }
    must(child > 0);
    int status = -1;
    must(waitpid(child, &status, 0) == child);
    return status;
}

int unit_gated_fork(void (*work)(void)) {
    if (mp_tls.heap) {
        mp_slow_enter();
        mp_elsewhere_flush(mp_tls.heap);
        mp_slow_leave();
    }
    mp_gate_close();
    pid_t child = fork();
    if (child == 0) {
        mp_gate_open(true);
        signal(SIGALRM, SIG_DFL); /* Check's handler would end the test without a word */
        alarm(20);
        work();
        _exit(0);
    }
    mp_gate_open(false);
    must(child > 0);
    int status;
    must(waitpid(child, &status, 0) == child);
    return status;
}

void unit_in_thread(void *(*work)(void *), void *context) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, work, context) == 0);
    must(pthread_join(thread, NULL) == 0);
}

size_t unit_resident_pages(uintptr_t start, size_t size) {
    size_t pages = (size + 4095) / 4096, resident = 0;
    unsigned char states[256];
    for (size_t at = 0; at < pages; at += sizeof states) {
        size_t n = pages - at < sizeof states ? pages - at : sizeof states;
        must(mincore((void *)(start + at * 4096), n * 4096, states) == 0);
        for (size_t i = 0; i < n; i++)
            resident += states[i] & 1;
    }
    return resident;
}

bool unit_is_zero(const void *from, size_t size) {
    const unsigned char *bytes = from;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---- what is said ---- */

static int said_fd = -1;

void unit_listen(void) {
    if (said_fd >= 0)
        close(said_fd);
    said_fd = memfd_create("said", MFD_CLOEXEC);
    must(said_fd >= 0);
    mp_say_to(said_fd, NULL);
}

const char *unit_said(void) {
    static char text[16384];
    must(said_fd >= 0);
    ssize_t n = pread(said_fd, text, sizeof text - 1, 0);
    must(n >= 0);
    text[n] = '\0';
    close(said_fd);
    said_fd = -1;
    mp_say_to(2, NULL);
    return text;
}

/* ---- sizes and contents ---- */

size_t unit_random_size(uint64_t *state, size_t most) {
    unsigned top = 63 - (unsigned)__builtin_clzll(most);
    size_t below = (size_t)1 << unit_random_to(state, top);
    size_t size = below + unit_random_to(state, below - 1);
    if (unit_random_to(state, 7) == 0)
        size = below + unit_random_to(state, 2) - 1;
    return size > most ? most : size;
}

#define WHOLE ((size_t)16384)
#define EDGE  ((size_t)64)
#define BIG   ((size_t)1 << 20)

static uint64_t word_at(uint64_t seed, size_t offset) {
    return (seed ^ offset) * 0x9e3779b97f4a7c15u;
}

/* Calls for each stretch of a block that carries a pattern: 8 bytes at most at a time. */
static bool each_word(const struct unit_block *block,
                      bool (*visit)(unsigned char *at, size_t n, uint64_t word)) {
    size_t size = block->size, tail = size > WHOLE ? (size - EDGE) & ~(size_t)7 : 0;
    for (size_t offset = 0; offset < size;) {
        size_t n = size - offset < 8 ? size - offset : 8;
        if (!visit(block->at + offset, n, word_at(block->seed, offset)))
            return false;
        offset += n;
        if (offset >= EDGE && offset < tail) {
            offset = (offset | (size > BIG ? 65535 : 4095)) + 1;
            if (offset > tail)
                offset = tail;
        }
    }
    return true;
}

static bool write_word(unsigned char *at, size_t n, uint64_t word) {
    memcpy(at, &word, n);
    return true;
}

static bool same_word(unsigned char *at, size_t n, uint64_t word) {
    return memcmp(at, &word, n) == 0;
}

void unit_fill(struct unit_block *block, uint64_t seed) {
    block->seed = seed;
    each_word(block, write_word);
}

bool unit_is_intact(const struct unit_block *block) {
    return each_word(block, same_word);
}
