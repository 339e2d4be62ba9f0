/*
 * A pointer into a block whose size is no power of two, so that its start takes a division to
 * find.
 *
 * stderr: memprof: free of ADDR, which is 2048 bytes into a 5120-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(5120);
    free(bad(block + 2048)); // here
    own(block, 5120);
    return aftermath(5120);
}
