/*
 * What a program can ask of the heap as a whole: mallinfo(3), malloc_info(3), malloc_stats(3),
 * malloc_trim(3), mallopt(3). With an argument it prints one of them for the script to judge: info
 * xml FILE   malloc_info into FILE, after some use of every kind of block by two threads info stats
 * malloc_stats, after the same
 */
#include "common.h"

static const size_t kinds[] = {1,     24,     100,     1000,     5000,    16384,
                               65536, 100000, 1 << 20, 20 << 20, 40 << 20};

static void *use_all_kinds(void *argument) {
    (void)argument;
    static __thread void *kept[COUNT(kinds) * 3];
    for (size_t i = 0; i < COUNT(kept); i++) {
        kept[i] = malloc(kinds[i % COUNT(kinds)]);
        if (kept[i])
            memset(kept[i], 1, kinds[i % COUNT(kinds)] < MIB ? kinds[i % COUNT(kinds)] : MIB);
    }
    for (size_t i = 0; i < COUNT(kept); i += 2) {
        free(kept[i]);
        kept[i] = NULL;
    }
    return NULL;
}

static size_t in_use(void) {
    struct mallinfo2 info = mallinfo2();
    /* glibc counts mapped blocks apart from the others. */
    return info.uordblks + info.hblkhd;
}

static void mallinfo2_follows(void) {
    static char *blocks[4096];
    for (size_t k = 0; k < COUNT(kinds); k++) {
        size_t count = 64 * MIB / kinds[k];
        count = count < 1 ? 1 : count > COUNT(blocks) ? COUNT(blocks) : count;
        size_t total = count * kinds[k], before = in_use();
        for (size_t i = 0; i < count; i++) {
            blocks[i] = (char *)malloc(kinds[k]);
            NEED(blocks[i] != NULL, "malloc(%zu) is NULL", kinds[k]);
            blocks[i][0] = 1;
        }
        size_t during = in_use();
        /* Caches may hold some blocks that count as used before they are handed out. */
        CHECK(during + MIB >= before + total, "%zu blocks of %zu bytes raise use by %zd", count,
              kinds[k], (ssize_t)(during - before));
        CHECK(during <= before + total + total / 4 + count * 32 + 2 * MIB,
              "%zu blocks of %zu bytes raise use by %zd", count, kinds[k],
              (ssize_t)(during - before));
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        size_t after = in_use();
        CHECK(after <= before + 2 * MIB, "freeing %zu blocks of %zu bytes leaves %zd more in use",
              count, kinds[k], (ssize_t)(after - before));
    }
}

static void mallinfo2_adds_up(void) {
    use_all_kinds(NULL);
    struct mallinfo2 info = mallinfo2();
    CHECK(info.uordblks > 0, "nothing in use");
    CHECK(info.uordblks + info.fordblks <= info.arena + info.hblkhd,
          "used %zu, free %zu, arena %zu, mapped %zu", info.uordblks, info.fordblks, info.arena,
          info.hblkhd);
    size_t bound = (size_t)1 << 46;
    CHECK(info.arena < bound && info.uordblks < bound && info.fordblks < bound &&
              info.hblkhd < bound && info.keepcost < bound && info.fsmblks < bound,
          "a field is negative or absurd");
    CHECK(info.usmblks == 0, "usmblks is %zu, and always was 0 of late", info.usmblks);
    CHECK((info.hblks == 0) == (info.hblkhd == 0), "%zu mapped blocks of %zu bytes", info.hblks,
          info.hblkhd);
}

static void mallinfo2_sees_huge_blocks(void) {
    size_t before = in_use();
    void *block = malloc(GIB);
    NEED(block != NULL, "malloc of 1 GiB is NULL");
    size_t during = in_use();
    CHECK(during >= before + GIB && during < before + GIB + 4 * MIB, "1 GiB raises use by %zd",
          (ssize_t)(during - before));
    free(block);
    CHECK(in_use() <= before + MIB, "still in use after free");
}

/* The old struct has int fields: a figure that does not fit wraps, as in glibc, or stays at the
 * largest. */
static bool is_narrow(int have, size_t wide) {
    return have == (int)wide || (wide > INT_MAX && have == INT_MAX);
}

static void mallinfo_is_mallinfo2_in_int(void) {
    void *block = malloc(3 * GIB);
    if (!block)
        SKIP("no 3 GiB here");
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo narrow = mallinfo();
    CHECK(is_narrow(narrow.arena, wide.arena), "arena %d for %zu", narrow.arena, wide.arena);
    CHECK(is_narrow(narrow.uordblks, wide.uordblks), "uordblks %d for %zu", narrow.uordblks,
          wide.uordblks);
    CHECK(is_narrow(narrow.hblks, wide.hblks), "hblks %d for %zu", narrow.hblks, wide.hblks);
    CHECK(is_narrow(narrow.hblkhd, wide.hblkhd), "hblkhd %d for %zu", narrow.hblkhd, wide.hblkhd);
    CHECK(is_narrow(narrow.fordblks, wide.fordblks), "fordblks %d for %zu", narrow.fordblks,
          wide.fordblks);
    free(block);
}

static void malloc_info_wants_zero(void) {
    char text[64] = "untouched";
    FILE *file = fmemopen(text, sizeof(text), "w");
    NEED(file != NULL, "fmemopen failed");
    CHECK(malloc_info(t_opaque(1) ? 1 : 0, file) != 0, "malloc_info with options 1 returns 0");
    CHECK(malloc_info(-1, file) != 0, "malloc_info with options -1 returns 0");
    CHECK(ftell(file) == 0, "malloc_info wrote %ld bytes although it failed", ftell(file));
    fclose(file);
}

