/*
 * malloc(0) is a block like any other: freed twice.
 *
 * stderr: memprof: double free of ADDR (16-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(0);
    free(block);
    free(bad(block)); // here
    return aftermath(16);
}
