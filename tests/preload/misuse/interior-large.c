/*
 * A pointer 16 bytes into a large block.
 *
 * stderr: memprof: free of ADDR, which is 16 bytes into a 1048576-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(1 * MIB);
    free(bad(block + 16)); // here
    own(block, 1 * MIB);
    return aftermath(1 * MIB);
}
