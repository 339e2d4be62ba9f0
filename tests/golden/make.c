/* Writes the golden dumps of format 1:
 *
 *   build/tests/golden/make-golden tests/golden
 *
 * Needed when the values in v1.c change, which they may until the first release. */
#include <stdio.h>
#include <stdlib.h>

#include "v1.h"

static int make(const char *folder, const char *name, uint8_t *(*values)(size_t *size)) {
    char path[4096];
    size_t size;
    uint8_t *bytes = values(&size);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        return 1;
    }
    free(bytes);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    return make(argv[1], "v1-small.heap", golden_v1) ||
           make(argv[1], "v1-nodes.heap", golden_v1_nodes);
}
