/*
 * free of an address in the kernel's half.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)0xffffffff81000000)); // here
    return aftermath(64);
}
