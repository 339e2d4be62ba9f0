/* Suite: the forked child's heap: it works, what lost threads held can be freed and used again, and
 * nothing that was under way in the parent is lost in it. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crowd.h"
#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap/hooks.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

static size_t live_blocks(void) {
    struct mp_census census;
    mp_census(&census);
    return census.live_blocks;
}

/* ---- one thread ---- */

enum { BLOCKS = 3000 };
static struct unit_block blocks[BLOCKS];

static void allocate_all(void) {
    uint64_t state = 71;
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = 1 + unit_random_size(&state, i % 100 == 0 ? 3000000 : 5000);
        blocks[i] = (struct unit_block){t_malloc(size), size, 0};
        must(blocks[i].at != NULL);
        unit_fill(&blocks[i], (uint64_t)i);
    }
}

static void free_all(void) {
    for (int i = 0; i < BLOCKS; i++) {
        must(unit_is_intact(&blocks[i]));
        t_free(blocks[i].at);
    }
}

static void use_and_free_all(void) {
    must_hold_invariants();
    free_all();
    allocate_all();
    free_all();
    mp_trim();
    must(live_blocks() == 0);
    must_hold_invariants();
}

START_TEST(a_child_of_one_thread_has_a_heap_like_any) {
    allocate_all();
    ck_assert_int_eq(unit_gated_fork(use_and_free_all), 0);
    /* And the parent's is untouched. */
    ck_assert_invariants();
    free_all();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

/* ---- other threads are lost ---- */

static pthread_barrier_t allocated, forked;

static void *allocate_and_wait(void *unused) {
    allocate_all();
    pthread_barrier_wait(&allocated);
    pthread_barrier_wait(&forked);
    free_all();
    return unused;
}

static void check_lost(void) {
    must(mp_threads_lost);
    must_hold_invariants();
    must(live_blocks() == BLOCKS);
    for (int i = 0; i < BLOCKS; i++)
        must(mp_usable_size(blocks[i].at) >= blocks[i].size);
    free_all();
    must(live_blocks() == 0);
    must_hold_invariants();
    /* All of it: nothing stays with the lost thread. */
    mp_options.purge = 0;
    mp_trim();
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    must(stats.used_bytes == 0);
    allocate_all();
    free_all();
    must_hold_invariants();
}

static int fork_beside_a_thread(void (*work)(void)) {
    pthread_t thread;
    t_free(t_malloc(1));
    mp_trim();
    pthread_barrier_init(&allocated, NULL, 2);
    pthread_barrier_init(&forked, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_and_wait, NULL), 0);
    pthread_barrier_wait(&allocated);
    int status = unit_gated_fork(work);
    pthread_barrier_wait(&forked);
    pthread_join(thread, NULL);
    return status;
}

START_TEST(blocks_of_a_lost_thread_are_freed_and_their_memory_used_again) {
    ck_assert_int_eq(fork_beside_a_thread(check_lost), 0);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_invariants();
}
END_TEST

static void resize_lost(void) {
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = blocks[i].size * 2;
        unsigned char first = blocks[i].at[0];
        blocks[i].at = t_realloc(blocks[i].at, size);
        must(blocks[i].at && blocks[i].at[0] == first);
        blocks[i].size = size;
        unit_fill(&blocks[i], (uint64_t)i + 5);
    }
    must_hold_invariants();
    free_all();
    must(live_blocks() == 0);
}

START_TEST(blocks_of_a_lost_thread_are_resized) {
    ck_assert_int_eq(fork_beside_a_thread(resize_lost), 0);
}
END_TEST

/* ---- samples of lost threads ---- */

static uint32_t every_third(struct mp_heap *heap, unsigned class) {
    (void)heap;
    (void)class;
    return 3;
}

static void on_sampled(void *block, void *place, size_t size, size_t usable) {
    (void)block, (void)place, (void)size, (void)usable;
}

static void on_freed(void *block) {
    (void)block;
}

static const struct mp_hooks sampling = {
    .countdown = every_third, .sampled = on_sampled, .freed = on_freed};

