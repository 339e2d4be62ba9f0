/*
 * The same thread frees a small block twice.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    free(block);
    free(bad(block)); // here
    return aftermath(64);
}
