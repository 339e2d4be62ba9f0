/*
 * free of a mapping that the program has removed.
 *
 * stderr: memprof: free of ADDR, which is not mapped, called from WHERE
 */
#include "misuse.h"

int main(void) {
    void *map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(map, 64 * KIB);
    free(bad(map)); // here
    return aftermath(64);
}
