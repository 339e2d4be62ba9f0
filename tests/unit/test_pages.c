/* Suite: a small page's life: carved piece by piece, current, full and ownerless, taken over,
 * queued, listed at its thread's end, adopted, retired. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap/pool.h"
#include "heap/remote.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "unit.h"

static struct mp_page *page_of(const void *block) {
    struct mp_page *page = mp_arena_find((uintptr_t)block);
    must(page != NULL);
    return page;
}

static bool is_mine(const struct mp_page *page) {
    return mp_page_owner(page) == mp_arch_thread_pointer() + MP_OWNER_THREAD;
}

static bool is_ownerless(const struct mp_page *page) {
    return mp_page_kind(page) == MP_KIND_SMALL && mp_page_owner(page) == 0 && page->remote == 0;
}

static uint32_t blocks_in_page(size_t size) {
    return mp_classes[mp_class_of(size)].blocks;
}

static size_t used_slices(void) {
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    return stats.used_bytes >> MP_SLICE_SHIFT;
}

static size_t live_blocks(void) {
    struct mp_census census;
    mp_census(&census);
    return census.live_blocks;
}

/* Hands over what this thread has freed of other threads' pages. */
static void flush(void) {
    if (!mp_tls.heap)
        return;
    mp_slow_enter();
    mp_elsewhere_flush(mp_tls.heap);
    mp_slow_leave();
}

static void allocate(void **blocks, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        blocks[i] = t_malloc(size);
        must(blocks[i] != NULL);
    }
}

static void free_blocks(void **blocks, size_t count) {
    for (size_t i = 0; i < count; i++)
        t_free(blocks[i]);
}

#define MOST 20000
static void *blocks[MOST];

/* ---- where blocks come from ---- */

