/*
 * A free block is cleared, so that nothing in it says that it is free, and freed again. That may
 * be found at the free or, as here, when the block comes round; in neither case may one of its
 * live neighbours be handed out.
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
        own(blocks[i], 64);
    for (size_t i = 4; i < 20; i++)
        free(give(blocks[i]));
    /* Each time counts one block less in use than there are, were it believed. */
    bad(blocks[10]);
    for (int i = 0; i < 8; i++) {
        memset(blocks[10], 0, 64);
        free(blocks[10]);
    }
    until_found();
    return aftermath(64);
}
