/*
 * A block that another thread has freed is written to before its owner has it back.
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
    for (size_t i = 1; i < 20; i += 2)
        t_in_thread(t_free_in_thread, blocks[i]);
    for (size_t i = 0; i < 20; i += 2)
        own(blocks[i], 64);
    memset(bad(blocks[7]), 0x41, 16);
    until_found();
    return aftermath(64);
}
