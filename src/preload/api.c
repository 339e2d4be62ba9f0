/* The functions of include/memprof/memprof.h. */
#define MEMPROF_API __attribute__((visibility("default")))
#include <memprof/memprof.h>

#include <errno.h>

#include "control/dump.h"
#include "control/report.h"
#include "heap/thread.h"
#include "leak/told.h"
#include "preload/preload.h"

static int done(int error) {
    if (!error)
        return 0;
    errno = error == -ECANCELED ? EIO : -error; /* a signal has ended the copy */
    return -1;
}

int memprof_dump(const char *path) {
    const struct mp_dump_order order = {.path = path};
    int error = -ENOTSUP;
    if (mp_active)
        error = mp_thread_heap_for_malloc() ? mp_dump_write_sigsafe(&order) : -ENOMEM;
    return done(error);
}

int memprof_leaks(struct memprof_leaks *leaks) {
    if (!mp_active)
        return done(-ENOTSUP);
    return done(mp_thread_heap_for_malloc() ? mp_report_count(leaks) : -ENOMEM);
}

int memprof_root(const void *start, size_t size) {
    return done(mp_active ? mp_told_root((uintptr_t)start, size) : -ENOTSUP);
}

int memprof_unroot(const void *start) {
    return done(mp_active ? mp_told_unroot((uintptr_t)start) : -ENOTSUP);
}

int memprof_ignore(const void *pointer) {
    return done(mp_active ? mp_told_ignore((uintptr_t)pointer) : -ENOTSUP);
}
