/*
 * The old cfree finds it as free does.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void (*release)(void *);
    *(void **)&release = dlsym(RTLD_DEFAULT, "cfree");
    void *block = malloc(64);
    release(block);
    release(bad(block)); // here
    return aftermath(64);
}
