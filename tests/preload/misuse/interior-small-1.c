/*
 * A pointer one byte into a block.
 *
 * stderr: memprof: free of ADDR, which is 1 byte into a 64-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    free(bad(block + 1)); // here
    own(block, 64);
    return aftermath(64);
}
