/*
 * A pointer into a block, aligned as a block would be.
 *
 * stderr: memprof: free of ADDR, which is 16 bytes into a 64-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    free(bad(block + 16)); // here
    own(block, 64);
    return aftermath(64);
}
