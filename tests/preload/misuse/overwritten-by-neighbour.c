/*
 * A block in use is written past its end, into the free one behind it.
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
    char *blocks[20];
    for (size_t i = 0; i < 20; i++)
        blocks[i] = malloc(64);
    char *low = NULL, *high = NULL;
    for (size_t i = 0; i < 20; i++)
        for (size_t j = 0; j < 20; j++)
            if (blocks[j] == blocks[i] + 64)
                low = blocks[i], high = blocks[j];
    if (!low)
        return 4;
    for (size_t i = 0; i < 20; i++)
        if (blocks[i] != high)
            own(blocks[i], 64);
    free(high);
    bad(high);
    memset(low + 64, 0x42, 16);
    until_found();
    return aftermath(64);
}
