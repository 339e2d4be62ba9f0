/* Writes the golden dump of format 1:
 *
 *   build/tests/golden/make-golden tests/golden/v1-small.heap
 *
 * Needed when the values in v1.c change, which they may until the first release. */
#include <stdio.h>
#include <stdlib.h>

#include "v1.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    size_t size;
    uint8_t *bytes = golden_v1(&size);
    FILE *file = fopen(argv[1], "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(argv[1]);
        return 1;
    }
    free(bytes);
    return 0;
}
