/*
 * Memory that the program never touched stays untouched: calloc of much, realloc of it, malloc and
 * free of it. Seen in RSS and in its peak, so that a touch that was given back at once counts too.
 */
#include "common.h"

/* A huge page at each end, and what the kernel's lazy counters may lag. */
#define SLACK (6 * MIB)

static size_t start;

static void begin(void) {
    /* The first use of a path may commit metadata; that is not what is measured. */
    free(calloc(1, 100 * MIB));
    free(realloc(malloc(40 * MIB), 80 * MIB));
    t_peak_reset();
    start = t_rss();
}

static void stays(const char *what, size_t most) {
    size_t now = t_rss(), peak = t_peak();
    CHECK(now <= start + most, "%s left %zu bytes more resident", what, now - start);
    CHECK(peak <= start + most, "%s had %zu bytes more resident at its peak", what, peak - start);
}

static void huge_calloc(void) {
    begin();
    for (int i = 0; i < 3; i++) {
        char *block = (char *)calloc(1, GIB);
        NEED(block != NULL, "calloc of 1 GiB is NULL, errno %d", errno);
        stays("calloc of 1 GiB", SLACK);
        block[0] = 1;
        block[GIB - 1] = 1;
        CHECK(block[GIB / 2] == 0, "the middle is not zero");
        stays("two touches", SLACK);
        free(block);
        stays("free", SLACK);
    }
}

static void vast_calloc(void) {
    if (!t_kernel_can_map(8 * GIB))
        SKIP("the kernel does not map 8 GiB here");
    begin();
    char *block = (char *)calloc(8, GIB);
    NEED(block != NULL, "calloc of 8 GiB is NULL, errno %d", errno);
    stays("calloc of 8 GiB", SLACK);
    for (size_t at = 0; at < 8 * GIB; at += GIB)
        CHECK(block[at] == 0, "byte %zu is not zero", at);
    stays("reading it", 3 * SLACK);
    free(block);
    stays("free", 3 * SLACK);
}

/* calloc of a size that was used, dirty and freed before: fresh pages or cleared ones, but few
 * resident. */
static void huge_calloc_after_dirty(void) {
    begin();
    char *block = (char *)malloc(48 * MIB);
    NEED(block != NULL, "malloc is NULL");
    memset(block, 1, 48 * MIB);
    free(block);
    malloc_trim(0);
    t_peak_reset();
    start = t_rss();
    block = (char *)calloc(1, 48 * MIB);
    NEED(block != NULL, "calloc is NULL");
    CHECK(block[100] == 0 && block[47 * MIB] == 0, "calloc is not zero");
    stays("calloc after a dirty block was trimmed", SLACK);
    free(block);
}

static void malloc_and_free(void) {
    begin();
    static const size_t kinds[] = {4 << 20, 31 << 20, 33 << 20, 1 << 30};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        char *block = (char *)malloc(kinds[k]);
        NEED(block != NULL, "malloc(%zu) is NULL", kinds[k]);
        block[0] = 1;
        free(block);
        stays("malloc and free", SLACK);
    }
}

/* An untouched calloc taken through `sizes`, with two words kept at its ends; RSS must not follow.
 */
static void carry(const size_t *sizes, size_t count, size_t most) {
    begin();
    char *block = (char *)calloc(1, sizes[0]);
    NEED(block != NULL, "calloc(1, %zu) is NULL", sizes[0]);
    size_t least = sizes[0];
    for (size_t i = 1; i < count; i++)
        if (sizes[i] < least)
            least = sizes[i];
    strcpy(block, "first");
    strcpy(block + least - 8, "last");
    stays("calloc", most);
    for (size_t i = 1; i < count; i++) {
        block = (char *)realloc(block, sizes[i]);
        NEED(block != NULL, "realloc from %zu to %zu is NULL, errno %d", sizes[i - 1], sizes[i],
             errno);
        CHECK(strcmp(block, "first") == 0 && strcmp(block + least - 8, "last") == 0,
              "realloc from %zu to %zu lost the contents", sizes[i - 1], sizes[i]);
        char what[80];
        snprintf(what, sizeof(what), "realloc from %zu to %zu MiB", sizes[i - 1] >> 20,
                 sizes[i] >> 20);
        stays(what, most);
    }
    CHECK(t_first_other(block + 8, 60000, 0) == 60000, "zeroes were not kept");
    free(block);
    stays("free", most);
}

static void from_40_mib_to_4_gib_to_100_mib(void) {
    static const size_t sizes[] = {(size_t)40 << 20, (size_t)4 << 30, (size_t)100 << 20};
    if (!t_kernel_can_map(4 * GIB))
        SKIP("the kernel does not map 4 GiB here");
    carry(sizes, COUNT(sizes), SLACK);
}

