/*
 * A block that realloc has moved away from is freed at its old place.
 *
 * stderr: memprof: double free of ADDR (64-byte block), called from WHERE
 */
#include "misuse.h"

int main(void) {
    char *block = malloc(64);
    void *behind = malloc(64);
    char *moved = realloc(block, 100000);
    own(moved, 100000);
    free(bad(block)); // here
    own(behind, 64);
    return aftermath(64);
}
