/*
 * realloc of a mapping of the program's own: it cannot be told how long it is, so nothing is done.
 *
 * stderr: memprof: realloc of ADDR, which is not from this heap: ignored, said once, called from
 * WHERE
 *
 * goes on
 */
#include "misuse.h"

int main(void) {
    char *map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(map, "kept");
    void *moved = realloc(bad(map), 100); // here
    if (moved || strcmp(map, "kept") != 0)
        return 3;
    return aftermath(64);
}
