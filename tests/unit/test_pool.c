/* Suite: the node's free spans: taking and giving, merging, what goes back to the system when, and
 * which memory reads zero. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

#define HOUR ((uint64_t)3600000)

/* A span that stands for a large block, as its callers make it. */
static struct mp_page *take(uint32_t slices, uint32_t align, bool *zero) {
    struct mp_page *page = mp_pool_take(0, slices, align, zero);
    if (page) {
        page->bytes = slices * MP_SLICE_SIZE;
        page->sampled = 0;
        mp_page_set_kind(page, MP_KIND_LARGE);
    }
    return page;
}

static struct mp_page *take_some(uint32_t slices) {
    bool zero;
    struct mp_page *page = take(slices, 1, &zero);
    ck_assert_ptr_nonnull(page);
    return page;
}

static void touch(const struct mp_page *page) {
    memset((void *)page->start, 0xa5, page->slices * MP_SLICE_SIZE);
}

static void give(struct mp_page *page) {
    page->last_pages = 0;
    mp_pool_give(page, page->slices);
}

static size_t dirty(void) {
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    return stats.dirty_bytes >> MP_SLICE_SHIFT;
}

static size_t used(void) {
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    return stats.used_bytes >> MP_SLICE_SHIFT;
}

static size_t resident(const struct mp_page *page, uint32_t slices) {
    return unit_resident_pages(page->start, slices * MP_SLICE_SIZE);
}

/* Cases that share a process start with nothing dirty. */
static void purge_after(uint64_t ms) {
    mp_options.purge = 50;
    mp_pool_trim();
    mp_options.purge = ms;
}

/* ---- spans ---- */

START_TEST(a_span_has_the_slices_asked_for) {
    for (uint32_t slices = 1; slices < 600; slices = slices * 2 + 1) {
        struct mp_page *page = take_some(slices);
        ck_assert_uint_eq(page->slices, slices);
        for (uint32_t i = 1; i < slices; i++) {
            ck_assert_int_eq(mp_page_kind(page + i), MP_KIND_CONT);
            ck_assert_ptr_eq(mp_arena_page(page[i].head), page);
        }
        touch(page);
        ck_assert_invariants();
        give(page);
        ck_assert_invariants();
    }
}
END_TEST

START_TEST(a_span_starts_at_the_alignment_asked_for) {
    struct mp_page *pages[40];
    unsigned n = 0;
    for (uint32_t align = 1; align <= 512; align *= 2) {
        for (uint32_t slices = 1; slices <= 27; slices += 13) {
            bool zero;
            pages[n] = take(slices, align, &zero);
            ck_assert_ptr_nonnull(pages[n]);
            ck_assert_uint_eq(pages[n]->start % (align * MP_SLICE_SIZE), 0);
            ck_assert_uint_eq(pages[n]->slices, slices);
            n++;
        }
    }
    ck_assert_invariants();
    while (n > 0)
        give(pages[--n]);
    ck_assert_invariants();
}
END_TEST

START_TEST(neighbours_merge_in_whatever_order_they_are_given) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    purge_after(MP_TIME_OFF);
    for (int o = 0; o < 6; o++) {
        struct mp_page *whole = take_some(12);
        struct mp_page *wall = take_some(1);
        give(whole);
        struct mp_page *parts[3];
        for (int i = 0; i < 3; i++)
            parts[i] = take_some(4);
        ck_assert_ptr_eq(parts[0], whole);
        ck_assert_ptr_eq(parts[2], whole + 8);
        for (int i = 0; i < 3; i++)
            give(parts[orders[o][i]]);
        ck_assert_int_eq(mp_page_kind(whole), MP_KIND_FREE);
        ck_assert_uint_ge(whole->slices, 12);
        ck_assert_invariants();
        give(wall);
    }
}
END_TEST

START_TEST(what_is_given_is_taken_again_before_new_memory) {
    purge_after(HOUR);
    take_some(1);
    struct mp_page *page = take_some(9);
    give(page);
    ck_assert_ptr_eq(take_some(9), page);
}
END_TEST