START_TEST(the_first_block_makes_one_os_page_of_blocks) {
    static const size_t sizes[] = {16, 48, 80, 1024, 1280, 4096, 5120, 8192};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        struct mp_page *page = page_of(t_malloc(size));
        uint32_t expected = size >= 4096 ? 1 : 4096 / (uint32_t)size;
        ck_assert_uint_eq(page->carved, expected);
        ck_assert_uint_eq(unit_resident_pages(page->start, MP_SLICE_SIZE), 1);
        ck_assert(is_mine(page));
        ck_assert_int_eq(mp_page_flags(page) & MP_PAGE_CURRENT, MP_PAGE_CURRENT);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(a_page_hands_out_each_of_its_blocks_once_in_address_order) {
    for (unsigned class = 0; class < MP_SMALL_CLASSES; class ++) {
        size_t size = mp_class_size(class);
        uint32_t count = blocks_in_page(size);
        allocate(blocks, count, size);
        for (uint32_t i = 0; i < count; i++) {
            if ((uintptr_t)blocks[i] != page_of(blocks[0])->start + i * size)
                ck_abort_msg("size %zu, block %u", size, i);
        }
        ck_assert_uint_eq(page_of(blocks[0])->carved, count);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(blocks_freed_by_the_owner_are_used_before_new_ones_are_made) {
    allocate(blocks, 64, 64); /* one OS page of them: the list is empty now */
    struct mp_page *page = page_of(blocks[0]);
    t_free(blocks[3]);
    t_free(blocks[9]);
    ck_assert_ptr_eq(t_malloc(64), blocks[9]);
    ck_assert_ptr_eq(t_malloc(64), blocks[3]);
    ck_assert_uint_eq(page->carved, 64);
    t_malloc(64);
    ck_assert_uint_eq(page->carved, 128);
    ck_assert_invariants();
}
END_TEST

static uint64_t handed_out(unsigned class) {
    static struct mp_stats stats;
    mp_stats_get(&stats);
    return stats.classes[class].allocated;
}

/* The fast path knows the class of each of them, and of nothing larger. Now and then a thread lets
 * go of a page that it only frees into: then a second try finds it. */
START_TEST(every_small_size_is_served_from_the_list) {
    for (size_t size = 1; size <= MP_SMALL_MAX && !MP_ORACLE; size++) {
        void *block, *again = NULL;
        for (int tries = 0; tries < 2 && !again; tries++) {
            t_free(block = t_malloc(size));
            again = mp_malloc_fast(size);
        }
        if (again != block)
            ck_abort_msg("size %zu", size);
        t_free(again);
    }
    t_free(t_malloc(MP_SMALL_MAX + 1));
    ck_assert_ptr_null(mp_malloc_fast(MP_SMALL_MAX + 1));
    ck_assert_ptr_null(mp_malloc_fast(SIZE_MAX));
}
END_TEST

START_TEST(blocks_count_as_handed_out_when_they_are) {
    unsigned class = mp_class_of(64);
    uint64_t before = handed_out(class);
    allocate(blocks, 128, 64);
    ck_assert_uint_eq(handed_out(class), before + 128);
    free_blocks(blocks, 60);
    ck_assert_uint_eq(handed_out(class), before + 128);
    for (int i = 0; i < 1000; i++) /* through looks at the page, too */
        t_free(t_malloc(64));
    ck_assert_uint_eq(handed_out(class), before + 1128);
    allocate(blocks, 60, 64);
    ck_assert_uint_eq(handed_out(class), before + 1188);
    mp_trim();
    ck_assert_uint_eq(handed_out(class), before + 1188);
    ck_assert_invariants();
}
END_TEST

/* ---- full pages ---- */

START_TEST(a_full_page_loses_its_owner_when_its_thread_turns_to_another) {
    uint32_t count = blocks_in_page(32);
    allocate(blocks, count, 32);
    struct mp_page *page = page_of(blocks[0]);
    ck_assert(is_mine(page));
    void *next = t_malloc(32);
    ck_assert_ptr_ne(page_of(next), page);
    ck_assert(is_ownerless(page));
    ck_assert_uint_eq(mp_page_used(page), count);
    ck_assert_invariants();
}
END_TEST

START_TEST(whoever_frees_into_a_full_page_takes_it_over) {
    uint32_t count = blocks_in_page(32);
    allocate(blocks, count + 1, 32);
    struct mp_page *page = page_of(blocks[0]);
    t_free(blocks[5]);
    flush();
    ck_assert(is_mine(page));
    ck_assert_uint_eq(mp_page_used(page) - mp_remote_count(page), count - 1);
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_QUEUED);
    ck_assert_invariants();
}
END_TEST

static void *free_one_and_keep(void *block) {
    t_free(block);
    flush();
    must(is_mine(page_of(block)));
    void *again = NULL;
    /* It is this thread's, and so are its free blocks. */
    again = t_malloc(32);
    must(again == block);
    t_free(again);
    return NULL;
}

START_TEST(another_thread_that_frees_into_a_full_page_allocates_from_it) {
    allocate(blocks, blocks_in_page(32) + 1, 32);
    unit_in_thread(free_one_and_keep, blocks[7]);
    ck_assert_int_eq(mp_page_flags(page_of(blocks[7])), MP_PAGE_LISTED);
    ck_assert_invariants();
}
END_TEST

static void *free_all_blocks(void *count) {
    free_blocks(blocks, (uintptr_t)count);
    flush();
    return NULL;
}

/* The producer never calls the allocator again. */
START_TEST(memory_of_a_thread_that_sleeps_goes_back_when_another_frees_it) {
    mp_options.purge = 0;
    mp_trim();
    size_t before = used_slices(), live = live_blocks();
    allocate(blocks, MOST, 500);
    ck_assert_uint_gt(used_slices(), before + 150);
    unit_in_thread(free_all_blocks, (void *)MOST);
    /* But for the current page, whose list it has. */
    ck_assert_uint_le(used_slices(), before + 1);
    ck_assert_invariants();
    ck_assert_uint_eq(live_blocks(), live);
}
END_TEST

enum { SHARED_PAGES = 60, FIRST = MP_BATCH_COUNT };

static uint32_t shared_blocks; /* in a page */
static atomic_int turn;

static void wait_for(int number) {
    while (atomic_load(&turn) != number)
        sched_yield();
}

/* Of each page the blocks from..to-1. */
static void free_of_each(uint32_t from, uint32_t to) {
    for (uint32_t p = 0; p < SHARED_PAGES; p++)
        free_blocks(blocks + p * shared_blocks + from, to - from);
}

static void share_pages(void) {
    mp_options.purge = 0;
    mp_trim();
    shared_blocks = blocks_in_page(320);
    allocate(blocks, SHARED_PAGES * shared_blocks + 1, 320); /* the last is full, and left */
    atomic_store(&turn, 0);
}

static void *take_over_and_sleep(void *unused) {
    free_of_each(0, FIRST);
    flush();
    for (uint32_t p = 0; p < SHARED_PAGES; p++)
        must(is_mine(page_of(blocks[p * shared_blocks])));
    atomic_store(&turn, 1);
    wait_for(2);
    return unused;
}

START_TEST(what_others_finish_goes_back_while_its_owner_sleeps) {
    share_pages();
    size_t before = used_slices();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_over_and_sleep, NULL), 0);
    wait_for(1);
    ck_assert_uint_ge(used_slices(), before);
    free_of_each(FIRST, shared_blocks);
    flush();
    ck_assert_uint_le(used_slices(), before - SHARED_PAGES + 20);
    ck_assert_invariants();
    atomic_store(&turn, 2);
    pthread_join(thread, NULL);
    ck_assert_uint_le(used_slices(), before - SHARED_PAGES + 1);
    ck_assert_invariants();
}
END_TEST

