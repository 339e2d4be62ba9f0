/* Suite: memory that was purged and is wanted again, had as huge pages. Where the kernel makes none
 * when it is asked to, what should not happen is tested alone. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/chunk.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Slices: seven chunks and what is before and behind them; many are purged when all are given. */
#define ROW 256

static struct mp_page *row[ROW];
static unsigned carved_parts; /* of four: how much of each page was ever used */

/* A page of the smallest class, as its owner makes it, with its slice's number in its memory. */
static struct mp_page *take_one(void) {
    bool zero;
    struct mp_page *page = mp_pool_take(0, 1, 1, &zero);
    ck_assert_ptr_nonnull(page);
    page->class = 0;
    page->inverse = mp_classes[0].inverse;
    page->local_free = mp_page_end(page);
    page->carved = (uint16_t)(mp_page_blocks(page) * carved_parts / 4);
    page->until = page->carved;
    page->held = 0;
    atomic_store(&page->remote, 0);
    mp_page_set_kind(page, MP_KIND_SMALL);
    size_t used = MP_SLICE_SIZE * carved_parts / 4;
    for (size_t i = 0; i < used; i += 4096)
        *(uint64_t *)(page->start + i) = mp_arena_number(page) + i;
    return page;
}

static void give_one(struct mp_page *page) {
    size_t used = MP_SLICE_SIZE * carved_parts / 4;
    for (size_t i = 0; i < used; i += 4096)
        ck_assert_uint_eq(*(uint64_t *)(page->start + i), mp_arena_number(page) + i);
    mp_pool_give(page, 1);
}

static void take_row(void) {
    for (int i = 0; i < ROW; i++)
        row[i] = take_one();
}

static void give_row(int step) {
    for (int i = 0; i < ROW; i++) {
        if (i % step == 0)
            give_one(row[i]);
    }
}

static uint64_t had_at_once(void) {
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    return stats.fetched_bytes;
}

/* Grows and shrinks until memory has been had at once; a fetch that took long is not repeated for a
 * while, and a busy machine makes it long. */
static bool tide(unsigned parts, int tries) {
    uint64_t before = had_at_once();
    carved_parts = parts;
    for (int i = 0; i < tries && had_at_once() == before; i++) {
        take_row();
        give_row(1);
        ck_assert_invariants();
    }
    return had_at_once() != before;
}

static bool kernel_can(void) {
    static int can = -1;
    if (can < 0) {
        size_t size = MP_CHUNK_SLICES * MP_SLICE_SIZE;
        char *memory =
            mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(memory, MAP_FAILED);
        char *chunk = memory + (-(uintptr_t)memory & (size - 1));
        chunk[0] = 1;
        can = madvise(chunk, size, MADV_COLLAPSE) == 0;
        munmap(memory, 2 * size);
        if (!can)
            printf("the kernel makes no huge pages when asked to\n");
    }
    return can;
}

START_TEST(what_was_full_and_purged_is_had_again_at_once) {
    if (!kernel_can())
        return;
    ck_assert(tide(4, 1000));
    /* It is free memory like other: it is used before clean memory, and goes back. */
    carved_parts = 4;
    take_row();
    give_row(1);
    mp_pool_trim();
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    ck_assert_uint_eq(stats.dirty_bytes, 0);
    for (int i = 0; i < ROW; i++)
        ck_assert_uint_eq(unit_resident_pages(row[i]->start, MP_SLICE_SIZE), 0);
}
END_TEST

START_TEST(what_was_used_in_part_is_not) {
    ck_assert(!tide(3, 10));
}
END_TEST

START_TEST(what_is_asked_for_the_first_time_is_not) {
    uint64_t before = had_at_once();
    carved_parts = 4;
    take_row();
    ck_assert_uint_eq(had_at_once(), before);
    give_row(1);
}
END_TEST

/* What is in use between keeps its contents (give_one), whatever the kernel makes of the rest. */
START_TEST(pages_in_use_are_not_disturbed) {
    carved_parts = 4;
    uint64_t before = had_at_once();
    for (int round = 0; round < 1000 && had_at_once() == before; round++) {
        take_row();
        give_row(1);
        take_row();
        for (int i = 0; i < ROW; i++) {
            if (i % 4 != 0)
                give_one(row[i]);
        }
        ck_assert_invariants();
        for (int i = 0; i < ROW; i++) {
            if (i % 4 != 0)
                row[i] = take_one();
        }
        ck_assert_invariants();
        give_row(1);
    }
    ck_assert(!kernel_can() || had_at_once() != before);
}
END_TEST

