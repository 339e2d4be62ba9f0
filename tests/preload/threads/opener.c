/*
 * A library that opens another by its bare name, which only its own RUNPATH makes findable. The
 * loader asks which object called dlopen: a layer in between must not take the caller's place.
 */
#include <dlfcn.h>

__attribute__((visibility("default"))) void *open_from_library(const char *name, int flags);

void *open_from_library(const char *name, int flags) {
    void *handle = dlopen(name, flags);
    /* Not a tail call: this object must be the caller that the loader sees. */
    __asm__ volatile("" ::: "memory");
    return handle;
}
