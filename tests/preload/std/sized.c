/*
 * Functions beyond the core: C23's free_sized and free_aligned_sized, which glibc 2.36 does not
 * have, and cfree, which glibc 2.26 took out of linking but old binaries still call.
 */
#include "common.h"

extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
static void (*cfree_found)(void *);

static const size_t kinds[] = {0,    1,     24,    64,     100,     1000,
                               8192, 20000, 65536, 100000, 1 << 20, 33 << 20};

/* Do `count` blocks of `size` really come back? Otherwise RSS grows past `most`. */
#define COMES_BACK(size, allocate, release)                                                        \
    do {                                                                                           \
        size_t before_ = t_rss(), rounds_ = (size) < 1000 ? 300000 : 300 * MIB / (size) + 2;       \
        for (size_t i_ = 0; i_ < rounds_; i_++) {                                                  \
            char *block = (char *)(allocate);                                                      \
            NEED(block != NULL, "no block of %zu bytes", (size_t)(size));                          \
            if (size)                                                                              \
                memset(block, 1, size);                                                            \
            errno = 77;                                                                            \
            release;                                                                               \
            CHECK(errno == 77, "errno is %d after freeing %zu bytes", errno, (size_t)(size));      \
        }                                                                                          \
        size_t after_ = t_rss();                                                                   \
        CHECK(after_ < before_ + 40 * MIB + (size) || rounds_ * (size) < 80 * MIB,                 \
              "%zu blocks of %zu bytes left %zu resident", rounds_, (size_t)(size),                \
              after_ - before_);                                                                   \
    } while (0)

static void free_sized_frees(void) {
    if (!free_sized && !t_library)
        SKIP("glibc has no free_sized yet");
    NEED(free_sized != NULL, "the library does not export free_sized");
    errno = 77;
    free_sized(NULL, 0);
    free_sized(NULL, 100);
    CHECK(errno == 77, "free_sized(NULL) sets errno %d", errno);
    for (size_t k = 0; k < COUNT(kinds); k++) {
        COMES_BACK(kinds[k], malloc(kinds[k]), free_sized(block, kinds[k]));
        COMES_BACK(kinds[k], calloc(kinds[k], 1), free_sized(block, kinds[k]));
    }
}

/* C23 7.24.3.4: the size is that of the last realloc. */
static void free_sized_after_realloc(void) {
    if (!free_sized && !t_library)
        SKIP("glibc has no free_sized yet");
    NEED(free_sized != NULL, "the library does not export free_sized");
    for (size_t a = 1; a < COUNT(kinds); a++)
        for (size_t b = 1; b < COUNT(kinds); b++) {
            void *block = realloc(malloc(kinds[a]), kinds[b]);
            NEED(block != NULL, "realloc is NULL");
            free_sized(block, kinds[b]);
        }
}

static void free_aligned_sized_frees(void) {
    if (!free_aligned_sized && !t_library)
        SKIP("glibc has no free_aligned_sized yet");
    NEED(free_aligned_sized != NULL, "the library does not export free_aligned_sized");
    free_aligned_sized(NULL, 64, 0);
    for (size_t alignment = 16; alignment <= 2 * MIB; alignment *= 8)
        for (size_t k = 0; k < COUNT(kinds); k += 3)
            COMES_BACK(kinds[k], aligned_alloc(alignment, kinds[k]),
                       free_aligned_sized(block, alignment, kinds[k]));
}

static void cfree_frees(void) {
    if (!cfree_found && !t_library)
        SKIP("glibc has no cfree to link with");
    NEED(cfree_found != NULL, "the library does not export cfree");
    cfree_found(NULL);
    for (size_t k = 0; k < COUNT(kinds); k++)
        COMES_BACK(kinds[k], calloc(1, kinds[k] ? kinds[k] : 1), cfree_found(block));
}

int main(void) {
    t_init();
    void *symbol = dlsym(RTLD_DEFAULT, "cfree");
    memcpy(&cfree_found, &symbol, sizeof(symbol));
    RUN("free_sized frees and keeps errno", free_sized_frees);
    RUN("free_sized takes the size of the last realloc", free_sized_after_realloc);
    RUN("free_aligned_sized frees and keeps errno", free_aligned_sized_frees);
    RUN("cfree frees and keeps errno", cfree_frees);
    return t_done();
}
