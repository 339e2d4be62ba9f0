/* Suite: memory of pages whose owner is asleep, stopped in the middle of malloc or free, or busy
 * with them, goes back, and nothing else does. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/rescue.h"
#include "heap/thread.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "unit.h"

enum { SIZE = 1024, MADE = 40 };

static void *blocks[MADE];
static sem_t wake, asleep;

static struct mp_page *page_of(const void *block) {
    return mp_arena_find((uintptr_t)block);
}

static void sleep_now(void) {
    sem_post(&asleep);
    while (sem_wait(&wake) != 0)
        ;
}

/* ---- an owner that sleeps ---- */

static void allocate_all(void) {
    for (int i = 0; i < MADE; i++)
        memset(blocks[i] = t_malloc(SIZE), i, SIZE);
}

/* Allocates from one page, sleeps, and when it is woken has all that the page can hold. */
static void *own_and_sleep(void *unused) {
    (void)unused;
    allocate_all();
    sleep_now();
    void *again[2 * MADE];
    for (int i = 0; i < 2 * MADE; i++)
        memset(again[i] = t_malloc(SIZE), i, SIZE);
    for (int i = 0; i < 2 * MADE; i++) {
        for (int at = 0; at < SIZE; at++)
            must(((unsigned char *)again[i])[at] == i);
        t_free(again[i]);
    }
    sleep_now();
    return NULL;
}

static pthread_t start(void *(*work)(void *)) {
    pthread_t id;
    sem_init(&wake, 0, 0);
    sem_init(&asleep, 0, 0);
    must(pthread_create(&id, NULL, work, NULL) == 0);
    sem_wait(&asleep);
    return id;
}

static void end(pthread_t id) {
    sem_post(&wake);
    sem_wait(&asleep);
    ck_assert_invariants();
    sem_post(&wake);
    pthread_join(id, NULL);
    ck_assert_invariants();
}

static size_t resident(const struct mp_page *page) {
    return unit_resident_pages(page->start, MP_SLICE_SIZE);
}

/* A batch of this size is full with four. */
static void free_from(int first) {
    for (int i = first; i < MADE; i++)
        t_free(blocks[i]);
}

static uint64_t live_blocks(void) {
    static struct mp_census census;
    mp_census(&census);
    return census.live_blocks;
}

START_TEST(a_page_that_others_have_emptied_gives_its_memory_back) {
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    ck_assert(mp_page_is_current(page));
    ck_assert(page_of(blocks[MADE - 1]) == page);
    free_from(0);
    ck_assert_uint_ge(resident(page), MADE * SIZE / 4096);
    ck_assert(mp_rescue_all());
    ck_assert(mp_rescue_has_emptied(page));
    ck_assert_uint_le(resident(page), 1);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_invariants();
    ck_assert(!mp_rescue_all());
    end(id);
}
END_TEST

static void *own_with_a_list_and_sleep(void *unused) {
    (void)unused;
    allocate_all();
    t_free(t_malloc(SIZE)); /* its page has more to give then */
    sleep_now();
    t_free(t_malloc(SIZE));
    sleep_now();
    return NULL;
}

/* Also while the owner makes its blocks again: what is left is no longer told, but then nothing is
 * lacking. */
