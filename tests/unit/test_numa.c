/* Suite: which nodes there are, by what /sys and /proc say; and that a thread's memory comes from
 * the node where it runs, goes back there whoever frees it, and is left to others when it moves.
 * Most machines have one node, so the files are made up, and each thread runs where its case says;
 * that the kernel then has the pages where they should be is for tests/numa. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap/arena.h"
#include "heap/census.h"
#include "heap/elsewhere.h"
#include "heap/home.h"
#include "heap/pool.h"
#include "heap/queue.h"
#include "heap/remote.h"
#include "heap/thp.h"
#include "heap_api.h"
#include "invariants.h"
#include "platform/numa.h"
#include "platform/options.h"
#include "platform/sys.h"
#include "unit.h"

/* ---- a machine, as its files tell ---- */

static char root[64];
static __thread unsigned runs_on; /* the kernel's number */

static unsigned pretended(void) {
    return runs_on;
}

static void put(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *text, const char *format, ...) {
    char path[256];
    va_list args;
    size_t length = (size_t)snprintf(path, sizeof path, "%s", root);
    va_start(args, format);
    vsnprintf(path + length, sizeof path - length, format, args);
    va_end(args);
    for (char *slash = path + length + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        must(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    must(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

#define NODES  "/sys/devices/system/node"
#define STATUS "/proc/self/status"

/* Of a filter of system calls nothing is said: then none is made that it might forbid. */
static void machine(const char *with_memory) {
    strcpy(root, "/tmp/memprof-numa.XXXXXX");
    must(mkdtemp(root));
    put(with_memory, NODES "/has_memory");
    mp_numa_pretended = pretended;
}

static void two_nodes(void) {
    machine("0-1\n");
    mp_heap_find_nodes(root);
    ck_assert_uint_eq(mp_numa_count(), 3);
}

static void teardown(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", root);
    if (*root)
        must(system(command) == 0);
    mp_sys_fault = NULL;
}

/* ---- which nodes there are ---- */

START_TEST(no_file_means_one_node) {
    strcpy(root, "/nonexistent");
    ck_assert_uint_eq(mp_numa_start(root), 1);
    *root = 0;
}
END_TEST

START_TEST(one_node_is_one) {
    machine("0\n");
    ck_assert_uint_eq(mp_numa_start(root), 1);
    ck_assert_uint_eq(mp_numa_number(0), 0);
}
END_TEST

START_TEST(one_node_keeps_its_number) {
    machine("3\n");
    ck_assert_uint_eq(mp_numa_start(root), 1);
    ck_assert_uint_eq(mp_numa_number(0), 3);
}
END_TEST

static unsigned look_from(unsigned number) {
    runs_on = number;
    return mp_numa_look();
}

START_TEST(the_node_of_the_start_comes_first) {
    machine("0-3\n");
    runs_on = 2;
    ck_assert_uint_eq(mp_numa_start(root), 5);
    ck_assert_uint_eq(mp_numa_number(0), 2);
    ck_assert_uint_eq(mp_numa_number(1), 3);
    ck_assert_uint_eq(mp_numa_number(2), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(mp_numa_number(look_from(i)), i);
}
END_TEST

START_TEST(numbers_may_have_gaps) {
    machine("0,8,16-17\n");
    ck_assert_uint_eq(mp_numa_start(root), 5);
    ck_assert_uint_eq(mp_numa_number(look_from(8)), 8);
    ck_assert_uint_eq(mp_numa_number(look_from(17)), 17);
}
END_TEST

START_TEST(a_node_that_was_not_there_is_some_node) {
    machine("0-1\n");
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert_uint_lt(look_from(5), 2);
    ck_assert_uint_lt(look_from(1023), 2);
    ck_assert_uint_lt(look_from(70000), 2);
}
END_TEST

START_TEST(a_cpuset_of_one_node_is_one) {
    machine("0-3\n");
    put("Name:\tx\nSeccomp:\t2\nMems_allowed:\t4\nMems_allowed_list:\t2\n", STATUS);
    ck_assert_uint_eq(mp_numa_start(root), 1);
    ck_assert_uint_eq(mp_numa_number(0), 2);
}
END_TEST

START_TEST(a_cpuset_of_some_nodes_is_those) {
    machine("0-3\n");
    put("0-3\n", NODES "/online");
    put("10 20 30 40\n", NODES "/node0/distance");
    put("20 10 40 30\n", NODES "/node1/distance");
    put("Name:\tx\nSeccomp:\t2\nMems_allowed_list:\t2-3\n", STATUS);
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert_uint_eq(mp_numa_number(look_from(3)), 3);
    /* Of the others the nearest of these is had. */
    ck_assert_uint_eq(mp_numa_number(look_from(0)), 2);
    ck_assert_uint_eq(mp_numa_number(look_from(1)), 3);
}
END_TEST

START_TEST(without_memory_the_nearest_counts) {
    machine("0,2\n");
    put("0-3\n", NODES "/online");
    put("30 10 20 30\n", NODES "/node1/distance");
    put("12 30 20 10\n", NODES "/node3/distance");
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert_uint_eq(mp_numa_number(look_from(1)), 2);
    ck_assert_uint_eq(mp_numa_number(look_from(3)), 0);
}
END_TEST

START_TEST(no_distances_are_no_harm) {
    machine("0,2\n");
    put("0-3\n", NODES "/online");
    put("\n", NODES "/node1/distance");
    put("x y z\n", NODES "/node3/distance");
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert_uint_lt(look_from(1), 2);
    ck_assert_uint_lt(look_from(3), 2);
}
END_TEST

START_TEST(more_nodes_than_pools_share) {
    machine("0-99\n");
    ck_assert_uint_eq(mp_numa_start(root), MP_NODES);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_uint_lt(look_from(i), MP_NODES);
}
END_TEST

START_TEST(nonsense_is_no_harm) {
    static const char *const texts[] = {"",      "\n",  "-",    "0-",  "-3",     "0-99999999999999",
                                        "5-2\n", ",,,", "0,,1", "a-b", "1-0,0-1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        machine(texts[i]);
        put(texts[i], NODES "/online");
        put(texts[i], STATUS);
        unsigned count = mp_numa_start(root);
        ck_assert_uint_ge(count, 1);
        ck_assert_uint_le(count, MP_NODES);
        teardown();
    }
}
END_TEST

START_TEST(where_a_thread_runs_is_what_the_kernel_says) {
    unsigned cpu, node, numbers = 0;
    machine("0-63\n");
    mp_numa_pretended = NULL;
    ck_assert_uint_eq(mp_numa_start(root), 65);
    for (int i = 0; i < 100; i++) { /* it may move in between */
        unsigned seen = mp_numa_number(mp_numa_look());
        ck_assert_int_eq(getcpu(&cpu, &node), 0);
        numbers += seen == node;
    }
    ck_assert_uint_ge(numbers, 50);
}
END_TEST

START_TEST(off_is_one) {
    machine("0-1\n");
    mp_options.numa = MP_NUMA_OFF;
    ck_assert_uint_eq(mp_numa_start(root), 1);
}
END_TEST

START_TEST(interleave_that_cannot_be_is_said) {
    machine("0-1\n");
    mp_options.numa = MP_NUMA_INTERLEAVE;
    unit_listen();
    ck_assert_uint_eq(mp_numa_start(root), 1);
    ck_assert_ptr_nonnull(strstr(unit_said(), "numa=interleave"));
    ck_assert(!mp_numa_is_interleaved());
}
END_TEST

static int policy_calls;

static int count_policy_calls(const char *name) {
    policy_calls += strcmp(name, "mbind") == 0 || strcmp(name, "get_mempolicy") == 0;
    return 0;
}

START_TEST(under_a_filter_nothing_is_called) {
    machine("0-1\n");
    put("Name:\tx\nSeccomp:\t2\nMems_allowed_list:\t0-1\n", STATUS);
    mp_sys_fault = count_policy_calls;
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert_int_eq(policy_calls, 0);
    ck_assert(!mp_numa_has_seed(0));
    put("Name:\tx\nSeccomp:\t0\nMems_allowed_list:\t0-1\n", STATUS);
    mp_numa_start(root);
    ck_assert_int_gt(policy_calls, 0);
}
END_TEST

static int fail_policy_calls(const char *name) {
    return count_policy_calls(name), strcmp(name, "mbind") == 0 ? EPERM : 0;
}

START_TEST(a_policy_from_before_the_start_counts_under_a_filter_too) {
    machine("0-1\n");
    put("Name:\tx\nSeccomp:\t2\nMems_allowed_list:\t0-1\n", STATUS);
    put("55d0000 interleave:0-1 file=/bin/true mapped=3 N0=3\n", "/proc/self/numa_maps");
    ck_assert_uint_eq(mp_numa_start(root), 1);
    ck_assert(mp_numa_is_ordered());
    ck_assert(!mp_thp_may_fetch());
    put("55d0000 default file=/bin/true mapped=3 N0=3\n", "/proc/self/numa_maps");
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert(!mp_numa_is_ordered());
}
END_TEST

START_TEST(without_mbind_there_are_nodes_all_the_same) {
    machine("0-1\n");
    put("Name:\tx\nSeccomp:\t0\nMems_allowed_list:\t0-1\n", STATUS);
    mp_sys_fault = fail_policy_calls;
    ck_assert_uint_eq(mp_numa_start(root), 3);
    ck_assert(!mp_numa_has_seed(1));
}
END_TEST

/* ---- memory by nodes ---- */

enum { SIZE = 1024, EACH = 64, PAGES = 6, MADE = PAGES * EACH };

static char *blocks[MADE];

static unsigned node_of(const void *block) {
    return mp_arena_find((uintptr_t)block)->node;
}

static void allocate_all(void) {
    for (int i = 0; i < MADE; i++)
        memset(blocks[i] = t_malloc(SIZE), i, SIZE);
}

static void flush(void) {
    mp_slow_enter();
    mp_elsewhere_flush(mp_tls.heap);
    mp_elsewhere_read_mail(mp_tls.heap);
    mp_slow_leave();
}

static void free_all(void) {
    for (int i = 0; i < MADE; i++) {
        t_free(blocks[i]);
        blocks[i] = NULL;
    }
    flush();
}

static void *allocate_of_all_sizes(void *argument) {
    static const size_t sizes[] = {1, 16, 100, 1024, 8192, 9000, 60000, 70000, 1 << 20};
    char *block[sizeof sizes / sizeof sizes[0]];
    runs_on = (unsigned)(uintptr_t)argument;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        block[i] = t_malloc(sizes[i]);
        must(node_of(block[i]) == runs_on);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        t_free(block[i]);
    return NULL;
}

START_TEST(memory_is_from_where_the_thread_runs) {
    two_nodes();
    t_free(t_malloc(1));
    for (uintptr_t node = 0; node < 2; node++)
        unit_in_thread(allocate_of_all_sizes, (void *)node);
    unit_in_thread(allocate_of_all_sizes, NULL);
    ck_assert_invariants();
}
END_TEST

static size_t used_on(unsigned node) {
    struct mp_pool_stats stats;
    mp_pool_get_stats(node, &stats);
    return stats.used_bytes;
}

static void *free_from_node_1(void *unused) {
    (void)unused;
    runs_on = 1;
    t_free(t_malloc(SIZE));
    free_all();
    return NULL;
}

START_TEST(what_is_freed_elsewhere_goes_home) {
    two_nodes();
    allocate_all();
    size_t before = used_on(1), full = used_on(0);
    unit_in_thread(free_from_node_1, NULL);
    flush();
    mp_trim();
    ck_assert_uint_le(used_on(0), full - (PAGES - 1) * MP_SLICE_SIZE);
    ck_assert_uint_le(used_on(1), before + MP_SLICE_SIZE);
    struct mp_pool_stats stats;
    mp_pool_get_stats(0, &stats);
    ck_assert_uint_eq(stats.remote_bytes, MADE * SIZE);
    ck_assert_uint_eq(stats.remote_blocks, MADE);
    mp_pool_get_stats(1, &stats);
    ck_assert_uint_eq(stats.remote_bytes, 0);
    ck_assert_invariants();
}
END_TEST

/* One block of each page, by a thread of the other node. */
static void *free_one_each(void *unused) {
    (void)unused;
    runs_on = 1;
    t_free(t_malloc(SIZE));
    for (int i = 0; i < PAGES - 1; i++) {
        t_free(blocks[i * EACH + 1]);
        blocks[i * EACH + 1] = NULL;
    }
    flush();
    for (int i = 0; i < PAGES - 1; i++)
        must(mp_page_owner(mp_arena_find((uintptr_t)blocks[i * EACH])) != mp_tls.heap->owner);
    char *block = t_malloc(SIZE);
    must(node_of(block) == 1);
    t_free(block);
    return NULL;
}

static void *free_from_node_0(void *unused) {
    (void)unused;
    t_free(t_malloc(SIZE));
    free_all();
    return NULL;
}

START_TEST(what_is_freed_on_the_same_node_is_not_counted) {
    struct mp_pool_stats stats;
    two_nodes();
    allocate_all();
    unit_in_thread(free_from_node_0, NULL);
    mp_pool_get_stats(0, &stats);
    ck_assert_uint_eq(stats.remote_bytes, 0);
}
END_TEST

START_TEST(a_page_of_another_node_goes_home) {
    two_nodes();
    allocate_all();
    unit_in_thread(free_one_each, NULL);
    for (int i = 0; i < PAGES - 1; i++)
        ck_assert(mp_page_flags(mp_arena_find((uintptr_t)blocks[i * EACH])) & MP_PAGE_HOMING);
    flush();
    for (int i = 0; i < PAGES - 1; i++)
        ck_assert(mp_page_owner(mp_arena_find((uintptr_t)blocks[i * EACH])) == mp_tls.heap->owner);
    ck_assert_invariants();
    free_all();
    ck_assert_invariants();
}
END_TEST

/* Who filled it is on another node by now: it is for whoever comes there. */
static void *free_one_each_then_listed(void *unused) {
    free_one_each(unused);
    for (int i = 0; i < PAGES - 1; i++)
        must(mp_page_flags(mp_arena_find((uintptr_t)blocks[i * EACH])) & MP_PAGE_LISTED);
    return NULL;
}

static void *allocate_on_node_0(void *unused) {
    char *block[PAGES];
    (void)unused;
    runs_on = 0;
    for (int i = 0; i < PAGES - 1; i++) {
        block[i] = t_malloc(SIZE);
        bool old = false;
        for (int j = 0; j < PAGES - 1; j++)
            old |= mp_arena_find((uintptr_t)block[i]) == mp_arena_find((uintptr_t)blocks[j * EACH]);
        must(old);
    }
    for (int i = 0; i < PAGES - 1; i++)
        t_free(block[i]);
    return NULL;
}

static void come_to(unsigned node) {
    runs_on = node;
    t_free(t_malloc(9000)); /* any slow path */
}

START_TEST(a_page_whose_thread_has_moved_is_left_to_others) {
    two_nodes();
    allocate_all();
    come_to(1);
    unit_in_thread(free_one_each_then_listed, NULL);
    unit_in_thread(allocate_on_node_0, NULL);
    ck_assert_invariants();
    free_all();
    mp_trim();
    ck_assert_invariants();
}
END_TEST

/* Half-empty pages that it has, and the current one. */
START_TEST(a_thread_that_moves_gets_new_pages) {
    two_nodes();
    allocate_all();
    for (int i = 0; i < MADE; i += 2) {
        t_free(blocks[i]);
        blocks[i] = NULL;
    }
    come_to(1);
    int stay = 0;
    for (int i = 0; i < MADE; i += 2) {
        blocks[i] = t_malloc(SIZE);
        stay += node_of(blocks[i]) == 0;
    }
    ck_assert_int_le(stay, EACH); /* what the current page had at hand */
    ck_assert_invariants();
    come_to(0); /* and back: what it left is had again, before new memory */
    size_t used = used_on(0);
    char *more[EACH];
    for (int i = 0; i < EACH; i++)
        more[i] = t_malloc(SIZE);
    ck_assert_uint_eq(node_of(more[EACH - 1]), 0);
    ck_assert_uint_le(used_on(0), used);
    for (int i = 0; i < EACH; i++)
        t_free(more[i]);
    free_all();
    ck_assert_invariants();
}
END_TEST

START_TEST(a_lone_block_moves_too) {
    two_nodes();
    char *block = t_malloc(64);
    ck_assert_uint_eq(node_of(block), 0);
    runs_on = 1;
    uint64_t start = mp_sys_now_ms();
    while (mp_sys_now_ms() < start + 100) {
        t_free(block);
        block = t_malloc(64);
    }
    ck_assert_uint_eq(node_of(block), 1);
    t_free(block);
    ck_assert_invariants();
}
END_TEST

/* With a policy of its own a thread has memory that is bound to no node, and what it starts too. */
static void *allocate_without_node(void *unused) {
    (void)unused;
    char *block = t_malloc(100);
    must(node_of(block) == 2);
    t_free(block);
    return NULL;
}

static void *allocate_on_0(void *unused) {
    (void)unused;
    char *block = t_malloc(100);
    must(node_of(block) == 0);
    t_free(block);
    return NULL;
}

static void *allocate_large_without_node(void *unused) {
    (void)unused;
    char *block = t_malloc(100000);
    must(node_of(block) == 2);
    t_free(block);
    return NULL;
}

START_TEST(a_threads_own_policy_counts) {
    enum { LOCAL = 4, INTERLEAVE_STATIC = 3 | 1 << 15 };
    two_nodes();
    char *before = t_malloc(100);
    ck_assert_uint_eq(node_of(before), 0);
    mp_numa_note_policy(INTERLEAVE_STATIC);
    ck_assert_uint_eq(mp_numa_number(2), UINT32_MAX);
    ck_assert_uint_eq(mp_numa_number_here(), 0);
    for (int i = 0; i < 64; i++)
        t_free(before), before = t_malloc(i % 2 ? 100 : 9000);
    char *large = t_malloc(100000), *medium = t_malloc(9000);
    ck_assert_uint_eq(node_of(large), 2);
    ck_assert_uint_eq(node_of(medium), 2);
    unit_in_thread(allocate_without_node, NULL);
    unit_in_thread(allocate_large_without_node, NULL);
    mp_numa_note_policy(LOCAL);
    unit_in_thread(allocate_on_0, NULL); /* nobody has a policy any more */
    t_free(large);
    t_free(medium);
    large = t_malloc(100000);
    ck_assert_uint_eq(node_of(large), 0);
    t_free(large);
    t_free(before);
    ck_assert_invariants();
}
END_TEST

START_TEST(a_page_that_is_hardly_begun_is_left_too) {
    two_nodes();
    char *first = t_malloc(SIZE), *more[EACH];
    runs_on = 1;
    int stay = 0;
    for (int i = 0; i < EACH; i++) {
        more[i] = t_malloc(SIZE);
        stay += node_of(more[i]) == 0;
    }
    ck_assert_int_le(stay, 4096 / SIZE - 1); /* what has been made in it */
    for (int i = 0; i < EACH; i++)
        t_free(more[i]);
    t_free(first);
    ck_assert_invariants();
}
END_TEST

/* ---- memory that is short ---- */

static int failed;

static int fail_mmap(const char *name) {
    bool fails = strcmp(name, "mmap") == 0 || strcmp(name, "mremap") == 0;
    failed += fails;
    return fails ? ENOMEM : 0;
}

enum { SPANS = 4096 };
static struct mp_page *spans[SPANS];

/* All there is; returns how many of node 0. */
static int take_all_spans(int *count) {
    bool zero;
    int of_node_0 = 0;
    for (*count = 0; *count < SPANS; ++*count) {
        spans[*count] = mp_pool_take(1, 1, 1, &zero);
        if (!spans[*count])
            return of_node_0;
        of_node_0 += spans[*count]->node == 0;
    }
    return of_node_0;
}

/* Another node's pages before none, and blocks in those that are in use there. */
START_TEST(another_nodes_memory_is_better_than_none) {
    int count;
    two_nodes();
    allocate_all();
    for (int i = 0; i < MADE; i += 2) {
        t_free(blocks[i]);
        blocks[i] = NULL;
    }
    mp_slow_enter();
    mp_pool_give(mp_pool_take(0, 4, 1, &(bool){false}), 4);
    mp_slow_leave();
    come_to(1);
    mp_sys_fault = fail_mmap;
    mp_slow_enter();
    int of_node_0 = take_all_spans(&count);
    mp_slow_leave();
    ck_assert_int_ge(of_node_0, 4);
    ck_assert_int_lt(of_node_0, count);
    for (int i = 0; i < MADE; i += 2) {
        blocks[i] = t_malloc(SIZE);
        ck_assert_ptr_nonnull(blocks[i]);
        ck_assert_uint_eq(node_of(blocks[i]), 0);
    }
    mp_sys_fault = NULL;
    mp_slow_enter();
    while (count-- > 0)
        mp_pool_give(spans[count], 1);
    mp_slow_leave();
    free_all();
    ck_assert_invariants();
}
END_TEST

/* A page of another node is used up before the next is taken: addresses are short. */
START_TEST(a_page_of_another_node_is_kept_where_there_is_no_other) {
    enum { FREE = 8, BLOCKS = 60 };
    struct mp_page *page, *last = NULL;
    bool zero;
    int count = 0, pages = 0;
    two_nodes();
    t_free(t_malloc(SIZE));
    come_to(1);
    struct mp_page *other = mp_pool_take(0, FREE, 1, &zero);
    mp_sys_fault = fail_mmap;
    while (count < SPANS && (spans[count] = mp_pool_take_on(1, 1, 1, &zero)))
        count++;
    while (count < SPANS && (spans[count] = mp_pool_take_on(0, 1, 1, &zero)))
        count++;
    mp_pool_give(other, FREE);
    failed = 0;
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = t_malloc(SIZE);
        ck_assert_ptr_nonnull(blocks[i]);
        page = mp_arena_find((uintptr_t)blocks[i]);
        pages += page != last;
        last = page;
    }
    mp_sys_fault = NULL;
    ck_assert_int_le(pages, 3);   /* what had been left on node 0, and one more */
    ck_assert_int_le(failed, 20); /* nor is the system asked again for each stretch of it */
    while (count-- > 0)
        mp_pool_give(spans[count], 1);
    for (int i = 0; i < BLOCKS; i++)
        t_free(blocks[i]);
    ck_assert_invariants();
}
END_TEST

/* ---- everybody everywhere ---- */

enum { CROWD = 4, SLOTS = 512, ROUNDS = 20000 };

static _Atomic(char *) slots[SLOTS];

static void *wander(void *argument) {
    uint64_t state = (uintptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 64 == 0)
            runs_on = (unsigned)unit_random_to(&state, 2);
        char *block = NULL;
        if (unit_random(&state) % 2) {
            size_t size = unit_random_size(&state, 100000);
            block = t_malloc(size);
            must(block);
            block[0] = block[size ? size - 1 : 0] = 1;
        }
        t_free(atomic_exchange(&slots[unit_random_to(&state, SLOTS - 1)], block));
    }
    return NULL;
}

static void run_crowd(void) {
    pthread_t threads[CROWD];
    for (uintptr_t i = 0; i < CROWD; i++)
        must(pthread_create(&threads[i], NULL, wander, (void *)(i + 1)) == 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
}

static void free_slots(void) {
    for (int i = 0; i < SLOTS; i++)
        t_free(atomic_exchange(&slots[i], NULL));
}

START_TEST(threads_that_move_keep_everything_right) {
    static struct mp_census census;
    machine("0-2\n");
    mp_heap_find_nodes(root);
    ck_assert_uint_eq(mp_numa_count(), 4);
    mp_census(&census);
    uint64_t before = census.live_blocks;
    for (int turn = 0; turn < (unit_full() ? 50 : 4); turn++) {
        run_crowd();
        must_hold_invariants();
        uint64_t live = 0;
        for (int i = 0; i < SLOTS; i++)
            live += slots[i] != NULL;
        mp_census(&census);
        ck_assert_uint_eq(census.live_blocks - before, live);
    }
    free_slots();
    mp_trim();
    ck_assert_invariants();
    mp_census(&census);
    ck_assert_uint_eq(census.live_blocks, before);
}
END_TEST

static void use_in_child(void) {
    runs_on = 1;
    free_slots();
    run_crowd();
    free_slots();
}

START_TEST(a_forked_child_has_all_nodes) {
    two_nodes();
    run_crowd();
    ck_assert_int_eq(unit_gated_fork(use_in_child), 0);
    free_slots();
    ck_assert_invariants();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("numa");
    TCase *found = tcase_create("which nodes there are");
    tcase_add_checked_fixture(found, NULL, teardown);
    UNIT_CASE_PRISTINE(found, no_file_means_one_node);
    UNIT_CASE_PRISTINE(found, one_node_is_one);
    UNIT_CASE_PRISTINE(found, one_node_keeps_its_number);
    UNIT_CASE_PRISTINE(found, the_node_of_the_start_comes_first);
    UNIT_CASE_PRISTINE(found, numbers_may_have_gaps);
    UNIT_CASE_PRISTINE(found, a_node_that_was_not_there_is_some_node);
    UNIT_CASE_PRISTINE(found, a_cpuset_of_one_node_is_one);
    UNIT_CASE_PRISTINE(found, a_cpuset_of_some_nodes_is_those);
    UNIT_CASE_PRISTINE(found, without_memory_the_nearest_counts);
    UNIT_CASE_PRISTINE(found, no_distances_are_no_harm);
    UNIT_CASE_PRISTINE(found, more_nodes_than_pools_share);
    UNIT_CASE_PRISTINE(found, nonsense_is_no_harm);
    UNIT_CASE_PRISTINE(found, where_a_thread_runs_is_what_the_kernel_says);
    UNIT_CASE_PRISTINE(found, off_is_one);
    UNIT_CASE_PRISTINE(found, interleave_that_cannot_be_is_said);
    UNIT_CASE_PRISTINE(found, under_a_filter_nothing_is_called);
    UNIT_CASE_PRISTINE(found, a_policy_from_before_the_start_counts_under_a_filter_too);
    UNIT_CASE_PRISTINE(found, without_mbind_there_are_nodes_all_the_same);
    suite_add_tcase(suite, found);
    TCase *had = tcase_create("memory by nodes");
    tcase_add_checked_fixture(had, NULL, teardown);
    UNIT_CASE_PRISTINE(had, memory_is_from_where_the_thread_runs);
    UNIT_CASE_PRISTINE(had, what_is_freed_elsewhere_goes_home);
    UNIT_CASE_PRISTINE(had, what_is_freed_on_the_same_node_is_not_counted);
    UNIT_CASE_PRISTINE(had, a_page_of_another_node_goes_home);
    UNIT_CASE_PRISTINE(had, a_page_whose_thread_has_moved_is_left_to_others);
    UNIT_CASE_PRISTINE(had, a_thread_that_moves_gets_new_pages);
    UNIT_CASE_PRISTINE(had, a_lone_block_moves_too);
    UNIT_CASE_PRISTINE(had, a_page_that_is_hardly_begun_is_left_too);
    UNIT_CASE_PRISTINE(had, a_threads_own_policy_counts);
    UNIT_CASE_PRISTINE(had, another_nodes_memory_is_better_than_none);
    UNIT_CASE_PRISTINE(had, a_page_of_another_node_is_kept_where_there_is_no_other);
    suite_add_tcase(suite, had);
    TCase *crowd = tcase_create("everybody everywhere");
    tcase_add_checked_fixture(crowd, NULL, teardown);
    /* Without a process of its own (the thread sanitizer) this is the suite's only case. */
    UNIT_CASE(crowd, threads_that_move_keep_everything_right);
    UNIT_CASE_PRISTINE(crowd, a_forked_child_has_all_nodes);
    suite_add_tcase(suite, crowd);
    return unit_main(suite);
}
