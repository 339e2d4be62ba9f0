/* Suite: the address ranges: growth in place, further ranges when the way is blocked, and the way
 * from any address to its entry. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "heap/arena.h"
#include "heap/pool.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/options.h"
#include "unit.h"

#define FAR_REASON "the sanitizer has the far addresses for itself"

static uintptr_t range_end(unsigned r) {
    return mp_ranges[r].base + ((uintptr_t)mp_ranges[r].limit << MP_SLICE_SHIFT);
}

static uintptr_t table_end(unsigned r) {
    return (uintptr_t)(mp_ranges[r].meta + mp_ranges[r].meta_entries);
}

/* Puts something of the program's where range `r` would grow to next. */
static void *block_at(uintptr_t at) {
    void *wall = mmap((void *)at, 4096, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_eq(wall, (void *)at);
    return wall;
}

static uint32_t grow(uint32_t slices) {
    uint32_t count = 0;
    uint32_t number = mp_arena_grow(0, slices, &count);
    if (number)
        ck_assert_uint_ge(count, slices);
    return number;
}

/* ---- one range ---- */

START_TEST(a_range_grows_in_place) {
    uint32_t count, more;
    uint32_t number = mp_arena_grow(0, 1, &count);
    ck_assert_uint_ne(number, 0);
    ck_assert_uint_ge(count, 1);
    for (int i = 0; i < 40; i++) {
        uint32_t next = mp_arena_grow(0, 3, &more);
        ck_assert_uint_eq(next, number + count);
        number = next;
        count = more;
    }
    ck_assert_uint_eq(mp_range_count, 1);
}
END_TEST

START_TEST(growth_gives_as_much_as_is_asked_for) {
    uint32_t count;
    for (uint32_t slices = 1; slices < 20000; slices *= 3) {
        ck_assert_uint_ne(mp_arena_grow(0, slices, &count), 0);
        ck_assert_uint_ge(count, slices);
    }
}
END_TEST

START_TEST(new_memory_reads_zero_and_can_be_written) {
    uint32_t count;
    uint32_t number = mp_arena_grow(0, 5, &count);
    char *start = (char *)mp_arena_page(number)->start;
    ck_assert(unit_is_zero(start, count * MP_SLICE_SIZE));
    memset(start, 1, count * MP_SLICE_SIZE);
}
END_TEST

START_TEST(nothing_is_resident_before_it_is_touched) {
    uint32_t count;
    uint32_t number = mp_arena_grow(0, 1024, &count);
    size_t size = count * MP_SLICE_SIZE;
    ck_assert_uint_eq(unit_resident_pages(mp_arena_page(number)->start, size), 0);
}
END_TEST

/* The table's growth beyond its first 64 KiB is where a stale mask or limit would show. */
START_TEST(an_address_finds_its_entry_and_the_entry_its_number) {
    while (mp_range_count == 0 || mp_ranges[0].limit < 5000)
        ck_assert_uint_ne(grow(700), 0);
    for (unsigned r = 0; r < mp_range_count; r++) {
        for (uint32_t i = mp_ranges[r].first; i < mp_ranges[r].limit; i++) {
            struct mp_page *page = &mp_ranges[r].meta[i];
            uint32_t number = r << MP_NUMBER_SHIFT | i;
            uintptr_t start = mp_ranges[r].base + ((uintptr_t)i << MP_SLICE_SHIFT);
            if (page->start != start || mp_arena_number(page) != number ||
                mp_arena_page(number) != page || mp_arena_find(start) != page ||
                mp_arena_find(start + MP_SLICE_SIZE - 1) != page ||
                (r == 0 && mp_page_guess(start + 77) != page))
                ck_abort_msg("slice %u of range %u", i, r);
        }
    }
}
END_TEST

START_TEST(an_address_outside_all_ranges_finds_nothing) {
    int local;
    uint64_t state = 3;
    ck_assert_uint_ne(grow(100), 0);
    ck_assert_ptr_null(mp_arena_find(0));
    ck_assert_ptr_null(mp_arena_find(1));
    ck_assert_ptr_null(mp_arena_find(UINTPTR_MAX));
    ck_assert_ptr_null(mp_arena_find((uintptr_t)1 << 63));
    ck_assert_ptr_null(mp_arena_find((uintptr_t)&local));
    ck_assert_ptr_null(mp_arena_find((uintptr_t)&mp_ranges));
    for (unsigned r = 0; r < mp_range_count; r++) {
        uintptr_t first = mp_ranges[r].base + ((uintptr_t)mp_ranges[r].first << MP_SLICE_SHIFT);
        ck_assert_uint_ge(mp_ranges[r].first, 1);
        ck_assert_ptr_null(mp_arena_find(mp_ranges[r].base - 1));
        ck_assert_ptr_null(mp_arena_find(mp_ranges[r].base));
        ck_assert_ptr_null(mp_arena_find(first - 1));
        ck_assert_ptr_nonnull(mp_arena_find(first));
        ck_assert_ptr_nonnull(mp_arena_find(range_end(r) - 1));
        ck_assert_ptr_null(mp_arena_find(range_end(r)));
        ck_assert_ptr_null(mp_arena_find((uintptr_t)mp_ranges[r].meta));
    }
    for (int i = 0; i < 1000000; i++) {
        uintptr_t wild = unit_random(&state) >> unit_random_to(&state, 40);
        bool inside = false;
        for (unsigned r = 0; r < mp_range_count; r++)
            inside |= wild >= mp_ranges[r].base && wild < range_end(r);
        if (!inside && (mp_arena_find(wild) || mp_arena_find_head(wild)))
            ck_abort_msg("%#zx finds an entry", (size_t)wild);
    }
}
END_TEST

START_TEST(a_guess_for_any_address_is_readable_and_no_match) {
    uint64_t state = 4;
    void *block = t_malloc(100);
    ck_assert(!mp_free_fast(NULL));
    for (int i = 0; i < 1000000; i++) {
        uintptr_t wild = unit_random(&state) >> unit_random_to(&state, 40);
        if (!mp_arena_find(wild) && mp_free_fast((void *)wild))
            ck_abort_msg("%#zx is taken for a block", (size_t)wild);
    }
    t_free(block);
}
END_TEST

START_TEST(further_slices_lead_to_the_head_and_free_ones_do_not) {
    char *block = t_malloc(10 * MP_SLICE_SIZE);
    struct mp_page *head = mp_arena_find((uintptr_t)block);
    ck_assert_int_eq(mp_page_kind(head), MP_KIND_LARGE);
    for (size_t offset = 0; offset < 10 * MP_SLICE_SIZE; offset += 4096)
        ck_assert_ptr_eq(mp_arena_find_head((uintptr_t)block + offset), head);
    t_free(block);
    for (size_t offset = 0; offset < 10 * MP_SLICE_SIZE; offset += 4096) {
        struct mp_page *found = mp_arena_find_head((uintptr_t)block + offset);
        ck_assert(found && mp_page_kind(found) != MP_KIND_LARGE);
    }
}
END_TEST

/* ---- several ranges ---- */

START_TEST(another_range_is_opened_when_the_way_is_blocked) {
    ck_assert_uint_ne(grow(1), 0);
    block_at(range_end(0));
    uint32_t number = grow(1);
    ck_assert_uint_ne(number, 0);
    ck_assert_uint_eq(mp_range_count, 2);
    ck_assert_uint_eq(number >> MP_NUMBER_SHIFT, 1);
    ck_assert_uint_eq(number & ((1u << MP_NUMBER_SHIFT) - 1), mp_ranges[1].first);
}
END_TEST

START_TEST(another_range_is_opened_when_the_metadata_cannot_grow) {
    ck_assert_uint_ne(grow(1), 0);
    block_at(table_end(0));
    uint32_t entries = mp_ranges[0].meta_entries;
    for (int i = 0; i < 100 && mp_range_count == 1; i++)
        ck_assert_uint_ne(grow(64), 0);
    ck_assert_uint_eq(mp_range_count, 2);
    ck_assert_uint_eq(mp_ranges[0].meta_entries, entries);
    ck_assert_uint_le(mp_ranges[0].limit, entries);
    t_free(t_malloc(100));
}
END_TEST

START_TEST(earlier_ranges_are_asked_again_before_another_is_opened) {
    ck_assert_uint_ne(grow(1), 0);
    void *wall = block_at(range_end(0));
    ck_assert_uint_ne(grow(1), 0);
    ck_assert_uint_eq(mp_range_count, 2);
    munmap(wall, 4096);
    block_at(range_end(1));
    uint32_t number = grow(1);
    ck_assert_uint_eq(number >> MP_NUMBER_SHIFT, 0);
    ck_assert_uint_eq(mp_range_count, 2);
}
END_TEST

START_TEST(with_all_far_places_blocked_a_window_is_reserved_wherever_it_fits) {
    unsigned r = 0;
    for (; r < MP_RANGES; r++) {
        ck_assert_uint_eq(grow(1) >> MP_NUMBER_SHIFT, r);
        if (mp_ranges[r].reserved)
            break;
        block_at(range_end(r));
    }
    /* Eight places are tried. Of the 32 the address sanitizer's shadow has nine in a row, of which
     * a try and those that follow it meet three at most. */
    ck_assert_uint_ge(r, UNIT_ASAN ? 5 : 8);
    ck_assert_uint_lt(r, MP_RANGES);
    ck_assert_uint_eq(mp_ranges[r].base % mp_ranges[r].window, 0);
    for (int i = 0; i < 20; i++)
        ck_assert_uint_eq(grow(1000) >> MP_NUMBER_SHIFT, r);
}
END_TEST

/* Fills the first range, opens a second one, and gives blocks of every kind in it. */
#define SECOND_BLOCKS 4

static void open_second(void) {
    ck_assert_ptr_nonnull(t_malloc(16));
    block_at(range_end(0));
    while (mp_range_count == 1)
        ck_assert_ptr_nonnull(t_malloc(3 << 20));
}

static const size_t second_sizes[SECOND_BLOCKS] = {48, 3000, 40000, 300000};

static void *block_in_second(size_t size) {
    for (int i = 0; i < 200000; i++) {
        void *block = t_malloc(size);
        struct mp_page *page = mp_arena_find((uintptr_t)block);
        if (page && mp_arena_number(page) >> MP_NUMBER_SHIFT == 1)
            return block;
    }
    ck_abort_msg("no block in the second range");
}

static void *free_all(void *blocks) {
    for (int i = 0; i < SECOND_BLOCKS; i++)
        t_free(((void **)blocks)[i]);
    return NULL;
}

START_TEST(blocks_of_a_second_range_are_freed_and_used_again) {
    open_second();
    void *blocks[SECOND_BLOCKS];
    for (int i = 0; i < SECOND_BLOCKS; i++) {
        struct unit_block block = {block_in_second(second_sizes[i]), second_sizes[i], 0};
        unit_fill(&block, 5);
        ck_assert(unit_is_intact(&block));
        ck_assert_uint_ge(mp_usable_size(block.at), block.size);
        block.at = t_realloc(block.at, block.size + 10);
        ck_assert(unit_is_intact(&block));
        blocks[i] = block.at;
    }
    free_all(blocks);
    ck_assert_invariants();
    for (int i = 0; i < SECOND_BLOCKS; i++)
        ck_assert_uint_eq(mp_usable_size(blocks[i]), 0);
}
END_TEST

START_TEST(blocks_of_a_second_range_are_freed_by_another_thread) {
    open_second();
    void *blocks[SECOND_BLOCKS];
    for (int i = 0; i < SECOND_BLOCKS; i++)
        blocks[i] = block_in_second(second_sizes[i]);
    unit_in_thread(free_all, blocks);
    for (int i = 0; i < SECOND_BLOCKS; i++)
        ck_assert_uint_eq(mp_usable_size(blocks[i]), 0);
    mp_trim();
    ck_assert_invariants();
}
END_TEST

/* free's one compare adds how uneven a pointer's offset is to the thread's pointer. For a pointer
 * of another range, the entry that is looked at belongs to a page `windows` TiB away, which makes
 * it uneven by windows * 16 MiB in a class of a power of two. Two threads whose stacks are that far
 * apart (8 MiB stacks without guard pages are) must not be mixed up by it. */
#define APART ((size_t)16 << 20)

struct collision {
    pthread_barrier_t owned, done;
    void *blocks[3]; /* starts of blocks in the further range */
    unsigned taken;  /* ... that free's fast path has taken for blocks of the first one */
};

/* Fills what is free of the first range with pages of its own. */
static void *own_primary_pages(void *context) {
    struct collision *c = context;
    enum { PAGES = 900 };
    static void *firsts[PAGES];
    for (int i = 0; i < PAGES; i++) {
        firsts[i] = t_malloc(MP_SMALL_MAX);
        must(mp_arena_number(mp_arena_find((uintptr_t)firsts[i])) >> MP_NUMBER_SHIFT == 0);
        for (size_t n = 1; n < mp_classes[mp_class_of(MP_SMALL_MAX)].blocks; n++)
            must(t_malloc(MP_SMALL_MAX) != NULL);
    }
    /* A full page has no owner; who frees into it takes it over. */
    for (int i = 0; i < PAGES; i++)
        t_free(firsts[i]);
    mp_trim();
    pthread_barrier_wait(&c->owned);
    pthread_barrier_wait(&c->done);
    return NULL;
}

static void *free_in_further(void *context) {
    struct collision *c = context;
    pthread_barrier_wait(&c->owned);
    for (int i = 0; i < 3; i++) {
        const struct mp_page *guess = mp_page_guess((uintptr_t)c->blocks[i]);
        must(guess != mp_arena_find((uintptr_t)c->blocks[i]));
        if (mp_page_kind(guess) == MP_KIND_SMALL && mp_page_owner(guess))
            c->taken += mp_free_fast(c->blocks[i]);
    }
    pthread_barrier_wait(&c->done);
    return NULL;
}

static void thread_at(pthread_t *thread, char *stack, void *(*work)(void *), void *context) {
    pthread_attr_t attr;
    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstack(&attr, stack, APART / 2), 0);
    ck_assert_int_eq(pthread_create(thread, &attr, work, context), 0);
    pthread_attr_destroy(&attr);
}