/* Two neighbours of 20, the first or the second of them dirty, the other clean. */
static struct mp_page *dirty_beside_clean(bool first_is_dirty) {
    struct mp_page *first = take_some(20), *second = take_some(20);
    take_some(1);
    ck_assert_ptr_eq(second, first + 20);
    touch(first);
    touch(second);
    give(first_is_dirty ? second : first);
    mp_pool_trim();
    purge_after(MP_TIME_OFF);
    give(first_is_dirty ? first : second);
    ck_assert_uint_eq(dirty(), 20);
    return first;
}

START_TEST(a_dirty_span_too_short_is_joined_by_its_clean_neighbours) {
    for (int side = 0; side < 2; side++) {
        purge_after(HOUR);
        struct mp_page *first = dirty_beside_clean(side == 0);
        bool zero = true;
        struct mp_page *joined = take(30, 1, &zero);
        ck_assert_ptr_eq(joined, side == 0 ? first : first + 10);
        ck_assert(!zero);
        ck_assert_uint_eq(dirty(), 0);
        ck_assert_invariants();
        struct mp_page *rest = take(10, 1, &zero); /* what is left of the clean one */
        ck_assert_ptr_eq(rest, side == 0 ? first + 30 : first);
        ck_assert(zero);
        ck_assert_invariants();
    }
}
END_TEST

START_TEST(a_dirty_span_much_too_short_is_left) {
    purge_after(HOUR);
    dirty_beside_clean(true);
    bool zero = false;
    take(81, 1, &zero);
    ck_assert(zero);
    ck_assert_uint_eq(dirty(), 20);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_span_shrinks_and_extends_in_place) {
    bool zero;
    purge_after(HOUR);
    struct mp_page *page = take_some(10);
    touch(page);
    size_t before = used();
    mp_pool_shrink(page, 3);
    page->bytes = 3 * MP_SLICE_SIZE;
    ck_assert_uint_eq(page->slices, 3);
    ck_assert_uint_eq(used(), before - 7);
    ck_assert_invariants();
    ck_assert(mp_pool_extend(page, 9, &zero));
    page->bytes = 9 * MP_SLICE_SIZE;
    ck_assert(!zero);
    ck_assert_uint_eq(page->slices, 9);
    ck_assert_uint_eq(used(), before - 1);
    ck_assert_invariants();
    give(page);
}
END_TEST

START_TEST(a_span_does_not_extend_over_a_used_one_or_the_ranges_end) {
    bool zero;
    purge_after(MP_TIME_OFF);
    struct mp_page *room = take_some(8);
    struct mp_page *wall = take_some(1);
    give(room);
    struct mp_page *page = take_some(4);
    ck_assert_ptr_eq(page, room);
    ck_assert_ptr_eq(wall, room + 8);
    ck_assert(!mp_pool_extend(page, 9, &zero));
    ck_assert_uint_eq(page->slices, 4);
    ck_assert(mp_pool_extend(page, 8, &zero));
    page->bytes = 8 * MP_SLICE_SIZE;
    ck_assert(!mp_pool_extend(wall, 1u << 23, &zero));
    ck_assert_invariants();
}
END_TEST

/* ---- zero and dirty ---- */

