/*
 * A block that another thread has freed is resized by its owner.
 *
 * stderr: memprof: realloc of ADDR, which is free (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *block = malloc(64);
    t_in_thread(t_free_in_thread, block);
    own(realloc(bad(block), 200), 200); // here
    return aftermath(64);
}
