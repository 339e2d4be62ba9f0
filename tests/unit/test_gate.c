/* Suite: the gate: who has closed it finds nobody in a slow section, nobody gets into one until it
 * is opened, and single pops and pushes go on meanwhile. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"
#include "heap/arena.h"
#include "heap/census.h"
#include "heap/hooks.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "unit.h"

#define MIB ((size_t)1 << 20)

/* How long something that must not happen is waited for. */
static void wait_a_while(void) {
    usleep(30000);
}

static _Atomic(bool) done, go_on, inside;

static void *close_and_open(void *unused) {
    mp_gate_close();
    atomic_store(&done, true);
    mp_gate_open(false);
    return unused;
}

/* ---- closing waits ---- */

static uint32_t stay_inside(struct mp_heap *heap, unsigned class) {
    (void)heap;
    (void)class;
    if (!atomic_exchange(&inside, true)) {
        while (!atomic_load(&go_on))
            sched_yield();
    }
    return MP_NO_SAMPLE;
}

static void on_sampled(void *block, void *place, size_t size, size_t usable) {
    (void)block, (void)place, (void)size, (void)usable;
}

static void on_freed(void *block) {
    (void)block;
}

static void *sample_one(void *unused) {
    t_free(t_malloc(100));
    mp_bin_sample_in(&mp_tls.heap->bins[mp_class_of(2000)], 1);
    t_free(t_malloc(2000)); /* asks for the next count inside its slow section */
    return unused;
}

START_TEST(closing_waits_for_a_slow_section) {
    pthread_t worker, closer;
    t_free(t_malloc(1));
    atomic_store(&inside, true); /* not yet */
    mp_hooks.sampled = on_sampled;
    mp_hooks.freed = on_freed;
    mp_hooks.countdown = stay_inside;
    unit_in_thread(sample_one, NULL);
    atomic_store(&inside, false);
    atomic_store(&go_on, false);
    atomic_store(&done, false);
    ck_assert_int_eq(pthread_create(&worker, NULL, sample_one, NULL), 0);
    while (!atomic_load(&inside))
        sched_yield();
    ck_assert_int_eq(pthread_create(&closer, NULL, close_and_open, NULL), 0);
    wait_a_while();
    ck_assert(!atomic_load(&done));
    atomic_store(&go_on, true);
    pthread_join(worker, NULL);
    pthread_join(closer, NULL);
    ck_assert(atomic_load(&done));
    memset(&mp_hooks, 0, sizeof mp_hooks);
}
END_TEST

/* ---- a closed gate ---- */

typedef void action(void);

struct waiter {
    action *prepare, *act;
    _Atomic(bool) ready, acted;
};

static void *act_when_ready(void *context) {
    struct waiter *waiter = context;
    if (waiter->prepare)
        waiter->prepare();
    atomic_store(&waiter->ready, true);
    while (!atomic_load(&go_on))
        sched_yield();
    if (waiter->act)
        waiter->act();
    atomic_store(&waiter->acted, true);
    return NULL;
}

/* Does `act` get done while the gate is closed? */
static bool passes(action *prepare, action *act) {
    struct waiter waiter = {.prepare = prepare, .act = act};
    pthread_t thread;
    atomic_store(&go_on, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, act_when_ready, &waiter), 0);
    while (!atomic_load(&waiter.ready))
        sched_yield();
    mp_gate_close();
    atomic_store(&go_on, true);
    for (int i = 0; i < 30 && !atomic_load(&waiter.acted); i++)
        usleep(1000);
    bool passed = atomic_load(&waiter.acted);
    mp_gate_open(false);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&waiter.acted));
    ck_assert_invariants();
    return passed;
}

static __thread void *block;

static void allocate_small(void) {
    block = t_malloc(64);
}
static void allocate_medium(void) {
    block = t_malloc(20000);
}
static void allocate_large(void) {
    block = t_malloc(200000);
}
static void allocate_huge(void) {
    block = t_malloc(40 * MIB);
}
static void grow(void) {
    block = t_realloc(block, mp_usable_size(block) + 1);
}
static void free_it(void) {
    t_free(block);
}
static void pop_and_push(void) {
    for (int i = 0; i < 30; i++) /* as many as its list has */
        t_free(t_malloc(64));
}
static void trim(void) {
    mp_trim();
}

START_TEST(pops_and_pushes_pass_a_closed_gate) {
    ck_assert(passes(allocate_small, free_it));
    ck_assert(passes(allocate_small, pop_and_push));
}
END_TEST

START_TEST(refills_wait_at_a_closed_gate) {
    ck_assert(!passes(NULL, allocate_small));
    ck_assert(!passes(allocate_medium, allocate_small));
}
END_TEST