START_TEST(a_block_of_a_further_range_is_not_taken_for_one_of_the_first) {
    mp_options.purge = MP_TIME_OFF;
    struct collision c = {.taken = 0};
    void *room[2] = {t_malloc(MP_LARGE_MAX), t_malloc(MP_LARGE_MAX)};
    ck_assert_uint_eq(mp_range_count, 1);
    size_t windows = 0;
    while (!windows) {
        unsigned r = mp_range_count - 1;
        block_at(range_end(r));
        for (int i = 0; i < 3; i++)
            c.blocks[i] = t_malloc(MP_LARGE_MAX);
        ck_assert_ptr_nonnull(c.blocks[2]);
        if (mp_ranges[r + 1].base > mp_ranges[0].base)
            windows = (mp_ranges[r + 1].base - mp_ranges[0].base) >> 40;
        else if (r == 20)
            return; /* the first range has the highest place of all: nothing to see this time */
    }
    t_free(room[0]);
    t_free(room[1]);
    pthread_barrier_init(&c.owned, NULL, 2);
    pthread_barrier_init(&c.done, NULL, 2);
    char *stacks = mmap(NULL, (windows + 1) * APART, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(stacks, MAP_FAILED);
    pthread_t owner, other;
    thread_at(&owner, stacks + windows * APART, own_primary_pages, &c);
    thread_at(&other, stacks, free_in_further, &c);
    pthread_join(owner, NULL);
    pthread_join(other, NULL);
    ck_assert_uint_eq(c.taken, 0);
}
END_TEST

/* ---- no memory ---- */

static void limit_address_space(size_t more) {
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    ck_assert_int_eq(fscanf(statm, "%zu", &pages), 1);
    fclose(statm);
    struct rlimit limit = {pages * 4096 + more, RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

START_TEST(growth_that_the_system_refuses_is_refused_and_later_goes_on_in_place) {
    ck_assert_uint_ne(grow(1), 0);
    limit_address_space(3 << 20);
    for (int i = 0; i < 200; i++)
        ck_assert_uint_eq(grow(1000), 0);
    ck_assert_uint_ne(grow(1), 0); /* less than a chunk, if that is all there is */
    limit_address_space((size_t)1 << 40);
    /* In the first range: only its blocks are freed by the fast path. */
    ck_assert_uint_eq(grow(1000) >> MP_NUMBER_SHIFT, 0);
    ck_assert_uint_eq(mp_range_count, 1);
}
END_TEST

START_TEST(the_first_growth_may_fail_and_the_next_succeed) {
    limit_address_space(0);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(grow(1), 0);
    limit_address_space((size_t)1 << 40);
    ck_assert_uint_ne(grow(1), 0);
    ck_assert_uint_le(mp_range_count, 1);
}
END_TEST

START_TEST(in_a_narrow_address_space_a_window_is_reserved_wherever_it_fits) {
    limit_address_space((size_t)64 << 20);
    /* Far places are all taken. */
    for (uintptr_t slot = 1; slot < 64; slot++)
        mmap((void *)((slot << 40) - (1 << 30)), 4096, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    uint32_t number = grow(1);
    ck_assert_uint_ne(number, 0);
    ck_assert(mp_ranges[0].reserved);
    void *block = t_malloc(5000);
    memset(block, 1, 5000);
    ck_assert(mp_free_fast(block) || (t_free(block), true));
    ck_assert_uint_eq(mp_usable_size(block), 0);
}
END_TEST

/* The window lies where the kernel puts mappings by itself: what is let go of must not become a
 * hole for them, or a huge block in it would pass for a block of the range's. */
START_TEST(what_a_reserved_window_lets_go_of_is_given_to_nobody_else) {
    for (uintptr_t slot = 1; slot < 64; slot++)
        mmap((void *)((slot << 40) - (1 << 30)), 4096, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    limit_address_space((size_t)9 << 30);
    void *blocks[40];
    for (int i = 0; i < 40; i++)
        ck_assert_ptr_nonnull(blocks[i] = t_malloc((size_t)4 << 20));
    ck_assert(mp_ranges[0].reserved);
    for (int i = 0; i < 40; i++)
        t_free(blocks[i]);
    mp_pool_let_go();
    for (int i = 0; i < 40; i++)
        ck_assert_ptr_eq(mmap(blocks[i], 4096, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                         MAP_FAILED);
    for (int i = 0; i < 40; i++) { /* and it is had again */
        ck_assert_ptr_nonnull(blocks[i] = t_malloc((size_t)4 << 20));
        memset(blocks[i], i, (size_t)4 << 20);
    }
    for (int i = 0; i < 40; i++)
        t_free(blocks[i]);
    ck_assert_invariants();
}
END_TEST

/* ---- memory for our own structures ---- */

START_TEST(metadata_is_zero_aligned_and_nobody_elses) {
    unsigned char *before = NULL;
    size_t before_size = 0;
    for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) {
        unsigned char *memory = mp_meta_alloc(size);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % MP_CACHE_LINE, 0);
        ck_assert(unit_is_zero(memory, size));
        if (before)
            ck_assert(memory >= before + before_size || memory + size <= before);
        memset(memory, 0xff, size);
        before = memory;
        before_size = size;
    }
}
END_TEST

/* ---- several threads ---- */

static void *grow_and_find(void *unused) {
    for (int i = 0; i < 200; i++) {
        uint32_t count = 0;
        uint32_t number = mp_arena_grow(0, 1 + (uint32_t)i % 50, &count);
        must(number != 0);
        for (uint32_t n = 0; n < count; n++) {
            struct mp_page *page = mp_arena_page(number + n);
            must(mp_arena_find(page->start) == page);
            must(mp_arena_number(page) == number + n);
        }
        must(mp_meta_alloc(1000) != NULL);
    }
    return unused;
}

START_TEST(threads_that_grow_the_range_get_slices_of_their_own) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, grow_and_find, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

int main(void) {
    const bool far = !UNIT_TSAN;
    Suite *suite = suite_create("arena");
    TCase *one = tcase_create("one range");
    UNIT_CASE_PRISTINE(one, a_range_grows_in_place);
    UNIT_CASE(one, growth_gives_as_much_as_is_asked_for);
    UNIT_CASE(one, new_memory_reads_zero_and_can_be_written);
    UNIT_CASE(one, nothing_is_resident_before_it_is_touched);
    UNIT_CASE_PRISTINE(one, an_address_finds_its_entry_and_the_entry_its_number);
    UNIT_CASE(one, an_address_outside_all_ranges_finds_nothing);
    UNIT_CASE(one, a_guess_for_any_address_is_readable_and_no_match);
    UNIT_CASE(one, further_slices_lead_to_the_head_and_free_ones_do_not);
    UNIT_CASE(one, metadata_is_zero_aligned_and_nobody_elses);
    UNIT_CASE(one, threads_that_grow_the_range_get_slices_of_their_own);
    suite_add_tcase(suite, one);
    TCase *several = tcase_create("several ranges");
    UNIT_CASE_IF(several, another_range_is_opened_when_the_way_is_blocked, far, FAR_REASON);
    UNIT_CASE_IF(several, another_range_is_opened_when_the_metadata_cannot_grow, far, FAR_REASON);
    UNIT_CASE_IF(several, earlier_ranges_are_asked_again_before_another_is_opened, far, FAR_REASON);
    UNIT_CASE_IF(several, with_all_far_places_blocked_a_window_is_reserved_wherever_it_fits, far,
                 FAR_REASON);
    UNIT_CASE_IF(several, blocks_of_a_second_range_are_freed_and_used_again, far, FAR_REASON);
    UNIT_CASE_IF(several, blocks_of_a_second_range_are_freed_by_another_thread, far, FAR_REASON);
    UNIT_CASE_IF(several, a_block_of_a_further_range_is_not_taken_for_one_of_the_first, far,
                 FAR_REASON);
    suite_add_tcase(suite, several);
    TCase *none = tcase_create("no memory");
    const bool limits = !UNIT_TSAN && !UNIT_ASAN;
    UNIT_CASE_IF(none, growth_that_the_system_refuses_is_refused_and_later_goes_on_in_place, limits,
                 "a sanitizer needs address space of its own");
    UNIT_CASE_IF(none, the_first_growth_may_fail_and_the_next_succeed, limits,
                 "a sanitizer needs address space of its own");
    UNIT_CASE_IF(none, in_a_narrow_address_space_a_window_is_reserved_wherever_it_fits, limits,
                 "a sanitizer needs address space of its own");
    UNIT_CASE_IF(none, what_a_reserved_window_lets_go_of_is_given_to_nobody_else, limits,
                 "a sanitizer needs address space of its own");
    suite_add_tcase(suite, none);
    return unit_main(suite);
}
