#include "record/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "platform/own.h"
#include "platform/sys.h"

#define OS_PAGE ((size_t)4096)

static _Atomic(size_t) mapped;

static size_t whole_pages(size_t size) {
    return (size + OS_PAGE - 1) & ~(OS_PAGE - 1);
}

void *mp_record_alloc(size_t size) {
    size = whole_pages(size);
    uintptr_t got = mp_sys_mmap(0, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mp_sys_failed(got))
        return NULL;
    mp_own_add(got, size);
    atomic_fetch_add_explicit(&mapped, size, memory_order_relaxed);
    return (void *)got;
}

void mp_record_free(void *memory, size_t size) {
    if (!memory)
        return;
    size = whole_pages(size);
    mp_own_remove((uintptr_t)memory);
    /* Where unmapping would split a mapping and is refused, the pages at least go back. */
    if (mp_sys_munmap((uintptr_t)memory, size) != 0)
        mp_sys_madvise((uintptr_t)memory, size, MADV_DONTNEED);
    atomic_fetch_sub_explicit(&mapped, size, memory_order_relaxed);
}

size_t mp_record_bytes(void) {
    return atomic_load_explicit(&mapped, memory_order_relaxed);
}
