/*
 * A pointer into a huge block is resized.
 *
 * stderr: memprof: realloc of ADDR, which is 4096 bytes into a 67108864-byte block, called from
 * WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64 * MIB);
    own(realloc(bad(block + 4096), 100 * MIB), 100 * MIB); // here
    own(block, 64 * MIB);
    return aftermath(64 * MIB);
}
