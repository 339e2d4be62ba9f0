/* Blocks of every kind and size, and what does and what does not count as a pointer to one. */
#include "truth.h"

#include <stdarg.h>

static void *volatile root;
static void *volatile roots[64];
static volatile uintptr_t words[4];

BLOCK(keep_block)
BLOCK(keep_behind)
BLOCK(lost_block)
BLOCK(lost_other)
BLOCK(lost_behind_block)

/* A stack has words of which the lower half was set to zero and the upper one is left from a
 * pointer: they point to where an address is a multiple of 4 GiB. A huge block that is to be lost
 * lies elsewhere, or every sixtieth run would fail. */
typedef void *maker(size_t size);

static void *apart(maker *make, size_t size) {
    void *block = make(size);
    if ((uintptr_t)block >> 32 == ((uintptr_t)block + size) >> 32)
        return block;
    void *other = apart(make, size);
    free(block);
    return other;
}

/* ---- pointers into a block ---- */

static const size_t sizes[] = {1, 8, 24, 64, 100, 1000, 5000, 40000, 70000, 300000, 3 << 20};

MAKES void make_first_byte(void) {
    for (size_t i = 0; i < COUNT(sizes); i++)
        roots[i] = keep_block(sizes[i]);
}

static void run_first_byte(void) {
    truth_make(make_first_byte);
    truth_rest();
}

MAKES void make_middle(void) {
    for (size_t i = 0; i < COUNT(sizes); i++)
        roots[i] = (char *)keep_block(sizes[i]) + sizes[i] / 2;
}

static void run_middle(void) {
    truth_make(make_middle);
    truth_rest();
}

MAKES void make_last_byte(void) {
    for (size_t i = 0; i < COUNT(sizes); i++)
        roots[i] = (char *)keep_block(sizes[i]) + sizes[i] - 1;
}

static void run_last_byte(void) {
    truth_make(make_last_byte);
    truth_rest();
}

/* Of sizes that the heap does not round up, so that there is no byte left that the block might have
 * as well. Its neighbour is free, or nobody's. */
SITE(lost_full, memset(malloc(size), 0, size))

MAKES void make_past_end(void) {
    size_t before = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *probe = malloc(sizes[i]);
        size_t size = malloc_usable_size(probe);
        free(probe);
        if (size == before)
            continue;
        before = size;
        roots[i] = (char *)lost_full(size) + size;
    }
}

static void run_past_end(void) {
    truth_make(make_past_end);
    truth_rest();
}

/* Two that touch: the end of the one is the start of the other. */
MAKES void make_neighbours(void) {
    uintptr_t hidden[32], best = 0;
    size_t size = malloc_usable_size(root);
    for (size_t i = 0; i < COUNT(hidden); i++)
        hidden[i] = truth_hide(malloc(size));
    for (size_t i = 0; i < COUNT(hidden) && !best; i++) {
        for (size_t j = 0; j < COUNT(hidden); j++) {
            if (hidden[j] == truth_hide((char *)truth_unhide(hidden[i]) + size))
                best = hidden[j];
        }
    }
    for (size_t i = 0; i < COUNT(hidden); i++)
        free(truth_unhide(hidden[i]));
    words[0] = best;
}

/* Takes blocks until it has that place, and the one before it. */
MAKES void make_neighbours_again(void) {
    size_t size = malloc_usable_size(root);
    uintptr_t upper = words[0], lower = upper ? truth_hide((char *)truth_unhide(upper) - size) : 0;
    uintptr_t others[64];
    size_t count = 0;
    words[0] = 0;
    for (unsigned got = 0; upper && got < 2 && count < COUNT(others);) {
        uintptr_t at = truth_hide(lost_full(size));
        if (at == upper || at == lower)
            got++;
        else
            others[count++] = at;
        if (at == upper)
            roots[0] = truth_unhide(upper);
    }
    while (count) {
        free(truth_unhide(others[--count]));
        truth_went(&lost_full_site, size);
    }
    /* The upper one is held. */
    if (roots[0])
        truth_went(&lost_full_site, size);
}

static void run_neighbours(void) {
    root = keep_block(64);
    truth_make(make_neighbours);
    truth_make(make_neighbours_again);
    truth_rest();
}

/* Within 8 bytes, as some mark their pointers. */
MAKES void make_tagged_low(void) {
    root = (char *)keep_block(48) + 7;
}

static void run_tagged_low(void) {
    truth_make(make_tagged_low);
    truth_rest();
}

