/*
 * realloc of an address that no process has: not canonical, aligned.
 *
 * stderr: memprof: realloc of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    own(realloc(bad((void *)0xdeadbeefdeadb0), 100), 100); // here
    return aftermath(64);
}
