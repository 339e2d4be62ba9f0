/*
 * The same thread frees a medium block twice.
 *
 * stderr: memprof: double free of ADDR (16384-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(16384);
    free(block);
    free(bad(block)); // here
    return aftermath(16384);
}
