/*
 * free of a variable of a function deeper on the main thread's stack.
 *
 * stderr: memprof: free of ADDR, which is on the stack, called from WHERE
 */
#include "misuse.h"

static void inner(int depth) {
    char array[3000] __attribute__((aligned(16)));
    array[0] = (char)depth;
    if (depth)
        inner(depth - 1);
    else
        free(bad(array)); // here
}

int main(void) {
    inner(3);
    return aftermath(64);
}