static unsigned finished; /* blocks of each page that the owner frees; others free the rest */

static void *take_over_and_finish(void *unused) {
    free_of_each(0, FIRST);
    flush();
    atomic_store(&turn, 1);
    wait_for(2);
    free_of_each(FIRST, finished); /* on the fast path: others' blocks are not counted there */
    t_free(t_malloc(3000));        /* but now */
    atomic_store(&turn, 3);
    wait_for(4);
    return unused;
}

static void finish_by_owner(void) {
    share_pages();
    size_t before = used_slices();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_over_and_finish, NULL), 0);
    wait_for(1);
    free_of_each(finished, shared_blocks);
    flush();
    ck_assert_uint_ge(used_slices(), before);
    atomic_store(&turn, 2);
    wait_for(3);
    ck_assert_uint_le(used_slices(), before - SHARED_PAGES + 2);
    atomic_store(&turn, 4);
    pthread_join(thread, NULL);
    ck_assert_invariants();
}

START_TEST(what_an_owner_finishes_itself_goes_back_when_it_next_comes_by) {
    finished = 2 * FIRST;
    finish_by_owner();
}
END_TEST

/* Others have freed one block more than the owner's event leaves out: it is one short of coming. */
START_TEST(so_does_what_lacks_one_free_of_its_event) {
    uint32_t count = blocks_in_page(320);
    finished = count - count / 4 - 1;
    finish_by_owner();
}
END_TEST

/* ---- queues ---- */

START_TEST(a_page_that_empties_goes_back_to_the_pool) {
    uint32_t count = blocks_in_page(256);
    allocate(blocks, 3 * count, 256);
    struct mp_page *page = page_of(blocks[0]);
    size_t before = used_slices();
    free_blocks(blocks, count);
    flush();
    ck_assert_int_eq(mp_page_kind(page), MP_KIND_FREE);
    ck_assert_uint_eq(used_slices(), before - 1);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_page_that_is_three_quarters_free_moves_to_the_sparse_ones) {
    uint32_t count = blocks_in_page(256), quarter = count / 4;
    allocate(blocks, count + 1, 256);
    struct mp_page *page = page_of(blocks[0]);
    free_blocks(blocks, MP_BATCH_COUNT);
    flush();
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_QUEUED);
    free_blocks(blocks + MP_BATCH_COUNT, count - quarter - 1 - MP_BATCH_COUNT);
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_QUEUED);
    t_free(blocks[count - quarter - 1]);
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_QUEUED | MP_PAGE_SPARSE);
    ck_assert_uint_eq(mp_tls.heap->bins[page->class].sparse, mp_arena_number(page));
    ck_assert_invariants();
}
END_TEST

