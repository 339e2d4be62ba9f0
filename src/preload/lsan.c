/* LeakSanitizer's interface (include/memprof/lsan.h), so that programs written for it link and
 * behave. In a program with a sanitizer's run-time in it, whose allocator serves, our names only
 * lead to its. */
#define MEMPROF_API __attribute__((visibility("default")))
#include <memprof/lsan.h>

#include <unistd.h>

#include "control/report.h"
#include "heap/thread.h"
#include "leak/told.h"
#include "platform/elf.h"
#include "platform/options.h"
#include "preload/preload.h"

typedef void nothing_to_nothing(void);
typedef int nothing_to_int(void);
typedef void pointer_to_nothing(const void *pointer);
typedef void region_to_nothing(const void *start, size_t size);

#define NEXT(type, name) ((type *)(uintptr_t)mp_elf_find_next(name))

/* Calls the sanitizer's, if there is one, in a process in which we are passive. */
#define PASS_ON(type, name, ...)                                                                   \
    if (!mp_active) {                                                                              \
        type *next = NEXT(type, name);                                                             \
        if (next)                                                                                  \
            next(__VA_ARGS__);                                                                     \
        return;                                                                                    \
    }

void __lsan_disable(void) {
    PASS_ON(nothing_to_nothing, "__lsan_disable")
    mp_told_begin_quiet();
}

void __lsan_enable(void) {
    PASS_ON(nothing_to_nothing, "__lsan_enable")
    mp_told_end_quiet();
}

void __lsan_ignore_object(const void *pointer) {
    PASS_ON(pointer_to_nothing, "__lsan_ignore_object", pointer)
    mp_told_ignore((uintptr_t)pointer);
}

void __lsan_register_root_region(const void *start, size_t size) {
    PASS_ON(region_to_nothing, "__lsan_register_root_region", start, size)
    mp_told_root((uintptr_t)start, size);
}

void __lsan_unregister_root_region(const void *start, size_t size) {
    PASS_ON(region_to_nothing, "__lsan_unregister_root_region", start, size)
    mp_told_unroot((uintptr_t)start);
}

static bool find_leaks(void) {
    bool leaks = false;
    if (mp_thread_heap_for_malloc())
        mp_report_tell(&leaks);
    return leaks;
}

void __lsan_do_leak_check(void) {
    PASS_ON(nothing_to_nothing, "__lsan_do_leak_check")
    mp_report_stop();
    if (find_leaks() && mp_options.exitcode)
        _exit((int)mp_options.exitcode);
}

int __lsan_do_recoverable_leak_check(void) {
    if (!mp_active) {
        nothing_to_int *next = NEXT(nothing_to_int, "__lsan_do_recoverable_leak_check");
        return next ? next() : 0;
    }
    return find_leaks();
}
