/*
 * A free block is filled with letters.
 *
 * stderr: memprof: free block ADDR (64-byte block) was overwritten, found by malloc called from
 * WHERE
 */
#include "misuse.h"

/* Asks for blocks until the damage is found; each must be nobody's. */
static void until_found(void) {
    for (int i = 0; i < 6000; i++)
        own(malloc(64), 64); // here
}

int main(void) {
    void *blocks[20];
    for (size_t i = 0; i < 20; i++)
        blocks[i] = malloc(64);
    for (size_t i = 0; i < 20; i++)
        if (i % 2)
            free(blocks[i]);
        else
            own(blocks[i], 64);
    uintptr_t *words = bad(blocks[7]);
    memset(words, 0x41, 64);
    until_found();
    return aftermath(64);
}