START_TEST(dense_pages_are_allocated_from_before_sparse_ones_and_those_before_new_ones) {
    uint32_t count = blocks_in_page(1024);
    allocate(blocks, 4 * count, 1024);
    struct mp_page *first = page_of(blocks[0]), *second = page_of(blocks[count]);
    free_blocks(blocks, count - 1); /* sparse */
    flush();
    free_blocks(blocks + count, 3); /* dense */
    flush();
    ck_assert_int_eq(mp_page_flags(first), MP_PAGE_QUEUED | MP_PAGE_SPARSE);
    ck_assert_int_eq(mp_page_flags(second), MP_PAGE_QUEUED);
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_eq(page_of(t_malloc(1024)), second);
    for (uint32_t i = 0; i + 1 < count; i++)
        ck_assert_ptr_eq(page_of(t_malloc(1024)), first);
    struct mp_page *next = page_of(t_malloc(1024));
    ck_assert(next != first && next != second);
    ck_assert_invariants();
}
END_TEST

START_TEST(trim_gives_back_all_that_is_free) {
    allocate(blocks, 5000, 100);
    allocate(blocks + 5000, 300, 20000);
    free_blocks(blocks, 5300);
    ck_assert(mp_trim());
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    ck_assert_uint_eq(stats.used_bytes, 0);
    ck_assert_uint_eq(stats.dirty_bytes, 0);
    ck_assert_invariants();
    ck_assert(!mp_trim());
    ck_assert_ptr_nonnull(t_malloc(100));
    ck_assert_invariants();
}
END_TEST

START_TEST(trim_keeps_what_is_live) {
    struct unit_block kept[100];
    for (unsigned i = 0; i < 100; i++) {
        allocate(blocks, 50, 1 + i * 90);
        kept[i] = (struct unit_block){blocks[25], 1 + i * 90, 0};
        unit_fill(&kept[i], i);
        blocks[25] = NULL;
        free_blocks(blocks, 50);
    }
    mp_trim();
    ck_assert_uint_eq(live_blocks(), 100);
    for (unsigned i = 0; i < 100; i++)
        ck_assert(unit_is_intact(&kept[i]));
    ck_assert_invariants();
}
END_TEST

/* A thread that uses a block now and then must not take and give a page each time. */
START_TEST(a_lone_block_keeps_its_page_for_a_while) {
    void *block = t_malloc(700);
    struct mp_page *page = page_of(block);
    for (int i = 0; i < 100; i++) {
        t_free(block);
        block = t_malloc(700);
        ck_assert_ptr_eq(page_of(block), page);
    }
    ck_assert_invariants();
}
END_TEST

/* However soon, in any order, and of any class: pages of few blocks see few frees. */
START_TEST(a_thread_that_frees_all_it_has_keeps_no_page) {
    static const size_t sizes[] = {16, 64, 512, 1500, 4000, 8192};
    mp_options.purge = 0;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t count = blocks_in_page(sizes[i]) - 1;
        mp_trim();
        size_t before = used_slices();
        allocate(blocks, count, sizes[i]);
        for (uint32_t n = 0; n < count; n++)
            t_free(blocks[n * 17 % count]);
        ck_assert_uint_eq(used_slices(), before);
        ck_assert_invariants();
    }
}
END_TEST

/* Also where the page has no other free block. */
START_TEST(a_thread_that_frees_and_allocates_in_turns_is_seldom_looked_at) {
    static const size_t sizes[] = {16, 64, 512, 1500, 4000, 8192};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t count = blocks_in_page(sizes[i]);
        const uint32_t lives[] = {0, count / 2, count - 1};
        for (unsigned l = 0; l < 3; l++) {
            uint32_t others = lives[l];
            allocate(blocks, others, sizes[i]);
            unsigned often = 0; /* for some frees after each step of the clock, it may be */
            for (int n = 0; n < 5000; n++) {
                t_free(t_malloc(sizes[i]));
                often += mp_tls.heap->bins[mp_class_of(sizes[i])].window < 128;
            }
            ck_assert_uint_le(often, 500);
            free_blocks(blocks, others);
            mp_trim();
        }
    }
    ck_assert_invariants();
}
END_TEST

