/*
 * A block of this thread, freed by two others.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

static void *free_again(void *block) {
    free(block); // here
    return NULL;
}

int main(void) {
    void *block = malloc(64);
    t_in_thread(t_free_in_thread, block);
    t_in_thread(free_again, bad(block));
    return aftermath(64);
}