MAKES void make_tagged_high(void) {
    words[0] = (uintptr_t)lost_block(48) | (uintptr_t)0xa5 << 56;
    words[1] = (uintptr_t)lost_block(48) | (uintptr_t)1 << 62;
}

static void run_tagged_high(void) {
    truth_make(make_tagged_high);
    truth_rest();
}

MAKES void make_hidden(void) {
    words[0] = truth_hide(lost_block(48));
    words[1] = (uintptr_t)lost_block(48) ^ 0x5555555555555555u;
    words[2] = (uintptr_t)lost_block(48) << 1;
    words[3] = -(uintptr_t)lost_block(48);
}

static void run_hidden(void) {
    truth_make(make_hidden);
    truth_rest();
}

/* Upper and lower half apart. */
MAKES void make_halves(void) {
    uintptr_t at = (uintptr_t)lost_block(48);
    words[0] = at >> 32;
    words[2] = at & UINT32_MAX;
}

static void run_halves(void) {
    truth_make(make_halves);
    truth_rest();
}

SITE(lost_huge, apart(malloc, size))

MAKES void make_before_start(void) {
    roots[0] = (char *)lost_full(300000) - 1;
    roots[1] = (char *)lost_huge(64 * MIB) - 8;
}

static void run_before_start(void) {
    truth_make(make_before_start);
    truth_rest();
}

/* ---- by every function ---- */

SITE(keep_aligned, aligned_alloc(4096, size))
SITE(lost_aligned, aligned_alloc(4096, size))
SITE(keep_memalign, memalign(256, size))
SITE(lost_memalign, memalign(256, size))
SITE(lost_memalign_wide, memalign(MIB, size))
SITE(keep_memalign_wide, memalign(MIB, size))
SITE(keep_cleared, calloc(size / 8, 8))
SITE(lost_cleared, calloc(size / 8, 8))

__attribute__((noinline)) static void *aligned_to(size_t align, size_t size) {
    void *block = NULL;
    if (posix_memalign(&block, align, size) != 0)
        truth_die("posix_memalign");
    return block;
}

SITE(keep_posix, aligned_to(64, size))
SITE(lost_posix, aligned_to(64, size))

MAKES void make_aligned(void) {
    roots[0] = keep_aligned(8192);
    roots[1] = (char *)keep_memalign(1000) + 999;
    roots[2] = keep_posix(640);
    roots[3] = (char *)keep_memalign_wide(100) + 99;
    lost_aligned(8192);
    lost_memalign(1000);
    lost_posix(640);
    lost_memalign_wide(100);
}

static void run_aligned(void) {
    truth_make(make_aligned);
    truth_rest();
}

MAKES void make_cleared(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        roots[i] = keep_cleared((sizes[i] + 7) & ~(size_t)7);
        lost_cleared((sizes[i] + 7) & ~(size_t)7);
    }
}

static void run_cleared(void) {
    truth_make(make_cleared);
    truth_rest();
}

MAKES void make_nothing(void) {
    roots[0] = keep_block(0);
    for (unsigned i = 0; i < 5; i++)
        lost_block(0);
}

static void run_nothing(void) {
    truth_make(make_nothing);
    truth_rest();
}

/* One byte below, at and above each power of two, up to a MiB. */
MAKES void make_sizes(void) {
    for (size_t size = 2; size <= MIB; size *= 2) {
        lost_block(size - 1);
        lost_other(size);
        lost_block(size + 1);
    }
}

static void run_sizes(void) {
    truth_make(make_sizes);
    truth_rest();
}

/* ---- realloc ---- */

static void *grow(size_t size) {
    return realloc(malloc(16), size);
}

static void *shrink(size_t size) {
    return realloc(malloc(2 * size), size);
}

static void *shrink_little(size_t size) {
    return realloc(malloc(size + 1), size);
}

SITE(keep_grown, grow(size))
SITE(lost_grown, apart(grow, size))
SITE(keep_shrunk, shrink(size))
SITE(lost_shrunk, apart(shrink, size))
SITE(lost_shrunk_little, apart(shrink_little, size))

MAKES void make_grown(void) {
    static const size_t grown[] = {24, 1000, 100000, 1000000, 40 << 20};
    for (size_t i = 0; i < COUNT(grown); i++) {
        roots[i] = keep_grown(grown[i]);
        lost_grown(grown[i]);
    }
}

static void run_grown(void) {
    truth_make(make_grown);
    truth_rest();
}

MAKES void make_shrunk(void) {
    static const size_t shrunk[] = {8, 500, 50000, 500000, 20 << 20};
    for (size_t i = 0; i < COUNT(shrunk); i++) {
        roots[i] = keep_shrunk(shrunk[i]);
        lost_shrunk(shrunk[i]);
        lost_shrunk_little(shrunk[i]);
    }
}

