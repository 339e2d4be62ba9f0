/*
 * malloc_usable_size of what is no block: there is no answer, and the manual page leaves it open.
 * It must be 0, or the report of a misuse; never a crash, and never a size that a program could
 * write to. Each pointer is asked about in a process of its own.
 */
#include "common.h"

#include <signal.h>

static char variable[64] __attribute__((aligned(16)));

static int ask(void *pointer) {
    return malloc_usable_size(t_opaque_pointer(pointer)) == 0 ? 0 : 3;
}

static void *bad_pointer;

static void zero_or_report(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(ask(bad_pointer));
    NEED(child > 0 && waitpid(child, &status, 0) == child, "no child");
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) == 0, "it says there is room");
    CHECK(!WIFSIGNALED(status) || WTERMSIG(status) == SIGABRT, "signal %d", WTERMSIG(status));
}

static void check(const char *what, void *pointer) {
    char name[100];
    snprintf(name, sizeof(name), "malloc_usable_size of %s is 0 or a report", what);
    bad_pointer = pointer;
    RUN(name, zero_or_report);
}

int main(void) {
    t_init();
    char array[64] __attribute__((aligned(16)));
    array[0] = 0;
    char *small = malloc(64), *large = malloc(1 * MIB), *huge = malloc(64 * MIB);
    char *freed = malloc(64), *freed_large = malloc(1 * MIB), *freed_huge = malloc(64 * MIB);
    free(freed);
    free(freed_large);
    free(freed_huge);
    void *map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check("a variable on the stack", array);
    check("a static variable", variable);
    check("a function", (void *)(uintptr_t)check);
    check("a mapping of the program's", map);
    check("a wild pointer", (void *)0xdeadbeefdeadb0);
    check("a misaligned wild pointer", (void *)0xdeadbeefdeadbeef);
    check("a small integer", (void *)8);
    check("the last address", (void *)-1);
    check("a freed block", freed);
    check("a freed large block", freed_large);
    check("a freed huge block", freed_huge);
    check("the inside of a block", small + 16);
    check("an odd address inside a block", small + 1);
    check("the inside of a large block", large + 65536);
    check("the inside of a huge block", huge + 4096);
    check("the heap's range where nothing was allocated", small + 4 * GIB);
    free(small);
    free(large);
    free(huge);
    return t_done();
}
