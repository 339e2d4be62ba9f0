/*
 * Freed twice, when its page has gone back to the system in between.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    static void *blocks[50000];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = malloc(64);
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    free(bad(blocks[25000])); // here
    return aftermath(64);
}
