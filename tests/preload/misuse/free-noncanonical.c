/*
 * free of what freed memory of a debugging kernel looks like: not canonical, not aligned.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)0xdeadbeefdeadbeef)); // here
    return aftermath(64);
}
