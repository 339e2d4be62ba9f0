/*
 * A pointer half a header into a block: still not aligned.
 *
 * stderr: memprof: free of ADDR, which is 8 bytes into a 64-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    free(bad(block + 8)); // here
    own(block, 64);
    return aftermath(64);
}
