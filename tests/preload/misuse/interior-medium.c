/*
 * A pointer one page into a medium block.
 *
 * stderr: memprof: free of ADDR, which is 4096 bytes into a 16384-byte block, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(16384);
    free(bad(block + 4096)); // here
    own(block, 16384);
    return aftermath(16384);
}
