/* Suite: a page that another thread has taken over goes back to the one that filled it, if that one
 * wants it; and nothing is lost on the way. The other thread does what the test tells it to. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap/home.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "heap/rescue.h"
#include "heap_api.h"
#include "invariants.h"
#include "unit.h"

enum { SIZE = 1024, EACH = 64, PAGES = 6, MADE = PAGES * EACH };

static char *blocks[MADE]; /* in the order of allocation: EACH of one page, then of the next */

/* ---- another thread ---- */

static struct other {
    pthread_t id;
    sem_t told, done;
    void (*todo)(void);
    struct mp_heap *heap;
} other;

static void *run_other(void *unused) {
    (void)unused;
    t_free(t_malloc(1));
    other.heap = mp_tls.heap;
    for (;;) {
        sem_post(&other.done);
        while (sem_wait(&other.told) != 0)
            ;
        if (!other.todo)
            return NULL;
        other.todo();
    }
}

static void start_other(void) {
    t_free(t_malloc(1));
    sem_init(&other.told, 0, 0);
    sem_init(&other.done, 0, 0);
    must(pthread_create(&other.id, NULL, run_other, NULL) == 0);
    sem_wait(&other.done);
}

static void tell(void (*todo)(void)) {
    other.todo = todo;
    sem_post(&other.told);
    sem_wait(&other.done);
}

static void end_other(void) {
    other.todo = NULL;
    sem_post(&other.told);
    pthread_join(other.id, NULL);
    ck_assert_invariants();
}

/* ---- what a thread does ---- */

static struct mp_page *page_of(const void *block) {
    return mp_arena_find((uintptr_t)block);
}

static char *first_of(int page) {
    return blocks[page * EACH];
}

static struct mp_bin *bin_of(struct mp_heap *heap) {
    return &heap->bins[mp_class_of(SIZE)];
}

static void allocate_all(void) {
    for (int i = 0; i < MADE; i++)
        memset(blocks[i] = t_malloc(SIZE), i, SIZE);
    for (int i = 0; i < MADE; i++)
        must(page_of(blocks[i]) == page_of(first_of(i / EACH)));
}

static void flush(void) {
    mp_slow_enter();
    mp_elsewhere_flush(mp_tls.heap);
    mp_slow_leave();
}

static void read_mail(void) {
    mp_slow_enter();
    mp_elsewhere_read_mail(mp_tls.heap);
    mp_slow_leave();
}

static void free_blocks(int from, int to) {
    for (int i = from; i < to; i++) {
        t_free(blocks[i]);
        blocks[i] = NULL;
    }
    flush();
}

static void free_one_of_first_page(void) {
    free_blocks(1, 2);
}

/* A thread at home: it has filled pages, and come first to one of them itself. */
static void settle_down(void) {
    allocate_all();
    free_one_of_first_page();
}

static void free_all_that_is_left(void) {
    for (int i = 0; i < MADE; i++) {
        t_free(blocks[i]);
        blocks[i] = NULL;
    }
    flush();
}

static bool is_on_its_way(const struct mp_page *page) {
    return (mp_page_flags(page) & MP_PAGE_HOMING) && !mp_page_owner(page);
}

static bool is_owned_by(const struct mp_page *page, const struct mp_heap *heap) {
    return mp_page_owner(page) == heap->owner && page->heap == heap->number;
}

static uint64_t live_blocks(void) {
    static struct mp_census census;
    mp_census(&census);
    return census.live_blocks;
}

/* ---- who gets it ---- */

