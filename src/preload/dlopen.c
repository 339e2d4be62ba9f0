/* dlopen without RTLD_DEEPBIND. With it, a library would look malloc and free up in its own
 * dependencies first, find libc's, and hand our blocks to it. The flag serves to separate equal
 * symbols of plugins; every preloaded allocator has to choose, and the process comes first.
 * The real dlopen is the next definition after ours. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

#include "platform/arch.h"
#include "platform/elf.h"
#include "preload/preload.h"

MP_EXPORT void *dlopen(const char *file, int mode);

typedef void *dlopen_function(const char *, int);

static dlopen_function *_Atomic real_dlopen;

static MP_COLD dlopen_function *find_real(void) {
    union {
        const void *object;
        dlopen_function *function;
    } found = {mp_elf_find_next("dlopen")};
    real_dlopen = found.function;
    return found.function;
}

/* The call at the end is compiled to a jump (at -O2, which every build of the object has): the real
 * one takes the caller's RUNPATH and namespace from the return address on the stack, which must be
 * the program's. */
void *dlopen(const char *file, int mode) {
    dlopen_function *real = atomic_load_explicit(&real_dlopen, memory_order_relaxed);
    if (MP_UNLIKELY(!real) && !(real = find_real()))
        return NULL;
    return real(file, mode & ~RTLD_DEEPBIND);
}
