/*
 * calloc is zero: of fresh memory, which a heap knows to be zero, and of memory that was dirty
 * before, which it must clear. The second is where a heap goes wrong, so every kind of block is
 * dirtied, freed and asked for again by each way that memory comes back: the thread's list, a
 * page's list, an emptied page, a purged page, another thread's free, a span, a tail cut off by
 * realloc.
 */
#include "common.h"

#include <time.h>

static const size_t kinds[] = {
    1,        8,      16,      24,      48,      64,       100,
    128,      200,    500,     1000,    1024,    2000,     4096,
    8000,     8192,   10000,   16384,   30000,   65536,    65537,
    100000,   200000, 1 << 20, 3 << 20, 8 << 20, 32 << 20, (32 << 20) + 4096,
    64 << 20,
};

static void pause_ms(long ms) {
    struct timespec rest = {0, ms * 1000000};
    nanosleep(&rest, NULL);
}

static bool zero_and_dirty(unsigned char *block, size_t size, const char *when) {
    size_t zeroes = t_first_other(block, size, 0);
    CHECK(zeroes == size, "%s: byte %zu of %zu is not zero", when, zeroes, size);
    memset(block, 0xa5, malloc_usable_size(block));
    return zeroes == size;
}

static void again_and_again(void) {
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int round = 0; round < 6; round++) {
            unsigned char *block = (unsigned char *)calloc(1, kinds[k]);
            NEED(block != NULL, "calloc(1, %zu) is NULL", kinds[k]);
            zero_and_dirty(block, kinds[k], "free and calloc in turn");
            free(block);
        }
}

/* Dirties `count` blocks through malloc and frees them in the given order, then callocs as many. */
static void dirty_and_calloc(size_t size, size_t count, int order, const char *when) {
    static unsigned char *blocks[30000];
    for (size_t i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)malloc(size);
        NEED(blocks[i] != NULL, "malloc(%zu) is NULL", size);
        memset(blocks[i], 0x5a, malloc_usable_size(blocks[i]));
    }
    for (size_t i = 0; i < count; i++) {
        size_t which = order == 0 ? i : order == 1 ? count - 1 - i : i * 7919 % count;
        if (order < 2 || count % 7919)
            free(blocks[which]);
    }
    for (size_t i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)calloc(1, size);
        NEED(blocks[i] != NULL, "calloc(1, %zu) is NULL", size);
        if (!zero_and_dirty(blocks[i], size, when))
            return;
    }
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

static size_t many(size_t size) {
    size_t count = 24 * MIB / size;
    return count < 3 ? 3 : count > 20000 ? 20000 : count;
}

static void after_many_frees(void) {
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int order = 0; order < 3; order++) {
            dirty_and_calloc(kinds[k], many(kinds[k]), order, "many freed, many asked");
            if (t_case_failed)
                return;
        }
}

/* A page emptied of one class serves another: the dirt lies at other offsets. */
static void of_another_size(void) {
    static unsigned char *blocks[20000];
    for (size_t a = 3; a < COUNT(kinds); a += 2)
        for (size_t b = 3; b < COUNT(kinds); b += 3) {
            size_t count = 4 * MIB / kinds[a] + 1;
            if (count > COUNT(blocks))
                count = COUNT(blocks);
            for (size_t i = 0; i < count; i++) {
                blocks[i] = (unsigned char *)malloc(kinds[a]);
                NEED(blocks[i] != NULL, "malloc(%zu) is NULL", kinds[a]);
                memset(blocks[i], 0xff, kinds[a]);
            }
            for (size_t i = 0; i < count; i++)
                free(blocks[i]);
            count = 4 * MIB / kinds[b] + 1;
            if (count > COUNT(blocks))
                count = COUNT(blocks);
            for (size_t i = 0; i < count; i++) {
                blocks[i] = (unsigned char *)calloc(kinds[b], 1);
                NEED(blocks[i] != NULL, "calloc(%zu, 1) is NULL", kinds[b]);
                size_t zeroes = t_first_other(blocks[i], kinds[b], 0);
                CHECK(zeroes == kinds[b],
                      "after dirty blocks of %zu, byte %zu of calloc(%zu) is %#x", kinds[a], zeroes,
                      kinds[b], blocks[i][zeroes < kinds[b] ? zeroes : 0]);
            }
            for (size_t i = 0; i < count; i++)
                free(blocks[i]);
            if (t_case_failed)
                return;
        }
}

