/*
 * What malloc(3) and C17 7.22.3 say of sizes: zero, every small one, the largest, and those that
 * overflow.
 */
#include "common.h"

#include <sys/resource.h>

/* Not declared by every libc's headers in every mode; here they are called as any old program
 * would. */
extern void *valloc(size_t);
extern void *pvalloc(size_t);

static void zero_is_unique(void) {
    void *blocks[1000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = i % 2 ? malloc(0) : calloc(i % 4 ? 0 : 7, i % 4 ? 7 : 0);
        NEED(blocks[i] != NULL, "block %zu of size 0 is NULL", i);
        for (size_t j = 0; j < i; j++)
            NEED(blocks[j] != blocks[i], "blocks %zu and %zu of size 0 are both %p", j, i,
                 blocks[i]);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

static void zero_from_each_function(void) {
    void *blocks[7];
    memset(blocks, 0, sizeof(blocks));
    blocks[0] = realloc(NULL, 0);
    blocks[1] = reallocarray(NULL, 0, 8);
    blocks[2] = aligned_alloc(64, 0);
    blocks[3] = memalign(64, 0);
    blocks[4] = valloc(0);
    blocks[5] = pvalloc(0);
    CHECK(posix_memalign(&blocks[6], 64, 0) == 0, "posix_memalign of 0 bytes failed");
    for (size_t i = 0; i < COUNT(blocks); i++) {
        CHECK(blocks[i] != NULL, "function %zu gives NULL for size 0", i);
        for (size_t j = 0; j < i; j++)
            CHECK(blocks[j] != blocks[i], "functions %zu and %zu give one address", j, i);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

/* Live blocks of every size at once, stamped to their ends: overlap shows as a wrong byte. */
static void every_size_is_aligned_and_apart(void) {
    enum { LAST = 4200, COPIES = 3 };
    static unsigned char *blocks[LAST + 1][COPIES];
    for (size_t size = 0; size <= LAST; size++)
        for (size_t copy = 0; copy < COPIES; copy++) {
            unsigned char *block = (unsigned char *)malloc(size);
            NEED(block != NULL, "malloc(%zu) is NULL", size);
            CHECK((uintptr_t)block % 16 == 0, "malloc(%zu) is %p", size, (void *)block);
            t_stamp(block, size, size * COPIES + copy);
            blocks[size][copy] = block;
        }
    for (size_t size = 0; size <= LAST; size++)
        for (size_t copy = 0; copy < COPIES; copy++) {
            size_t good = t_stamp_check(blocks[size][copy], size, size * COPIES + copy);
            CHECK(good == size, "byte %zu of a %zu-byte block changed", good, size);
            free(blocks[size][copy]);
        }
}

static void larger_sizes_are_aligned_and_apart(void) {
    enum { MOST = 400 };
    static void *blocks[MOST];
    static size_t sizes[MOST];
    size_t used = 0;
    for (size_t size = 4096; size < 96 * MIB && used + 3 <= MOST; size += size / 8)
        for (size_t near = size - 1; near <= size + 1; near++) {
            sizes[used] = near;
            blocks[used] = malloc(near);
            NEED(blocks[used] != NULL, "malloc(%zu) is NULL", near);
            CHECK((uintptr_t)blocks[used] % 16 == 0, "malloc(%zu) is %p", near, blocks[used]);
            /* The ends are enough to see an overlap, and touch little. */
            size_t end = near < 64 ? near : 64;
            t_stamp(blocks[used], end, used);
            t_stamp((char *)blocks[used] + near - end, end, used + MOST);
            used++;
        }
    for (size_t i = 0; i < used; i++) {
        CHECK(t_stamp_check(blocks[i], 64, i) == 64, "start of a %zu-byte block changed", sizes[i]);
        CHECK(t_stamp_check((char *)blocks[i] + sizes[i] - 64, 64, i + MOST) == 64,
              "end of a %zu-byte block changed", sizes[i]);
        free(blocks[i]);
    }
}

/* The same for calloc, whose blocks must also be zero to the last byte. */
static void every_calloc_is_zero(void) {
    for (size_t size = 1; size < 4200; size++) {
        unsigned char *block = (unsigned char *)calloc(1, size);
        NEED(block != NULL, "calloc(1, %zu) is NULL", size);
        CHECK((uintptr_t)block % 16 == 0, "calloc(1, %zu) is %p", size, (void *)block);
        size_t zeroes = t_first_other(block, size, 0);
        CHECK(zeroes == size, "byte %zu of calloc(1, %zu) is not zero", zeroes, size);
        memset(block, 0xa5, size);
        free(block);
    }
}

#define REFUSED(call)                                                                              \
    do {                                                                                           \
        errno = 0;                                                                                 \
        void *volatile block_ = (call);                                                            \
        CHECK(block_ == NULL, "%s gives %p", #call, block_);                                       \
        CHECK(errno == ENOMEM, "%s sets errno %d", #call, errno);                                  \
    } while (0)

static void refuse_all(size_t size) {
    void *block = malloc(100);
    NEED(block != NULL, "malloc(100) is NULL");
    t_stamp(block, 100, 1);
    REFUSED(malloc(size));
    REFUSED(calloc(1, size));
    REFUSED(calloc(size, 1));
    REFUSED(realloc(NULL, size));
    REFUSED(realloc(block, size));
    REFUSED(reallocarray(NULL, 1, size));
    REFUSED(reallocarray(block, size, 1));
    REFUSED(memalign(64, size));
    REFUSED(memalign(1, size));
    REFUSED(memalign(GIB, size));
    REFUSED(aligned_alloc(64, size));
    REFUSED(aligned_alloc(GIB, size));
    REFUSED(valloc(size));
    REFUSED(pvalloc(size));
    void *untouched = &block;
    int code = posix_memalign(&untouched, 64, size);
    CHECK(code == ENOMEM, "posix_memalign(64, %zu) returns %d", size, code);
    CHECK(untouched == &block, "posix_memalign changed the pointer although it failed");
    CHECK(t_stamp_check(block, 100, 1) == 100, "a failed realloc changed the block");
    free(block);
}

static void above_ptrdiff_max_is_enomem(void) {
    refuse_all(t_opaque((size_t)PTRDIFF_MAX + 1));
    refuse_all(t_opaque((size_t)PTRDIFF_MAX + 4097));
    refuse_all(t_opaque(SIZE_MAX - 4096));
    refuse_all(t_opaque(SIZE_MAX - 15));
    refuse_all(t_opaque(SIZE_MAX - 1));
    refuse_all(t_opaque(SIZE_MAX));
}

/* Sizes that are no more than PTRDIFF_MAX and yet more than any address space has. */
static void above_the_address_space_is_enomem(void) {
    refuse_all(t_opaque((size_t)PTRDIFF_MAX));
    refuse_all(t_opaque((size_t)PTRDIFF_MAX - 4096));
    refuse_all(t_opaque((size_t)PTRDIFF_MAX / 2));
    refuse_all(t_opaque((size_t)1 << 58));
}

static void calloc_multiplies_without_overflow(void) {
    static const size_t factors[] = {2, 3, 7, 16, 255, 65536, (size_t)1 << 32, (size_t)1 << 33};
    for (size_t i = 0; i < COUNT(factors); i++) {
        size_t other = SIZE_MAX / factors[i] + 1;
        REFUSED(calloc(t_opaque(factors[i]), t_opaque(other)));
        REFUSED(calloc(t_opaque(other), t_opaque(factors[i])));
        /* Products that wrap to a small number are the dangerous ones. */
        REFUSED(calloc(t_opaque(factors[i]), t_opaque(other + 5)));
    }
    REFUSED(calloc(t_opaque(SIZE_MAX), t_opaque(SIZE_MAX)));
    REFUSED(calloc(t_opaque((size_t)1 << 32), t_opaque((size_t)1 << 32)));
}

static void reallocarray_multiplies_without_overflow(void) {
    char *block = (char *)malloc(40);
    NEED(block != NULL, "malloc(40) is NULL");
    t_stamp(block, 40, 2);
    static const size_t factors[] = {2, 3, 7, 16, 255, 65536, (size_t)1 << 32, (size_t)1 << 33};
    for (size_t i = 0; i < COUNT(factors); i++) {
        size_t other = SIZE_MAX / factors[i] + 1;
        REFUSED(reallocarray(block, t_opaque(factors[i]), t_opaque(other)));
        REFUSED(reallocarray(block, t_opaque(other), t_opaque(factors[i])));
        REFUSED(reallocarray(NULL, t_opaque(other + 5), t_opaque(factors[i])));
    }
    CHECK(t_stamp_check(block, 40, 2) == 40, "a failed reallocarray changed the block");
    char *larger = (char *)reallocarray(block, 100, 40);
    NEED(larger != NULL, "reallocarray(p, 100, 40) is NULL");
    CHECK(t_stamp_check(larger, 40, 2) == 40, "reallocarray lost the contents");
    memset(larger, 1, 4000);
    free(larger);
}

/* A failure is not sticky, and costs nothing that stays. */
static void a_refusal_leaves_the_heap_usable(void) {
    size_t before = t_rss();
    for (int i = 0; i < 20000; i++) {
        void *volatile big = malloc(t_opaque(SIZE_MAX / 2 - (size_t)i * 4096));
        NEED(big == NULL, "malloc of half the address space gives %p", big);
        void *small = malloc(64);
        NEED(small != NULL, "malloc(64) is NULL after a refusal");
        free(small);
    }
    CHECK(t_rss() < before + 4 * MIB, "20000 refusals grew RSS by %zu", t_rss() - before);
}

int main(void) {
    t_init();
    RUN("malloc(0) and calloc of 0 give distinct pointers", zero_is_unique);
    RUN("size 0 is a distinct pointer from every function", zero_from_each_function);
    RUN("blocks of every size to 4200 are 16-byte aligned and apart",
        every_size_is_aligned_and_apart);
    RUN("blocks to 96 MiB are 16-byte aligned and apart", larger_sizes_are_aligned_and_apart);
    RUN("calloc of every size to 4200 is zero to its end", every_calloc_is_zero);
    RUN("over PTRDIFF_MAX every function gives NULL and ENOMEM", above_ptrdiff_max_is_enomem);
    RUN("over the address space every function gives NULL and ENOMEM",
        above_the_address_space_is_enomem);
    RUN("calloc refuses a product that overflows", calloc_multiplies_without_overflow);
    RUN("reallocarray refuses a product that overflows and keeps the block",
        reallocarray_multiplies_without_overflow);
    RUN("a refusal leaves the heap usable", a_refusal_leaves_the_heap_usable);
    return t_done();
}
