/*
 * posix_memalign(3): aligned_alloc, memalign, posix_memalign, valloc and pvalloc. The matrix runs
 * over every size at which the usable size steps (found by asking, so it fits whatever classes the
 * heap has) and every alignment from 1 to 1 GiB.
 */
#include "common.h"

extern void *valloc(size_t);
extern void *pvalloc(size_t);

/* Blocks in use at once in the matrix: enough that neighbours would be seen, few enough for 1 GiB
 * steps. */
enum { RING = 24 };

struct live {
    unsigned char *block;
    size_t size;
    unsigned char first, last;
};

static size_t boundaries[2000];
static size_t boundary_count;

/* Each usable size u and u+1; once classes are dense next to their size, in steps of an eighth. */
static void find_boundaries(void) {
    size_t size = 1;
    boundaries[boundary_count++] = 0;
    while (size <= 48 * MIB && boundary_count + 3 <= COUNT(boundaries)) {
        void *block = malloc(size);
        NEED(block != NULL, "malloc(%zu) is NULL", size);
        size_t usable = malloc_usable_size(block);
        free(block);
        NEED(usable >= size, "malloc(%zu) has %zu usable bytes", size, usable);
        boundaries[boundary_count++] = size;
        if (usable != size)
            boundaries[boundary_count++] = usable;
        if (size > 1)
            boundaries[boundary_count++] = size - 1;
        size_t next = size + size / 16;
        size = usable + 1 > next ? usable + 1 : next;
    }
}

static void retire(struct live *old) {
    if (!old->block)
        return;
    if (old->size) {
        CHECK(old->block[0] == old->first || old->size == 1, "first byte of %zu changed",
              old->size);
        CHECK(old->block[old->size - 1] == old->last, "last byte of %zu changed", old->size);
    }
    free(old->block);
    old->block = NULL;
}

static void every_boundary_at_every_alignment(void) {
    find_boundaries();
    if (t_case_failed)
        return;
    CHECK(boundary_count > 100, "only %zu sizes found", boundary_count);
    struct live ring[RING];
    memset(ring, 0, sizeof(ring));
    size_t turn = 0;
    for (int bits = 0; bits <= 30; bits++) {
        size_t alignment = (size_t)1 << bits;
        for (size_t b = 0; b < boundary_count; b++) {
            size_t size = boundaries[b];
            /* 48 MiB of them all at each alignment is a long run; every third one still meets each
             * class. */
            if (!t_full && size > 1 * MIB && (b + (size_t)bits) % 3)
                continue;
            struct live *slot = &ring[turn++ % RING];
            retire(slot);
            slot->block = (unsigned char *)aligned_alloc(alignment, size);
            NEED(slot->block != NULL, "aligned_alloc(%zu, %zu) is NULL, errno %d", alignment, size,
                 errno);
            size_t least = alignment < 16 ? 16 : alignment;
            CHECK((uintptr_t)slot->block % least == 0, "aligned_alloc(%zu, %zu) is %p", alignment,
                  size, (void *)slot->block);
            size_t usable = malloc_usable_size(slot->block);
            CHECK(usable >= size, "aligned_alloc(%zu, %zu) has %zu usable bytes", alignment, size,
                  usable);
            slot->size = size;
            slot->first = (unsigned char)turn;
            slot->last = (unsigned char)(turn >> 8 ^ 0x5a);
            if (size) {
                slot->block[0] = slot->first;
                slot->block[size - 1] = slot->last;
            }
        }
    }
    for (size_t i = 0; i < RING; i++)
        retire(&ring[i]);
}

/* Many live blocks of one alignment, stamped whole: overlap and slack errors show as wrong bytes.
 */
static void aligned_blocks_are_apart(void) {
    enum { BLOCKS = 300 };
    static void *blocks[BLOCKS];
    static const size_t kinds[] = {1, 24, 100, 511, 1000, 3000, 4097, 9000, 20000, 70000};
    for (size_t alignment = 32; alignment <= 256 * KIB; alignment *= 2) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t size = kinds[i % COUNT(kinds)];
            CHECK(posix_memalign(&blocks[i], alignment, size) == 0,
                  "posix_memalign(%zu, %zu) failed", alignment, size);
            NEED((uintptr_t)blocks[i] % alignment == 0, "%p is not aligned to %zu", blocks[i],
                 alignment);
            t_stamp(blocks[i], size, i);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t size = kinds[i % COUNT(kinds)];
            CHECK(t_stamp_check(blocks[i], size, i) == size, "alignment %zu: block %zu changed",
                  alignment, i);
            free(blocks[i]);
        }
    }
}

