/*
 * A block of this thread, freed twice by another.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

static void *free_twice(void *block) {
    free(block);
    free(block); // here
    return NULL;
}

int main(void) {
    void *block = malloc(64);
    t_in_thread(free_twice, bad(block));
    return aftermath(64);
}
