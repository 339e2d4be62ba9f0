/*
 * A pointer 16 bytes into a huge block.
 *
 * stderr: memprof: free of ADDR, which is 16 bytes into a 67108864-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64 * MIB);
    free(bad(block + 16)); // here
    own(block, 64 * MIB);
    return aftermath(64 * MIB);
}
