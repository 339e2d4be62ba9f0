/* The mapping calls of the program, passed on. They are ours so that a profiler can hang in here
 * (mp_hooks); until one does they only make the system call. libc's own mappings do not come this
 * way. May run in signal handlers. */
#undef _FILE_OFFSET_BITS /* or <sys/mman.h> would make one symbol of mmap and mmap64 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/hooks.h"
#include "platform/arch.h"
#include "platform/lock.h"
#include "platform/say.h"
#include "platform/sys.h"
#include "preload/preload.h"
#include "record/box.h"

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

/* Nobody maps or unmaps our tables, or the heap's pages: it would be the end of the program. */
static bool is_ours(const char *call, const void *address, size_t size) {
    static _Atomic(bool) said;
    uintptr_t start = (uintptr_t)address;
    if (!mp_active || (!mp_arena_forbids(start, size) && !mp_box_overlaps(start, start + size)))
        return false;
    if (!said && !mp_sys_confined)
        mp_say("%s of %zu bytes at %p, where the heap is: refused (said once)", call, size,
               address);
    said = true;
    return true;
}

static void *map(void *address, size_t size, int prot, int flags, int fd, int64_t offset,
                 const void *caller) {
    if ((flags & MAP_FIXED) && is_ours("mmap", address, size)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    uintptr_t got = mp_sys_host_mmap((uintptr_t)address, size, prot, flags, fd, offset);
    if (MP_UNLIKELY(got == (uintptr_t)-ENOMEM) && mp_hooks.squeezed && !mp_lock_held) {
        mp_hooks.squeezed(); /* a limit that was set from outside */
        got = mp_sys_host_mmap((uintptr_t)address, size, prot, flags, fd, offset);
    }
    if (mp_hooks.mapped && !mp_sys_failed(got))
        mp_hooks.mapped(got, size, prot, flags, fd, caller);
    return map_result(got);
}

void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset) {
    return map(address, size, prot, flags, fd, offset, __builtin_return_address(0));
}

void *mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset) {
    return map(address, size, prot, flags, fd, offset, __builtin_return_address(0));
}

/* What the kernel would turn down is not to count. */
static bool is_whole(const void *address, size_t size) {
    return ((uintptr_t)address & 4095) == 0 && size;
}

int munmap(void *address, size_t size) {
    if (is_ours("munmap", address, size)) {
        errno = EINVAL;
        return -1;
    }
    if (mp_hooks.unmapping && is_whole(address, size))
        mp_hooks.unmapping((uintptr_t)address, size);
    int result = mp_sys_host_munmap((uintptr_t)address, size);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return 0;
}

void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...) {
    va_list args;
    uint32_t what = 0;
    va_start(args, flags);
    uintptr_t to = (uintptr_t)va_arg(args, void *); /* garbage unless MREMAP_FIXED: not looked at */
    va_end(args);
    if (is_ours("mremap", old, old_size) ||
        ((flags & MREMAP_FIXED) && is_ours("mremap", (void *)to, new_size))) {
        errno = EFAULT;
        return MAP_FAILED;
    }
    if (mp_hooks.unmapping && is_whole(old, new_size))
        what = mp_hooks.unmapping((uintptr_t)old, flags & 4 /* MREMAP_DONTUNMAP */ ? 0 : old_size);
    uintptr_t got = mp_sys_host_mremap((uintptr_t)old, old_size, new_size, flags, to);
    if (mp_hooks.remapped && !mp_sys_failed(got))
        mp_hooks.remapped(got, new_size, what, __builtin_return_address(0));
    else if (mp_hooks.remapped && what) /* it has stayed where it was */
        mp_hooks.remapped((uintptr_t)old, old_size, what, __builtin_return_address(0));
    return map_result(got);
}
