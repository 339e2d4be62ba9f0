/*
 * What malloc(3) says of realloc and reallocarray, over every pair of size kinds. Blocks to 8 MiB
 * are stamped whole; above, the ends and one word in each page are, which touches as much and costs
 * less.
 */
#include "common.h"

/* One size in each kind the heap tells apart and at the borders between them. */
static const size_t sizes[] = {
    1,
    2,
    8,
    15,
    16,
    17,
    24,
    63,
    64,
    65,
    127,
    128,
    129,
    1000,
    1024,
    1025,
    4095,
    4096,
    4097,
    8191,
    8192,
    8193,
    20000,
    32768,
    32769,
    65535,
    65536,
    65537,
    100000,
    262144,
    524288,
    524289,
    1 << 20,
    (1 << 20) + 1,
    3 << 20,
    8 << 20,
    (32 << 20) - 1,
    32 << 20,
    (32 << 20) + 1,
    40 << 20,
    64 << 20,
};

static void put(unsigned char *block, size_t from, size_t size, uint64_t tag) {
    if (size <= 8 * MIB) {
        for (size_t i = from; i < size; i++)
            block[i] = (unsigned char)(tag + i * 31 + (i >> 12));
        return;
    }
    for (size_t i = (from + 4095) & ~(size_t)4095; i < size; i += 4096)
        block[i] = (unsigned char)(tag + i * 31 + (i >> 12));
    block[size - 1] = (unsigned char)(tag + (size - 1) * 31 + ((size - 1) >> 12));
}

/* Checks what put(block, 0, written) wrote, as far as `size` goes; gives the first bad offset, or
 * size. */
static size_t get(const unsigned char *block, size_t size, size_t written, uint64_t tag) {
    size_t step = written <= 8 * MIB ? 1 : 4096;
    for (size_t i = 0; i < size; i += step)
        if (block[i] != (unsigned char)(tag + i * 31 + (i >> 12)))
            return i;
    if (size == written &&
        block[size - 1] != (unsigned char)(tag + (size - 1) * 31 + ((size - 1) >> 12)))
        return size - 1;
    return size;
}

static void every_pair_of_sizes(void) {
    uint64_t tag = 0;
    for (size_t a = 0; a < COUNT(sizes); a++)
        for (size_t b = 0; b < COUNT(sizes); b++) {
            size_t from = sizes[a], to = sizes[b], least = from < to ? from : to;
            /* Pairs of the largest kinds cost most: all of them only in the long run. */
            if (!t_full && from >= 8 * MIB && to >= 8 * MIB && (a + b) % 2)
                continue;
            tag++;
            unsigned char *block = (unsigned char *)malloc(from);
            NEED(block != NULL, "malloc(%zu) is NULL", from);
            put(block, 0, from, tag);
            unsigned char *moved = (unsigned char *)realloc(block, to);
            NEED(moved != NULL, "realloc from %zu to %zu is NULL", from, to);
            CHECK((uintptr_t)moved % 16 == 0, "realloc from %zu to %zu gives %p", from, to,
                  (void *)moved);
            CHECK(malloc_usable_size(moved) >= to, "realloc from %zu to %zu has %zu usable bytes",
                  from, to, malloc_usable_size(moved));
            size_t good = get(moved, least, from, tag);
            NEED(good == least, "realloc from %zu to %zu changed byte %zu", from, to, good);
            moved[to - 1] = 1;
            free(moved);
        }
}

/* One block walks up and down through all kinds; what it ever held within the least size so far
 * stays. */
static void a_walk_through_all_kinds(void) {
    uint64_t state = 42;
    int steps = t_full ? 4000 : 600;
    unsigned char *block = NULL;
    size_t size = 0;
    for (int step = 0; step < steps; step++) {
        size_t next = sizes[t_random(&state) % COUNT(sizes)];
        if (next > 8 * MIB && step % 8)
            next = next % (8 * MIB) + 1;
        unsigned char *moved = (unsigned char *)realloc(block, next);
        NEED(moved != NULL, "realloc from %zu to %zu is NULL", size, next);
        size_t least = size < next ? size : next;
        if (least > 8 * MIB)
            least = 8 * MIB;
        for (size_t i = 0; i < least; i += i < 4096 ? 1 : 509)
            NEED(moved[i] == (unsigned char)(i * 31 + (i >> 12)),
                 "step %d, realloc from %zu to %zu, changed byte %zu", step, size, next, i);
        size_t stamped = next < 8 * MIB ? next : 8 * MIB;
        for (size_t i = 0; i < stamped; i++)
            moved[i] = (unsigned char)(i * 31 + (i >> 12));
        block = moved;
        size = next;
    }
    free(block);
}

static void from_null_is_malloc(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = realloc(NULL, sizes[i]);
        NEED(block != NULL, "realloc(NULL, %zu) is NULL", sizes[i]);
        CHECK(malloc_usable_size(block) >= sizes[i], "too little room for %zu bytes", sizes[i]);
        memset(block, 1, sizes[i]);
        free(block);
    }
}