/* Half of them go, the lost thread's pages are used again, and then the other half goes. */
static void use_beside_samples(void) {
    static struct unit_block mine[2 * BLOCKS];
    uint64_t state = 74;
    for (int i = 0; i < BLOCKS; i += 2)
        t_free(blocks[i].at);
    for (int i = 0; i < 2 * BLOCKS; i++) {
        mine[i].size = 1 + unit_random_size(&state, 5000);
        mine[i].at = t_malloc(mine[i].size);
        must(mine[i].at != NULL);
        unit_fill(&mine[i], (uint64_t)i);
    }
    for (int i = 1; i < BLOCKS; i += 2) {
        must(unit_is_intact(&blocks[i]));
        t_free(blocks[i].at);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = round; i < 2 * BLOCKS; i += 2) {
            must(unit_is_intact(&mine[i]));
            t_free(mine[i].at);
            mine[i].at = t_malloc(mine[i].size);
            unit_fill(&mine[i], (uint64_t)i + 3);
        }
    }
    for (int i = 0; i < 2 * BLOCKS; i++) {
        must(unit_is_intact(&mine[i]));
        t_free(mine[i].at);
    }
    must(live_blocks() == 0);
    must_hold_invariants();
}

START_TEST(no_block_of_a_lost_thread_is_handed_out_while_a_sample_stands_for_it) {
    mp_hooks = sampling;
    ck_assert_int_eq(fork_beside_a_thread(use_beside_samples), 0);
}
END_TEST

static void *free_third(void *third) {
    for (uintptr_t i = (uintptr_t)third; i < BLOCKS; i += 3) {
        must(unit_is_intact(&blocks[i]));
        t_free(blocks[i].at);
    }
    return NULL;
}

static void free_lost_by_threads(void) {
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        must(pthread_create(&threads[i], NULL, free_third, (void *)i) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    must(live_blocks() == 0);
    mp_trim();
    must_hold_invariants();
}

START_TEST(several_threads_of_the_child_free_blocks_of_a_lost_one) {
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(fork_beside_a_thread(free_lost_by_threads), 0);
}
END_TEST

static void fork_again(void) {
    must(unit_gated_fork(check_lost) == 0);
    check_lost();
}

START_TEST(a_child_of_a_child_frees_them_too) {
    ck_assert_int_eq(fork_beside_a_thread(fork_again), 0);
}
END_TEST

static void new_threads_in_child(void) {
    for (int i = 0; i < 100; i++)
        unit_in_thread(free_third, (void *)BLOCKS);
    pthread_barrier_init(&allocated, NULL, 1);
    pthread_barrier_init(&forked, NULL, 1);
    free_all();
    for (int i = 0; i < 10; i++)
        unit_in_thread(allocate_and_wait, NULL);
    must(live_blocks() == 0);
    must_hold_invariants();
}

START_TEST(a_child_starts_threads_of_its_own) {
    ck_assert_int_eq(fork_beside_a_thread(new_threads_in_child), 0);
}
END_TEST

/* ---- in the middle of things ---- */

static void use_child_of_crowd(void) {
    struct unit_block mine[200];
    uint64_t state = 72;
    /* What was in a thread's hands stays with it: a few blocks. */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            mine[i].size = 1 + unit_random_size(&state, 5000);
            mine[i].at = t_malloc(mine[i].size);
            unit_fill(&mine[i], unit_random(&state));
        }
        if (round == 0)
            crowd_free();
        for (int i = 0; i < 200; i++) {
            must(unit_is_intact(&mine[i]));
            t_free(mine[i].at);
        }
    }
}