/* Rested long enough for the decay purge, and purged on request. */
static void after_a_purge(void) {
    static unsigned char *blocks[20000];
    for (int round = 0; round < 2; round++)
        for (size_t k = 4; k < COUNT(kinds); k += 4) {
            size_t size = kinds[k], count = many(size);
            for (size_t i = 0; i < count; i++) {
                blocks[i] = (unsigned char *)malloc(size);
                NEED(blocks[i] != NULL, "malloc(%zu) is NULL", size);
                memset(blocks[i], 0x77, malloc_usable_size(blocks[i]));
            }
            for (size_t i = 0; i < count; i++)
                free(blocks[i]);
            if (round)
                malloc_trim(0);
            else
                pause_ms(110);
            for (size_t i = 0; i < count; i++) {
                blocks[i] = (unsigned char *)calloc(1, size);
                NEED(blocks[i] != NULL, "calloc(1, %zu) is NULL", size);
                zero_and_dirty(blocks[i], size, round ? "after malloc_trim" : "after a rest");
            }
            for (size_t i = 0; i < count; i++)
                free(blocks[i]);
        }
}

struct pile {
    unsigned char **blocks;
    size_t count, size;
};

static void *free_pile(void *argument) {
    struct pile *pile = (struct pile *)argument;
    for (size_t i = 0; i < pile->count; i++)
        free(pile->blocks[i]);
    return NULL;
}

static void *make_dirty_pile(void *argument) {
    struct pile *pile = (struct pile *)argument;
    for (size_t i = 0; i < pile->count; i++) {
        pile->blocks[i] = (unsigned char *)malloc(pile->size);
        if (pile->blocks[i])
            memset(pile->blocks[i], 0x99, pile->size);
    }
    return NULL;
}

static void after_other_threads(void) {
    static unsigned char *blocks[20000];
    for (size_t k = 0; k < COUNT(kinds); k += 2) {
        struct pile pile = {blocks, many(kinds[k]), kinds[k]};
        for (int round = 0; round < 3; round++) {
            /* Made here and freed there; made there and freed here; made there by one that ends. */
            if (round == 0) {
                make_dirty_pile(&pile);
                t_in_thread(free_pile, &pile);
            } else {
                t_in_thread(make_dirty_pile, &pile);
                if (round == 1)
                    free_pile(&pile);
                else
                    t_in_thread(free_pile, &pile);
            }
            for (size_t i = 0; i < pile.count; i++) {
                blocks[i] = (unsigned char *)calloc(1, pile.size);
                NEED(blocks[i] != NULL, "calloc(1, %zu) is NULL", pile.size);
                if (!zero_and_dirty(blocks[i], pile.size, "after another thread"))
                    return;
            }
            free_pile(&pile);
        }
    }
}

/* Tails that realloc cuts off, and the place a grown block left, come back dirty. */
static void after_realloc(void) {
    static const size_t from[] = {2000, 30000, 200000, 4 << 20, 40 << 20};
    static const size_t to[] = {100, 1000, 20000, 70000, 2 << 20, 34 << 20, 90 << 20};
    for (size_t f = 0; f < COUNT(from); f++)
        for (size_t t = 0; t < COUNT(to); t++) {
            unsigned char *block = (unsigned char *)malloc(from[f]);
            NEED(block != NULL, "malloc(%zu) is NULL", from[f]);
            memset(block, 0x3c, malloc_usable_size(block));
            block = (unsigned char *)realloc(block, to[t]);
            NEED(block != NULL, "realloc to %zu is NULL", to[t]);
            size_t rest = from[f] > to[t] ? from[f] - to[t] : from[f];
            static const size_t least = 16;
            unsigned char *zeroes = (unsigned char *)calloc(1, rest > least ? rest : least);
            unsigned char *same = (unsigned char *)calloc(1, from[f]);
            NEED(zeroes && same, "calloc is NULL");
            zero_and_dirty(zeroes, rest > least ? rest : least, "the rest after realloc");
            zero_and_dirty(same, from[f], "the old size after realloc");
            free(zeroes);
            free(same);
            free(block);
        }
}

/* A calloc that is grown is not promised to be zero beyond its old end, only inside it. */
static void grown_keeps_zero_inside(void) {
    for (size_t k = 0; k + 1 < COUNT(kinds); k++) {
        unsigned char *block = (unsigned char *)calloc(1, kinds[k]);
        NEED(block != NULL, "calloc(1, %zu) is NULL", kinds[k]);
        block = (unsigned char *)realloc(block, kinds[k + 1]);
        NEED(block != NULL, "realloc to %zu is NULL", kinds[k + 1]);
        size_t zeroes = t_first_other(block, kinds[k], 0);
        CHECK(zeroes == kinds[k], "byte %zu of a grown calloc(1, %zu) is not zero", zeroes,
              kinds[k]);
        free(block);
    }
}

int main(void) {
    t_init();
    RUN("calloc is zero when the block was dirty just before", again_and_again);
    RUN("calloc is zero after many dirty blocks of its size", after_many_frees);
    RUN("calloc is zero after dirty blocks of other sizes", of_another_size);
    RUN("calloc is zero after a purge", after_a_purge);
    RUN("calloc is zero after other threads' dirty blocks", after_other_threads);
    RUN("calloc is zero after realloc left dirty memory", after_realloc);
    RUN("a grown calloc stays zero inside its old size", grown_keeps_zero_inside);
    return t_done();
}
