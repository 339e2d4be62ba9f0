/*
 * errno: free preserves it on every path (malloc(3), glibc 2.33 and later), and success leaves it
 * alone.
 */
#include "common.h"

#include <sys/resource.h>

static const size_t kinds[] = {
    1,     24,    64,     1000,    1024,     5000,           8192,     16384,
    65536, 65537, 200000, 1 << 20, 32 << 20, (32 << 20) + 1, 64 << 20,
};

static void free_of_null(void) {
    errno = 77;
    for (int i = 0; i < 1000; i++)
        free(NULL);
    CHECK(errno == 77, "free(NULL) set errno %d", errno);
}

static void free_of_every_kind(void) {
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int touched = 0; touched < 2; touched++) {
            char *block = (char *)malloc(kinds[k]);
            NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
            if (touched)
                memset(block, 1, kinds[k]);
            errno = 77;
            free(block);
            CHECK(errno == 77, "free of %zu bytes set errno %d", kinds[k], errno);
        }
}

/* So many that pages empty, go back to the pool and are purged: the slow paths of free. */
static void free_of_very_many(void) {
    static void *blocks[40000];
    static const size_t many[] = {16, 64, 300, 2000, 12000};
    for (size_t k = 0; k < COUNT(many); k++) {
        size_t count = 96 * MIB / many[k] < COUNT(blocks) ? 96 * MIB / many[k] : COUNT(blocks);
        for (size_t i = 0; i < count; i++) {
            blocks[i] = malloc(many[k]);
            NEED(blocks[i] != NULL, "malloc(%zu) is NULL", many[k]);
            memset(blocks[i], 1, many[k]);
        }
        for (size_t i = 0; i < count; i++) {
            errno = 77;
            free(blocks[i]);
            CHECK(errno == 77, "free number %zu of %zu bytes set errno %d", i, many[k], errno);
        }
    }
}

struct errand {
    void **blocks;
    size_t count;
    int seen;
};

static void *free_them(void *argument) {
    struct errand *errand = (struct errand *)argument;
    for (size_t i = 0; i < errand->count; i++) {
        errno = 78;
        free(errand->blocks[i]);
        if (errno != 78)
            errand->seen = errno ? errno : -1;
    }
    return NULL;
}

static void free_by_another_thread(void) {
    static void *blocks[5000];
    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct errand errand = {blocks, kinds[k] < 100000 ? COUNT(blocks) : 4, 0};
        for (size_t i = 0; i < errand.count; i++) {
            blocks[i] = malloc(kinds[k]);
            NEED(blocks[i] != NULL, "malloc(%zu) is NULL", kinds[k]);
        }
        t_in_thread(free_them, &errand);
        CHECK(errand.seen == 0, "free of %zu bytes in another thread set errno %d", kinds[k],
              errand.seen);
    }
}

static void *make_them(void *argument) {
    struct errand *errand = (struct errand *)argument;
    for (size_t i = 0; i < errand->count; i++)
        errand->blocks[i] = malloc(500 + i);
    return NULL;
}

/* Blocks whose owner has ended: the freeing thread takes their pages over. */
static void free_after_the_owner_ended(void) {
    static void *blocks[5000];
    struct errand errand = {blocks, COUNT(blocks), 0};
    t_in_thread(make_them, &errand);
    free_them(&errand);
    CHECK(errand.seen == 0, "free of an ended thread's block set errno %d", errand.seen);
}

/* With the address space used up the kernel refuses splits and maps inside free; it must not show.
 */
static void free_under_a_limit(void) {
    struct rlimit old, tight;
    getrlimit(RLIMIT_AS, &old);
    void *blocks[64];
    size_t used = 0;
    for (; used < COUNT(blocks); used++) {
        blocks[used] = malloc(kinds[used % COUNT(kinds)]);
        NEED(blocks[used] != NULL, "malloc is NULL");
        memset(blocks[used], 1, 1);
    }
    tight = old;
    tight.rlim_cur = 64 * MIB;
    setrlimit(RLIMIT_AS, &tight);
    int seen = 77;
    for (size_t i = 0; i < used; i++) {
        errno = 77;
        free(blocks[i]);
        if (errno != 77)
            seen = errno;
    }
    setrlimit(RLIMIT_AS, &old);
    CHECK(seen == 77, "free under RLIMIT_AS set errno %d", seen);
}

static void success_leaves_errno(void) {
    for (size_t k = 0; k < COUNT(kinds); k++) {
        errno = 79;
        void *block = malloc(kinds[k]);
        block = realloc(block, kinds[k] * 2);
        void *zeroes = calloc(3, kinds[k]);
        void *aligned = aligned_alloc(4096, kinds[k]);
        malloc_usable_size(block);
        NEED(block && zeroes && aligned, "no memory for %zu bytes", kinds[k]);
        /* C lets a library function set errno; programs that check it late rely on ours not to. */
        CHECK(errno == 79 || !t_library, "functions that succeed set errno %d", errno);
        free(block);
        free(zeroes);
        free(aligned);
    }
}

int main(void) {
    t_init();
    RUN("free(NULL) keeps errno", free_of_null);
    RUN("free keeps errno for every kind of block", free_of_every_kind);
    RUN("free keeps errno while pages empty and are purged", free_of_very_many);
    RUN("free in another thread keeps errno", free_by_another_thread);
    RUN("free of an ended thread's blocks keeps errno", free_after_the_owner_ended);
    RUN("free keeps errno with RLIMIT_AS used up", free_under_a_limit);
    RUN("functions that succeed keep errno", success_leaves_errno);
    return t_done();
}