START_TEST(a_child_of_a_crowd_frees_what_the_crowd_had) {
    crowd_start(73, true);
    for (int i = 0; i < (unit_full() ? 1000 : 60); i++) {
        ck_assert_int_eq(unit_gated_fork(use_child_of_crowd), 0);
        crowd_replace();
    }
    crowd_stop();
    crowd_free();
    ck_assert_invariants();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

static _Atomic(int) held_up;

static int hold_up(const char *name) {
    if (strcmp(name, "madvise") == 0 && atomic_load(&held_up) == 0) {
        atomic_store(&held_up, 1);
        while (atomic_load(&held_up) == 1)
            sched_yield();
    }
    return 0;
}

static void *purge_something(void *unused) {
    void *block = t_malloc(2000000);
    memset(block, 1, 2000000);
    mp_options.purge = 0;
    t_free(block);
    return unused;
}

static void *trim_something(void *unused) {
    void *block = t_malloc(2000000);
    memset(block, 1, 2000000);
    mp_options.purge = MP_TIME_OFF;
    t_free(block);
    mp_trim();
    return unused;
}

static void *tick_something(void *unused) {
    void *block = t_malloc(2000000);
    memset(block, 1, 2000000);
    mp_options.purge = 3600000;
    t_free(block);
    mp_options.purge = 1;
    usleep(10000);
    t_free(t_malloc(70000));
    return unused;
}

static void check_all_spans(void) {
    mp_sys_fault = NULL;
    must_hold_invariants();
}

static void *release_later(void *unused) {
    usleep(200000);
    atomic_store(&held_up, 2);
    return unused;
}

/* The lock is not held around the system call, so that others may go on; the fork has to wait all
 * the same. */
static void fork_while_purging(void *(*work)(void *)) {
    pthread_t purger, releaser;
    t_free(t_malloc(1));
    held_up = 0;
    mp_sys_fault = hold_up;
    ck_assert_int_eq(pthread_create(&purger, NULL, work, NULL), 0);
    for (int i = 0; i < 2000 && atomic_load(&held_up) == 0; i++)
        usleep(1000);
    ck_assert_int_eq(held_up, 1);
    ck_assert_int_eq(pthread_create(&releaser, NULL, release_later, NULL), 0);
    ck_assert_int_eq(unit_gated_fork(check_all_spans), 0);
    pthread_join(releaser, NULL);
    pthread_join(purger, NULL);
    mp_sys_fault = NULL;
}

START_TEST(a_span_that_is_being_purged_is_not_lost_in_the_child) {
    fork_while_purging(purge_something);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_span_that_is_being_trimmed_is_not_lost_in_the_child) {
    fork_while_purging(trim_something);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_span_that_is_being_purged_by_a_tick_is_not_lost_in_the_child) {
    fork_while_purging(tick_something);
    ck_assert_invariants();
}
END_TEST

/* ---- threads that are gone ---- */

static pthread_key_t late_key;

static void stubborn_destructor(void *value) {
    must(pthread_setspecific(late_key, value) == 0);
    t_free(t_malloc(96));
}

static void *with_stubborn_destructor(void *unused) {
    must(t_malloc(50) != NULL);
    must(pthread_setspecific(late_key, &late_key) == 0);
    return unused;
}

static void allocate_some(void) {
    for (int i = 0; i < 1000; i++)
        t_free(t_malloc((size_t)i * 10));
}

/* Such a thread's heap outlives it; its thread-local storage does not. */
START_TEST(the_gate_does_not_look_at_a_thread_that_is_gone) {
    t_free(t_malloc(1));
    ck_assert_int_eq(pthread_key_create(&late_key, stubborn_destructor), 0);
    size_t size = 1 << 20;
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, size);
    ck_assert_int_eq(pthread_create(&thread, &attr, with_stubborn_destructor, NULL), 0);
    pthread_join(thread, NULL);
    munmap(stack, size);
    /* What its lists held is lost with them, so that not every free block is in a list. */
    ck_assert_int_eq(unit_gated_fork(allocate_some), 0);
    allocate_some();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fork");
    TCase *one = tcase_create("one thread");
    UNIT_CASE_FORKING(one, a_child_of_one_thread_has_a_heap_like_any);
    suite_add_tcase(suite, one);
    TCase *lost = tcase_create("lost threads");
    tcase_set_timeout(lost, 30);
    UNIT_CASE_FORKING(lost, blocks_of_a_lost_thread_are_freed_and_their_memory_used_again);
    UNIT_CASE_FORKING(lost, blocks_of_a_lost_thread_are_resized);
    UNIT_CASE_FORKING(lost, no_block_of_a_lost_thread_is_handed_out_while_a_sample_stands_for_it);
    UNIT_CASE_FORKING(lost, several_threads_of_the_child_free_blocks_of_a_lost_one);
    UNIT_CASE_FORKING(lost, a_child_of_a_child_frees_them_too);
    UNIT_CASE_FORKING(lost, a_child_starts_threads_of_its_own);
    suite_add_tcase(suite, lost);
    TCase *middle = tcase_create("in the middle");
    tcase_set_timeout(middle, 30);
    UNIT_CASE_FORKING(middle, a_child_of_a_crowd_frees_what_the_crowd_had);
    UNIT_CASE_FORKING(middle, a_span_that_is_being_purged_is_not_lost_in_the_child);
    UNIT_CASE_FORKING(middle, a_span_that_is_being_trimmed_is_not_lost_in_the_child);
    UNIT_CASE_FORKING(middle, a_span_that_is_being_purged_by_a_tick_is_not_lost_in_the_child);
    suite_add_tcase(suite, middle);
    TCase *gone = tcase_create("gone threads");
    UNIT_CASE_FORKING(gone, the_gate_does_not_look_at_a_thread_that_is_gone);
    suite_add_tcase(suite, gone);
    return unit_main(suite);
}
