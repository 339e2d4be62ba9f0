/* Suite: realloc keeps what a block holds, whatever it turns from and into. */
#include <string.h>

#include "heap/arena.h"
#include "heap_api.h"
#include "invariants.h"
#include "unit.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* A size of each kind, and both sides of each border. */
static const size_t sizes[] = {1,       15,    16,      17,      32,       33,           100,
                               127,     128,   129,     1000,    1023,     1024,         1025,
                               1500,    4096,  8191,    8192,    8193,     10000,        20000,
                               32768,   65535, 65536,   65537,   65600,    100000,       MIB / 2,
                               MIB - 1, MIB,   MIB + 1, 3 * MIB, 32 * MIB, 32 * MIB + 1, 40 * MIB};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void check_resized(struct unit_block *block, size_t size) {
    struct unit_block kept = *block;
    kept.at = t_realloc(block->at, size);
    if (!kept.at)
        ck_abort_msg("%zu to %zu bytes: no memory", block->size, size);
    if ((uintptr_t)kept.at % 16 != 0 || mp_usable_size(kept.at) < size)
        ck_abort_msg("%zu to %zu bytes: %p, %zu usable", block->size, size, (void *)kept.at,
                     mp_usable_size(kept.at));
    /* A pattern's words depend on nothing but the seed and where they stand, but which of a big
     * block's words are written depends on its size: so a shorter one is written anew. */
    block->at = kept.at;
    block->size = size;
}

/* Resizes through memcmp of the whole of what must be kept. */
START_TEST(every_change_of_size_keeps_the_shorter_of_both) {
    static unsigned char expected[41 << 20];
    uint64_t state = 51;
    for (size_t i = 0; i < sizeof expected; i += 8) {
        uint64_t word = unit_random(&state);
        memcpy(expected + i, &word, 8);
    }
    for (int from = 0; from < SIZES; from++) {
        for (int to = 0; to < SIZES; to++) {
            if ((UNIT_TSAN || UNIT_ASAN) && (sizes[from] > 3 * MIB || sizes[to] > 3 * MIB))
                continue; /* they check each byte that is copied */
            if (sizes[from] > MIB + 1 && sizes[to] > MIB + 1 && !unit_full() && (from + to) % 2)
                continue;
            unsigned char *block = t_malloc(sizes[from]);
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            memcpy(block, expected, sizes[from]);
            block = t_realloc(block, sizes[to]);
            if (!block || mp_usable_size(block) < sizes[to] || memcmp(block, expected, kept) != 0)
                ck_abort_msg("%zu to %zu bytes", sizes[from], sizes[to]);
            block[sizes[to] - 1] = 1;
            t_free(block);
        }
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(blocks_keep_their_contents_over_a_walk_of_sizes) {
    uint64_t state = 52;
    enum { BLOCKS = 64 };
    struct unit_block blocks[BLOCKS] = {0};
    for (int i = 0; i < (unit_full() ? 200000 : 10000); i++) {
        struct unit_block *block = &blocks[unit_random_to(&state, BLOCKS - 1)];
        size_t size = unit_random_size(&state, i % 64 == 0 ? 50 * MIB : 300 * KIB);
        size = size ? size : 1;
        if (block->at && !unit_is_intact(block))
            ck_abort_msg("step %d: contents lost", i);
        uint64_t first = 0, first_after = 0;
        size_t head = block->size < size ? block->size : size;
        head = head < 8 ? head : 8;
        if (block->at)
            memcpy(&first, block->at, head);
        else
            head = 0;
        check_resized(block, size);
        memcpy(&first_after, block->at, head);
        if (first != first_after)
            ck_abort_msg("step %d: the first bytes changed", i);
        unit_fill(block, unit_random(&state));
    }
    for (int i = 0; i < BLOCKS; i++) {
        if (blocks[i].at)
            ck_assert(unit_is_intact(&blocks[i]));
        t_free(blocks[i].at);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(a_block_that_grows_step_by_step_is_rarely_moved) {
    char *block = NULL;
    int moves = 0;
    for (size_t size = 1; size < 4 * MIB; size += size / 64 + 1) {
        char *grown = t_realloc(block, size);
        ck_assert_ptr_nonnull(grown);
        moves += grown != block;
        block = grown;
        block[size - 1] = 1;
    }
    ck_assert_int_lt(moves, 100);
    t_free(block);
}
END_TEST

START_TEST(a_block_stays_where_it_is_within_its_class) {
    for (int i = 0; i < SIZES; i++) {
        void *block = t_malloc(sizes[i]);
        ck_assert_ptr_eq(t_realloc(block, mp_usable_size(block)), block);
        ck_assert_ptr_eq(t_realloc(block, sizes[i]), block);
        t_free(block);
    }
}
END_TEST

START_TEST(a_block_that_shrinks_much_does_not_keep_its_memory) {
    for (int i = 0; i < SIZES; i++) {
        if (sizes[i] < 100)
            continue;
        void *block = t_realloc(t_malloc(sizes[i]), sizes[i] / 4);
        ck_assert_uint_le(mp_usable_size(block), sizes[i] / 2 + 4096);
        t_free(block);
    }
}
END_TEST

START_TEST(realloc_of_null_is_malloc_and_to_zero_is_free) {
    char *block = t_realloc(NULL, 100);
    ck_assert_uint_ge(mp_usable_size(block), 100);
    ck_assert_ptr_null(t_realloc(block, 0));
    ck_assert_uint_eq(mp_usable_size(block), 0);
}
END_TEST

/* Blocks of another thread's pages. */
static void *resize_all(void *blocks) {
    struct unit_block *all = blocks;
    for (int i = 0; i < SIZES; i++) {
        must(unit_is_intact(&all[i]));
        unsigned char first = all[i].at[0];
        all[i].at = t_realloc(all[i].at, sizes[SIZES - 1 - i]);
        must(all[i].at && all[i].at[0] == first);
        all[i].size = sizes[SIZES - 1 - i];
        unit_fill(&all[i], (uint64_t)i);
    }
    return NULL;
}

START_TEST(a_thread_resizes_blocks_of_another) {
    struct unit_block blocks[SIZES];
    for (int i = 0; i < SIZES; i++) {
        blocks[i] = (struct unit_block){t_malloc(sizes[i]), sizes[i], 0};
        unit_fill(&blocks[i], (uint64_t)i * 3);
    }
    unit_in_thread(resize_all, blocks);
    for (int i = 0; i < SIZES; i++) {
        ck_assert(unit_is_intact(&blocks[i]));
        t_free(blocks[i].at);
    }
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("realloc");
    TCase *contents = tcase_create("contents");
    tcase_set_timeout(contents, 60);
    UNIT_CASE(contents, every_change_of_size_keeps_the_shorter_of_both);
    UNIT_CASE(contents, blocks_keep_their_contents_over_a_walk_of_sizes);
    UNIT_CASE(contents, a_thread_resizes_blocks_of_another);
    suite_add_tcase(suite, contents);
    TCase *place = tcase_create("place");
    UNIT_CASE(place, a_block_that_grows_step_by_step_is_rarely_moved);
    UNIT_CASE(place, a_block_stays_where_it_is_within_its_class);
    UNIT_CASE(place, a_block_that_shrinks_much_does_not_keep_its_memory);
    UNIT_CASE(place, realloc_of_null_is_malloc_and_to_zero_is_free);
    suite_add_tcase(suite, place);
    return unit_main(suite);
}