START_TEST(bigger_blocks_wait_at_a_closed_gate) {
    action *const prepare[] = {NULL, allocate_small};
    for (int i = 0; i < 2; i++) {
        ck_assert(!passes(prepare[i], allocate_medium));
        ck_assert(!passes(prepare[i], allocate_large));
    }
    ck_assert(!passes(allocate_medium, free_it));
    ck_assert(!passes(allocate_large, free_it));
    ck_assert(!passes(allocate_large, grow));
    ck_assert(!passes(allocate_huge, free_it));
    ck_assert(!passes(allocate_small, trim));
}
END_TEST

/* Its end is a slow section too: the thread is joined only after the gate is open. */
START_TEST(threads_end_behind_a_closed_gate) {
    for (int i = 0; i < 20; i++)
        passes(allocate_small, NULL);
    struct mp_census census;
    mp_census(&census);
    ck_assert_invariants();
}
END_TEST

/* Other fork handlers allocate after ours has closed the gate. */
START_TEST(who_closed_the_gate_allocates_all_the_same) {
    static const size_t sizes[] = {10, 500, 5000, 20000, 200000, 40 * MIB};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct unit_block blocks[2 * SIZES];
    for (int round = 0; round < 2; round++) {
        if (round)
            t_free(t_malloc(1));
        mp_gate_close();
        for (int i = 0; i < SIZES; i++) {
            blocks[i] = (struct unit_block){t_malloc(sizes[i]), sizes[i], 0};
            ck_assert_ptr_nonnull(blocks[i].at);
            unit_fill(&blocks[i], (uint64_t)i);
        }
        for (int i = 0; i < SIZES; i += 2) {
            ck_assert(unit_is_intact(&blocks[i]));
            t_free(blocks[i].at);
        }
        mp_trim();
        mp_gate_open(false);
        for (int i = 1; i < SIZES; i += 2) {
            ck_assert(unit_is_intact(&blocks[i]));
            t_free(blocks[i].at);
        }
        ck_assert_invariants();
    }
}
END_TEST

/* ---- under load ---- */

static void *close_often(void *times) {
    for (uintptr_t i = (uintptr_t)times; i > 0; i--) {
        mp_gate_close();
        mp_gate_open(false);
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

START_TEST(the_gate_is_closed_and_opened_by_several_under_load) {
    pthread_t closers[2];
    crowd_start(131, true);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&closers[i], NULL, close_often, (void *)(uintptr_t)100),
                             0);
        for (int i = 0; i < 2; i++)
            pthread_join(closers[i], NULL);
        crowd_replace();
    }
    crowd_stop();
    crowd_free();
    struct mp_census census;
    mp_census(&census);
    ck_assert_uint_eq(census.live_blocks, 0);
    ck_assert_invariants();
}
END_TEST

/* While it is closed, the structures that slow sections change are whole. */
START_TEST(pools_and_pages_are_whole_behind_a_closed_gate) {
    crowd_start(132, false);
    for (int n = 0; n < 100; n++) {
        mp_gate_close();
        size_t used = 0;
        for (uint32_t r = 0; r < mp_range_count; r++) {
            for (uint32_t i = mp_ranges[r].first, next; i < mp_ranges[r].limit; i = next) {
                const struct mp_page *page = &mp_ranges[r].meta[i];
                enum mp_kind kind = mp_page_kind(page);
                if (kind == MP_KIND_FREE || kind == MP_KIND_LARGE)
                    next = i + page->slices;
                else if (kind == MP_KIND_SMALL || kind == MP_KIND_MEDIUM || kind == MP_KIND_SAMPLES)
                    next = i + mp_classes[page->class].slices;
                else
                    ck_abort_msg("slice %u of range %u is of kind %d", i, r, (int)kind);
                if (kind != MP_KIND_FREE)
                    used += next - i;
            }
        }
        mp_gate_open(false);
        ck_assert_uint_gt(used, 0);
        usleep(500);
    }
    crowd_stop();
    crowd_free();
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gate");
    TCase *gate = tcase_create("gate");
    UNIT_CASE_PRISTINE(gate, closing_waits_for_a_slow_section);
    UNIT_CASE(gate, pops_and_pushes_pass_a_closed_gate);
    UNIT_CASE(gate, refills_wait_at_a_closed_gate);
    UNIT_CASE(gate, bigger_blocks_wait_at_a_closed_gate);
    UNIT_CASE(gate, threads_end_behind_a_closed_gate);
    UNIT_CASE(gate, who_closed_the_gate_allocates_all_the_same);
    suite_add_tcase(suite, gate);
    TCase *load = tcase_create("load");
    tcase_set_timeout(load, 30);
    UNIT_CASE_PRISTINE(load, the_gate_is_closed_and_opened_by_several_under_load);
    UNIT_CASE_PRISTINE(load, pools_and_pages_are_whole_behind_a_closed_gate);
    suite_add_tcase(suite, load);
    return unit_main(suite);
}
