/*
 * A medium block, freed by its owner, then by another thread.
 *
 * stderr: memprof: double free of ADDR (16384-byte block), called from WHERE
 */
#include "misuse.h"

static void *free_again(void *block) {
    free(block); // here
    return NULL;
}

int main(void) {
    void *block = malloc(16384);
    free(block);
    t_in_thread(free_again, bad(block));
    return aftermath(16384);
}
