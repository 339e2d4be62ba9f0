/*
 * free of -1, which a failed mmap or sbrk returns.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    free(bad((void *)-1)); // here
    return aftermath(64);
}
