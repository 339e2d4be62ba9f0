/* Suite: blocks with a mapping of their own: their table against a model, resizing, alignment,
 * moving pages in, and what happens when the system refuses. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/huge.h"
#include "heap/large.h"
#include "heap_api.h"
#include "platform/sys.h"
#include "unit.h"

#define OS_PAGE ((size_t)4096)
#define MIB     ((size_t)1 << 20)

static bool is_mapped(const void *at) {
    unsigned char state;
    return mincore((void *)((uintptr_t)at & ~(uintptr_t)4095), 1, &state) == 0;
}

static void free_huge(void *block) {
    bool sampled = true;
    ck_assert(mp_huge_free(block, &sampled));
    ck_assert(!sampled);
}

static struct mp_huge_stats stats(void) {
    struct mp_huge_stats all;
    mp_huge_get_stats(&all);
    return all;
}

/* ---- single blocks ---- */

START_TEST(a_huge_block_is_zero_writable_and_of_whole_pages) {
    struct mp_huge_stats before = stats();
    char *block = mp_huge_alloc(100001, 16, false);
    ck_assert_uint_eq(mp_huge_size(block), 25 * OS_PAGE);
    ck_assert(unit_is_zero(block, 25 * OS_PAGE));
    memset(block, 1, 25 * OS_PAGE);
    ck_assert_uint_eq(stats().blocks, before.blocks + 1);
    ck_assert_uint_eq(stats().bytes, before.bytes + 25 * OS_PAGE);
    free_huge(block);
    ck_assert(!is_mapped(block));
    ck_assert_uint_eq(stats().blocks, before.blocks);
    ck_assert_uint_eq(stats().bytes, before.bytes);
    ck_assert_uint_eq(stats().allocated_blocks, before.allocated_blocks + 1);
}
END_TEST

START_TEST(only_the_start_of_a_live_block_is_one) {
    bool sampled;
    size_t size;
    uintptr_t start;
    char *block = mp_huge_alloc(MIB, 16, false);
    ck_assert_uint_eq(mp_huge_size(block + 16), 0);
    ck_assert_uint_eq(mp_huge_size(block + OS_PAGE), 0);
    ck_assert_uint_eq(mp_huge_size(NULL), 0);
    ck_assert(!mp_huge_free(block + OS_PAGE, &sampled));
    ck_assert(mp_huge_find((uintptr_t)block + 5000, &start, &size));
    ck_assert_uint_eq(start, (uintptr_t)block);
    ck_assert_uint_eq(size, MIB);
    ck_assert(mp_huge_find((uintptr_t)block + MIB - 1, &start, &size));
    ck_assert(!mp_huge_was((uintptr_t)block, &size));
    free_huge(block);
    ck_assert(!mp_huge_free(block, &sampled));
    ck_assert(!mp_huge_find((uintptr_t)block, &start, &size));
    ck_assert(mp_huge_was((uintptr_t)block, &size));
    ck_assert_uint_eq(size, MIB);
}
END_TEST

START_TEST(a_mark_as_sample_comes_back_when_it_is_freed) {
    bool sampled = false;
    void *block = mp_huge_alloc(MIB, 16, true);
    block = mp_huge_resize(block, 3 * MIB);
    ck_assert(mp_huge_free(block, &sampled));
    ck_assert(sampled);
}
END_TEST

START_TEST(alignments_up_to_a_gib_are_kept_and_padding_goes_back) {
    for (size_t align = 16; align <= 1024 * MIB; align *= 4) {
        for (size_t size = 1; size <= 8 * MIB; size = size * 2048 + 1) {
            char *block = mp_huge_alloc(size, align, false);
            ck_assert_ptr_nonnull(block);
            ck_assert_uint_eq((uintptr_t)block % align, 0);
            size_t usable = mp_huge_size(block);
            ck_assert_uint_ge(usable, size);
            block[0] = block[usable - 1] = 1;
            free_huge(block);
        }
    }
}
END_TEST

START_TEST(nothing_is_resident_before_it_is_touched) {
    char *block = mp_huge_alloc(64 * MIB, 16, false);
    ck_assert_uint_eq(unit_resident_pages((uintptr_t)block, 64 * MIB), 0);
    free_huge(block);
}
END_TEST

START_TEST(a_resized_block_keeps_its_contents_and_reads_zero_beyond) {
    static const size_t sizes[] = {40, 50, 10, 200, 1, 33, 64, 65};
    struct unit_block block = {mp_huge_alloc(MIB, 16, false), MIB, 0};
    unit_fill(&block, 31);
    size_t low = MIB; /* beyond it, what grew anew */
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i] * MIB, bytes = stats().bytes, old = mp_huge_size(block.at);
        void *wall = mmap(block.at + old, OS_PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        block.at = mp_huge_resize(block.at, size);
        ck_assert_ptr_nonnull(block.at);
        ck_assert_uint_eq(mp_huge_size(block.at), size);
        ck_assert_uint_eq(stats().bytes, bytes + size - old);
        ck_assert(unit_is_intact(&block));
        if (low < size)
            ck_assert(unit_is_zero(block.at + low, MIB < size - low ? MIB : size - low));
        if (wall != MAP_FAILED)
            munmap(wall, OS_PAGE);
    }
    free_huge(block.at);
}
END_TEST

