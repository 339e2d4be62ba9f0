/*
 * free of an address far behind a block: nothing is there.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    free(bad(block + 64 * GIB)); // here
    own(block, 64);
    return aftermath(64);
}
