/*
 * malloc_usable_size(3): at least what was asked, all of it the program's, 0 for NULL.
 */
#include "common.h"

extern void *valloc(size_t);

static void null_has_none(void) {
    CHECK(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is %zu",
          malloc_usable_size(NULL));
}

/* Neighbours are live and stamped over their whole usable size: one byte too many would show. */
static void every_usable_byte_is_writable(void) {
    enum { COPIES = 4 };
    for (size_t size = 0; size <= 100 * MIB; size += size < 1100 ? 1 : size / 7) {
        void *blocks[COPIES];
        size_t usable[COPIES];
        for (size_t i = 0; i < COPIES; i++) {
            blocks[i] = i == 1 ? calloc(1, size) : i == 2 ? memalign(64, size) : malloc(size);
            NEED(blocks[i] != NULL, "no block of %zu bytes", size);
            usable[i] = malloc_usable_size(blocks[i]);
            CHECK(usable[i] >= size, "a block of %zu bytes has %zu usable", size, usable[i]);
            if (size <= 2 * MIB) {
                t_stamp(blocks[i], usable[i], size + i);
            } else {
                t_stamp(blocks[i], 64, size + i);
                t_stamp((char *)blocks[i] + usable[i] - 64, 64, size + i);
            }
        }
        for (size_t i = 0; i < COPIES; i++) {
            CHECK(malloc_usable_size(blocks[i]) == usable[i], "usable size of %zu bytes changed",
                  size);
            size_t end = size <= 2 * MIB ? usable[i] : 64;
            size_t good = t_stamp_check(blocks[i], end, size + i);
            CHECK(good == end, "size %zu, copy %zu: usable byte %zu changed", size, i, good);
            if (size > 2 * MIB)
                CHECK(t_stamp_check((char *)blocks[i] + usable[i] - 64, 64, size + i) == 64,
                      "size %zu, copy %zu: last usable bytes changed", size, i);
            free(blocks[i]);
        }
    }
}

/* Bytes beyond the asked size but within the usable one survive a realloc that they fit in too. */
static void usable_bytes_survive_realloc(void) {
    static const size_t kinds[] = {1, 30, 100, 1000, 5000, 20000, 100000, 1 << 20, 40 << 20};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        char *block = (char *)malloc(kinds[k]);
        NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
        size_t usable = malloc_usable_size(block);
        t_stamp(block, kinds[k], k);
        block = (char *)realloc(block, usable);
        NEED(block != NULL, "realloc to the usable size is NULL");
        CHECK(t_stamp_check(block, kinds[k], k) == kinds[k], "contents of %zu lost", kinds[k]);
        CHECK(malloc_usable_size(block) >= usable, "usable size shrank");
        free(block);
    }
}

/* The library's promise on waste: steps of 16 bytes to 128, then at most an eighth. glibc has its
 * own. */
static void waste_is_bounded(void) {
    if (!t_library)
        SKIP("the classes are the library's own");
    for (size_t size = 1; size <= 32 * MIB; size += size < 4096 ? 1 : size / 50) {
        void *block = malloc(size);
        NEED(block != NULL, "malloc(%zu) is NULL", size);
        size_t usable = malloc_usable_size(block);
        /* Spans are whole slices of 64 KiB. */
        size_t most = size + (size <= 128 ? 15 : size / 8 + 16) + (size > 64 * KIB ? 64 * KIB : 0);
        CHECK(usable <= most, "a block of %zu bytes takes %zu", size, usable);
        free(block);
    }
}

static void aligned_functions_too(void) {
    for (size_t alignment = 16; alignment <= 16 * MIB; alignment *= 4)
        for (size_t size = 1; size < 9 * MIB; size = size * 4 + 3) {
            void *block = NULL;
            CHECK(posix_memalign(&block, alignment, size) == 0, "posix_memalign failed");
            NEED(block != NULL, "posix_memalign(%zu, %zu) gives NULL", alignment, size);
            size_t usable = malloc_usable_size(block);
            NEED(usable >= size, "posix_memalign(%zu, %zu) has %zu", alignment, size, usable);
            ((char *)block)[0] = 1;
            ((char *)block)[usable - 1] = 1;
            free(block);
        }
}

int main(void) {
    t_init();
    RUN("malloc_usable_size(NULL) is 0", null_has_none);
    RUN("malloc_usable_size covers the request and every byte is writable",
        every_usable_byte_is_writable);
    RUN("realloc to the usable size keeps contents and room", usable_bytes_survive_realloc);
    RUN("a block wastes at most an eighth", waste_is_bounded);
    RUN("malloc_usable_size of aligned blocks covers the request", aligned_functions_too);
    return t_done();
}
