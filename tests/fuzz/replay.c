/* A main for fuzz_reader.c where there is no libFuzzer: it takes each file named, as it is and then
 * changed in `ROUNDS` ways, always the same ones.
 *
 *   fuzz-replay ROUNDS FILE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build_dump.h"
#include "mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { ROOM = 1 << 20 };

static uint8_t original[ROOM], bytes[ROOM];

static void replay(size_t size, long rounds) {
    uint64_t random = 1;
    memcpy(bytes, original, size);
    LLVMFuzzerTestOneInput(bytes, size);
    for (long round = 0; round < rounds; round++) {
        size_t changed = size;
        memcpy(bytes, original, size);
        for (long changes = 1 + round % 3; changes > 0; changes--)
            changed = mutate_dump(bytes, changed, ROOM, &random);
        build_repair(bytes, changed);
        LLVMFuzzerTestOneInput(bytes, changed);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s ROUNDS FILE...\n", argv[0]);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            perror(argv[i]);
            return 1;
        }
        size_t size = fread(original, 1, ROOM, file);
        fclose(file);
        replay(size, atol(argv[1]));
    }
    printf("%d files, each as it is and changed %s times\n", argc - 2, argv[1]);
    return 0;
}
