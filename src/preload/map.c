/* The mapping calls of the program, passed on. They are ours so that a profiler can hang in here
 * (mp_hooks); until one does they only make the system call. libc's own mappings do not come this
 * way. May run in signal handlers. */
#undef _FILE_OFFSET_BITS /* or <sys/mman.h> would make one symbol of mmap and mmap64 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>

#include "heap/hooks.h"
#include "platform/arch.h"
#include "platform/sys.h"
#include "preload/preload.h"

MP_EXPORT void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset);
MP_EXPORT void *mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset);
MP_EXPORT int munmap(void *address, size_t size);
MP_EXPORT void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...);

static void *map_result(uintptr_t got) {
    if (mp_sys_failed(got)) {
        errno = (int)-got;
        return MAP_FAILED;
    }
    return (void *)got;
}

static void *map(void *address, size_t size, int prot, int flags, int fd, int64_t offset) {
    uintptr_t got = mp_sys_host_mmap((uintptr_t)address, size, prot, flags, fd, offset);
    if (mp_hooks.mapped && !mp_sys_failed(got))
        mp_hooks.mapped(got, size, prot, flags, fd);
    return map_result(got);
}

void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset) {
    return map(address, size, prot, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset) {
    return map(address, size, prot, flags, fd, offset);
}

int munmap(void *address, size_t size) {
    int result = mp_sys_host_munmap((uintptr_t)address, size);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    if (mp_hooks.unmapped)
        mp_hooks.unmapped((uintptr_t)address, size);
    return 0;
}

void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...) {
    va_list args;
    va_start(args, flags);
    uintptr_t to = (uintptr_t)va_arg(args, void *); /* garbage unless MREMAP_FIXED: not looked at */
    va_end(args);
    uintptr_t got = mp_sys_host_mremap((uintptr_t)old, old_size, new_size, flags, to);
    if (mp_hooks.unmapped && !mp_sys_failed(got)) {
        if (!(flags & 4 /* MREMAP_DONTUNMAP */))
            mp_hooks.unmapped((uintptr_t)old, old_size);
        if (mp_hooks.mapped)
            mp_hooks.mapped(got, new_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    }
    return map_result(got);
}
