/*
 * A medium block is resized after it was freed.
 *
 * stderr: memprof: realloc of ADDR, which is free (16384-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(16384);
    free(block);
    void *moved = realloc(bad(block), 16384 * 2); // here
    own(moved, 16384 * 2);
    return aftermath(16384);
}
