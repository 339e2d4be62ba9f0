/* The functions of include/memprof/memprof.h. */
#define MEMPROF_API __attribute__((visibility("default")))
#include <memprof/memprof.h>

#include <errno.h>

#include "control/dump.h"
#include "heap/thread.h"
#include "preload/preload.h"

int memprof_dump(const char *path) {
    const struct mp_dump_order order = {.path = path};
    int error = -ENOTSUP;
    if (mp_active)
        error = mp_thread_heap_for_malloc() ? mp_dump_write_sigsafe(&order) : -ENOMEM;
    if (!error)
        return 0;
    errno = -error;
    return -1;
}
