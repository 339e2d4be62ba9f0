/*
 * What throwlib.cc does and throw.cc does with it: C++ that throws, each function true when all of
 * it went as the standard says. In C's terms, so that a program in C can open the library.
 */
#ifndef MEMPROF_TESTS_THROWS_H
#define MEMPROF_TESTS_THROWS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define THROWS __attribute__((visibility("default")))

THROWS bool throws_and_catches(void);
THROWS bool throws_bad_alloc(void);
THROWS bool throws_nested(void);
THROWS bool throws_in_threads(void);
THROWS bool throws_in_constructor(void);
THROWS bool throws_through_c(void);
/* Throws a std::runtime_error at its caller. */
THROWS void throws_out(int depth);

#ifdef __cplusplus
}
#endif

#endif
