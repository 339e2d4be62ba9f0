/*
 * The same thread frees a large block twice.
 *
 * stderr: memprof: double free of ADDR (1048576-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(1 * MIB);
    free(block);
    free(bad(block)); // here
    return aftermath(1 * MIB);
}
