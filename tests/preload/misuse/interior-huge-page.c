/*
 * A pointer to the middle of a huge block, aligned to much.
 *
 * stderr: memprof: free of ADDR, which is 33554432 bytes into a 67108864-byte block, called from
 * WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64 * MIB);
    free(bad(block + 33554432)); // here
    own(block, 64 * MIB);
    return aftermath(64 * MIB);
}
