/*
 * A pointer to where the heap's own units of 64 KiB begin inside a large block.
 *
 * stderr: memprof: free of ADDR, which is 262144 bytes into a 1048576-byte block, called from
 * WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(1 * MIB);
    free(bad(block + 262144)); // here
    own(block, 1 * MIB);
    return aftermath(1 * MIB);
}