static void *free_200_more(void *blocks_of_it) {
    free_blocks(blocks_of_it, 200);
    return NULL;
}

/* What others have freed into it by then brings no push of its owner's. */
START_TEST(a_page_that_comes_back_into_use_goes_back_too) {
    mp_options.purge = 0;
    uint32_t count = blocks_in_page(64);
    size_t before = used_slices();
    void *others[MOST / 8];
    allocate(blocks, count, 64);
    struct mp_page *page = page_of(blocks[0]);
    allocate(others, count, 64); /* all of another page */
    free_blocks(blocks, 800);    /* it is this thread's again, and in its queue */
    unit_in_thread(free_200_more, blocks + 800);
    void *one = t_malloc(64); /* from the first again */
    ck_assert_ptr_eq(page_of(one), page);
    free_blocks(blocks + 1000, count - 1000);
    t_free(one);
    ck_assert_invariants();
    ck_assert_uint_eq(used_slices(), before + 1);
    free_blocks(others, count);
}
END_TEST

START_TEST(a_circle_of_free_blocks_gives_no_page_away) {
    mp_options.misuse = MP_MISUSE_REPORT;
    allocate(blocks, 200, 64);
    t_free(blocks[100]);
    *(uint16_t *)blocks[100] = (uint16_t)(uintptr_t)blocks[0]; /* a live block */
    t_free(blocks[0]); /* and now it is free, too, and leads to the other */
    unit_listen();
    mp_trim();
    ck_assert_ptr_nonnull(strstr(unit_said(), "was overwritten"));
    for (int i = 0; i < 2000; i++) {
        void *block = t_malloc(64);
        for (int live = 1; live < 200; live++)
            ck_assert(live == 100 || block != blocks[live]);
    }
}
END_TEST

START_TEST(check_full_finds_a_free_block_that_was_overwritten) {
    mp_options.check = MP_CHECK_FULL;
    mp_options.misuse = MP_MISUSE_REPORT;
    allocate(blocks, 64, 64);
    free_blocks(blocks, 10);
    memset(blocks[4], 'x', 64);
    unit_listen();
    t_malloc(64);
    const char *said = unit_said();
    char expected[200];
    snprintf(expected, sizeof expected,
             "memprof: free block %p (64-byte block) was overwritten, found by malloc", blocks[4]);
    ck_assert_msg(strncmp(said, expected, strlen(expected)) == 0, "said '%s'", said);
}
END_TEST

START_TEST(a_damaged_list_gives_no_block_twice_and_none_of_another_page) {
    mp_options.misuse = MP_MISUSE_REPORT;
    allocate(blocks, 256, 64);
    struct mp_page *page = page_of(blocks[0]);
    free_blocks(blocks, 100);
    memset(blocks[50], 0x41, 16);
    *(uint16_t *)blocks[60] = (uint16_t)(uintptr_t)blocks[200]; /* to a live block */
    unit_listen();
    for (int i = 0; i < 300; i++) {
        void *block = t_malloc(64);
        ck_assert_ptr_nonnull(block);
        for (int live = 100; live < 256; live++)
            ck_assert_ptr_ne(block, blocks[live]);
        ck_assert(page_of(block) != page || ((uintptr_t)block - page->start) % 64 == 0);
    }
    ck_assert_ptr_nonnull(strstr(unit_said(), "was overwritten"));
}
END_TEST