START_TEST(an_emptied_page_lacks_all_blocks_but_one) {
    t_free(t_malloc(1));
    pthread_t id = start(own_with_a_list_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    free_from(0);
    ck_assert(mp_rescue_all());
    uintptr_t left = (uintptr_t)mp_rescue_left(page);
    ck_assert_uint_ne(left, 0);
    ck_assert(!mp_rescue_lacks(page, left));
    ck_assert(mp_rescue_lacks(page, left ^ SIZE));
    uint32_t next = page->next;
    mp_page_clear_flag(page, MP_PAGE_EMPTIED);
    page->next = next + 2 * SIZE;
    ck_assert(!mp_rescue_lacks(page, left));
    page->next = next;
    mp_page_set_flag(page, MP_PAGE_EMPTIED);
    end(id);
}
END_TEST

static void check_contents(int count) {
    for (int i = 0; i < count; i++)
        for (int at = 0; at < SIZE; at++)
            ck_assert_uint_eq(((unsigned char *)blocks[i])[at], i);
}

START_TEST(one_with_a_block_in_use_is_left_as_it_is) {
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    free_from(1);
    mp_trim(); /* hands batches over, then empties pages */
    ck_assert(!mp_rescue_has_emptied(page));
    check_contents(1);
    t_free(blocks[0]);
    mp_trim();
    ck_assert(mp_rescue_has_emptied(page));
    end(id);
}
END_TEST

/* All are free, but three of them are in no list of the page's. */
START_TEST(one_with_blocks_in_a_batch_is_left_as_it_is) {
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    t_free(blocks[0]);
    mp_trim();
    free_from(1);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert(!mp_rescue_all());
    ck_assert(!mp_rescue_has_emptied(page));
    mp_trim();
    ck_assert(mp_rescue_has_emptied(page));
    end(id);
}
END_TEST

START_TEST(it_is_done_by_itself_once_there_are_enough) {
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    free_from(0);
    ck_assert(!mp_rescue_has_emptied(page));
    mp_options.purge = MP_TIME_OFF;
    mp_rescue_current = 1000;
    mp_rescue(mp_tls.heap);
    ck_assert(!mp_rescue_has_emptied(page)); /* nothing is to be purged */
    mp_options.purge = 50;
    mp_rescue_current = 1;
    mp_rescue(mp_tls.heap);
    ck_assert(!mp_rescue_has_emptied(page));
    mp_rescue_current = 1000;
    mp_rescue(mp_tls.heap);
    ck_assert(mp_rescue_has_emptied(page));
    end(id);
}
END_TEST

/* Its owner frees what others have freed, and the page has gone in between. */
static void *free_again(void *unused) {
    (void)unused;
    allocate_all();
    sleep_now();
    free_from(0);
    for (int i = 0; i < MADE; i++)
        blocks[i] = t_malloc(SIZE);
    sleep_now();
    return NULL;
}

static void free_twice_by_owner(void) {
    mp_options.misuse = MP_MISUSE_REPORT;
    t_free(t_malloc(1));
    pthread_t id = start(free_again);
    free_from(0);
    ck_assert(mp_rescue_all());
    unit_listen();
    sem_post(&wake);
    sem_wait(&asleep);
    ck_assert_ptr_nonnull(strstr(unit_said(), "free of "));
    ck_assert_invariants();
    for (int i = 0; i < MADE; i++) /* each has one owner */
        for (int j = 0; j < i; j++)
            ck_assert_ptr_ne(blocks[i], blocks[j]);
    free_from(0);
    sem_post(&wake);
    pthread_join(id, NULL);
}

START_TEST(a_double_free_into_an_emptied_page_is_found) {
    free_twice_by_owner();
}
END_TEST

/* What the first of them finds has gone as a whole by the time that it is told. */
START_TEST(a_double_free_into_a_page_that_goes_at_once_is_found) {
    mp_options.purge = 0;
    free_twice_by_owner();
}
END_TEST

START_TEST(a_double_free_by_another_thread_into_an_emptied_page_is_found) {
    mp_options.misuse = MP_MISUSE_REPORT;
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    free_from(0);
    ck_assert(mp_rescue_all());
    unit_listen();
    free_from(0);
    const char *said = unit_said();
    int reports = 0;
    for (const char *at = said; (at = strstr(at, "free of ")) != NULL; at++)
        reports++;
    ck_assert_int_ge(reports, 1); /* what was said first is kept */
    ck_assert_invariants();
    end(id);
}
END_TEST

/* Blocks that are whole OS pages may be protected by the program: here the only one that it has of
 * a page which is all free by its counts, since they do not know of pops. */
static void *own_guard(void *unused) {
    (void)unused;
    int count = mp_classes[mp_class_of(4096)].blocks;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < count; i++)
            *(char *)(blocks[i] = t_memalign(4096, 4096)) = 1;
        for (int i = 0; i < count; i++)
            t_free(blocks[i]);
    }
    blocks[0] = t_memalign(4096, 4096);
    must(mprotect(blocks[0], 4096, PROT_NONE) == 0);
    sleep_now();
    return NULL;
}

