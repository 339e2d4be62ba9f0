/*
 * The block of a thread that has ended, freed twice.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

static void *make(void *unused) {
    (void)unused;
    return malloc(64);
}

int main(void) {
    void *block = t_in_thread(make, NULL);
    free(block);
    free(bad(block)); // here
    return aftermath(64);
}
