/*
 * A freed block is resized to nothing, which would free it again.
 *
 * stderr: memprof: realloc of ADDR, which is free (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    free(block);
    own(realloc(bad(block), 0), 1); // here
    return aftermath(64);
}
