/* Suite: the census of a process that stands still at any instruction, and of a copy that fork
 * made of it while its threads ran. A crowd of threads allocates and frees across each other; the
 * census is held against the crowd's own table of what is live. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crowd.h"
#include "heap/arena.h"
#include "heap/census.h"
#include "heap/huge.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/sys.h"
#include "unit.h"

/* ---- the comparison ---- */

enum { MOST_ODD = 4096 };

/* How the census and the table differ. */
struct difference {
    size_t in_slots, huge_in_slots; /* blocks in the table */
    size_t live;                    /* blocks that the census takes for live */
    struct mp_census census;
    size_t dead_count, extra_count;
    void *dead[MOST_ODD];  /* in a slot, and not live */
    void *extra[MOST_ODD]; /* live, and in no slot */
};

static void *sorted[CROWD_SLOTS];
static size_t sorted_count;

static int by_address(const void *a, const void *b) {
    uintptr_t left = (uintptr_t) * (void *const *)a, right = (uintptr_t) * (void *const *)b;
    return left < right ? -1 : left > right;
}

static void note_extra(void *block, void *context) {
    struct difference *difference = context;
    if (!bsearch(&block, sorted, sorted_count, sizeof *sorted, by_address) &&
        difference->extra_count < MOST_ODD)
        difference->extra[difference->extra_count++] = block;
}

/* Allocates nothing; called in a copy, or while the others stand still. */
static void compare(struct difference *difference) {
    memset(difference, 0, offsetof(struct difference, dead));
    sorted_count = 0;
    for (unsigned i = 0; i < CROWD_SLOTS; i++) {
        void *block = atomic_load(&crowd_slots[i]);
        if (!block)
            continue;
        difference->in_slots++;
        if (!mp_arena_find((uintptr_t)block)) {
            difference->huge_in_slots++;
            continue;
        }
        sorted[sorted_count++] = block;
        if (!mp_census_is_live(block))
            difference->dead[difference->dead_count++] = block;
    }
    qsort(sorted, sorted_count, sizeof *sorted, by_address);
    mp_census(&difference->census);
    difference->live = crowd_each_live(note_extra, difference);
}

/* The census's parts add up. */
static void check_sums(const struct difference *difference) {
    const struct mp_census *census = &difference->census;
    uint64_t blocks = census->large_blocks + census->huge_blocks;
    uint64_t bytes = census->large_bytes + census->huge_bytes;
    for (unsigned c = 0; c < MP_CLASSES; c++) {
        blocks += census->classes[c].live;
        bytes += census->classes[c].live * mp_classes[c].size;
    }
    must(blocks == census->live_blocks && bytes == census->live_bytes);
    must(difference->live + census->huge_blocks == census->live_blocks);
}

/* A comparison proves something only where it met blocks in somebody's hands, and on a machine
 * with much else to do many in a row meet none: such a test goes on, at most this much longer. */
enum { PATIENCE = 20 };

/* ---- stopped ---- */

static void stop_and_count(int stops, bool exits) {
    static struct difference difference;
    uint64_t state = 61;
    crowd_start(61, exits);
    size_t extras = 0, busy = 0;
    int n;
    for (n = 0; n < stops || (busy == 0 && n < PATIENCE * stops); n++) {
        for (size_t spins = unit_random_to(&state, 20000); spins > 0; spins--)
            mp_arch_pause();
        crowd_park();
        compare(&difference);
        unsigned in_hand = crowd_in_hand();
        crowd_unpark();
        check_sums(&difference);
        if (difference.dead_count)
            ck_abort_msg("stop %d: %zu of %zu blocks are not live for the census, e.g. %p", n,
                         difference.dead_count, difference.in_slots, difference.dead[0]);
        if (difference.extra_count > in_hand)
            ck_abort_msg("stop %d: %zu blocks are live for the census and in no slot, with %u in "
                         "hand; e.g. %p",
                         n, difference.extra_count, in_hand, difference.extra[0]);
        size_t huge = difference.census.huge_blocks;
        if (huge < difference.huge_in_slots || huge > difference.huge_in_slots + in_hand)
            ck_abort_msg("stop %d: %zu huge blocks, %zu in slots", n, huge,
                         difference.huge_in_slots);
        extras += difference.extra_count;
        busy += in_hand;
        crowd_replace();
    }
    crowd_stop();
    printf("%d stops: %zu blocks in hand, all others right\n", n, extras);
    /* It was not idle. */
    ck_assert_uint_gt(busy, 0);
    crowd_free();
    ck_assert_invariants();
    mp_census(&difference.census);
    ck_assert_uint_eq(difference.census.live_blocks, 0);
}

START_TEST(a_census_of_stopped_threads_counts_every_block_once) {
    stop_and_count(unit_full() ? 1000 : 150, false);
}
END_TEST

START_TEST(a_census_of_stopped_threads_some_of_which_end_counts_every_block_once) {
    stop_and_count(unit_full() ? 500 : 50, true);
}
END_TEST