/* To a stream that allocates while it is written to: the heap must not be locked meanwhile. */
static void malloc_info_to_a_growing_stream(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    NEED(file != NULL, "open_memstream failed");
    CHECK(malloc_info(0, file) == 0, "malloc_info failed");
    fclose(file);
    NEED(text != NULL, "no text");
    CHECK(strncmp(text, "<malloc", 7) == 0 && strstr(text, "</malloc>") != NULL,
          "not <malloc>: %.60s", text);
    free(text);
}

static void malloc_trim_gives_back(void) {
    static char *blocks[60000];
    for (size_t round = 0; round < 3; round++) {
        size_t before = t_rss();
        for (size_t i = 0; i < COUNT(blocks); i++) {
            blocks[i] = (char *)malloc(3000);
            NEED(blocks[i] != NULL, "malloc is NULL");
            memset(blocks[i], 1, 3000);
        }
        size_t during = t_rss();
        CHECK(during > before + 100 * MIB || round, "RSS grew by %zd only",
              (ssize_t)(during - before));
        for (size_t i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        int result = malloc_trim(0);
        size_t after = t_rss();
        CHECK(result == 0 || result == 1, "malloc_trim returns %d", result);
        CHECK(after < before + 20 * MIB, "malloc_trim leaves %zd more resident",
              (ssize_t)(after - before));
    }
}

/* malloc_trim(3): 1 if memory was released, 0 if it was not possible. Run by the script with
 * purge=off. */
static void malloc_trim_tells_whether_it_did(void) {
    if (!t_library)
        SKIP("glibc trims by itself and says 1 for little");
    static char *blocks[20000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = (char *)malloc(3000);
        NEED(blocks[i] != NULL, "malloc is NULL");
        memset(blocks[i], 1, 3000);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    size_t before = t_rss();
    int first = malloc_trim(0), second = malloc_trim(0);
    if (before > t_rss() + MIB)
        CHECK(first == 1, "malloc_trim released memory and returned %d", first);
    CHECK(second == 0, "a second malloc_trim returns %d", second);
}

static void malloc_trim_keeps_contents(void) {
    static unsigned char *blocks[3000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = (unsigned char *)malloc(i * 7 % 9000 + 1);
        NEED(blocks[i] != NULL, "malloc is NULL");
        t_stamp(blocks[i], i * 7 % 9000 + 1, i);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        if (i % 5) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    malloc_trim(0);
    malloc_trim(1 << 20);
    for (size_t i = 0; i < COUNT(blocks); i++)
        if (blocks[i]) {
            size_t size = i * 7 % 9000 + 1, good = t_stamp_check(blocks[i], size, i);
            CHECK(good == size, "malloc_trim changed byte %zu of a live block of %zu", good, size);
            free(blocks[i]);
        }
}

static void mallopt_takes_everything(void) {
    static const int settings[][2] = {
        {M_MXFAST, 64},         {M_TRIM_THRESHOLD, 1 << 20},
        {M_TOP_PAD, 65536},     {M_MMAP_THRESHOLD, 1 << 18},
        {M_MMAP_MAX, 1000},     {M_CHECK_ACTION, 3},
        {M_ARENA_TEST, 2},      {M_ARENA_MAX, 2},
        {M_TRIM_THRESHOLD, -1}, {M_PERTURB, 0},
    };
    for (size_t i = 0; i < COUNT(settings); i++) {
        int result = mallopt(settings[i][0], settings[i][1]);
        CHECK(result == 1, "mallopt(%d, %d) returns %d", settings[i][0], settings[i][1], result);
    }
}

/* M_PERTURB fills what malloc gives, and must never reach calloc. */
static void perturb_leaves_calloc_zero(void) {
    CHECK(mallopt(M_PERTURB, 0x5a) == 1, "mallopt(M_PERTURB) does not return 1");
    for (size_t size = 1; size < 3 * MIB; size = size * 2 + 1) {
        free(malloc(size));
        char *block = (char *)calloc(1, size);
        NEED(block != NULL, "calloc is NULL");
        CHECK(t_first_other(block, size, 0) == size, "calloc(1, %zu) is not zero", size);
        free(block);
    }
    mallopt(M_PERTURB, 0);
}

static int print(const char *what, const char *file) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, use_all_kinds, NULL) || pthread_join(thread, NULL))
        return 2;
    use_all_kinds(NULL);
    if (!strcmp(what, "stats")) {
        malloc_stats();
        return 0;
    }
    FILE *out = file ? fopen(file, "w") : NULL;
    if (!out)
        return 2;
    int result = malloc_info(0, out);
    return fclose(out) || result ? 1 : 0;
}

int main(int argc, char **argv) {
    t_init();
    if (argc > 1)
        return print(argv[1], argc > 2 ? argv[2] : NULL);
    RUN("mallinfo2 follows allocation and free", mallinfo2_follows);
    RUN("the fields of mallinfo2 add up", mallinfo2_adds_up);
    RUN("mallinfo2 counts a huge block", mallinfo2_sees_huge_blocks);
    RUN("mallinfo is mallinfo2 in int", mallinfo_is_mallinfo2_in_int);
    RUN("malloc_info refuses options other than 0 and writes nothing", malloc_info_wants_zero);
    RUN("malloc_info writes to a stream that allocates", malloc_info_to_a_growing_stream);
    RUN("malloc_trim gives memory back", malloc_trim_gives_back);
    RUN("malloc_trim says whether it released memory", malloc_trim_tells_whether_it_did);
    RUN("malloc_trim keeps live contents", malloc_trim_keeps_contents);
    RUN("mallopt returns 1 for every parameter", mallopt_takes_everything);
    RUN("calloc is zero whatever M_PERTURB says", perturb_leaves_calloc_zero);
    return t_done();
}
