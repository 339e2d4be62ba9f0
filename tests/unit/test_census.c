/* Suite: the census and the running process's own figures against a hand count, with blocks in
 * every place where they can be. Stopped and copied processes are in test_copies.c. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap_api.h"
#include "invariants.h"
#include "unit.h"

#define MIB ((size_t)1 << 20)

/* What a test holds, by usable size. */
struct count {
    uint64_t classes[MP_CLASSES];
    uint64_t large_blocks, large_bytes, huge_blocks, huge_bytes;
};

static struct count held;

static void note(const void *block, int64_t sign) {
    size_t usable = mp_usable_size(block);
    must(usable > 0);
    if (!mp_arena_find((uintptr_t)block)) {
        held.huge_blocks += (uint64_t)sign;
        held.huge_bytes += (uint64_t)sign * usable;
    } else if (usable > MP_MEDIUM_MAX) {
        held.large_blocks += (uint64_t)sign;
        held.large_bytes += (uint64_t)sign * usable;
    } else {
        held.classes[mp_class_of(usable)] += (uint64_t)sign;
    }
}

static void *c_malloc(size_t size) {
    void *block = t_malloc(size);
    must(block != NULL);
    note(block, 1);
    return block;
}

static void c_free(void *block) {
    if (!block)
        return;
    note(block, -1);
    t_free(block);
}

static void check_census(void) {
    struct mp_census census;
    uint64_t blocks = held.large_blocks + held.huge_blocks;
    uint64_t bytes = held.large_bytes + held.huge_bytes;
    mp_census(&census);
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        if (census.classes[c].live != held.classes[c])
            ck_abort_msg("class %u: %ju live, not %ju", c, (uintmax_t)census.classes[c].live,
                         (uintmax_t)held.classes[c]);
        blocks += held.classes[c];
        bytes += held.classes[c] * mp_class_size(c);
    }
    ck_assert_uint_eq(census.large_blocks, held.large_blocks);
    ck_assert_uint_eq(census.large_bytes, held.large_bytes);
    ck_assert_uint_eq(census.huge_blocks, held.huge_blocks);
    ck_assert_uint_eq(census.huge_bytes, held.huge_bytes);
    ck_assert_uint_eq(census.live_blocks, blocks);
    ck_assert_uint_eq(census.live_bytes, bytes);
}

/* The running process's figures: live in [live - cached, live]. */
static void check_stats(void) {
    struct mp_stats stats;
    uint64_t bytes = held.large_bytes + held.huge_bytes;
    for (unsigned c = 0; c < MP_CLASSES; c++)
        bytes += held.classes[c] * mp_class_size(c);
    mp_stats_get(&stats);
    if (bytes > stats.live_bytes || bytes + stats.cached_max_bytes < stats.live_bytes)
        ck_abort_msg("%ju live bytes are not within [%ju - %ju, ...]", (uintmax_t)bytes,
                     (uintmax_t)stats.live_bytes, (uintmax_t)stats.cached_max_bytes);
    ck_assert_uint_eq(stats.large_blocks, held.large_blocks);
    ck_assert_uint_eq(stats.mapped_blocks, held.huge_blocks);
    ck_assert_uint_eq(stats.mapped_bytes, held.huge_bytes);
}

static void check(void) {
    check_census();
    check_stats();
    ck_assert_invariants();
}

enum { BLOCKS = 4000 };
static void *blocks[BLOCKS];

START_TEST(an_untouched_heap_holds_nothing) {
    check();
}
END_TEST

START_TEST(one_block_of_each_kind_is_counted) {
    static const size_t sizes[] = {0, 1, 16, 17, 1024, 8192, 8193, 65536, 65537, 5 * MIB, 40 * MIB};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (int i = 0; i < SIZES; i++) {
        blocks[i] = c_malloc(sizes[i]);
        ck_assert(mp_census_is_live(blocks[i]));
        check();
    }
    for (int i = 0; i < SIZES; i++) {
        c_free(blocks[i]);
        if (sizes[i] <= 32 * MIB)
            ck_assert(!mp_census_is_live(blocks[i]));
        check();
    }
}
END_TEST

START_TEST(only_the_start_of_a_live_block_is_live) {
    static const size_t sizes[] = {48, 3000, 20000, 300000, 40 * MIB};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *block = c_malloc(sizes[i]);
        ck_assert(!mp_census_is_live(block + 1));
        ck_assert(!mp_census_is_live(block + 16));
        ck_assert(!mp_census_is_live(block - 16));
    }
    ck_assert(!mp_census_is_live(NULL));
    ck_assert(!mp_census_is_live(blocks));
    ck_assert(!mp_census_is_live((void *)~(uintptr_t)0));
}
END_TEST

START_TEST(blocks_in_a_threads_list_are_free) {
    blocks[0] = c_malloc(64); /* its list now holds 63 more */
    struct mp_census census;
    mp_census(&census);
    ck_assert_uint_eq(census.classes[mp_class_of(64)].live, 1);
    ck_assert_uint_eq(census.classes[mp_class_of(64)].free, 63);
    check();
    c_free(blocks[0]);
    check();
}
END_TEST

/* A program may take the access to its own blocks away. */
START_TEST(counting_needs_no_memory_of_the_programs) {
    static struct mp_stats stats;
    char *page = t_memalign(4096, 4096), *other = t_memalign(4096, 4096);
    ck_assert_int_eq(mprotect(other, 4096, PROT_NONE), 0);
    mp_stats_get(&stats);
    ck_assert_int_eq(mprotect(other, 4096, PROT_READ | PROT_WRITE), 0);
    ck_assert_uint_ge(stats.live_bytes, 8192);
    t_free(page);
    t_free(other);
}
END_TEST