/* The head of what was put aside while the thread freed is a place of its own. */
START_TEST(what_was_put_aside_may_be_damaged) {
    mp_options.misuse = MP_MISUSE_REPORT;
    allocate(blocks, 64, 64);
    const struct mp_bin *bin = &mp_tls.heap->bins[mp_class_of(64)];
    uint32_t freed = 0;
    while (!bin->aside)
        t_free(blocks[freed++]);
    memset(bin->aside, 0x41, 16);
    unit_listen();
    for (int i = 0; i < 200; i++) {
        void *block = t_malloc(64);
        ck_assert_ptr_nonnull(block);
        for (uint32_t live = freed; live < 64; live++)
            ck_assert_ptr_ne(block, blocks[live]);
    }
    ck_assert_ptr_nonnull(strstr(unit_said(), "was overwritten"));
}
END_TEST

/* ---- other threads, and threads' ends ---- */

static void *free_some(void *count) {
    free_blocks(blocks, (uintptr_t)count);
    return NULL; /* without a flush: the exit does it */
}

START_TEST(blocks_in_batches_are_handed_over_at_the_threads_end) {
    uint32_t count = blocks_in_page(2048);
    allocate(blocks, count / 2, 2048);
    struct mp_page *page = page_of(blocks[0]);
    uint32_t used = mp_page_used(page);
    unit_in_thread(free_some, (void *)1);
    ck_assert_uint_eq(page->remote >> 48, 1);
    ck_assert_uint_eq(mp_page_used(page), used);
    ck_assert_invariants();
    while (page->remote >> 48)
        t_malloc(2048);
    ck_assert_invariants();
}
END_TEST

static void *allocate_half_a_page(void *unused) {
    allocate(blocks, blocks_in_page(96) / 2, 96);
    return unused;
}

START_TEST(a_thread_that_ends_leaves_its_pages_listed_and_the_next_adopts_them) {
    unit_in_thread(allocate_half_a_page, NULL);
    struct mp_page *page = page_of(blocks[0]);
    ck_assert(is_ownerless(page));
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_LISTED);
    ck_assert_uint_eq(mp_page_used(page), blocks_in_page(96) / 2);
    ck_assert_invariants();
    void *block = t_malloc(96);
    ck_assert_ptr_eq(page_of(block), page);
    ck_assert(is_mine(page));
    ck_assert_int_eq(mp_page_flags(page), MP_PAGE_CURRENT);
    ck_assert_invariants();
}
END_TEST

START_TEST(whoever_frees_into_a_listed_page_takes_it_out_of_the_list) {
    unit_in_thread(allocate_half_a_page, NULL);
    struct mp_page *page = page_of(blocks[0]);
    t_free(blocks[0]);
    flush();
    ck_assert(is_mine(page));
    ck_assert_int_eq(mp_page_flags(page) & MP_PAGE_LISTED, 0);
    ck_assert_invariants();
    free_blocks(blocks + 1, blocks_in_page(96) / 2 - 1);
    flush();
    ck_assert_int_eq(mp_page_kind(page), MP_KIND_FREE);
    ck_assert_invariants();
}
END_TEST

static void *allocate_and_free(void *unused) {
    for (unsigned i = 0; i < 200; i++)
        blocks[i] = t_malloc(1 + i * 300);
    free_blocks(blocks, 200);
    return unused;
}

START_TEST(a_thread_that_has_freed_everything_leaves_nothing) {
    for (int i = 0; i < 3; i++) {
        unit_in_thread(allocate_and_free, NULL);
        ck_assert_invariants();
    }
    mp_trim();
    ck_assert_uint_eq(used_slices(), 0);
}
END_TEST

START_TEST(threads_one_after_the_other_use_the_same_heap) {
    unit_in_thread(allocate_and_free, NULL);
    uint32_t heaps = mp_heap_count();
    size_t meta = mp_meta_bytes(), before = used_slices();
    for (int i = 0; i < 1000; i++)
        unit_in_thread(allocate_half_a_page, NULL);
    ck_assert_uint_eq(mp_heap_count(), heaps);
    ck_assert_uint_le(mp_meta_bytes(), meta + 65536);
    ck_assert_uint_le(used_slices(), before + 510);
    ck_assert_invariants();
}
END_TEST

/* Key destructors that run after the heap's own: they free and allocate once more. */
static pthread_key_t late_key;

