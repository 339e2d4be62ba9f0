/*
 * What the misuse programs share. Each is one mistake: it tells the address on stdout, makes the
 * mistake in the line marked `here`, and ends with aftermath(). With misuse=abort it does not get
 * that far. With misuse=report it goes on, and aftermath() finds out whether the heap is still
 * sound: no address is handed out while it is owned, and no owned block changes.
 *
 * The comment at a program's top holds what the script expects: `stderr:` the lines with
 * misuse=abort, after which the program must die of SIGABRT; `report:` those with misuse=report
 * when they differ; `goes on` when it must not abort. ADDR stands for the told address, NEAR for
 * any in the same 64 KiB (a list shows only where a damaged link leads), PROGRAM for the program's
 * path, WHERE for the place of the call.
 */
#ifndef MEMPROF_TESTS_PRELOAD_MISUSE_H
#define MEMPROF_TESTS_PRELOAD_MISUSE_H

#include "common.h"

struct owned {
    char *at;
    size_t size;
};

static struct owned owned[12000];
static size_t owned_count;

/* Large blocks are held against their stamp at the ends only. */
static size_t stamped(size_t size) {
    return size < 4096 ? size : 4096;
}

/* A new block, which must overlap none that is owned. NULL is for the caller to bear. */
T_UNUSED static void *own(void *block, size_t size) {
    char *at = (char *)block;
    if (!at)
        return NULL;
    for (size_t i = 0; i < owned_count; i++)
        if (owned[i].at && at < owned[i].at + owned[i].size && owned[i].at < at + size) {
            printf("two owners: %p of %zu bytes, %p of %zu bytes\n", block, size,
                   (void *)owned[i].at, owned[i].size);
            exit(3);
        }
    if (owned_count == COUNT(owned)) {
        printf("too many blocks for this test\n");
        exit(4);
    }
    owned[owned_count++] = (struct owned){at, size};
    t_stamp(at, stamped(size), (uintptr_t)at);
    t_stamp(at + size - stamped(size), stamped(size), (uintptr_t)at);
    return block;
}

/* The block is about to be freed: it must be as it was left. */
T_UNUSED static void *give(void *block) {
    for (size_t i = owned_count; i-- > 0;)
        if (owned[i].at == block) {
            size_t size = owned[i].size, end = stamped(size);
            char *tail = owned[i].at + size - end;
            bool good = t_stamp_check(tail, end, (uintptr_t)block) == end;
            if (good && size >= 2 * end)
                good = t_stamp_check(block, end, (uintptr_t)block) == end;
            if (!good) {
                printf("block %p of %zu bytes was changed\n", block, size);
                exit(3);
            }
            owned[i] = owned[--owned_count];
            return block;
        }
    printf("block %p is not owned: a mistake in the test\n", block);
    exit(4);
}

/* Tells the script an address under a name, and hides where the pointer came from. No stdio: it may
 * allocate. */
T_UNUSED static void *tell(const char *name, const void *pointer) {
    char line[80];
    int length = snprintf(line, sizeof(line), "%s %p\n", name, pointer);
    if (write(1, line, (size_t)length) != length)
        exit(4);
    return t_opaque_pointer((void *)(uintptr_t)pointer);
}

T_UNUSED static void *bad(const void *pointer) {
    return tell("ADDR", pointer);
}

T_UNUSED static void own_many(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!own(malloc(size), size)) {
            printf("malloc(%zu) is NULL\n", size);
            exit(3);
        }
}

/* `size` is that of the block the mistake was about. */
T_UNUSED static int aftermath(size_t size) {
    static const size_t others[] = {1, 24, 200, 3000, 16384, 100000};
    size_t count = size <= 1024 ? 2500 : size <= 65536 ? 300 : size <= 32 * MIB ? 24 : 4;
    for (int round = 0; round < 3; round++) {
        own_many(size, count);
        for (size_t i = 0; i < COUNT(others); i++)
            own_many(others[i], others[i] < 4096 ? 200 : 20);
        for (size_t i = owned_count; i-- > 0;)
            if (i % 3 != (size_t)round)
                free(give(owned[i].at));
    }
    while (owned_count)
        free(give(owned[owned_count - 1].at));
    static const char done[] = "survived\n";
    return write(1, done, sizeof(done) - 1) == (ssize_t)sizeof(done) - 1 ? 0 : 4;
}

#endif
