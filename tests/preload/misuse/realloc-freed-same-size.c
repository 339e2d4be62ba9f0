/*
 * A freed block is resized to what it was: there is nothing to do but to find out.
 *
 * stderr: memprof: realloc of ADDR, which is free (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    free(block);
    own(realloc(bad(block), 64), 64); // here
    return aftermath(64);
}
