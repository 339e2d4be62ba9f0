/*
 * Freed by another thread, then by its owner, before the owner has collected it.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    t_in_thread(t_free_in_thread, block);
    free(bad(block)); // here
    return aftermath(64);
}