START_TEST(full_pages_listed_pages_and_retired_pages_are_counted) {
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = c_malloc(200);
    check();
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 997 != 0) {
            c_free(blocks[i]);
            blocks[i] = NULL;
        }
    }
    check();
    mp_trim();
    check();
    for (int i = 0; i < BLOCKS; i++) {
        c_free(blocks[i]);
        blocks[i] = NULL;
    }
    check();
    mp_trim();
    check();
}
END_TEST

static pthread_barrier_t barrier;

static void *hold_and_wait(void *unused) {
    for (int i = 0; i < 100; i++) {
        blocks[i] = t_malloc((size_t)i * 40);
        t_free(t_malloc((size_t)i * 200));
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* the main thread frees some, counts */
    for (int i = 50; i < 100; i++)
        t_free(blocks[i]);
    return unused;
}

START_TEST(blocks_in_batches_and_remote_lists_are_free) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_and_wait, NULL), 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 100; i++)
        note(blocks[i], 1);
    check();
    for (int i = 0; i < 50; i++) {
        c_free(blocks[i]); /* to a batch of this thread's */
        check();
    }
    mp_slow_enter();
    mp_elsewhere_flush(mp_tls.heap); /* to the pages' remote lists */
    mp_slow_leave();
    check();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    memset(&held, 0, sizeof held);
    check();
}
END_TEST

START_TEST(pages_of_threads_that_ended_are_counted) {
    for (int t = 0; t < 5; t++) {
        pthread_barrier_init(&barrier, NULL, 1);
        memset(&held, 0, sizeof held);
        unit_in_thread(hold_and_wait, NULL);
        for (int i = 0; i < 50; i++)
            note(blocks[i], 1);
        check();
        for (int i = 0; i < 50; i++)
            c_free(blocks[i]);
        check();
    }
}
END_TEST

START_TEST(the_count_is_right_after_any_sequence_of_calls) {
    uint64_t state = 121;
    for (int n = 0; n < 60000; n++) {
        void **block = &blocks[unit_random_to(&state, 999)];
        size_t size = unit_random_size(&state, n % 64 ? 10000 : 40 * MIB);
        switch (unit_random_to(&state, 3)) {
        case 0:
            if (*block) {
                note(*block, -1);
                *block = t_realloc(*block, size ? size : 1);
                note(*block, 1);
            }
            break;
        case 1:
            c_free(*block);
            *block = NULL;
            break;
        default:
            c_free(*block);
            *block = c_malloc(size);
        }
        if (n % 3000 == 0)
            check();
    }
    for (int i = 0; i < 1000; i++)
        c_free(blocks[i]);
    check();
    struct mp_stats stats;
    mp_stats_get(&stats);
    ck_assert_uint_gt(stats.allocated_blocks, 30000);
}
END_TEST

START_TEST(allocated_blocks_are_all_that_ever_were) {
    struct mp_stats before, after;
    t_free(t_malloc(10));
    mp_stats_get(&before);
    for (int i = 0; i < 1000; i++)
        t_free(t_malloc(100));
    for (int i = 0; i < 100; i++)
        t_free(t_malloc(20000));
    for (int i = 0; i < 10; i++)
        t_free(t_malloc(200000));
    t_free(t_malloc(40 * MIB));
    mp_stats_get(&after);
    ck_assert_uint_eq(after.allocated_blocks - before.allocated_blocks, 1111);
    mp_trim();
    mp_stats_get(&after);
    ck_assert_uint_eq(after.allocated_blocks - before.allocated_blocks, 1111);
}
END_TEST

START_TEST(every_byte_of_the_ranges_is_in_one_figure) {
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = c_malloc((size_t)i * 3);
    for (int i = 0; i < BLOCKS; i += 2)
        c_free(blocks[i]);
    struct mp_stats stats;
    mp_stats_get(&stats);
    /* What pages hold: used blocks, free ones, and what is not made yet. */
    uint64_t pages = 0, used = 0;
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        pages += stats.classes[c].pages * mp_classes[c].slices * MP_SLICE_SIZE;
        used += stats.classes[c].used * mp_classes[c].size;
    }
    ck_assert_uint_eq(used + stats.fragmented_bytes + stats.virgin_bytes, pages);
    ck_assert_uint_le(pages + stats.large_bytes + stats.purgeable_bytes, stats.arena_bytes);
    ck_assert_uint_gt(stats.metadata_bytes, 0);
    ck_assert_uint_eq(stats.threads, 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("census");
    TCase *count = tcase_create("count");
    UNIT_CASE_PRISTINE(count, an_untouched_heap_holds_nothing);
    UNIT_CASE_PRISTINE(count, one_block_of_each_kind_is_counted);
    UNIT_CASE_PRISTINE(count, only_the_start_of_a_live_block_is_live);
    UNIT_CASE_PRISTINE(count, blocks_in_a_threads_list_are_free);
    UNIT_CASE_PRISTINE(count, full_pages_listed_pages_and_retired_pages_are_counted);
    UNIT_CASE_PRISTINE(count, counting_needs_no_memory_of_the_programs);
    UNIT_CASE_PRISTINE(count, blocks_in_batches_and_remote_lists_are_free);
    UNIT_CASE_PRISTINE(count, pages_of_threads_that_ended_are_counted);
    UNIT_CASE_PRISTINE(count, the_count_is_right_after_any_sequence_of_calls);
    suite_add_tcase(suite, count);
    TCase *figures = tcase_create("figures");
    UNIT_CASE_PRISTINE(figures, allocated_blocks_are_all_that_ever_were);
    UNIT_CASE_PRISTINE(figures, every_byte_of_the_ranges_is_in_one_figure);
    suite_add_tcase(suite, figures);
    return unit_main(suite);
}
