/*
 * Freed twice, with other blocks of its size freed in between.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *blocks[500];
    for (size_t i = 0; i < 500; i++)
        blocks[i] = malloc(64);
    for (size_t i = 0; i < 400; i++)
        free(blocks[i]);
    free(bad(blocks[100])); // here
    for (size_t i = 400; i < 500; i++)
        own(blocks[i], 64);
    return aftermath(64);
}
