/*
 * A freed block is written to, and the thread frees all that it has: the damage is found when the
 * heap sees to the page that was allocated from.
 *
 * stderr: memprof: free block ADDR (64-byte block) was overwritten, found by free called from WHERE
 */
#include "misuse.h"

enum { COUNT_ALL = 200, COUNT_FIRST = 50 };

/* The heap looks at a page after some of its frees, and again after a step of the clock. */
static void free_slowly(void **blocks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i % 8 == 0)
            usleep(5000);
        free(blocks[i]); // here
    }
}

int main(void) {
    static void *blocks[COUNT_ALL];
    for (size_t i = 0; i < COUNT_ALL; i++)
        blocks[i] = malloc(64);
    for (size_t i = 0; i < COUNT_FIRST; i++)
        free(blocks[i]);
    bad(blocks[COUNT_FIRST / 2]);
    memset(t_opaque_pointer(blocks[COUNT_FIRST / 2]), 0, 64);
    free_slowly(blocks + COUNT_FIRST, COUNT_ALL - COUNT_FIRST);
    return aftermath(64);
}
