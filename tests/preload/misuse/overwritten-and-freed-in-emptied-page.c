/*
 * The same in a page with one block in use: the second free makes the count of used blocks reach
 * zero, and a heap that believed it would give away the page with the block.
 *
 * No samples: they lie in pages of their own, and leave something in this one.
 *
 * options: check=full:rate=0
 *
 * stderr: memprof: free block NEAR (3072-byte block) was overwritten, found by free called from
 * WHERE
 */
#include "misuse.h"

int main(void) {
    static char *blocks[500];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = malloc(3000);
    /* All of one page but its first. The heap's pages of this size are 64 KiB. */
    char *kept = NULL, *block = NULL;
    for (size_t i = 0; i < COUNT(blocks); i++) {
        if ((uintptr_t)blocks[i] >> 16 != (uintptr_t)blocks[250] >> 16 || !kept) {
            own(blocks[i], 3000);
            if ((uintptr_t)blocks[i] >> 16 == (uintptr_t)blocks[250] >> 16)
                kept = blocks[i];
            continue;
        }
        block = blocks[i];
        free(block);
    }
    bad(block);
    memset(block, 0, 3000);
    free(block); // here
    return aftermath(3000);
}
