/* Stacks by libunwind, for comparison, not for production: its tables of modules come from
 * dl_iterate_phdr, which takes the loader's lock (a thread in dlopen holds up every sample), its
 * first step on a thread costs 70 to 460 us and maps memory, each later frame about 100 ns, and a
 * cursor and a context are 2 KiB of stack.
 *
 * Never linked: it defines _Unwind_RaiseException, and would take over the program's C++
 * exceptions. So it is loaded without showing its symbols to anybody, and only when asked for; only
 * its headers are needed to build. */
#include "profile/unwind.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef MP_HAVE_LIBUNWIND

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <link.h>

#include "platform/arch.h"
#include "platform/elf.h"

/* The header renames its functions by machine; these are the names after that. */
#define NAME_OF(function)  NAME_OF_(function)
#define NAME_OF_(function) #function

/* Written once at start-up. */
static struct {
#if defined(__x86_64__) /* elsewhere it is inline code of the header's */
    __typeof__(_Ux86_64_getcontext) *get_context;
#endif
    __typeof__(unw_init_local) *init;
    __typeof__(unw_step) *step;
    __typeof__(unw_get_reg) *get_register;
    __typeof__(unw_is_signal_frame) *is_signal;
#ifdef MP_COMPARE_UNWINDERS
    __typeof__(unw_get_proc_info_by_ip) *get_info;
    unw_addr_space_t *here;
#endif
} library;

static int find(const struct link_map *map, const char *name, void *function) {
    const void *address = mp_elf_find(map, name);
    *(const void **)function = address;
    return address ? 0 : -ENOSYS;
}

int mp_libunwind_start(void) {
    const struct link_map *map = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    if (!map)
        return -ENOENT;
    int missing = find(map, NAME_OF(unw_init_local), &library.init) |
                  find(map, NAME_OF(unw_step), &library.step) |
                  find(map, NAME_OF(unw_get_reg), &library.get_register) |
                  find(map, NAME_OF(unw_is_signal_frame), &library.is_signal);
#if defined(__x86_64__)
    missing |= find(map, NAME_OF(_Ux86_64_getcontext), &library.get_context);
#endif
#ifdef MP_COMPARE_UNWINDERS
    missing |= find(map, NAME_OF(unw_get_proc_info_by_ip), &library.get_info) |
               find(map, NAME_OF(unw_local_addr_space), &library.here);
#endif
    return missing ? -ENOSYS : 0;
}

#ifdef MP_COMPARE_UNWINDERS
bool mp_libunwind_has_data(uint64_t address) {
    unw_proc_info_t info;
    return library.get_info(*library.here, address, &info, NULL) == 0;
}
#endif

MP_NOINLINE struct mp_unwound mp_libunwind_capture(uint64_t *frames, unsigned max,
                                                   const void *caller) {
    struct mp_unwinding unwinding = mp_unwinding_begin(frames, max, caller);
    unw_context_t context;
    unw_cursor_t cursor;
    unsigned flags = MP_UNWIND_BROKEN;
#if defined(__x86_64__)
    library.get_context(&context);
#else
    unw_getcontext(&context);
#endif
    if (library.init(&cursor, &context) != 0)
        return (struct mp_unwound){0, flags};
    for (;;) {
        int more = library.step(&cursor);
        unw_word_t address = 0;
        if (more <= 0 || library.get_register(&cursor, UNW_REG_IP, &address) != 0 || !address) {
            if (more >= 0)
                flags = 0;
            break;
        }
        uint64_t exact = library.is_signal(&cursor) > 0 ? MP_UNWIND_EXACT : 0;
        enum mp_unwinding_next on = mp_unwinding_add(&unwinding, address | exact);
        if (on == MP_UNWINDING_FULL)
            flags = MP_UNWIND_CUT;
        if (on != MP_UNWINDING_ON)
            break;
    }
    return (struct mp_unwound){unwinding.depth, flags};
}

#else

int mp_libunwind_start(void) {
    return -ENOSYS;
}

struct mp_unwound mp_libunwind_capture(uint64_t *frames, unsigned max, const void *caller) {
    return mp_fp_capture(frames, max, caller); /* never chosen: the start says so */
}

#ifdef MP_COMPARE_UNWINDERS
bool mp_libunwind_has_data(uint64_t address) {
    (void)address;
    return false;
}
#endif

#endif