static void late_destructor(void *block) {
    must(mp_tls.heap == NULL); /* the heap's own has run */
    t_free(block);
    static int again;
    if (again++ % 2 == 0)
        t_free(t_malloc(96));
}

static void *with_late_destructor(void *unused) {
    void *block = t_malloc(96);
    must(pthread_setspecific(late_key, block) == 0);
    return unused;
}

START_TEST(a_thread_frees_and_allocates_after_its_heap_has_been_left) {
    t_free(t_malloc(1));
    ck_assert_int_eq(pthread_key_create(&late_key, late_destructor), 0);
    size_t before = used_slices(), live = live_blocks();
    uint32_t heaps = mp_heap_count();
    for (int i = 0; i < 200; i++) {
        unit_in_thread(with_late_destructor, NULL);
        if (i % 50 == 0)
            ck_assert_invariants();
    }
    pthread_key_delete(late_key);
    ck_assert_uint_eq(live_blocks(), live);
    ck_assert_uint_le(mp_heap_count(), heaps + 2);
    mp_trim();
    ck_assert_uint_le(used_slices(), before);
    ck_assert_invariants();
}
END_TEST

/* One that allocates until no more rounds of destructors come: its heap stays behind. */
static void stubborn_destructor(void *block) {
    must(pthread_setspecific(late_key, block) == 0);
    t_free(t_malloc(96));
}

static void *with_stubborn_destructor(void *unused) {
    must(t_malloc(50) != NULL);
    must(pthread_setspecific(late_key, &late_key) == 0);
    return unused;
}

START_TEST(heaps_of_threads_that_allocate_to_the_last_are_found_again) {
    t_free(t_malloc(1));
    ck_assert_int_eq(pthread_key_create(&late_key, stubborn_destructor), 0);
    size_t before = used_slices(), live = live_blocks();
    uint32_t heaps = mp_heap_count();
    for (int i = 0; i < 100; i++)
        unit_in_thread(with_stubborn_destructor, NULL);
    pthread_key_delete(late_key);
    ck_assert_uint_le(mp_heap_count(), heaps + 3);
    ck_assert_uint_le(used_slices(), before + 20);
    ck_assert_uint_eq(live_blocks(), live + 100);
}
END_TEST

/* ---- medium pages ---- */

START_TEST(medium_blocks_stand_in_pages_that_empty_and_go_back) {
    mp_options.purge = 0;
    t_free(t_malloc(1));
    size_t before = used_slices();
    for (size_t size = MP_SMALL_MAX + 1; size <= MP_MEDIUM_MAX; size += 1111) {
        allocate(blocks, 40, size);
        for (int i = 0; i < 40; i++) {
            struct mp_page *page = mp_arena_find_head((uintptr_t)blocks[i]);
            ck_assert_int_eq(mp_page_kind(page), MP_KIND_MEDIUM);
            ck_assert_uint_eq(((uintptr_t)blocks[i] - page->start) % mp_classes[page->class].size,
                              0);
            memset(blocks[i], i, size);
        }
        ck_assert_invariants();
        free_blocks(blocks, 40);
        ck_assert_invariants();
    }
    ck_assert_uint_le(used_slices(), before + MP_MEDIUM_SLICES);
    mp_trim();
    ck_assert_uint_le(used_slices(), before);
}
END_TEST

