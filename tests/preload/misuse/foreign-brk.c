/*
 * free of memory that an allocator upon brk would own.
 *
 * stderr: memprof: free of ADDR, which is not from this heap: ignored, said once, called from
 * WHERE
 *
 * goes on
 */
#include "misuse.h"

int main(void) {
    char *block = sbrk(64 * KIB);
    strcpy(block + 64, "kept");
    free(bad(block + 64)); // here
    free(block + 4096);
    if (strcmp(block + 64, "kept") != 0)
        return 3;
    return aftermath(64);
}
