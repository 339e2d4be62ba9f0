/* Suite: the system says no. Every system call of a scenario is made to fail in turn, and then
 * calls are made to fail at random: allocation returns NULL or succeeds, what is held keeps its
 * contents, the structures stay whole, everything can be freed, and afterwards all is as ever. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

#define MIB ((size_t)1 << 20)

static size_t live_blocks(void) {
    struct mp_census census;
    mp_census(&census);
    return census.live_blocks;
}

/* ---- failing in turn ---- */

enum mode { ONE, ALL_FROM, MODES };

static struct {
    const char *name; /* of the calls that are counted; NULL: all */
    enum mode mode;
    int at;
    _Atomic(int) calls;
} turn;

static int fail_in_turn(const char *name) {
    if (turn.name && strcmp(name, turn.name) != 0)
        return 0;
    int call = atomic_fetch_add(&turn.calls, 1);
    return (turn.mode == ONE ? call == turn.at : call >= turn.at) ? ENOMEM : 0;
}

enum { HELD = 400 };
static struct unit_block held[HELD];
static int held_count;

static void hold(void *block, size_t size) {
    if (!block)
        return;
    must(held_count < HELD && mp_usable_size(block) >= size);
    held[held_count] = (struct unit_block){block, size, 0};
    unit_fill(&held[held_count++], size + 1);
}

static void check_held(void) {
    for (int i = 0; i < held_count; i++)
        must(unit_is_intact(&held[i]));
}

static void resize(int i, size_t size) {
    struct unit_block *block = &held[i];
    size_t kept = block->size < size ? block->size : size;
    unsigned char before[64], *resized;
    kept = kept < 64 ? kept : 64;
    memcpy(before, block->at, kept);
    resized = t_realloc(block->at, size);
    if (!resized) {
        must(unit_is_intact(block));
        return;
    }
    must(memcmp(resized, before, kept) == 0);
    block->at = resized;
    block->size = size;
    unit_fill(block, size + 2);
}

static void *in_a_thread(void *unused) {
    for (size_t size = 8; size < 200000; size *= 4)
        t_free(t_malloc(size));
    if (held_count > 3) {
        t_free(held[1].at);
        held[1] = held[--held_count];
    }
    return unused;
}

/* A bit of everything that makes a system call. */
static void scenario(void) {
    static const size_t sizes[] = {1,     100,   1000,   5000,    9000,
                                   40000, 70000, 600000, 3 * MIB, 33 * MIB};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        hold(t_malloc(sizes[i]), sizes[i]);
        char *zero = t_calloc(1, sizes[i]);
        must(!zero || unit_is_zero(zero, sizes[i] < MIB / 4 ? sizes[i] : MIB / 4));
        hold(zero, sizes[i]);
        if (sizes[i] > MIB)
            continue;
        hold(t_memalign(64, sizes[i]), sizes[i]);
        hold(t_memalign(65536, sizes[i]), sizes[i]);
    }
    hold(t_memalign(64 * MIB, 5 * MIB), 5 * MIB);
    for (int i = 0; i < 100; i++) /* more pages than one growth of the arena gives */
        hold(t_malloc(60000), 60000);
    for (int i = 0; i < held_count; i += 2)
        resize(i, held[i].size * 2);
    for (int i = 0; i < held_count; i += 3)
        resize(i, held[i].size / 3 + 1);
    check_held();
    for (int i = 0; i < held_count; i += 2) {
        t_free(held[i].at);
        held[i] = held[--held_count];
    }
    unit_in_thread(in_a_thread, NULL);
    mp_trim();
    for (size_t size = 100; size < 40 * MIB; size *= 5)
        hold(t_calloc(1, size), size);
    check_held();
}

static void run_in_turn(void *last_call) {
    mp_options.purge = 0; /* each purge a call */
    mp_sys_fault = fail_in_turn;
    scenario();
    mp_sys_fault = NULL;
    must_hold_invariants();
    check_held();
    must(live_blocks() == (size_t)held_count);
    while (held_count > 0)
        t_free(held[--held_count].at);
    must(live_blocks() == 0);
    /* Later all works, and in full. */
    scenario();
    must(held_count > 70);
    must_hold_invariants();
    while (held_count > 0)
        t_free(held[--held_count].at);
    mp_trim();
    must(live_blocks() == 0);
    must_hold_invariants();
    if (atomic_load(&turn.calls) <= turn.at)
        _exit(*(int *)last_call);
}

/* Runs the scenario with every call of that name failing in turn, each run in a child, until the
 * call that is to fail does not come. */