static void run_shrunk(void) {
    truth_make(make_shrunk);
    truth_rest();
}

/* A global still has the old address. Another block keeps the place taken, so that nothing comes to
 * lie there. */
SITE(lost_moved, realloc(truth_unhide(words[0]), size))

MAKES void make_moved(void) {
    roots[0] = malloc(40);
    words[0] = truth_hide(roots[0]);
    uintptr_t after = truth_hide(lost_moved(9000));
    if (after == words[0])
        truth_die("the block has not moved");
    words[0] = 0;
}

static void run_moved(void) {
    truth_make(make_moved);
    truth_rest();
}

/* What the block holds comes with it. */
SITE(keep_moved, realloc(truth_unhide(words[0]), size))

MAKES void make_moved_holds(void) {
    void *block = malloc(64);
    memset(block, 0, 64);
    truth_point(block, 5, keep_behind(72));
    words[0] = truth_hide(block);
    root = keep_moved(100000);
    words[0] = 0;
}

static void run_moved_holds(void) {
    truth_make(make_moved_holds);
    truth_rest();
}

/* ---- large and huge ---- */

MAKES void make_large(void) {
    static const size_t large[] = {128 * KIB, 128 * KIB + 1, 300 * KIB, MIB, 5 * MIB};
    for (size_t i = 0; i < COUNT(large); i++) {
        roots[i] = (char *)keep_block(large[i]) + large[i] - 1;
        lost_block(large[i]);
    }
}

static void run_large(void) {
    truth_make(make_large);
    truth_rest();
}

/* In the last word. */
MAKES void make_large_holds(void) {
    size_t last = 300 * KIB / sizeof(void *) - 1;
    roots[0] = keep_block(300 * KIB);
    truth_point(roots[0], last, keep_behind(56));
    truth_point(lost_block(300 * KIB), last, lost_behind_block(56));
}

static void run_large_holds(void) {
    truth_make(make_large_holds);
    truth_rest();
}

SITE(keep_huge, malloc(size))

MAKES void make_huge(void) {
    roots[0] = keep_huge(64 * MIB);
    roots[1] = (char *)keep_huge(65 * MIB) + 65 * MIB - 1;
    lost_huge(64 * MIB);
}

static void run_huge(void) {
    truth_make(make_huge);
    truth_rest();
}

MAKES void make_huge_holds(void) {
    size_t last = 64 * MIB / sizeof(void *) - 1;
    void *kept = keep_huge(64 * MIB), *lost = lost_huge(64 * MIB);
    truth_point(kept, last, keep_behind(56));
    truth_point(kept, last / 2, keep_behind(56));
    truth_point(lost, last, lost_behind_block(56));
    truth_point(lost, last / 2, lost_behind_block(56));
    root = kept;
}

static void run_huge_holds(void) {
    truth_make(make_huge_holds);
    truth_rest();
}

/* ---- made by libc ---- */

__attribute__((noinline, format(printf, 1, 2))) static char *print(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        truth_die("vasprintf");
    va_end(args);
    return text;
}

__attribute__((noinline)) static char *line_of(void) {
    static char text[] = "first line\nsecond\n";
    char *line = NULL;
    size_t room = 0;
    FILE *file = fmemopen(text, sizeof text - 1, "r");
    if (!file || getline(&line, &room, file) != 11)
        truth_die("getline");
    fclose(file);
    return line;
}

static const char words_text[] = "a text of 27 bytes, or less";

SITE(keep_copy, strdup(words_text))
SITE(lost_copy, strdup(words_text))
SITE(lost_part, strndup(words_text, size - 1))
SITE(lost_printed, print("%s %d", words_text, 12345))
SITE(keep_printed, print("%s %d", words_text, 12345))
SITE(lost_printed_long, print("%999d", 5))
SITE_UNSIZED(keep_line, void *, line_of())
SITE_UNSIZED(lost_line, void *, line_of())
SITE_UNSIZED(lost_path, void *, realpath("/", NULL))
SITE_UNSIZED(lost_folder, void *, getcwd(NULL, 0))

MAKES void make_texts(void) {
    roots[0] = keep_copy(sizeof words_text);
    roots[1] = keep_printed(sizeof words_text + 6);
    roots[2] = keep_line();
    lost_copy(sizeof words_text);
    lost_part(10);
    lost_printed(sizeof words_text + 6);
    lost_printed_long(1000);
}

