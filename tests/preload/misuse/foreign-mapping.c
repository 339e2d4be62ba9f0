/*
 * free of a mapping of the program's own: not ours, left alone and said once.
 *
 * stderr: memprof: free of ADDR, which is not from this heap: ignored, said once, called from
 * WHERE
 *
 * goes on
 */
#include "misuse.h"

int main(void) {
    char *map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(map, "kept");
    free(bad(map)); // here
    free(map);
    free(map + 4096);
    if (strcmp(map, "kept") != 0)
        return 3;
    return aftermath(64);
}
