/*
 * free of a pointer into a huge block that has been freed.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64 * MIB);
    free(block);
    free(bad(block + 8 * MIB)); // here
    return aftermath(64 * MIB);
}