static void run_texts(void) {
    truth_make(make_texts);
    truth_rest();
}

MAKES void make_lines(void) {
    roots[0] = keep_line();
    lost_line();
    lost_path();
    lost_folder();
}

static void run_lines(void) {
    truth_make(make_lines);
    truth_rest();
}

/* libc has a list of what is open, so a stream that the program has lost can still be closed. */
SITE_UNSIZED(keep_stream, void *, fopen("/dev/null", "w"))

MAKES void make_stream(void) {
    keep_stream();
}

static void run_stream(void) {
    truth_make(make_stream);
    truth_rest();
}

/* ---- freed ---- */

static void *free_words(void *unused) {
    for (size_t i = 0; i < COUNT(words); i++) {
        free(truth_unhide(words[i]));
        words[i] = 0;
    }
    return unused;
}

/* Nobody points to them any more, and they are no leaks: somebody else has freed them. */
MAKES void make_freed_elsewhere(void) {
    static const size_t freed[] = {40, 5000, 100000, 40 << 20};
    for (size_t i = 0; i < COUNT(freed); i++)
        words[i] = truth_hide(malloc(freed[i]));
    truth_in_thread(free_words, NULL);
    lost_block(40);
    lost_other(5000);
}

static void run_freed_elsewhere(void) {
    truth_make(make_freed_elsewhere);
    truth_rest();
}

/* A global points to a block that is free, which still has a pointer in it. */
MAKES void make_freed_holds(void) {
    static const size_t freed[] = {64, 5000, 60000, 100000};
    for (size_t i = 0; i < COUNT(freed); i++) {
        void *block = malloc(freed[i]);
        memset(block, 0, freed[i]);
        truth_point(block, freed[i] / 16, lost_block(400 + i));
        roots[i] = block;
        free(block);
    }
}

static void run_freed_holds(void) {
    truth_make(make_freed_holds);
    truth_rest();
}

/* 2,000 of them, of which every second one is free again. */
MAKES void make_freed_between(void) {
    static uintptr_t hidden[2000];
    for (size_t i = 0; i < COUNT(hidden); i++)
        hidden[i] = truth_hide(lost_block(8 + i % 300));
    for (size_t i = 0; i < COUNT(hidden); i += 2) {
        free(truth_unhide(hidden[i]));
        truth_went(&lost_block_site, 8 + i % 300);
    }
}

static void run_freed_between(void) {
    truth_make(make_freed_between);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"first-byte", "a pointer to the first byte holds a block", run_first_byte},
    {"middle", "a pointer to the middle holds a block", run_middle},
    {"last-byte", "a pointer to the last byte holds a block", run_last_byte},
    {"past-end", "a pointer behind the end holds nothing", run_past_end},
    {"neighbours", "a pointer behind the end of a block holds its neighbour alone", run_neighbours},
    {"tagged-low", "a pointer with its lowest bits in use holds a block", run_tagged_low},
    {"tagged-high", "a pointer with its highest bits in use holds nothing", run_tagged_high},
    {"hidden", "what is no pointer any more holds nothing", run_hidden},
    {"halves", "half a pointer here and half there hold nothing", run_halves},
    {"before-start", "a pointer before the start holds nothing", run_before_start},
    {"aligned", "aligned blocks are leaked, and held, as others are", run_aligned},
    {"cleared", "blocks of calloc are leaked, and held", run_cleared},
    {"nothing", "blocks of no bytes are leaked", run_nothing},
    {"sizes", "of every size the bytes are those asked for", run_sizes},
    {"grown", "what realloc has grown is leaked with its new size", run_grown},
    {"shrunk", "what realloc has shrunk is leaked with its new size", run_shrunk},
    {"moved", "the address that a block had before realloc holds nothing", run_moved},
    {"moved-holds", "what a block holds it still does when realloc has moved it", run_moved_holds},
    {"large", "large blocks are leaked, and held by their last byte", run_large},
    {"large-holds", "the last word of a large block counts", run_large_holds},
    {"huge", "64 MiB that nobody has touched are leaked", run_huge},
    {"huge-holds", "the last word of 64 MiB counts", run_huge_holds},
    {"texts", "what strdup and asprintf have made is leaked", run_texts},
    {"lines", "what getline, realpath and getcwd have made is leaked", run_lines},
    {"stream", "an open stream is libc's, too", run_stream},
    {"freed-elsewhere", "what another thread has freed is no leak", run_freed_elsewhere},
    {"freed-holds", "what is left in a block that is free holds nothing", run_freed_holds},
    {"freed-between", "between blocks that are free the others are leaked", run_freed_between},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
