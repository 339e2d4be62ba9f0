/*
 * free of where the next block of a fresh page would be.
 *
 * options: check=full
 *
 * stderr: memprof: free of ADDR, which this heap has not handed out, called from WHERE
 */
#include "misuse.h"

int main(void) {
    /* A size of which nothing was allocated before, so that it has a page to itself. */
    char *block = malloc(3584);
    size_t size = malloc_usable_size(block);
    free(bad(block + 10 * size)); // here
    own(block, 3584);
    return aftermath(3584);
}
