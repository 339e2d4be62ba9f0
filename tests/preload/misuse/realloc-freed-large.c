/*
 * A large block is resized after it was freed.
 *
 * stderr: memprof: realloc of ADDR, which is free (1048576-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(1 * MIB);
    free(block);
    void *moved = realloc(bad(block), 1 * MIB * 2); // here
    own(moved, 1 * MIB * 2);
    return aftermath(1 * MIB);
}
