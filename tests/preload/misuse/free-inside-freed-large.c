/*
 * free of a pointer into a large block that has been freed: the heap's memory, but no block.
 *
 * stderr: memprof: free of ADDR, which this heap has not handed out, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(20 * MIB);
    free(block);
    free(bad(block + 8 * MIB)); // here
    return aftermath(1 * MIB);
}
