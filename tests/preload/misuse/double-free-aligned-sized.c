/*
 * C23's free_aligned_sized finds it as free does.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void (*release)(void *, size_t, size_t);
    *(void **)&release = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    void *block = aligned_alloc(64, 64);
    release(block, 64, 64);
    release(bad(block), 64, 64); // here
    return aftermath(64);
}
