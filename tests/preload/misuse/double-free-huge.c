/*
 * The same thread frees a huge block twice.
 *
 * stderr: memprof: double free of ADDR (67108864-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64 * MIB);
    free(block);
    free(bad(block)); // here
    return aftermath(64 * MIB);
}
