/*
 * free of a variable on the main thread's stack.
 *
 * stderr: memprof: free of ADDR, which is on the stack, called from WHERE
 */
#include "misuse.h"

int main(void) {
    char array[64] __attribute__((aligned(16)));
    array[0] = 0;
    free(bad(array)); // here
    return aftermath(64);
}
