/*
 * free of an address that no process has: not canonical, aligned.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)0xdeadbeefdeadb0)); // here
    return aftermath(64);
}
