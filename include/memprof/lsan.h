/* LeakSanitizer's interface, as <sanitizer/lsan_interface.h> declares it, for a program that is
 * built without a sanitizer and run under memprof; all of it is weak. A program that was built for
 * the sanitizer needs its own header and finds these functions by their names. */
#ifndef MEMPROF_LSAN_H
#define MEMPROF_LSAN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MEMPROF_API
#define MEMPROF_API __attribute__((weak))
#endif

/* What this thread allocates between the two is no leak; may nest. */
MEMPROF_API void __lsan_disable(void);
MEMPROF_API void __lsan_enable(void);
MEMPROF_API void __lsan_ignore_object(const void *pointer);
MEMPROF_API void __lsan_register_root_region(const void *start, size_t size);
MEMPROF_API void __lsan_unregister_root_region(const void *start, size_t size);

/* Searches, and ends the program with the option exitcode if there are leaks; none is made at the
 * exit then. */
MEMPROF_API void __lsan_do_leak_check(void);
/* The same, and goes on: 1 if there are leaks. */
MEMPROF_API int __lsan_do_recoverable_leak_check(void);

#ifdef __cplusplus
}
#endif

#endif
