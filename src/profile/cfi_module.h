/* Which module a frame is in, for the captures of cfi.c.
 *
 * Another module may be at an address by now than when a row was made from what was there. Those
 * that the program started with stay as long as it runs, and are looked up once. Of all others each
 * capture looks up each that it passes through anew, and makes a tag of what the loader says and of
 * the build-id in the module itself; rows carry the tag. Nothing that a row was made from is read
 * again, as it may be gone, and a module with a frame on our stack cannot go while we look. A file
 * without a build-id is known by a few entries of its search table instead. If tags ever agree by
 * chance (1 in 2^24 per reload at the same address), captures in that module are wrong, and no
 * more. */
#ifndef MP_PROFILE_CFI_MODULE_H
#define MP_PROFILE_CFI_MODULE_H

#include <stdbool.h>
#include <stdint.h>

#include "profile/cfi.h"
#include "profile/unwind.h"

/* Those that a capture was in last, the current one first; size 0: none. */
struct mp_cfi_modules {
    struct mp_unwind_module last[2];
};

/* At start-up, before other threads run: 0, or -errno. */
int mp_cfi_start_modules(void);

/* A capture begins: of those that may go mp_unwind_module knows none any more. */
void mp_cfi_forget_modules(void);

bool mp_cfi_change_module(struct mp_cfi_modules *modules, uintptr_t address);

/* False: the address is in no module. */
MP_INLINE bool mp_cfi_enter_module(struct mp_cfi_modules *modules, uintptr_t address) {
    return MP_LIKELY(address - modules->last[0].start < modules->last[0].size) ||
           mp_cfi_change_module(modules, address);
}

/* Where the unwind data of an address is; false: there is none. */
bool mp_cfi_find_tables(uintptr_t address, struct mp_cfi_tables *tables);

#endif