/* What is aligned to 1 GiB must not keep a GiB: the slack is address space, never memory. */
static void slack_is_not_resident(void) {
    size_t before = t_rss();
    void *blocks[16];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = aligned_alloc(GIB >> (i % 4), 100 + i);
        NEED(blocks[i] != NULL, "aligned_alloc(%zu, 100) is NULL", GIB >> (i % 4));
        memset(blocks[i], 1, 100 + i);
    }
    size_t grown = t_rss() - before;
    /* A huge page for each is the most a kernel could add. */
    CHECK(t_rss() < before || grown < 16 * 3 * MIB, "16 aligned blocks made %zu resident", grown);
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

static void posix_memalign_checks_alignment(void) {
    static const size_t bad[] = {
        0, 1, 2, 4, 3, 7, 9, 12, 24, 48, 100, 4095, 4097, SIZE_MAX, ((size_t)1 << 63) + 8};
    for (size_t i = 0; i < COUNT(bad); i++) {
        int marker;
        void *pointer = &marker;
        errno = 73;
        int code = posix_memalign(&pointer, t_opaque(bad[i]), 100);
        CHECK(code == EINVAL, "posix_memalign with alignment %zu returns %d", bad[i], code);
        CHECK(errno == 73, "posix_memalign with alignment %zu sets errno %d", bad[i], errno);
        CHECK(pointer == &marker, "posix_memalign with alignment %zu changed the pointer", bad[i]);
    }
}

static void posix_memalign_refuses_with_enomem(void) {
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 64, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
                                   (size_t)1 << 58};
    static const size_t alignments[] = {8, 16, 64, 4096, 1 << 20, 1 << 30};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (size_t a = 0; a < COUNT(alignments); a++) {
            int marker;
            void *pointer = &marker;
            errno = 73;
            int code = posix_memalign(&pointer, alignments[a], t_opaque(sizes[s]));
            CHECK(code == ENOMEM, "posix_memalign(%zu, %zx) returns %d", alignments[a], sizes[s],
                  code);
            CHECK(pointer == &marker, "posix_memalign changed the pointer");
            /* posix_memalign(3) leaves errno open in this case, and glibc's mmap sets it. */
            CHECK(errno == 73 || !t_library, "posix_memalign set errno %d", errno);
        }
}

static void posix_memalign_keeps_errno_on_success(void) {
    for (size_t alignment = 8; alignment <= 64 * MIB; alignment *= 2) {
        void *block = NULL;
        errno = 73;
        CHECK(posix_memalign(&block, alignment, 1000) == 0, "alignment %zu failed", alignment);
        CHECK(errno == 73, "posix_memalign(%zu, 1000) set errno %d", alignment, errno);
        CHECK((uintptr_t)block % alignment == 0, "%p is not aligned to %zu", block, alignment);
        free(block);
    }
}

/* glibc 2.36 rounds up an alignment that is no power of two, and takes 0 as its own minimum. */
static void memalign_rounds_odd_alignments_up(void) {
    static const size_t odd[][2] = {{0, 16},      {1, 16},        {3, 16},    {17, 32},
                                    {24, 32},     {33, 64},       {100, 128}, {3000, 4096},
                                    {4097, 8192}, {70000, 131072}};
    for (size_t i = 0; i < COUNT(odd); i++)
        for (size_t size = 1; size < 200000; size = size * 5 + 1) {
            void *block = memalign(t_opaque(odd[i][0]), size);
            NEED(block != NULL, "memalign(%zu, %zu) is NULL", odd[i][0], size);
            CHECK((uintptr_t)block % odd[i][1] == 0, "memalign(%zu, %zu) is %p", odd[i][0], size,
                  block);
            memset(block, 1, size);
            free(block);
        }
    errno = 0;
    void *none = memalign(t_opaque(SIZE_MAX / 2 + 2), 10);
    CHECK(none == NULL && errno == EINVAL, "memalign beyond the last power of two: %p, errno %d",
          none, errno);
}