static void from_20_mib_to_40_mib(void) {
    static const size_t sizes[] = {20 << 20, 40 << 20};
    /* glibc keeps such a block in its own memory by now (its threshold moves) and copies it. */
    carry(sizes, COUNT(sizes), SLACK + (t_library ? 0 : 20 * MIB));
}

static void from_1_mib_to_64_mib(void) {
    static const size_t sizes[] = {1 << 20, 64 << 20};
    carry(sizes, COUNT(sizes), SLACK);
}

static void back_and_forth(void) {
    static const size_t sizes[] = {(size_t)64 << 20, (size_t)1 << 30,  (size_t)33 << 20,
                                   (size_t)2 << 30,  (size_t)40 << 20, (size_t)500 << 20};
    carry(sizes, COUNT(sizes), SLACK);
}

/* A huge block cut down: what is cut off goes at once, and is not read to be moved. */
static void shrinking_never_touches_the_tail(void) {
    begin();
    char *block = (char *)calloc(1, 2 * GIB);
    NEED(block != NULL, "calloc of 2 GiB is NULL");
    strcpy(block, "first");
    static const size_t sizes[] = {
        (size_t)1 << 30, (size_t)100 << 20, 33 << 20, 8 << 20, 100000, 100};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        block = (char *)realloc(block, sizes[i]);
        NEED(block != NULL, "realloc to %zu is NULL", sizes[i]);
        CHECK(strcmp(block, "first") == 0, "realloc to %zu lost the contents", sizes[i]);
        /* From huge to large the rest moves, and that is at most what remains. */
        stays("shrinking", SLACK + (sizes[i] <= 32 * MIB ? 10 * MIB : 0));
    }
    free(block);
}

static void a_dirty_tail_goes_back(void) {
    begin();
    char *block = (char *)malloc(256 * MIB);
    NEED(block != NULL, "malloc is NULL");
    memset(block, 1, 256 * MIB);
    block = (char *)realloc(block, 40 * MIB);
    NEED(block != NULL, "realloc is NULL");
    CHECK(t_first_other(block, 40 * MIB, 1) == 40 * MIB, "realloc lost the contents");
    size_t now = t_rss();
    CHECK(now <= start + 40 * MIB + SLACK, "%zu bytes are resident", now - start);
    free(block);
    stays("free", 256 * MIB + SLACK);
    now = t_rss();
    CHECK(now <= start + SLACK, "%zu bytes are resident after free", now - start);
}

/* The contents of a grown huge block come along by remapping: no second copy in memory at any time.
 */
static void growing_does_not_copy(void) {
    begin();
    char *block = (char *)malloc(200 * MIB);
    NEED(block != NULL, "malloc is NULL");
    for (size_t at = 0; at < 200 * MIB; at += 4096)
        memcpy(block + at, &at, sizeof(at));
    /* Something behind it, so that growing in place is not what saves it. */
    void *behind = malloc(40 * MIB);
    block = (char *)realloc(block, 700 * MIB);
    NEED(block != NULL, "realloc is NULL");
    for (size_t at = 0; at < 200 * MIB; at += 4096)
        CHECK(memcmp(block + at, &at, sizeof(at)) == 0, "byte %zu changed", at);
    stays("growing 200 MiB", 200 * MIB + SLACK);
    free(block);
    free(behind);
}

int main(void) {
    t_init();
    if (!t_peak_reset()) {
        printf("skip untouched memory stays untouched: /proc/self/clear_refs is not writable\n");
        return t_done();
    }
    RUN("an untouched calloc of 1 GiB is not resident", huge_calloc);
    RUN("an untouched calloc of 8 GiB is not resident", vast_calloc);
    RUN("a huge calloc after a dirty one is not resident", huge_calloc_after_dirty);
    RUN("malloc and free of untouched memory do not touch it", malloc_and_free);
    RUN("realloc of an untouched calloc, 40 MiB to 4 GiB to 100 MiB",
        from_40_mib_to_4_gib_to_100_mib);
    RUN("realloc of an untouched calloc, 20 to 40 MiB", from_20_mib_to_40_mib);
    RUN("realloc of an untouched calloc, 1 to 64 MiB", from_1_mib_to_64_mib);
    RUN("realloc of an untouched calloc, back and forth", back_and_forth);
    RUN("shrinking never touches the tail", shrinking_never_touches_the_tail);
    RUN("a dirty tail goes back at once", a_dirty_tail_goes_back);
    RUN("growing a huge block does not copy it", growing_does_not_copy);
    return t_done();
}