START_TEST(a_block_that_is_not_in_the_table_is_not_resized) {
    int local;
    ck_assert_ptr_null(mp_huge_resize(&local, MIB));
}
END_TEST

/* ---- pages moved in ---- */

START_TEST(pages_move_in_and_what_they_left_reads_zero) {
    size_t bytes = 2 * MIB;
    struct unit_block from = {
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes, 0};
    ck_assert_ptr_ne(from.at, MAP_FAILED);
    unit_fill(&from, 32);
    struct unit_block moved = from;
    moved.at = mp_huge_move_in((uintptr_t)from.at, bytes, 5 * MIB, true);
    if (!moved.at)
        return; /* a kernel older than MREMAP_DONTUNMAP */
    ck_assert_ptr_ne(moved.at, from.at);
    ck_assert(unit_is_intact(&moved));
    ck_assert(unit_is_zero(moved.at + bytes, 3 * MIB));
    ck_assert(unit_is_zero(from.at, bytes));
    memset(from.at, 1, bytes);
    ck_assert(unit_is_intact(&moved));
    ck_assert_uint_eq(mp_huge_size(moved.at), 5 * MIB);
    bool sampled = false;
    ck_assert(mp_huge_free(moved.at, &sampled));
    ck_assert(sampled);
    munmap(from.at, bytes);
}
END_TEST

static const char *fault_name;
static int fault_after, fault_count;

/* Fails `fault_count` calls of that name, after `fault_after` that succeed. */
static int fault(const char *name) {
    if (strcmp(name, fault_name) != 0)
        return 0;
    if (fault_after > 0) {
        fault_after--;
        return 0;
    }
    return fault_count-- > 0 ? ENOMEM : 0;
}

static void refuse(const char *name, int after, int count) {
    fault_name = name;
    fault_after = after;
    fault_count = count;
    mp_sys_fault = fault;
}

/* The first call moves the pages out, the second lengthens them, the third would bring them back.
 */
START_TEST(pages_that_cannot_move_in_are_where_they_were) {
    size_t bytes = 2 * MIB;
    for (int after = 0; after < 3; after++) {
        for (int count = 1; count < 4; count++) {
            struct unit_block from = {
                mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                bytes, 0};
            unit_fill(&from, 33);
            struct mp_huge_stats before = stats();
            refuse("mremap", after, count);
            void *moved = mp_huge_move_in((uintptr_t)from.at, bytes, 5 * MIB, false);
            mp_sys_fault = NULL;
            if (moved) {
                free_huge(moved);
            } else {
                ck_assert_msg(unit_is_intact(&from), "after %d calls, %d fail: contents lost",
                              after, count);
                ck_assert_uint_eq(stats().blocks, before.blocks);
            }
            munmap(from.at, bytes);
        }
    }
}
END_TEST

START_TEST(a_resize_that_the_system_refuses_changes_nothing) {
    struct unit_block block = {mp_huge_alloc(2 * MIB, 16, false), 2 * MIB, 0};
    unit_fill(&block, 34);
    refuse("mremap", 0, 1);
    ck_assert_ptr_null(mp_huge_resize(block.at, 4 * MIB));
    mp_sys_fault = NULL;
    ck_assert_uint_eq(mp_huge_size(block.at), 2 * MIB);
    ck_assert(unit_is_intact(&block));
    free_huge(block.at);
}
END_TEST

START_TEST(a_block_whose_mapping_cannot_be_undone_gives_its_pages_back) {
    char *block = mp_huge_alloc(2 * MIB, 16, false);
    memset(block, 1, 2 * MIB);
    refuse("munmap", 0, 1);
    free_huge(block);
    mp_sys_fault = NULL;
    ck_assert_uint_eq(unit_resident_pages((uintptr_t)block, 2 * MIB), 0);
    ck_assert_uint_eq(mp_huge_size(block), 0);
    munmap(block, 2 * MIB);
}
END_TEST

/* ---- the table ---- */

enum { MODEL = 6000 };
static void *model[MODEL];
static size_t model_size[MODEL];

static void check_table(void) {
    size_t blocks = 0, bytes = 0;
    for (int i = 0; i < MODEL; i++) {
        if (!model[i])
            continue;
        if (mp_huge_size(model[i]) != model_size[i])
            ck_abort_msg("block %d: %zu bytes, not %zu", i, mp_huge_size(model[i]), model_size[i]);
        blocks++;
        bytes += model_size[i];
    }
    ck_assert_uint_eq(stats().blocks, blocks);
    ck_assert_uint_eq(stats().bytes, bytes);
}