START_TEST(nobody_reads_what_the_program_has_protected) {
    t_free(t_malloc(1));
    pthread_t id = start(own_guard);
    mp_rescue_all();
    ck_assert_int_eq(mprotect(blocks[0], 4096, PROT_READ | PROT_WRITE), 0);
    sem_post(&wake);
    pthread_join(id, NULL);
    t_free(blocks[0]);
    ck_assert_invariants();
}
END_TEST

/* The thread that owns the page does not exist in the child. */
static void look_in_child(void *context) {
    const struct mp_page *page = context;
    must(mp_rescue_has_emptied(page) && resident(page) <= 2);
    must(live_blocks() == 0);
    for (int i = 0; i < MADE; i++)
        must(t_malloc(SIZE) != NULL);
}

static void gated_child(void (*work)(void *), void *context) {
    mp_gate_close();
    pid_t child = fork();
    mp_gate_open(child == 0);
    if (child == 0) {
        work(context);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

START_TEST(a_forked_child_leaves_an_emptied_page_empty) {
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    struct mp_page *page = page_of(blocks[0]);
    free_from(0);
    ck_assert(mp_rescue_all());
    gated_child(look_in_child, page);
    end(id);
}
END_TEST

START_TEST(the_figures_of_an_emptied_page_are_right) {
    static struct mp_stats before, after;
    t_free(t_malloc(1));
    pthread_t id = start(own_and_sleep);
    free_from(0);
    ck_assert(mp_rescue_all());
    mp_stats_get(&before);
    ck_assert_uint_le(before.live_bytes - before.cached_max_bytes, 4096);
    end(id);
    mp_stats_get(&after);
    ck_assert_uint_eq(after.live_blocks, 0);
}
END_TEST

/* A handler of abort's that allocates, in the middle of a report. */
static void on_abort(int signal) {
    (void)signal;
    t_free(t_malloc(SIZE));
    _exit(0);
}

static void overwrite(void *unused) {
    (void)unused;
    signal(SIGABRT, on_abort);
    allocate_all();
    free_from(0);
    for (int i = 0; i < MADE; i++)
        memset(blocks[i], 'x', SIZE);
    allocate_all();
}

START_TEST(a_handler_of_abort_may_allocate) {
    unit_listen();
    ck_assert_int_eq(unit_in_child(overwrite, NULL, 20), 0);
}
END_TEST

/* ---- an owner that is stopped at any instruction ---- */

static atomic_bool stop;
static _Atomic(uint64_t) operations, taken_from_emptied;

static void on_stop(int signal) {
    (void)signal;
    sem_post(&asleep);
    while (sem_wait(&wake) != 0)
        ;
}

/* One block at a time, of a page in which all others are free. */
static void *one_at_a_time(void *unused) {
    (void)unused;
    allocate_all();
    free_from(0);
    while (!atomic_load(&stop)) {
        uint64_t *block = t_malloc(SIZE);
        taken_from_emptied += mp_rescue_has_emptied(page_of(block));
        for (size_t i = 0; i < SIZE / 8; i += 16)
            block[i] = (uintptr_t)&block[i];
        for (size_t i = 0; i < SIZE / 8; i += 16)
            must(block[i] == (uintptr_t)&block[i]);
        t_free(block);
        /* and once in a while the page is one with memory to give back */
        if (atomic_fetch_add(&operations, 1) % 64 == 0) {
            allocate_all();
            free_from(0);
        }
    }
    return NULL;
}

START_TEST(an_owner_may_be_stopped_anywhere) {
    enum { STOPS = 4000 };
    struct sigaction action = {.sa_handler = on_stop};
    int emptied = 0;
    uint64_t random = 5;
    pthread_t id;
    sem_init(&wake, 0, 0);
    sem_init(&asleep, 0, 0);
    sigaction(SIGUSR1, &action, NULL);
    t_free(t_malloc(1));
    must(pthread_create(&id, NULL, one_at_a_time, NULL) == 0);
    while (atomic_load(&operations) == 0)
        sched_yield();
    for (int i = 0; i < STOPS; i++) {
        for (size_t spins = unit_random_to(&random, 3000); spins > 0; spins--)
            mp_arch_pause();
        pthread_kill(id, SIGUSR1);
        sem_wait(&asleep);
        emptied += mp_rescue_all();
        sem_post(&wake);
    }
    atomic_store(&stop, true);
    pthread_join(id, NULL);
    printf("%d stops: %d pages emptied, malloc took the last block of %d of them\n", STOPS, emptied,
           (int)taken_from_emptied);
    ck_assert_uint_gt(taken_from_emptied, 0);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_invariants();
}
END_TEST

/* ---- owners that are busy ---- */

enum { THREADS = 3, SLOTS = 64, ROUNDS = 40000 };
static struct unit_block *_Atomic slots[SLOTS];

static void drop(struct unit_block *block) {
    if (!block)
        return;
    must(unit_is_intact(block));
    t_free(block->at);
    t_free(block);
}

/* Blocks of few sizes, which any thread frees: pages are often empty, and seldom for long. */
static void *exchange(void *seed) {
    uint64_t random = (uintptr_t)seed;
    for (int i = 0; i < ROUNDS; i++) {
        struct unit_block *block = t_malloc(sizeof *block);
        block->size = 512u << unit_random_to(&random, 3);
        block->at = t_malloc(block->size);
        unit_fill(block, unit_random(&random));
        drop(atomic_exchange(&slots[unit_random_to(&random, SLOTS - 1)], block));
        for (int s = 0; i % 256 == 0 && s < SLOTS; s++)
            drop(atomic_exchange(&slots[s], NULL));
    }
    return NULL;
}

static void *rescue_always(void *count) {
    while (!atomic_load(&stop))
        *(uint64_t *)count += mp_rescue_all();
    return NULL;
}

START_TEST(owners_may_be_busy_with_the_page) {
    pthread_t threads[THREADS], rescuer;
    uint64_t emptied = 0;
    must(pthread_create(&rescuer, NULL, rescue_always, &emptied) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        must(pthread_create(&threads[i], NULL, exchange, (void *)(i + 3)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(rescuer, NULL);
    for (int s = 0; s < SLOTS; s++)
        drop(slots[s]);
    ck_assert_uint_gt(emptied, 0);
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rescue");
    TCase *sleeping = tcase_create("asleep");
    UNIT_CASE_PRISTINE(sleeping, a_page_that_others_have_emptied_gives_its_memory_back);
    UNIT_CASE_PRISTINE(sleeping, an_emptied_page_lacks_all_blocks_but_one);
    UNIT_CASE_PRISTINE(sleeping, one_with_a_block_in_use_is_left_as_it_is);
    UNIT_CASE_PRISTINE(sleeping, one_with_blocks_in_a_batch_is_left_as_it_is);
    UNIT_CASE_PRISTINE(sleeping, it_is_done_by_itself_once_there_are_enough);
    UNIT_CASE_PRISTINE(sleeping, a_double_free_into_an_emptied_page_is_found);
    UNIT_CASE_PRISTINE(sleeping, a_double_free_into_a_page_that_goes_at_once_is_found);
    UNIT_CASE_PRISTINE(sleeping, a_double_free_by_another_thread_into_an_emptied_page_is_found);
    UNIT_CASE_PRISTINE(sleeping, nobody_reads_what_the_program_has_protected);
    UNIT_CASE_PRISTINE(sleeping, a_forked_child_leaves_an_emptied_page_empty);
    UNIT_CASE_PRISTINE(sleeping, the_figures_of_an_emptied_page_are_right);
    UNIT_CASE_PRISTINE(sleeping, a_handler_of_abort_may_allocate);
    suite_add_tcase(suite, sleeping);
    TCase *awake = tcase_create("awake");
    tcase_set_timeout(awake, 60);
    UNIT_CASE_PRISTINE(awake, an_owner_may_be_stopped_anywhere);
    UNIT_CASE(awake, owners_may_be_busy_with_the_page);
    suite_add_tcase(suite, awake);
    return unit_main(suite);
}