/* glibc frees the block and returns NULL; that it freed it shows in RSS. */
static void to_zero_frees(void) {
    static const size_t kinds[] = {40, 16384, 1 << 20, 48 << 20};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        size_t before = t_rss(), round = kinds[k] < MIB ? 256 * MIB / kinds[k] : 24;
        for (size_t i = 0; i < round; i++) {
            char *block = (char *)malloc(kinds[k]);
            NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
            memset(block, 1, kinds[k]);
            errno = 71;
            void *result =
                i % 2 ? realloc(block, t_opaque(0)) : reallocarray(block, t_opaque(0), 8);
            CHECK(result == NULL, "realloc(p, 0) of %zu bytes gives %p", kinds[k], result);
            CHECK(errno == 71, "realloc(p, 0) of %zu bytes changed errno to %d", kinds[k], errno);
        }
        size_t after = t_rss(), most = kinds[k] + 32 * MIB;
        CHECK(after < before + most, "%zu times realloc(p, 0) of %zu bytes left %zu resident",
              round, kinds[k], after - before);
    }
}

static void a_failure_leaves_the_block(void) {
    static const size_t kinds[] = {1, 40, 1000, 16384, 100000, 1 << 20, 40 << 20};
    static const size_t wishes[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
                                    (size_t)1 << 58};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        unsigned char *block = (unsigned char *)malloc(kinds[k]);
        NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
        put(block, 0, kinds[k], k);
        for (size_t w = 0; w < COUNT(wishes); w++) {
            errno = 0;
            void *volatile result = realloc(block, t_opaque(wishes[w]));
            NEED(result == NULL, "realloc(p, %zx) gives %p", wishes[w], result);
            CHECK(errno == ENOMEM, "realloc(p, %zx) sets errno %d", wishes[w], errno);
            CHECK(get(block, kinds[k], kinds[k], k) == kinds[k],
                  "a failed realloc changed a %zu-byte block", kinds[k]);
        }
        /* It is still a block: it can grow, and be freed. */
        unsigned char *grown = (unsigned char *)realloc(block, kinds[k] + 5000);
        NEED(grown != NULL, "realloc after a failed one is NULL");
        CHECK(get(grown, kinds[k], kinds[k], k) == kinds[k], "contents lost after a failure");
        free(grown);
    }
}

/* An aligned block is an ordinary block to realloc: contents stay, alignment beyond 16 need not. */
static void of_aligned_blocks(void) {
    static const size_t alignments[] = {32, 64, 4096, 65536, 1 << 20};
    static const size_t kinds[] = {1, 100, 5000, 70000, 1 << 20, 40 << 20};
    for (size_t a = 0; a < COUNT(alignments); a++)
        for (size_t i = 0; i < COUNT(kinds); i++)
            for (size_t j = 0; j < COUNT(kinds); j++) {
                unsigned char *block = (unsigned char *)memalign(alignments[a], kinds[i]);
                NEED(block != NULL, "memalign(%zu, %zu) is NULL", alignments[a], kinds[i]);
                put(block, 0, kinds[i], a);
                unsigned char *moved = (unsigned char *)realloc(block, kinds[j]);
                NEED(moved != NULL, "realloc to %zu is NULL", kinds[j]);
                size_t least = kinds[i] < kinds[j] ? kinds[i] : kinds[j];
                size_t good = get(moved, least, kinds[i], a);
                CHECK(good == least, "aligned to %zu, from %zu to %zu: byte %zu changed",
                      alignments[a], kinds[i], kinds[j], good);
                moved[kinds[j] - 1] = 2;
                free(moved);
            }
}

/* A block of this thread, freed or grown by another one. */
static void *grow_there(void *argument) {
    return realloc(argument, 300000);
}

static void by_another_thread(void) {
    static const size_t kinds[] = {24, 1000, 16384, 100000, 1 << 20, 40 << 20};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        unsigned char *block = (unsigned char *)malloc(kinds[k]);
        NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
        put(block, 0, kinds[k], k);
        unsigned char *moved = (unsigned char *)t_in_thread(grow_there, block);
        NEED(moved != NULL, "realloc in another thread is NULL");
        size_t least = kinds[k] < 300000 ? kinds[k] : 300000;
        CHECK(get(moved, least, kinds[k], k) == least, "contents of %zu bytes lost", kinds[k]);
        moved[299999] = 1;
        free(moved);
    }
}

/* Shrinking a large block a lot must give memory back, or a program that trims its buffers gains
 * nothing. */
static void shrinking_gives_memory_back(void) {
    enum { BLOCKS = 8 };
    char *blocks[BLOCKS];
    size_t start = t_rss();
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = (char *)malloc(16 * MIB);
        NEED(blocks[i] != NULL, "malloc(16 MiB) is NULL");
        memset(blocks[i], 1, 16 * MIB);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = (char *)realloc(blocks[i], 64 * KIB);
        NEED(blocks[i] != NULL, "shrinking is NULL");
        CHECK(t_first_other(blocks[i], 64 * KIB, 1) == 64 * KIB, "shrinking changed the contents");
    }
    malloc_trim(0);
    size_t now = t_rss();
    CHECK(now < start + 16 * MIB, "8 blocks cut from 16 MiB to 64 KiB keep %zu bytes resident",
          now - start);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

int main(void) {
    t_init();
    RUN("realloc keeps the contents for every pair of sizes to 64 MiB", every_pair_of_sizes);
    RUN("realloc keeps the contents over a long walk", a_walk_through_all_kinds);
    RUN("realloc(NULL, n) is malloc(n)", from_null_is_malloc);
    RUN("realloc(p, 0) frees, gives NULL and keeps errno", to_zero_frees);
    RUN("a failed realloc leaves the block intact", a_failure_leaves_the_block);
    RUN("realloc of aligned blocks keeps the contents", of_aligned_blocks);
    RUN("realloc of another thread's block keeps the contents", by_another_thread);
    RUN("realloc to much less gives memory back", shrinking_gives_memory_back);
    return t_done();
}
