/*
 * C23's free_sized finds it as free does.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void (*release)(void *, size_t);
    *(void **)&release = dlsym(RTLD_DEFAULT, "free_sized");
    void *block = malloc(64);
    release(block, 64);
    release(bad(block), 64); // here
    return aftermath(64);
}