START_TEST(a_page_goes_back_to_the_thread_that_filled_it) {
    start_other();
    tell(settle_down);
    struct mp_page *page = page_of(first_of(2));
    free_blocks(2 * EACH, 2 * EACH + 1);
    ck_assert(is_on_its_way(page));
    ck_assert_invariants();
    free_blocks(2 * EACH + 1, 2 * EACH + 3); /* into one that is on its way */
    ck_assert_uint_eq(mp_remote_count(page), 3);
    tell(read_mail);
    ck_assert(is_owned_by(page, other.heap));
    ck_assert_uint_eq(mp_page_flags(page), MP_PAGE_QUEUED);
    ck_assert_invariants();
    tell(free_all_that_is_left);
    end_other();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(several_arrive_together) {
    start_other();
    tell(settle_down);
    for (int i = 1; i < PAGES - 1; i++)
        free_blocks(i * EACH, i * EACH + 1);
    for (int i = 1; i < PAGES - 1; i++)
        ck_assert(is_on_its_way(page_of(blocks[i * EACH + 1])));
    ck_assert_invariants();
    tell(read_mail);
    for (int i = 1; i < PAGES - 1; i++)
        ck_assert(is_owned_by(page_of(blocks[i * EACH + 1]), other.heap));
    tell(free_all_that_is_left);
    end_other();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

/* A thread that needs blocks need not be told. */
static void allocate_again(void) {
    for (int i = 0; i < MADE; i++)
        must(blocks[i] = t_malloc(SIZE));
}

START_TEST(it_arrives_when_blocks_are_needed) {
    char *kept[MADE];
    start_other();
    tell(settle_down);
    free_blocks(2 * EACH, 3 * EACH - 1);
    struct mp_page *page = page_of(blocks[3 * EACH - 1]);
    ck_assert(is_on_its_way(page));
    memcpy(kept, blocks, sizeof kept);
    tell(allocate_again);
    int there = 0;
    for (int i = 0; i < MADE; i++)
        there += page_of(blocks[i]) == page;
    ck_assert_int_eq(there, EACH - 1);
    ck_assert_invariants();
    tell(free_all_that_is_left);
    memcpy(blocks, kept, sizeof kept);
    tell(free_all_that_is_left);
    end_other();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

/* One that frees nothing itself has others to do it: they keep what they take over. */
START_TEST(a_thread_that_only_allocates_gets_nothing_back) {
    start_other();
    tell(allocate_all);
    struct mp_page *page = page_of(first_of(2));
    free_blocks(2 * EACH, 2 * EACH + 1);
    ck_assert(is_owned_by(page, mp_tls.heap));
    atomic_store(&bin_of(other.heap)->left, 0);
    free_blocks(3 * EACH, 3 * EACH + 1);
    ck_assert(is_owned_by(page_of(blocks[3 * EACH + 1]), mp_tls.heap));
    ck_assert_invariants();
    tell(free_all_that_is_left);
    end_other();
}
END_TEST

START_TEST(nor_does_one_that_seldom_comes_first) {
    start_other();
    tell(settle_down);
    atomic_store(&bin_of(other.heap)->left, 9);
    struct mp_page *page = page_of(first_of(2));
    free_blocks(2 * EACH, 2 * EACH + 1);
    ck_assert(is_owned_by(page, mp_tls.heap));
    atomic_store(&bin_of(other.heap)->left, 8);
    page = page_of(first_of(3));
    free_blocks(3 * EACH, 3 * EACH + 1);
    ck_assert(is_on_its_way(page));
    tell(free_all_that_is_left);
    end_other();
}
END_TEST

START_TEST(what_was_long_ago_is_forgotten) {
    struct mp_bin bin = {.left = 0};
    bin.regained = 64;
    for (int i = 0; i < 63; i++)
        mp_home_note_left(&bin);
    ck_assert_uint_eq(bin.left, 63);
    ck_assert_uint_eq(bin.regained, 64);
    mp_home_note_left(&bin);
    ck_assert_uint_eq(bin.left, 32);
    ck_assert_uint_eq(bin.regained, 32);
    for (int i = 0; i < 1000; i++)
        mp_home_note_left(&bin);
    ck_assert_uint_le(bin.left, 64);
    ck_assert_uint_eq(bin.regained, 0);
}
END_TEST

/* It may be asleep for good. */
START_TEST(nor_does_one_that_has_not_allocated_for_a_while) {
    start_other();
    tell(settle_down);
    atomic_fetch_sub(&bin_of(other.heap)->refilled_ms, 200);
    struct mp_page *page = page_of(first_of(2));
    free_blocks(2 * EACH, 2 * EACH + 1);
    ck_assert(is_owned_by(page, mp_tls.heap));
    tell(free_all_that_is_left);
    end_other();
}
END_TEST

START_TEST(a_page_that_is_empty_at_once_goes_nowhere) {
    start_other();
    tell(settle_down);
    struct mp_page *page = page_of(first_of(2));
    char *last = first_of(2);
    /* all but one are back and collected, and the page is nobody's, as if it were full */
    page->until = 1;
    for (int i = 2 * EACH + 1; i < 3 * EACH; i++) {
        struct mp_block *block = (void *)blocks[i];
        block->key = mp_block_key(block);
        mp_page_link_block(block, page->local_free);
        page->local_free = block;
        blocks[i] = NULL;
    }
    blocks[2 * EACH] = NULL;
    t_free(last);
    flush();
    ck_assert_int_eq(mp_page_kind(page), MP_KIND_FREE);
    ck_assert_invariants();
    tell(free_all_that_is_left);
    end_other();
}
END_TEST

/* ---- nobody comes for it ---- */

START_TEST(a_page_that_empties_on_its_way_goes_back) {
    start_other();
    tell(settle_down);
    struct mp_page *page = page_of(first_of(2)), *with_room = page_of(first_of(3));
    free_blocks(2 * EACH, 2 * EACH + 1);
    free_blocks(3 * EACH, 3 * EACH + 1);
    atomic_store(&mp_queue_all_back, 0);
    free_blocks(2 * EACH + 1, 3 * EACH);
    ck_assert(is_on_its_way(page));
    ck_assert_uint_eq(mp_queue_all_back, 1);
    mp_rescue_all();
    ck_assert_int_eq(mp_page_kind(page), MP_KIND_FREE);
    ck_assert(is_on_its_way(with_room));
    ck_assert_uint_eq(mp_remote_count(with_room), 1);
    ck_assert_invariants();
    tell(free_all_that_is_left);
    end_other();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

/* ---- the thread ends ---- */

static void *free_all_from_a_thread(void *unused) {
    (void)unused;
    free_all_that_is_left();
    return NULL;
}

START_TEST(what_is_on_its_way_to_a_thread_that_ends_is_found_by_others) {
    char *kept[MADE];
    start_other();
    tell(settle_down);
    struct mp_page *page = page_of(first_of(2));
    free_blocks(2 * EACH, 3 * EACH - 1);
    ck_assert(is_on_its_way(page));
    end_other();
    ck_assert_uint_eq(other.heap->homing, MP_HOME_SHUT);
    ck_assert_uint_eq(mp_page_flags(page), MP_PAGE_LISTED);
    memcpy(kept, blocks, sizeof kept);
    allocate_again();
    int there = 0;
    for (int i = 0; i < MADE; i++)
        there += page_of(blocks[i]) == page;
    ck_assert_int_eq(there, EACH - 1);
    free_all_that_is_left();
    memcpy(blocks, kept, sizeof kept);
    free_all_that_is_left();
    ck_assert_invariants();
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(nothing_goes_to_a_thread_that_has_ended) {
    start_other();
    tell(settle_down);
    struct mp_page *page = page_of(first_of(2));
    end_other();
    free_blocks(2 * EACH, 2 * EACH + 1);
    ck_assert(is_owned_by(page, mp_tls.heap));
    ck_assert_invariants();
    unit_in_thread(free_all_from_a_thread, NULL);
    ck_assert_invariants();
}
END_TEST

/* ---- fork ---- */

/* One that goes to the child itself is there as it was. */
static struct mp_page *on_its_way;

static void find_in_child(void) {
    must(is_on_its_way(on_its_way) && !invariants_broken());
    read_mail();
    must(is_owned_by(on_its_way, mp_tls.heap));
    free_all_that_is_left();
    must(!invariants_broken() && live_blocks() == 0);
}

static void free_in_child(void) {
    must(!invariants_broken());
    free_blocks(2 * EACH + 20, 2 * EACH + 23);
    must(!invariants_broken());
    free_all_that_is_left();
    must(!invariants_broken());
    must(live_blocks() == 0);
    allocate_all();
    free_all_that_is_left();
    must(!invariants_broken());
}

START_TEST(a_child_has_what_was_on_its_way_to_a_thread_that_is_lost) {
    start_other();
    tell(settle_down);
    free_blocks(2 * EACH, 2 * EACH + 7);
    ck_assert(is_on_its_way(page_of(blocks[2 * EACH + 7])));
    ck_assert_int_eq(unit_gated_fork(free_in_child), 0);
    ck_assert(is_on_its_way(page_of(blocks[2 * EACH + 7])));
    tell(free_all_that_is_left);
    end_other();
}
END_TEST

static void free_some_of_third_page(void) {
    free_blocks(2 * EACH, 2 * EACH + 7);
}

START_TEST(a_child_has_what_was_on_its_way_to_it) {
    start_other();
    settle_down();
    tell(free_some_of_third_page);
    struct mp_page *page = page_of(blocks[2 * EACH + 7]);
    ck_assert(is_on_its_way(page));
    ck_assert_uint_eq(page->heap, mp_tls.heap->number);
    on_its_way = page;
    ck_assert_int_eq(unit_gated_fork(find_in_child), 0);
    read_mail();
    ck_assert(is_owned_by(page, mp_tls.heap));
    ck_assert_invariants();
    free_all_that_is_left();
    end_other();
}
END_TEST

START_TEST(so_it_has_when_it_has_lost_no_thread) {
    start_other();
    settle_down();
    tell(free_some_of_third_page);
    on_its_way = page_of(blocks[2 * EACH + 7]);
    end_other();
    ck_assert_int_eq(unit_gated_fork(find_in_child), 0);
    free_all_that_is_left();
    ck_assert_invariants();
}
END_TEST

/* By a thread that has never allocated: it has no heap, so nothing goes to it. */
static void *fork_without_a_heap(void *unused) {
    (void)unused;
    must(!mp_tls.heap);
    must(unit_gated_fork(free_in_child) == 0);
    return NULL;
}

START_TEST(a_child_without_a_heap_has_it_too) {
    start_other();
    settle_down();
    tell(free_some_of_third_page);
    ck_assert(is_on_its_way(page_of(blocks[2 * EACH + 7])));
    unit_in_thread(fork_without_a_heap, NULL);
    free_all_that_is_left();
    end_other();
}
END_TEST

/* ---- what it is for ---- */

enum { SLOTS = 4000, TURNS = 300, STEPS = 1000 };

static struct table {
    char *slots[SLOTS];
    uint64_t random;
} tables[2];

/* Replaces blocks; each time, one in eight changes hands with the other thread's. */
static void take_turn(int me) {
    struct table *own = &tables[me], *others = &tables[!me];
    for (int i = 0; i < STEPS; i++) {
        char **slot = &own->slots[unit_random_to(&own->random, SLOTS - 1)];
        t_free(*slot);
        *slot = t_malloc(SIZE);
        must(*slot != NULL);
        if (unit_random_to(&own->random, 7) == 0) {
            char **theirs = &others->slots[unit_random_to(&own->random, SLOTS - 1)];
            char *mine = *slot;
            *slot = *theirs;
            *theirs = mine;
        }
    }
}

static void fill_both(void) {
    for (int t = 0; t < 2; t++) {
        tables[t].random = 11 + (uint64_t)t;
        for (int i = 0; i < SLOTS; i++)
            tables[t].slots[i] = NULL;
    }
}

static void take_others_turn(void) {
    take_turn(1);
}

/* Both threads have as much at the end as at the beginning, whoever made it. Where pages stay with
 * whoever comes first, this takes half as much again. */
START_TEST(two_threads_that_swap_blocks_do_not_grow) {
    size_t used = 0, live = (size_t)2 * SLOTS * SIZE;
    start_other();
    fill_both();
    for (int i = 0; i < TURNS; i++) {
        take_turn(0);
        tell(take_others_turn);
        struct mp_pool_stats stats;
        mp_pool_get_stats(0, &stats);
        used = stats.used_bytes > used ? stats.used_bytes : used;
    }
    ck_assert_invariants();
    printf("%zu KiB live, %zu KiB at most in use\n", live / 1024, used / 1024);
    ck_assert_uint_le(used, live + live / 4);
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < SLOTS; i++)
            t_free(tables[t].slots[i]);
    end_other();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("home");

    TCase *who = tcase_create("who");
    UNIT_CASE_PRISTINE(who, a_page_goes_back_to_the_thread_that_filled_it);
    UNIT_CASE_PRISTINE(who, several_arrive_together);
    UNIT_CASE_PRISTINE(who, it_arrives_when_blocks_are_needed);
    UNIT_CASE_PRISTINE(who, a_thread_that_only_allocates_gets_nothing_back);
    UNIT_CASE_PRISTINE(who, nor_does_one_that_seldom_comes_first);
    UNIT_CASE(who, what_was_long_ago_is_forgotten);
    UNIT_CASE_PRISTINE(who, nor_does_one_that_has_not_allocated_for_a_while);
    UNIT_CASE_PRISTINE(who, a_page_that_is_empty_at_once_goes_nowhere);
    suite_add_tcase(suite, who);

    TCase *nobody = tcase_create("nobody comes");
    UNIT_CASE_PRISTINE(nobody, a_page_that_empties_on_its_way_goes_back);
    suite_add_tcase(suite, nobody);

    TCase *ends = tcase_create("ends");
    UNIT_CASE_PRISTINE(ends, what_is_on_its_way_to_a_thread_that_ends_is_found_by_others);
    UNIT_CASE_PRISTINE(ends, nothing_goes_to_a_thread_that_has_ended);
    suite_add_tcase(suite, ends);

    TCase *forks = tcase_create("fork");
    UNIT_CASE_FORKING(forks, a_child_has_what_was_on_its_way_to_a_thread_that_is_lost);
    UNIT_CASE_FORKING(forks, a_child_has_what_was_on_its_way_to_it);
    UNIT_CASE_FORKING(forks, so_it_has_when_it_has_lost_no_thread);
    UNIT_CASE_FORKING(forks, a_child_without_a_heap_has_it_too);
    suite_add_tcase(suite, forks);

    TCase *growth = tcase_create("growth");
    UNIT_CASE_PRISTINE(growth, two_threads_that_swap_blocks_do_not_grow);
    suite_add_tcase(suite, growth);

    return unit_main(suite);
}