/* ---- forked ---- */

/* Whatever the census has missed or counted too often must have been in a thread's hands while the
 * kernel copied: in an operation that began before the copy was finished and ended after it was
 * begun. */
static void check_copy(int n, const struct difference *copy, const uint64_t *from,
                       const uint64_t *to) {
    check_sums(copy);
    for (size_t i = 0; i < copy->dead_count; i++) {
        if (!crowd_has_touched(copy->dead[i], from, to))
            ck_abort_msg("fork %d: %p is not live for the census and nobody touched it", n,
                         copy->dead[i]);
    }
    for (size_t i = 0; i < copy->extra_count; i++) {
        if (!crowd_has_touched(copy->extra[i], from, to))
            ck_abort_msg("fork %d: %p is live for the census, and nobody has it", n,
                         copy->extra[i]);
    }
}

static void fork_and_count(int forks, bool exits) {
    struct difference *copy =
        mmap(NULL, sizeof *copy, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(copy, MAP_FAILED);
    uint64_t from[CROWD_THREADS], to[CROWD_THREADS], state = 62;
    size_t odd = 0;
    int n;
    crowd_start(62, exits);
    for (n = 0; n < forks || (odd == 0 && n < PATIENCE * forks); n++) {
        for (size_t spins = unit_random_to(&state, 20000); spins > 0; spins--)
            mp_arch_pause();
        mp_gate_close();
        crowd_count(from);
        pid_t child = fork();
        if (child == 0) {
            compare(copy);
            _exit(0);
        }
        crowd_count(to);
        crowd_hold(); /* or the log of what they did would be overwritten */
        mp_gate_open(false);
        ck_assert_int_gt(child, 0);
        crowd_wait_held();
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        check_copy(n, copy, from, to);
        odd += copy->dead_count + copy->extra_count;
        crowd_release();
        crowd_replace();
    }
    crowd_stop();
    printf("%d copies through the gate: %zu blocks in hand when copied, all others right\n", n,
           odd);
    ck_assert_uint_gt(odd, 0);
    crowd_free();
    ck_assert_invariants();
    munmap(copy, sizeof *copy);
}

START_TEST(a_copy_through_the_gate_is_wrong_only_about_blocks_in_hand) {
    fork_and_count(unit_full() ? 10000 : 150, false);
}
END_TEST

START_TEST(a_copy_through_the_gate_is_right_about_threads_that_end) {
    fork_and_count(unit_full() ? 2000 : 50, true);
}
END_TEST

/* ---- a census takes no lock ---- */

static _Atomic(int) held_up;

/* Stands in the system call, with whatever locks are held around it. */
static int hold_up(const char *name) {
    if (strcmp(name, "mmap") == 0 && atomic_load(&held_up) == 0) {
        atomic_store(&held_up, 1);
        while (atomic_load(&held_up) == 1)
            sched_yield();
    }
    return 0;
}

static void *in_a_huge_table(void *unused) {
    bool sampled;
    mp_huge_free(mp_huge_alloc(1, 16, false), &sampled);
    return unused;
}

/* The first huge block makes the table, under its lock. */
static int hold_up_second(const char *name) {
    static _Atomic(int) calls;
    if (strcmp(name, "mmap") == 0 && atomic_fetch_add(&calls, 1) == 0)
        return 0;
    return hold_up(name);
}

START_TEST(a_census_waits_for_nobody_who_has_the_huge_table) {
    pthread_t thread;
    int local;
    t_free(t_malloc(100));
    held_up = 0;
    mp_sys_fault = hold_up_second;
    ck_assert_int_eq(pthread_create(&thread, NULL, in_a_huge_table, NULL), 0);
    while (atomic_load(&held_up) == 0)
        sched_yield();
    ck_assert(!mp_census_is_live(&local));
    atomic_store(&held_up, 2);
    mp_sys_fault = NULL;
    pthread_join(thread, NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("copies");
    TCase *stopped = tcase_create("stopped");
    tcase_set_timeout(stopped, unit_full() ? 600 : 60);
    UNIT_CASE_FORKING(stopped, a_census_of_stopped_threads_counts_every_block_once);
    UNIT_CASE_FORKING(stopped,
                      a_census_of_stopped_threads_some_of_which_end_counts_every_block_once);
    suite_add_tcase(suite, stopped);
    TCase *forked = tcase_create("forked");
    tcase_set_timeout(forked, unit_full() ? 1500 : 60);
    UNIT_CASE_FORKING(forked, a_copy_through_the_gate_is_wrong_only_about_blocks_in_hand);
    UNIT_CASE_FORKING(forked, a_copy_through_the_gate_is_right_about_threads_that_end);
    suite_add_tcase(suite, forked);
    TCase *locks = tcase_create("locks");
    UNIT_CASE_PRISTINE(locks, a_census_waits_for_nobody_who_has_the_huge_table);
    suite_add_tcase(suite, locks);
    return unit_main(suite);
}