static void fail_each(const char *name, enum mode mode) {
    int enough = 100, at;
    turn.name = name;
    turn.mode = mode;
    for (at = 0;; at++) {
        turn.at = at;
        int status = unit_in_child(run_in_turn, &enough, 30);
        if (WIFEXITED(status) && WEXITSTATUS(status) == enough)
            break;
        if (status != 0)
            ck_abort_msg("%s call %d of %s failing: status 0x%x", mode == ONE ? "only" : "from", at,
                         name ? name : "all", status);
    }
    ck_assert_int_gt(at, 0);
}

START_TEST(any_one_system_call_may_fail) {
    fail_each(NULL, ONE);
}
END_TEST

START_TEST(from_any_system_call_on_all_may_fail) {
    fail_each(NULL, ALL_FROM);
}
END_TEST

START_TEST(from_any_mmap_on_all_may_fail) {
    fail_each("mmap", ALL_FROM);
}
END_TEST

START_TEST(from_any_mremap_on_all_may_fail) {
    fail_each("mremap", ALL_FROM);
}
END_TEST

START_TEST(from_any_munmap_on_all_may_fail) {
    fail_each("munmap", ALL_FROM);
}
END_TEST

START_TEST(from_any_madvise_on_all_may_fail) {
    fail_each("madvise", ALL_FROM);
}
END_TEST

START_TEST(random_numbers_may_be_refused) {
    fail_each("getrandom", ALL_FROM);
}
END_TEST

/* ---- failing at random ---- */

static uint64_t fault_seed;
static _Atomic(uint64_t) fault_calls;
static _Atomic(uint32_t) fault_share; /* of 256 */

static int fail_at_random(const char *name) {
    (void)name;
    uint64_t state = fault_seed + atomic_fetch_add(&fault_calls, 1);
    return (unit_random(&state) & 255) < fault_share ? ENOMEM : 0;
}

enum { LOAD = 300 };

struct load {
    uint64_t seed;
    int steps;
    unsigned refused;
    struct unit_block blocks[LOAD];
};

static void *random_load(void *context) {
    struct load *load = context;
    uint64_t state = load->seed;
    for (int n = 0; n < load->steps; n++) {
        struct unit_block *block = &load->blocks[unit_random_to(&state, LOAD - 1)];
        size_t size = 1 + unit_random_size(&state, n % 32 ? 100000 : 40 * MIB);
        if (block->at)
            must(unit_is_intact(block));
        if (block->at && unit_random_to(&state, 1)) {
            t_free(block->at);
            block->at = NULL;
            continue;
        }
        void *got =
            block->at ? t_realloc(block->at, size) : (n % 2 ? t_calloc(1, size) : t_malloc(size));
        if (!got) {
            load->refused++;
            continue;
        }
        block->at = got;
        block->size = size;
        unit_fill(block, unit_random(&state));
    }
    return NULL;
}

static void free_load(struct load *load) {
    for (int i = 0; i < LOAD; i++) {
        must(!load->blocks[i].at || unit_is_intact(&load->blocks[i]));
        t_free(load->blocks[i].at);
        load->blocks[i].at = NULL;
    }
}

static void load_with_faults(unsigned threads, uint64_t seed) {
    static struct load loads[4];
    pthread_t ids[4];
    fault_seed = seed;
    memset(loads, 0, sizeof loads);
    mp_options.purge = 1;
    for (uint32_t share = 8; share <= 128; share *= 4) {
        fault_share = share;
        mp_sys_fault = fail_at_random;
        for (unsigned i = 0; i < threads; i++) {
            loads[i].seed = seed + i;
            loads[i].steps = unit_full() ? 20000 : 2000;
            ck_assert_int_eq(pthread_create(&ids[i], NULL, random_load, &loads[i]), 0);
        }
        for (unsigned i = 0; i < threads; i++)
            pthread_join(ids[i], NULL);
        mp_sys_fault = NULL;
        ck_assert_invariants();
    }
    for (unsigned i = 0; i < threads; i++) {
        free_load(&loads[i]);
        unsigned refused = loads[i].refused;
        random_load(&loads[i]);
        ck_assert_uint_eq(loads[i].refused, refused); /* without faults nothing is refused */
        free_load(&loads[i]);
    }
    mp_trim();
    ck_assert_invariants();
    ck_assert_uint_eq(live_blocks(), 0);
}

START_TEST(any_calls_may_fail_under_a_random_load) {
    t_free(t_malloc(1));
    load_with_faults(1, 81 + (uint64_t)_i);
}
END_TEST

START_TEST(any_calls_may_fail_under_several_threads) {
    t_free(t_malloc(1));
    load_with_faults(4, 91);
}
END_TEST