/* An alignment beyond what any address space can give is a refusal, not a loop or a wrapped size.
 */
static void vast_alignments_are_refused(void) {
    for (int bits = 48; bits < 64; bits++) {
        errno = 0;
        void *volatile block = aligned_alloc(t_opaque((size_t)1 << bits), 100);
        CHECK(block == NULL, "aligned_alloc(2^%d, 100) is %p", bits, block);
        CHECK(errno == ENOMEM || errno == EINVAL, "aligned_alloc(2^%d, 100) sets errno %d", bits,
              errno);
        int marker;
        void *pointer = &marker;
        int code = posix_memalign(&pointer, t_opaque((size_t)1 << bits), 100);
        CHECK(code == ENOMEM || code == EINVAL, "posix_memalign(2^%d, 100) returns %d", bits, code);
        CHECK(pointer == &marker, "posix_memalign(2^%d) changed the pointer", bits);
    }
}

/* C17 says NULL for an alignment that is not valid; glibc 2.36 rounds it up. Both are right,
 * nothing else is. */
static void aligned_alloc_takes_odd_alignments_safely(void) {
    static const size_t odd[] = {0, 3, 5, 24, 100, 4097};
    for (size_t i = 0; i < COUNT(odd); i++) {
        errno = 0;
        void *block = aligned_alloc(t_opaque(odd[i]), 240);
        if (!block) {
            CHECK(errno == EINVAL, "aligned_alloc(%zu, 240) is NULL, errno %d", odd[i], errno);
            continue;
        }
        CHECK((uintptr_t)block % 16 == 0, "aligned_alloc(%zu, 240) is %p", odd[i], block);
        memset(block, 1, 240);
        free(block);
    }
}

static void valloc_is_page_aligned(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 1; size < 100 * MIB; size = size * 3 + 1) {
        void *block = valloc(size);
        NEED(block != NULL, "valloc(%zu) is NULL", size);
        CHECK((uintptr_t)block % page == 0, "valloc(%zu) is %p", size, block);
        CHECK(malloc_usable_size(block) >= size, "valloc(%zu) has %zu usable bytes", size,
              malloc_usable_size(block));
        memset(block, 1, size < MIB ? size : MIB);
        ((char *)block)[size - 1] = 1;
        free(block);
    }
}

static void pvalloc_rounds_to_pages(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 1; size < 100 * MIB; size = size * 3 + 1) {
        char *block = (char *)pvalloc(size);
        NEED(block != NULL, "pvalloc(%zu) is NULL", size);
        size_t rounded = (size + page - 1) / page * page;
        CHECK((uintptr_t)block % page == 0, "pvalloc(%zu) is %p", size, (void *)block);
        CHECK(malloc_usable_size(block) >= rounded, "pvalloc(%zu) has %zu usable bytes", size,
              malloc_usable_size(block));
        block[0] = 1;
        block[rounded - 1] = 1;
        free(block);
    }
}

int main(void) {
    t_init();
    RUN("aligned_alloc at every size boundary and every alignment to 1 GiB",
        every_boundary_at_every_alignment);
    RUN("aligned blocks are apart", aligned_blocks_are_apart);
    RUN("the slack of a large alignment is not resident", slack_is_not_resident);
    RUN("posix_memalign returns EINVAL for a bad alignment and leaves errno and the pointer",
        posix_memalign_checks_alignment);
    RUN("posix_memalign returns ENOMEM and leaves errno and the pointer",
        posix_memalign_refuses_with_enomem);
    RUN("posix_memalign keeps errno on success", posix_memalign_keeps_errno_on_success);
    RUN("memalign rounds odd alignments up as glibc does", memalign_rounds_odd_alignments_up);
    RUN("alignments beyond the address space are refused", vast_alignments_are_refused);
    RUN("aligned_alloc takes odd alignments safely", aligned_alloc_takes_odd_alignments_safely);
    RUN("valloc is page aligned", valloc_is_page_aligned);
    RUN("pvalloc rounds to whole pages", pvalloc_rounds_to_pages);
    return t_done();
}
