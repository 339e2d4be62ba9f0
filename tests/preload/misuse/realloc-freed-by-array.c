/*
 * reallocarray of a freed block.
 *
 * stderr: memprof: realloc of ADDR, which is free (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    free(block);
    own(reallocarray(bad(block), 10, 20), 200); // here
    return aftermath(64);
}