/* A program at its limit goes on failing for a while: that must not leave traces. */
START_TEST(a_time_without_memory_leaves_the_first_range_as_the_one_that_grows) {
    t_free(t_malloc(1));
    fault_seed = 1;
    fault_share = 256;
    mp_sys_fault = fail_at_random;
    void *blocks[2000];
    int n = 0;
    while (n < 2000 && (blocks[n] = t_malloc(30000)))
        n++;
    ck_assert_int_lt(n, 2000);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_null(t_malloc(3 * MIB));
    mp_sys_fault = NULL;
    for (int i = 0; i < 100; i++) {
        void *block = t_malloc(3 * MIB);
        ck_assert_uint_eq(mp_arena_number(mp_arena_find((uintptr_t)block)) >> MP_NUMBER_SHIFT, 0);
    }
    ck_assert_invariants();
}
END_TEST

START_TEST(one_refusal_now_and_then_leaves_the_first_range_as_the_one_that_grows) {
    t_free(t_malloc(1));
    turn.name = "mmap";
    turn.mode = ONE;
    for (int i = 0; i < 50; i++) {
        turn.at = i % 3;
        atomic_store(&turn.calls, 0);
        mp_sys_fault = fail_in_turn;
        void *block = t_malloc(10 * MIB);
        mp_sys_fault = NULL;
        ck_assert_ptr_nonnull(block);
    }
    ck_assert_uint_eq(mp_range_count, 1);
}
END_TEST

/* With memory locked or a limit reached, a class without a page takes blocks of larger ones, with
 * the same promises. */
START_TEST(a_class_that_gets_no_page_borrows_free_blocks_of_larger_ones) {
    void *blocks[2000];
    int n = 0;
    for (int i = 0; i < 16; i++)
        blocks[n++] = t_malloc(200);
    while (n > 1) /* one stays: an empty page would be given up */
        t_free(blocks[--n]);
    fault_seed = 1;
    fault_share = 256;
    mp_sys_fault = fail_at_random;
    while (n < 2000 && (blocks[n] = t_malloc(8192)))
        n++; /* no slice is left */
    ck_assert_int_lt(n, 2000);
    char *borrowed = t_calloc(1, 100);
    ck_assert_ptr_nonnull(borrowed);
    ck_assert(unit_is_zero(borrowed, 100));
    ck_assert_uint_eq(mp_usable_size(borrowed), 208);
    ck_assert_ptr_null(t_memalign(128, 100)); /* none of theirs would be aligned */
    mp_sys_fault = NULL;
    t_free(borrowed);
    while (n > 0)
        t_free(blocks[--n]);
    ck_assert_invariants();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

/* What a class keeps for its next blocks is not kept from another in need. */
START_TEST(an_empty_page_of_one_class_serves_another_when_there_is_no_more) {
    void *blocks[2000], *other[60];
    int n = 0;
    for (int i = 0; i < 60; i++)
        other[i] = t_malloc(1000);
    fault_seed = 1;
    fault_share = 256;
    mp_sys_fault = fail_at_random;
    while (n < 2000 && (blocks[n] = t_malloc(8192)))
        n++;
    ck_assert_int_lt(n, 2000);
    for (int i = 0; i < 60; i++)
        t_free(other[i]);
    ck_assert_ptr_nonnull(blocks[n] = t_malloc(8192));
    mp_sys_fault = NULL;
    while (n >= 0)
        t_free(blocks[n--]);
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("faults");
    TCase *in_turn = tcase_create("in turn");
    tcase_set_timeout(in_turn, 60);
    UNIT_CASE_FORKING(in_turn, any_one_system_call_may_fail);
    UNIT_CASE_FORKING(in_turn, from_any_system_call_on_all_may_fail);
    UNIT_CASE_FORKING(in_turn, from_any_mmap_on_all_may_fail);
    UNIT_CASE_FORKING(in_turn, from_any_mremap_on_all_may_fail);
    UNIT_CASE_FORKING(in_turn, from_any_munmap_on_all_may_fail);
    UNIT_CASE_FORKING(in_turn, from_any_madvise_on_all_may_fail);
    UNIT_CASE_FORKING(in_turn, random_numbers_may_be_refused);
    suite_add_tcase(suite, in_turn);
    TCase *at_random = tcase_create("at random");
    tcase_set_timeout(at_random, 60);
    tcase_add_loop_test(at_random, any_calls_may_fail_under_a_random_load, 0, unit_full() ? 20 : 3);
    UNIT_CASE(at_random, any_calls_may_fail_under_several_threads);
    UNIT_CASE_PRISTINE(at_random,
                       a_time_without_memory_leaves_the_first_range_as_the_one_that_grows);
    UNIT_CASE_PRISTINE(at_random,
                       one_refusal_now_and_then_leaves_the_first_range_as_the_one_that_grows);
    UNIT_CASE_PRISTINE(at_random, a_class_that_gets_no_page_borrows_free_blocks_of_larger_ones);
    UNIT_CASE_PRISTINE(at_random, an_empty_page_of_one_class_serves_another_when_there_is_no_more);
    suite_add_tcase(suite, at_random);
    return unit_main(suite);
}
