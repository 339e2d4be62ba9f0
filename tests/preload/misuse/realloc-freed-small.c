/*
 * A small block is resized after it was freed.
 *
 * stderr: memprof: realloc of ADDR, which is free (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    free(block);
    void *moved = realloc(bad(block), 64 * 2); // here
    own(moved, 64 * 2);
    return aftermath(64);
}
