/* Modules of one size that allocate, which modules.c opens in turn: plug-a; plug-b, whose code is
 * another; plug-c, whose code is plug-a's to the byte, so that the build-id alone tells them apart.
 */
#include <stdlib.h>

#ifndef NUMBER
#define NUMBER 0
#endif

#define SHOWN __attribute__((noinline, visibility("default")))

extern const int plug_number; /* makes the build-id */
const int plug_number = NUMBER;

SHOWN void *plug_allocate(size_t size) {
    volatile int here[2] = {0, 0};
#if NUMBER == 1
    here[1] += here[0] * 3;
    here[0] ^= here[1];
#endif
    void *block = malloc(size);
    here[1] = here[0];
    return block;
}

SHOWN void *plug_enter(size_t size) {
    void *volatile block = plug_allocate(size);
    return block;
}