START_TEST(a_chunk_with_a_large_block_is_left_alone) {
    bool zero;
    struct mp_page *large[8];
    uint64_t before = had_at_once();
    carved_parts = 4;
    take_row();
    give_row(1);
    mp_pool_trim();
    /* One in each chunk: what is free between is most of it. */
    for (int i = 0; i < 8; i++) {
        large[i] = mp_pool_take(0, 1, MP_CHUNK_SLICES, &zero);
        ck_assert_ptr_nonnull(large[i]);
        mp_page_set_kind(large[i], MP_KIND_LARGE);
    }
    struct mp_chunk chunk;
    struct mp_spans spans = {0};
    for (int i = 0; i < 8; i++) {
        if (mp_page_kind(large[i] + 1) == MP_KIND_FREE)
            ck_assert(!mp_chunk_take(&chunk, &spans, large[i] + 1));
    }
    ck_assert_uint_eq(had_at_once(), before);
    for (int i = 0; i < 8; i++) {
        large[i]->last_pages = 0;
        mp_pool_give(large[i], 1);
    }
    ck_assert_invariants();
}
END_TEST

/* To a chunk like that the kernel says the same as one that knows no such advice. */
START_TEST(what_the_program_has_protected_stops_nothing_for_good) {
    if (!kernel_can())
        return;
    carved_parts = 4;
    take_row();
    struct mp_page *in_use = row[ROW / 2];
    row[ROW / 2] = take_one();
    ck_assert_int_eq(mprotect((void *)in_use->start, 4096, PROT_READ), 0);
    give_row(1);
    for (int i = 0; i < 20; i++)
        tide(4, 1);
    ck_assert_int_eq(mprotect((void *)in_use->start, 4096, PROT_READ | PROT_WRITE), 0);
    give_one(in_use);
    ck_assert(tide(4, 1000));
}
END_TEST

/* Purging proved wrong, but not the purge of these: they had rested. */
START_TEST(what_had_rested_is_not) {
    if (!kernel_can())
        return;
    ck_assert(tide(4, 1000));
    uint64_t before = had_at_once();
    mp_pool_trim();
    usleep(150000);
    enum { FEW = 60 }; /* may lie dirty after that, and the first chunk is not all the pool's */
    for (int i = 0; i < FEW; i++)
        row[i] = take_one();
    for (int i = 0; i < FEW; i++)
        give_one(row[i]);
    mp_pool_tick(mp_sys_now_ms() + 1000);
    for (int i = 0; i < FEW; i++)
        row[i] = take_one();
    ck_assert_uint_eq(had_at_once(), before);
    for (int i = 0; i < FEW; i++)
        give_one(row[i]);
}
END_TEST

START_TEST(with_purge_0_nothing_is) {
    mp_options.purge = 0;
    ck_assert(!tide(4, 10));
}
END_TEST

START_TEST(huge_pages_are_asked_for_by_nobody_with_thp_never) {
    mp_options.thp = MP_THP_NEVER;
    ck_assert(!tide(4, 10));
    mp_options.thp = MP_THP_AUTO;
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chunk");
    TCase *tides = tcase_create("tides");
    tcase_set_timeout(tides, 60);
    UNIT_CASE_PRISTINE(tides, what_was_full_and_purged_is_had_again_at_once);
    UNIT_CASE_PRISTINE(tides, what_was_used_in_part_is_not);
    UNIT_CASE_PRISTINE(tides, what_is_asked_for_the_first_time_is_not);
    UNIT_CASE_PRISTINE(tides, pages_in_use_are_not_disturbed);
    UNIT_CASE_PRISTINE(tides, a_chunk_with_a_large_block_is_left_alone);
    UNIT_CASE_PRISTINE(tides, what_the_program_has_protected_stops_nothing_for_good);
    UNIT_CASE_PRISTINE(tides, what_had_rested_is_not);
    UNIT_CASE_PRISTINE(tides, with_purge_0_nothing_is);
    UNIT_CASE_PRISTINE(tides, huge_pages_are_asked_for_by_nobody_with_thp_never);
    suite_add_tcase(suite, tides);
    return unit_main(suite);
}
