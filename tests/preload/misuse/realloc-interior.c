/*
 * A pointer into a block is resized.
 *
 * stderr: memprof: realloc of ADDR, which is 16 bytes into a 64-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    own(realloc(bad(block + 16), 32), 32); // here
    own(block, 64);
    return aftermath(64);
}