START_TEST(memory_that_is_said_to_be_zero_reads_zero) {
    uint64_t state = 11;
    struct mp_page *held[64] = {0};
    uint64_t now = mp_sys_now_ms();
    unsigned zeroes = 0;
    purge_after(50);
    for (int i = 0; i < 1500; i++) {
        size_t slot = unit_random_to(&state, 63);
        if (held[slot]) {
            touch(held[slot]);
            give(held[slot]);
            held[slot] = NULL;
        } else {
            bool zero = false;
            uint32_t slices = 1 + (uint32_t)unit_random_to(&state, 12);
            held[slot] = take(slices, 1u << unit_random_to(&state, 3), &zero);
            ck_assert_ptr_nonnull(held[slot]);
            zeroes += zero;
            if (zero && !unit_is_zero((void *)held[slot]->start, slices * MP_SLICE_SIZE))
                ck_abort_msg("round %d: %u slices are not zero", i, slices);
        }
        if (i % 50 == 0)
            mp_pool_tick(now += 60);
    }
    ck_assert_uint_gt(zeroes, 20);
    for (int i = 0; i < 64; i++) {
        if (held[i])
            give(held[i]);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(a_tick_purges_what_has_rested_long_enough_and_nothing_else) {
    purge_after(HOUR);
    struct mp_page *page = take_some(8);
    touch(page);
    uint64_t before = mp_sys_now_ms();
    give(page);
    uint64_t after = mp_sys_now_ms();
    ck_assert_uint_eq(dirty(), 8);
    mp_pool_tick(before + HOUR - 1);
    ck_assert_uint_eq(dirty(), 8);
    ck_assert_uint_eq(resident(page, 8), 128);
    mp_pool_tick(after + HOUR);
    ck_assert_uint_eq(dirty(), 0);
    ck_assert_uint_eq(resident(page, 8), 0);
    ck_assert_invariants();
}
END_TEST

/* Another thread's clock may be ahead of the time that a tick was called with. */
START_TEST(a_tick_with_an_older_time_purges_nothing) {
    purge_after(HOUR);
    struct mp_page *page = take_some(4);
    give(page);
    mp_pool_tick(page->freed_ms - 8);
    ck_assert_uint_eq(dirty(), 4);
}
END_TEST

START_TEST(giving_purges_down_to_the_allowance_at_once) {
    purge_after(HOUR);
    struct mp_page *pages[64];
    for (int i = 0; i < 64; i++) {
        pages[i] = take_some(4);
        touch(pages[i]);
    }
    for (int i = 0; i < 64; i++)
        give(pages[i]);
    /* A MiB when little is in use. */
    ck_assert_uint_le(dirty(), 16);
    ck_assert_invariants();
}
END_TEST

/* Every second span of a row, so that they do not merge: what merges is purged as one. */
enum { ROW = 400 };

static void take_row(struct mp_page **row) {
    for (int i = 0; i < ROW; i++) {
        row[i] = take_some(1);
        touch(row[i]);
    }
}

static void give_every_second(struct mp_page **row, int count) {
    for (int i = 0; i < 2 * count; i += 2)
        give(row[i]);
}

START_TEST(the_allowance_grows_with_what_is_in_use) {
    struct mp_page *row[ROW];
    purge_after(HOUR);
    struct mp_page *big = take_some(1600);
    take_row(row);
    give_every_second(row, 150);
    ck_assert_uint_ge(dirty(), 1600 / 16);
    ck_assert_uint_le(dirty(), 2000 / 16);
    give(big);
    ck_assert_uint_le(dirty(), 16);
    ck_assert_invariants();
}
END_TEST

START_TEST(with_purge_0_nothing_stays) {
    purge_after(0);
    struct mp_page *page = take_some(3);
    touch(page);
    give(page);
    ck_assert_uint_eq(dirty(), 0);
    ck_assert_uint_eq(resident(page, 3), 0);
}
END_TEST

START_TEST(with_purge_off_everything_stays_until_it_is_trimmed) {
    purge_after(MP_TIME_OFF);
    struct mp_page *page = take_some(200);
    touch(page);
    give(page);
    mp_pool_tick(mp_sys_now_ms() + 1000 * HOUR);
    ck_assert_uint_eq(dirty(), 200);
    ck_assert_uint_eq(mp_pool_trim(), 200 * MP_SLICE_SIZE);
    ck_assert_uint_eq(dirty(), 0);
    ck_assert_uint_eq(resident(page, 200), 0);
    ck_assert_uint_eq(mp_pool_trim(), 0);
}
END_TEST

static void take_row_and_regret(struct mp_page **row) {
    purge_after(HOUR);
    struct mp_page *most = take_some(1600);
    take_row(row);
    give(most); /* purged at once, and taken again at once */
    most = take_some(1600);
    touch(most);
    give(most);
}

START_TEST(purging_what_is_asked_for_again_teaches_to_keep_more) {
    struct mp_page *row[ROW];
    take_row_and_regret(row);
    give_every_second(row, 150);
    ck_assert_uint_eq(dirty(), 150);
    /* But not more than is in use, or a sixteenth of the peak. */
    give_every_second(row + 1, 150);
    ck_assert_uint_le(dirty(), 2000 / 16);
    ck_assert_invariants();
}
END_TEST

/* Neither a tick nor a call is needed for that, only time. */
START_TEST(what_purging_taught_is_forgotten_in_time) {
    struct mp_page *row[ROW];
    take_row_and_regret(row);
    give_every_second(row, 100);
    ck_assert_uint_eq(dirty(), 100);
    mp_pool_trim();
    usleep(1200000); /* of 1600, 51 are left */
    give_every_second(row + 1, 100);
    ck_assert_uint_le(dirty(), 64);
    ck_assert_invariants();
}
END_TEST

/* ---- memory that does not go back ---- */

/* By its number: the sanitizers make mlock one that does nothing. */
static void lock_memory(const struct mp_page *page, uint32_t slices) {
    ck_assert_int_eq(syscall(SYS_mlock, page->start, slices * MP_SLICE_SIZE), 0);
}

START_TEST(locked_memory_goes_back_too) {
    purge_after(0);
    struct mp_page *page = take_some(4);
    touch(page);
    lock_memory(page, 4);
    give(page);
    ck_assert_uint_eq(dirty(), 0);
    bool zero = false;
    page = take(4, 1, &zero);
    ck_assert(unit_is_zero((void *)page->start, 4 * MP_SLICE_SIZE));
}
END_TEST

/* mlockall makes resident what nobody has used yet, too. */
START_TEST(what_is_locked_before_its_first_use_goes_back_too) {
    purge_after(0);
    give(take_some(8));
    struct mp_page *page = take_some(4);
    const struct mp_page *unused = page + 4;
    touch(page);
    lock_memory(page, 8);
    ck_assert_uint_eq(resident(unused, 4), 4 * MP_SLICE_SIZE / 4096);
    give(page);
    ck_assert_uint_eq(resident(unused, 4), 0);
    ck_assert_uint_eq(dirty(), 0);
    ck_assert_invariants();
}
END_TEST

static int madvise_calls;

static int fail_madvise(const char *name) {
    if (strcmp(name, "madvise") != 0)
        return 0;
    madvise_calls++;
    return EINVAL;
}

START_TEST(what_could_not_be_purged_stays_dirty_and_is_tried_again_in_a_while) {
    bool zero = true;
    purge_after(0);
    struct mp_page *page = take_some(4);
    touch(page);
    madvise_calls = 0;
    mp_sys_fault = fail_madvise;
    give(page);
    ck_assert_uint_eq(dirty(), 4);
    int calls = madvise_calls;
    ck_assert_int_gt(calls, 0);
    uint64_t now = mp_sys_now_ms();
    mp_pool_tick(now + 10);
    ck_assert_int_eq(madvise_calls, calls);
    mp_sys_fault = NULL;
    ck_assert_invariants();
    mp_options.purge = HOUR;
    page = take(4, 1, &zero);
    ck_assert(!zero);
    give(page);
    mp_options.purge = 0;
    mp_pool_tick(now + 5000);
    ck_assert_uint_eq(dirty(), 0);
}
END_TEST

/* ---- addresses run out ---- */

static int fail_mmap(const char *name) {
    return strcmp(name, "mmap") == 0 ? ENOMEM : 0;
}

START_TEST(spans_that_were_let_go_come_back_mapped_and_zero) {
    bool zero;
    purge_after(0);
    struct mp_page *page = take_some(20), *wall = take_some(1);
    touch(page);
    give(page);
    mp_pool_let_go();
    ck_assert_invariants();
    struct mp_page *again = take(20, 1, &zero);
    ck_assert_ptr_nonnull(again);
    if (zero)
        ck_assert(unit_is_zero((void *)again->start, 20 * MP_SLICE_SIZE));
    touch(again);
    ck_assert_invariants();
    give(again);
    give(wall);
}
END_TEST

START_TEST(a_let_go_span_that_cannot_be_mapped_again_stays_let_go) {
    bool zero;
    purge_after(0);
    give(take_some(20));
    mp_pool_let_go();
    mp_sys_fault = fail_mmap;
    ck_assert_ptr_null(take(20, 1, &zero));
    mp_sys_fault = NULL;
    ck_assert_invariants();
    ck_assert_ptr_nonnull(take(20, 1, &zero));
    ck_assert_invariants();
}
END_TEST

/* The program may have mapped something there meanwhile. */
START_TEST(memory_can_be_had_although_somebody_sits_in_a_let_go_span) {
    bool zero;
    purge_after(0);
    struct mp_page *wall = take_some(1);
    struct mp_page *page = take_some(20);
    uintptr_t start = page->start;
    give(page);
    mp_pool_let_go();
    void *squatter = mmap((void *)(start + 3 * MP_SLICE_SIZE), 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_eq(squatter, (void *)(start + 3 * MP_SLICE_SIZE));
    memset(squatter, 7, 4096);
    struct mp_page *pages[8];
    for (int i = 0; i < 8; i++) {
        pages[i] = take(20, 1, &zero);
        ck_assert_ptr_nonnull(pages[i]);
        touch(pages[i]);
    }
    for (int i = 0; i < 4096; i++)
        ck_assert_uint_eq(((unsigned char *)squatter)[i], 7);
    ck_assert_invariants();
    give(wall);
}
END_TEST

/* ---- random, against a model ---- */

enum { MODEL_SPANS = 200 };

static void check_model(struct unit_block *spans) {
    for (int i = 0; i < MODEL_SPANS; i++) {
        if (spans[i].at && !unit_is_intact(&spans[i]))
            ck_abort_msg("span %d has lost its contents", i);
    }
    ck_assert_invariants();
}

START_TEST(spans_keep_their_contents_over_any_sequence_of_calls) {
    uint64_t state = 12;
    struct unit_block spans[MODEL_SPANS] = {0};
    uint64_t now = mp_sys_now_ms();
    purge_after(50);
    for (int i = 0; i < (unit_full() ? 50000 : 5000); i++) {
        struct unit_block *span = &spans[unit_random_to(&state, MODEL_SPANS - 1)];
        struct mp_page *page = span->at ? mp_arena_find((uintptr_t)span->at) : NULL;
        bool zero;
        uint32_t slices = 1 + (uint32_t)unit_random_to(&state, 40);
        if (!page) {
            page = take(slices, 1u << unit_random_to(&state, 5), &zero);
            ck_assert_ptr_nonnull(page);
            span->at = (unsigned char *)page->start;
        } else if (unit_random_to(&state, 2) == 0) {
            give(page);
            span->at = NULL;
            continue;
        } else if (page->slices > 1 && unit_random_to(&state, 1)) {
            mp_pool_shrink(page, 1 + (uint32_t)unit_random_to(&state, page->slices - 2));
        } else {
            mp_pool_extend(page, page->slices + slices, &zero);
        }
        page->bytes = page->slices * MP_SLICE_SIZE;
        span->size = page->bytes;
        unit_fill(span, unit_random(&state));
        if (i % 16 == 0)
            mp_pool_tick(now += 10);
        if (i % 256 == 0)
            mp_pool_let_go();
        if (i % 512 == 0)
            check_model(spans);
    }
    check_model(spans);
    for (int i = 0; i < MODEL_SPANS; i++) {
        if (spans[i].at)
            give(mp_arena_find((uintptr_t)spans[i].at));
    }
    ck_assert_invariants();
}
END_TEST

static void *take_and_give(void *seed) {
    uint64_t state = (uintptr_t)seed;
    struct unit_block held[16] = {0};
    for (int i = 0; i < 800; i++) {
        struct unit_block *block = &held[unit_random_to(&state, 15)];
        bool zero;
        if (block->at) {
            must(unit_is_intact(block));
            give(mp_arena_find((uintptr_t)block->at));
            block->at = NULL;
            mp_pool_tick(mp_sys_now_ms());
            continue;
        }
        struct mp_page *page = take(1 + (uint32_t)unit_random_to(&state, 20), 1, &zero);
        must(page != NULL);
        block->at = (unsigned char *)page->start;
        block->size = page->bytes;
        unit_fill(block, unit_random(&state));
    }
    for (int i = 0; i < 16; i++) {
        if (held[i].at)
            give(mp_arena_find((uintptr_t)held[i].at));
    }
    return NULL;
}

START_TEST(threads_take_and_give_spans_of_their_own) {
    pthread_t threads[4];
    purge_after(1);
    size_t before = used();
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(used(), before);
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pool");
    TCase *spans = tcase_create("spans");
    UNIT_CASE(spans, a_span_has_the_slices_asked_for);
    UNIT_CASE(spans, a_span_starts_at_the_alignment_asked_for);
    UNIT_CASE_PRISTINE(spans, neighbours_merge_in_whatever_order_they_are_given);
    UNIT_CASE_PRISTINE(spans, what_is_given_is_taken_again_before_new_memory);
    UNIT_CASE_PRISTINE(spans, a_dirty_span_too_short_is_joined_by_its_clean_neighbours);
    UNIT_CASE_PRISTINE(spans, a_dirty_span_much_too_short_is_left);
    UNIT_CASE_PRISTINE(spans, a_span_shrinks_and_extends_in_place);
    UNIT_CASE_PRISTINE(spans, a_span_does_not_extend_over_a_used_one_or_the_ranges_end);
    suite_add_tcase(suite, spans);
    TCase *purge = tcase_create("purge");
    UNIT_CASE(purge, memory_that_is_said_to_be_zero_reads_zero);
    UNIT_CASE_PRISTINE(purge, a_tick_purges_what_has_rested_long_enough_and_nothing_else);
    UNIT_CASE_PRISTINE(purge, a_tick_with_an_older_time_purges_nothing);
    UNIT_CASE_PRISTINE(purge, giving_purges_down_to_the_allowance_at_once);
    UNIT_CASE_PRISTINE(purge, the_allowance_grows_with_what_is_in_use);
    UNIT_CASE_PRISTINE(purge, what_purging_taught_is_forgotten_in_time);
    UNIT_CASE(purge, with_purge_0_nothing_stays);
    UNIT_CASE_PRISTINE(purge, with_purge_off_everything_stays_until_it_is_trimmed);
    UNIT_CASE_PRISTINE(purge, purging_what_is_asked_for_again_teaches_to_keep_more);
    UNIT_CASE_PRISTINE(purge, locked_memory_goes_back_too);
    UNIT_CASE_PRISTINE(purge, what_is_locked_before_its_first_use_goes_back_too);
    UNIT_CASE_PRISTINE(purge, what_could_not_be_purged_stays_dirty_and_is_tried_again_in_a_while);
    suite_add_tcase(suite, purge);
    TCase *addresses = tcase_create("addresses");
    UNIT_CASE(addresses, spans_that_were_let_go_come_back_mapped_and_zero);
    UNIT_CASE_PRISTINE(addresses, a_let_go_span_that_cannot_be_mapped_again_stays_let_go);
    UNIT_CASE_PRISTINE(addresses, memory_can_be_had_although_somebody_sits_in_a_let_go_span);
    suite_add_tcase(suite, addresses);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 30);
    UNIT_CASE(random, spans_keep_their_contents_over_any_sequence_of_calls);
    UNIT_CASE(random, threads_take_and_give_spans_of_their_own);
    suite_add_tcase(suite, random);
    return unit_main(suite);
}
