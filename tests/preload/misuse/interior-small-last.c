/*
 * A pointer to the last byte of a block.
 *
 * stderr: memprof: free of ADDR, which is 63 bytes into a 64-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    free(bad(block + 63)); // here
    own(block, 64);
    return aftermath(64);
}
