/*
 * Another thread frees a pointer into a block of this one.
 *
 * stderr: memprof: free of ADDR, which is 16 bytes into a 64-byte block, called from WHERE
 */
#include "misuse.h"

static void *free_inside(void *pointer) {
    free(pointer); // here
    return NULL;
}

int main(void) {
    char *block = malloc(64);
    t_in_thread(free_inside, bad(block + 16));
    own(block, 64);
    return aftermath(64);
}
