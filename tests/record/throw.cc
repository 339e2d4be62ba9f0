/*
 * C++ exceptions while allocations are sampled: a C++ program, linked with a library that throws.
 */
#include "record.h"

#include "throws.h"

#include <stdexcept>
#include <string>

/* What is allocated while an exception is under way: a row for each place. */
static void *kept[2][R_KEEP];

SHOWN void in_cleanup(int i) {
    kept[0][i] = malloc(1850);
}

struct cleans_up {
    int number;
    ~cleans_up() { in_cleanup(number); }
};

SHOWN void is_passed_through(int i) {
    cleans_up here{i};
    throws_out(3);
}

SHOWN void catches(int i) {
    try {
        is_passed_through(i);
    } catch (const std::runtime_error &) {
        kept[1][i] = malloc(1851);
    }
}

static void allocates_while_unwinding() {
    for (int i = 0; i < R_KEEP; i++)
        catches(i);
    r_expect("throw.heap", "a destructor's stack while an exception is under way",
             "cfi,fp,libunwind", 1850, R_KEEP, "any");
    r_in((void *)in_cleanup);
    r_any(); /* the destructor */
    r_in((void *)is_passed_through);
    r_in((void *)catches);
    r_done("*");
    r_expect("throw.heap", "the stack in a handler of exceptions", "cfi,fp,libunwind", 1851, R_KEEP,
             "any");
    r_in((void *)catches);
    r_done("*");
}

static void cross() {
    int caught = 0;
    for (int i = 0; i < 50; i++) {
        try {
            throws_out(i % 10);
        } catch (const std::runtime_error &error) {
            caught += std::string(error.what()).find("caller") != std::string::npos;
        }
    }
    CHECK(caught == 50, "%d of 50 were caught", caught);
}

#define CALLS(function)                                                                            \
    static void run_##function() {                                                                 \
        CHECK(function(), "it did not end as the standard says");                                  \
    }
CALLS(throws_and_catches)
CALLS(throws_bad_alloc)
CALLS(throws_nested)
CALLS(throws_in_threads)
CALLS(throws_in_constructor)
CALLS(throws_through_c)

int main() {
    t_init();
    r_watchdog(60);
    RUN("exceptions are thrown and caught", run_throws_and_catches);
    RUN("an exception leaves a library for the program", cross);
    RUN("new of a huge size throws std::bad_alloc", run_throws_bad_alloc);
    RUN("exceptions are nested and thrown again", run_throws_nested);
    RUN("allocations in destructors and handlers", allocates_while_unwinding);
    RUN("exceptions in six threads", run_throws_in_threads);
    RUN("exceptions in constructors", run_throws_in_constructor);
    RUN("an exception through qsort", run_throws_through_c);
    r_dump("throw.heap");
    return t_done();
}