static void random_calls(int calls, int slots, uint64_t seed) {
    uint64_t state = seed;
    for (int n = 0; n < calls; n++) {
        size_t i = unit_random_to(&state, (size_t)slots - 1);
        size_t size = (1 + unit_random_to(&state, 20)) * OS_PAGE;
        if (!model[i]) {
            model[i] = mp_huge_alloc(size, 16, false);
            model_size[i] = size;
        } else if (unit_random_to(&state, 3) == 0) {
            model[i] = mp_huge_resize(model[i], size);
            model_size[i] = size;
        } else {
            free_huge(model[i]);
            model[i] = NULL;
            continue;
        }
        if (!model[i])
            ck_abort_msg("call %d: no memory", n);
        *(volatile char *)model[i] = 1;
    }
    check_table();
}

static void free_model(void) {
    for (int i = 0; i < MODEL; i++) {
        if (model[i])
            free_huge(model[i]);
        model[i] = NULL;
    }
    check_table();
}

START_TEST(the_table_agrees_with_a_model_over_any_sequence_of_calls) {
    for (int slots = 50; slots <= MODEL; slots *= 11)
        random_calls(unit_full() ? 300000 : 20000, slots > MODEL ? MODEL : slots, 35);
    free_model();
}
END_TEST

START_TEST(the_table_grows_with_its_blocks) {
    for (int i = 0; i < MODEL; i++) {
        model_size[i] = OS_PAGE;
        model[i] = mp_huge_alloc(1, 16, false);
        if (!model[i])
            ck_abort_msg("block %d: no memory", i);
    }
    check_table();
    free_model();
}
END_TEST

START_TEST(a_table_that_cannot_grow_gives_no_block_and_loses_none) {
    int n = 0;
    /* Every second mmap is for the block, the next one, now and then, for the table. */
    for (int failed = 0; failed < 3 && n < MODEL; n++) {
        refuse("mmap", 1, 1);
        model[n] = mp_huge_alloc(1, 16, false);
        mp_sys_fault = NULL;
        if (!model[n]) {
            failed++;
            check_table();
            model[n] = mp_huge_alloc(1, 16, false);
            ck_assert_ptr_nonnull(model[n]);
        }
        model_size[n] = OS_PAGE;
    }
    ck_assert_int_gt(n, 100);
    ck_assert_int_lt(n, MODEL);
    check_table();
    free_model();
}
END_TEST

static void *random_blocks(void *seed) {
    uint64_t state = (uintptr_t)seed;
    struct unit_block held[32] = {0};
    for (int n = 0; n < 3000; n++) {
        struct unit_block *block = &held[unit_random_to(&state, 31)];
        size_t size = (1 + unit_random_to(&state, 30)) * OS_PAGE;
        if (!block->at) {
            block->at = mp_huge_alloc(size, 16, false);
        } else {
            must(mp_huge_size(block->at) == block->size && unit_is_intact(block));
            if (unit_random_to(&state, 1)) {
                bool sampled;
                must(mp_huge_free(block->at, &sampled));
                block->at = NULL;
                continue;
            }
            block->at = mp_huge_resize(block->at, size);
        }
        must(block->at != NULL);
        block->size = size;
        unit_fill(block, unit_random(&state));
    }
    for (int i = 0; i < 32; i++) {
        bool sampled;
        must(!held[i].at || mp_huge_free(held[i].at, &sampled));
    }
    return NULL;
}

START_TEST(threads_have_huge_blocks_of_their_own) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, random_blocks, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check_table();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("huge");
    TCase *single = tcase_create("single blocks");
    UNIT_CASE(single, a_huge_block_is_zero_writable_and_of_whole_pages);
    UNIT_CASE(single, only_the_start_of_a_live_block_is_one);
    UNIT_CASE(single, a_mark_as_sample_comes_back_when_it_is_freed);
    UNIT_CASE(single, alignments_up_to_a_gib_are_kept_and_padding_goes_back);
    UNIT_CASE(single, nothing_is_resident_before_it_is_touched);
    UNIT_CASE(single, a_resized_block_keeps_its_contents_and_reads_zero_beyond);
    UNIT_CASE(single, a_block_that_is_not_in_the_table_is_not_resized);
    UNIT_CASE(single, pages_move_in_and_what_they_left_reads_zero);
    UNIT_CASE(single, pages_that_cannot_move_in_are_where_they_were);
    UNIT_CASE(single, a_resize_that_the_system_refuses_changes_nothing);
    UNIT_CASE(single, a_block_whose_mapping_cannot_be_undone_gives_its_pages_back);
    suite_add_tcase(suite, single);
    TCase *table = tcase_create("table");
    tcase_set_timeout(table, 30);
    UNIT_CASE(table, the_table_agrees_with_a_model_over_any_sequence_of_calls);
    UNIT_CASE(table, the_table_grows_with_its_blocks);
    UNIT_CASE_PRISTINE(table, a_table_that_cannot_grow_gives_no_block_and_loses_none);
    UNIT_CASE(table, threads_have_huge_blocks_of_their_own);
    suite_add_tcase(suite, table);
    return unit_main(suite);
}
