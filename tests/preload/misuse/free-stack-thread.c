/*
 * free of a variable on another thread's stack.
 *
 * stderr: memprof: free of ADDR, which is on the stack, called from WHERE
 */
#include "misuse.h"

static void *work(void *unused) {
    char array[64] __attribute__((aligned(16)));
    array[0] = unused != NULL;
    free(bad(array)); // here
    return NULL;
}

int main(void) {
    t_in_thread(work, NULL);
    return aftermath(64);
}
