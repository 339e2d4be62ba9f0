/* A plug-in whose variables hold a block: of the whole process, and of each thread. */
#include <stddef.h>

#define SHOWN __attribute__((visibility("default")))

static void *volatile global;
static __thread void *volatile local;
/* Large enough that it finds no room in what libc has set aside in each thread. */
static __thread void *volatile table[2000];

SHOWN void plug_hold(void *block);
SHOWN void plug_hold_by_thread(void *block);
SHOWN void plug_hold_in_table(void *block);

void plug_hold(void *block) {
    global = block;
}

void plug_hold_by_thread(void *block) {
    local = block;
}

void plug_hold_in_table(void *block) {
    table[sizeof table / sizeof *table - 1] = block;
}
