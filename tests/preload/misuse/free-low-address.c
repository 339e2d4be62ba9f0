/*
 * free of a canonical address where nothing is mapped.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)0x12345670)); // here
    return aftermath(64);
}
