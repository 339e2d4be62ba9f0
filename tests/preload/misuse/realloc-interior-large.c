/*
 * A pointer into a large block is resized.
 *
 * stderr: memprof: realloc of ADDR, which is 65536 bytes into a 1048576-byte block, called from
 * WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(1 * MIB);
    own(realloc(bad(block + 65536), 2 * MIB), 2 * MIB); // here
    own(block, 1 * MIB);
    return aftermath(1 * MIB);
}
