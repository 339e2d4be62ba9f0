/* Suite: the lock, and the trap of debug builds for locks that are taken out of order. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/lock.h"
#include "unit.h"

static struct mp_lock low = MP_LOCK_INIT(MP_RANK_HUGE);
static struct mp_lock high = MP_LOCK_INIT(MP_RANK_ARENA);
static struct mp_lock peer = MP_LOCK_INIT(MP_RANK_ARENA);

enum { THREADS = 4, ROUNDS = 50000 };

static uint64_t counter; /* under `low` */
static _Atomic(int) inside;

static void *count_up(void *yields) {
    for (int i = 0; i < ROUNDS; i++) {
        mp_lock_take(&low);
        must(atomic_fetch_add(&inside, 1) == 0);
        counter++;
        if (yields && i % 64 == 0)
            sched_yield(); /* so that others find it held and sleep */
        atomic_fetch_sub(&inside, 1);
        mp_lock_drop(&low);
    }
    return NULL;
}

static void count_by_threads(bool yields) {
    pthread_t threads[THREADS];
    counter = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, yields ? &counter : NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(counter, (uint64_t)THREADS * ROUNDS);
    ck_assert_uint_eq(low.word, 0);
}

START_TEST(one_thread_at_a_time_holds_a_lock) {
    count_by_threads(false);
}
END_TEST

START_TEST(threads_that_sleep_on_a_lock_are_woken) {
    count_by_threads(true);
}
END_TEST

static void *try_low(void *result) {
    bool taken = mp_lock_try(&low);
    if (taken)
        mp_lock_drop(&low);
    *(bool *)result = taken;
    return NULL;
}

START_TEST(a_try_takes_a_free_lock_and_no_other) {
    bool taken = true;
    mp_lock_take(&low);
    unit_in_thread(try_low, &taken);
    ck_assert(!taken);
    mp_lock_drop(&low);
    unit_in_thread(try_low, &taken);
    ck_assert(taken);
}
END_TEST

static _Atomic(bool) has_it;

static void *take_and_tell(void *unused) {
    mp_lock_take(&low);
    atomic_store(&has_it, true);
    mp_lock_drop(&low);
    return unused;
}

START_TEST(a_sleeper_takes_no_processor_and_wakes_when_the_lock_is_dropped) {
    pthread_t thread;
    struct timespec before, after;
    clockid_t clock;
    mp_lock_take(&low);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_tell, NULL), 0);
    ck_assert_int_eq(pthread_getcpuclockid(thread, &clock), 0);
    while (low.word != 2)
        sched_yield();
    clock_gettime(clock, &before);
    usleep(50000);
    clock_gettime(clock, &after);
    ck_assert(!atomic_load(&has_it));
    int64_t spent = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    ck_assert_int_lt(spent, 10000000);
    mp_lock_drop(&low);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&has_it));
}
END_TEST

/* ---- ranks ---- */

static void in_order(void *unused) {
    (void)unused;
    mp_lock_take(&low);
    mp_lock_take(&high);
    mp_lock_drop(&high);
    mp_lock_take(&high);
    mp_lock_drop(&low); /* in whatever order they are dropped */
    mp_lock_drop(&high);
    mp_lock_take(&low);
    mp_lock_drop(&low);
}

static void out_of_order(void *unused) {
    (void)unused;
    mp_lock_take(&high);
    mp_lock_take(&low);
}

static void tried_out_of_order(void *unused) {
    (void)unused;
    mp_lock_take(&high);
    mp_lock_try(&low);
}

static void of_one_rank(void *unused) {
    (void)unused;
    mp_lock_take(&high);
    mp_lock_take(&peer);
}

static void dropped_unheld(void *unused) {
    (void)unused;
    mp_lock_drop(&high);
}

static void peers_in_a_fixed_order(void *unused) {
    (void)unused;
    mp_lock_take_same_rank(&high);
    mp_lock_take_same_rank(&peer);
    mp_lock_drop(&peer);
    mp_lock_drop(&high);
    mp_lock_take(&low);
    mp_lock_drop(&low);
}

/* __builtin_trap: an illegal instruction here, a breakpoint there. */
static bool traps(void (*work)(void *)) {
    int status = unit_in_child(work, NULL, 10);
    if (status == 0)
        return false;
    ck_assert(WIFSIGNALED(status));
    ck_assert(WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP ||
              WTERMSIG(status) == SIGABRT);
    return true;
}

START_TEST(locks_are_taken_in_the_order_of_their_ranks) {
    ck_assert(!traps(in_order));
    ck_assert(!traps(peers_in_a_fixed_order));
}
END_TEST

START_TEST(a_lock_that_is_taken_out_of_order_stops_the_program) {
    ck_assert(traps(out_of_order));
    ck_assert(traps(tried_out_of_order));
    ck_assert(traps(of_one_rank));
}
END_TEST

START_TEST(a_lock_that_is_dropped_and_not_held_stops_the_program) {
    ck_assert(traps(dropped_unheld));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lock");
    TCase *lock = tcase_create("lock");
    UNIT_CASE(lock, one_thread_at_a_time_holds_a_lock);
    UNIT_CASE(lock, threads_that_sleep_on_a_lock_are_woken);
    UNIT_CASE(lock, a_try_takes_a_free_lock_and_no_other);
    UNIT_CASE(lock, a_sleeper_takes_no_processor_and_wakes_when_the_lock_is_dropped);
    suite_add_tcase(suite, lock);
    TCase *ranks = tcase_create("ranks");
    UNIT_CASE_FORKING(ranks, locks_are_taken_in_the_order_of_their_ranks);
    UNIT_CASE_FORKING(ranks, a_lock_that_is_taken_out_of_order_stops_the_program);
    UNIT_CASE_FORKING(ranks, a_lock_that_is_dropped_and_not_held_stops_the_program);
    suite_add_tcase(suite, ranks);
    return unit_main(suite);
}