START_TEST(medium_blocks_are_freed_by_any_thread) {
    mp_options.purge = 0;
    t_free(t_malloc(1));
    size_t before = used_slices(), live = live_blocks();
    allocate(blocks, 200, 30000);
    unit_in_thread(free_all_blocks, (void *)200);
    ck_assert_uint_le(used_slices(), before + 2 * MP_MEDIUM_SLICES);
    ck_assert_uint_eq(live_blocks(), live);
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pages");
    TCase *fill = tcase_create("fill");
    UNIT_CASE_PRISTINE(fill, the_first_block_makes_one_os_page_of_blocks);
    UNIT_CASE_PRISTINE(fill, a_page_hands_out_each_of_its_blocks_once_in_address_order);
    UNIT_CASE_PRISTINE(fill, blocks_freed_by_the_owner_are_used_before_new_ones_are_made);
    UNIT_CASE_PRISTINE(fill, every_small_size_is_served_from_the_list);
    UNIT_CASE_PRISTINE(fill, blocks_count_as_handed_out_when_they_are);
    suite_add_tcase(suite, fill);
    TCase *full = tcase_create("full");
    UNIT_CASE_PRISTINE(full, a_full_page_loses_its_owner_when_its_thread_turns_to_another);
    UNIT_CASE_PRISTINE(full, whoever_frees_into_a_full_page_takes_it_over);
    UNIT_CASE_PRISTINE(full, another_thread_that_frees_into_a_full_page_allocates_from_it);
    UNIT_CASE(full, memory_of_a_thread_that_sleeps_goes_back_when_another_frees_it);
    UNIT_CASE(full, what_others_finish_goes_back_while_its_owner_sleeps);
    UNIT_CASE(full, what_an_owner_finishes_itself_goes_back_when_it_next_comes_by);
    UNIT_CASE_PRISTINE(full, so_does_what_lacks_one_free_of_its_event);
    suite_add_tcase(suite, full);
    TCase *queues = tcase_create("queues");
    UNIT_CASE_PRISTINE(queues, a_page_that_empties_goes_back_to_the_pool);
    UNIT_CASE_PRISTINE(queues, a_page_that_is_three_quarters_free_moves_to_the_sparse_ones);
    UNIT_CASE_PRISTINE(queues,
                       dense_pages_are_allocated_from_before_sparse_ones_and_those_before_new_ones);
    UNIT_CASE_PRISTINE(queues, trim_gives_back_all_that_is_free);
    UNIT_CASE_PRISTINE(queues, trim_keeps_what_is_live);
    UNIT_CASE(queues, a_lone_block_keeps_its_page_for_a_while);
    UNIT_CASE_PRISTINE(queues, a_thread_that_frees_all_it_has_keeps_no_page);
    UNIT_CASE_PRISTINE(queues, a_page_that_comes_back_into_use_goes_back_too);
    UNIT_CASE_PRISTINE(queues, a_circle_of_free_blocks_gives_no_page_away);
    UNIT_CASE_PRISTINE(queues, check_full_finds_a_free_block_that_was_overwritten);
    UNIT_CASE_PRISTINE(queues, a_damaged_list_gives_no_block_twice_and_none_of_another_page);
    UNIT_CASE_PRISTINE(queues, a_thread_that_frees_and_allocates_in_turns_is_seldom_looked_at);
    UNIT_CASE_PRISTINE(queues, what_was_put_aside_may_be_damaged);
    suite_add_tcase(suite, queues);
    TCase *threads = tcase_create("threads");
    UNIT_CASE_PRISTINE(threads, blocks_in_batches_are_handed_over_at_the_threads_end);
    UNIT_CASE_PRISTINE(threads,
                       a_thread_that_ends_leaves_its_pages_listed_and_the_next_adopts_them);
    UNIT_CASE_PRISTINE(threads, whoever_frees_into_a_listed_page_takes_it_out_of_the_list);
    UNIT_CASE_PRISTINE(threads, a_thread_that_has_freed_everything_leaves_nothing);
    UNIT_CASE(threads, threads_one_after_the_other_use_the_same_heap);
    UNIT_CASE(threads, a_thread_frees_and_allocates_after_its_heap_has_been_left);
    UNIT_CASE_IF(threads, heaps_of_threads_that_allocate_to_the_last_are_found_again, !UNIT_TSAN,
                 "the thread sanitizer has left a thread before its last destructors run");
    suite_add_tcase(suite, threads);
    TCase *medium = tcase_create("medium");
    UNIT_CASE_PRISTINE(medium, medium_blocks_stand_in_pages_that_empty_and_go_back);
    UNIT_CASE(medium, medium_blocks_are_freed_by_any_thread);
    suite_add_tcase(suite, medium);
    return unit_main(suite);
}
