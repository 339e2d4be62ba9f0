/* Suite: which block a word points into, what roots lead to, and what becomes of the rest; random
 * heaps against a slow search of the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap_api.h"
#include "leak/twice.h"
#include "leak/verdict.h"
#include "platform/sys.h"
#include "record/memory.h"
#include "unit.h"

#define MIB ((size_t)1 << 20)

/* ---- which block ---- */

static const size_t sizes[] = {1,     16,    17,    64,     100,     128,      144,
                               1000,  1024,  4096,  5000,   8192,    8193,     20000,
                               65536, 65537, 70000, 300000, 3 * MIB, 33 * MIB, 40 * MIB};
#define SIZES (sizeof sizes / sizeof *sizes)

static void check_block(const char *block, bool live) {
    struct mp_block_found found, first;
    size_t usable = mp_usable_size(block);
    ck_assert(mp_blocks_find((uintptr_t)block, &first));
    ck_assert_uint_eq(first.start, (uintptr_t)block);
    ck_assert(mp_blocks_is_live(&first) == live);
    if (!live)
        return;
    ck_assert_uint_eq(first.size, usable);
    ck_assert_uint_lt(first.number, mp_blocks_count());
    for (size_t at = 1; at < usable; at += at < 20 ? 1 : usable / 7 + 1) {
        ck_assert(mp_blocks_find((uintptr_t)block + at, &found));
        ck_assert_uint_eq(found.start, first.start);
        ck_assert_uint_eq(found.number, first.number);
    }
    ck_assert(mp_blocks_find((uintptr_t)block + usable - 1, &found));
    ck_assert_uint_eq(found.number, first.number);
    if (mp_blocks_find((uintptr_t)block + usable, &found))
        ck_assert_uint_ne(found.number, first.number);
}

START_TEST(any_pointer_into_a_block_finds_it) {
    enum { EACH = 40 };
    static char *blocks[SIZES][EACH];
    for (size_t s = 0; s < SIZES; s++) {
        for (size_t i = 0; i < (sizes[s] > MIB ? 3 : EACH); i++)
            blocks[s][i] = i % 4 == 3 ? t_memalign(256, sizes[s]) : t_malloc(sizes[s]);
    }
    /* What is free by now is in its page still, and told apart. Larger ones are gone. */
    for (size_t s = 0; s < SIZES; s++) {
        for (size_t i = 1; i < EACH; i += 3) {
            if (blocks[s][i] && sizes[s] <= MP_MEDIUM_MAX)
                t_free(blocks[s][i]);
        }
    }
    ck_assert(mp_blocks_begin());
    for (size_t s = 0; s < SIZES; s++) {
        for (size_t i = 0; i < EACH; i++) {
            if (blocks[s][i])
                check_block(blocks[s][i], i % 3 != 1 || sizes[s] > MP_MEDIUM_MAX);
        }
    }
    mp_blocks_end();
    for (size_t s = 0; s < SIZES; s++) {
        for (size_t i = 0; i < EACH; i++) {
            if (i % 3 != 1 || sizes[s] > MP_MEDIUM_MAX)
                t_free(blocks[s][i]);
        }
    }
}
END_TEST

START_TEST(what_points_into_no_block_finds_none) {
    struct mp_block_found found;
    int here;
    char *block = t_malloc(64), *huge = t_malloc(40 * MIB);
    ck_assert(mp_blocks_begin());
    ck_assert(!mp_blocks_find(0, &found));
    ck_assert(!mp_blocks_find(UINTPTR_MAX, &found));
    ck_assert(!mp_blocks_find((uintptr_t)&here, &found));
    ck_assert(!mp_blocks_find((uintptr_t)sizes, &found));
    ck_assert(!mp_blocks_find((uintptr_t)huge + mp_usable_size(huge), &found) ||
              found.start > (uintptr_t)huge); /* another test's */
    /* Where blocks of the page have not been made yet. */
    ck_assert(!mp_blocks_find(((uintptr_t)block | 0xffff) - 15, &found));
    mp_blocks_end();
    t_free(huge);
    ck_assert(mp_blocks_begin());
    ck_assert(!mp_blocks_find((uintptr_t)huge, &found));
    mp_blocks_end();
    t_free(block);
}
END_TEST

struct count {
    uint64_t blocks, bytes, last;
};

static void count_block(const struct mp_block_found *block, void *context) {
    struct count *count = context;
    struct mp_block_found found;
    must(mp_blocks_find(block->start, &found) && found.number == block->number);
    must(!count->blocks || block->number > count->last);
    count->last = block->number;
    count->blocks++;
    count->bytes += block->size;
}

START_TEST(each_live_block_is_visited_once) {
    uint64_t state = 5, blocks = 0, bytes = 0;
    static char *held[5000];
    struct count count = {0};
    ck_assert(mp_blocks_begin());
    mp_blocks_each(NULL, count_block, &count);
    mp_blocks_end();
    const struct count before = count;
    for (size_t i = 0; i < 5000; i++) {
        size_t size = 1 + unit_random_to(&state, i % 500 ? 3000 : 200000);
        held[i] = t_malloc(i == 77 ? 40 * MIB : size);
    }
    for (size_t i = 0; i < 5000; i++) {
        if (unit_random_to(&state, 2) == 0 && i != 77) {
            t_free(held[i]);
            held[i] = NULL;
            continue;
        }
        blocks++;
        bytes += mp_usable_size(held[i]);
    }
    count = (struct count){0};
    ck_assert(mp_blocks_begin());
    mp_blocks_each(NULL, count_block, &count);
    mp_blocks_end();
    ck_assert_uint_eq(count.blocks - before.blocks, blocks);
    ck_assert_uint_eq(count.bytes - before.bytes, bytes);
    for (size_t i = 0; i < 5000; i++)
        t_free(held[i]);
}
END_TEST

/* ---- what roots lead to ---- */

static uintptr_t number_of(const void *block) {
    struct mp_block_found found;
    must(mp_blocks_find((uintptr_t)block, &found));
    return found.number;
}

START_TEST(a_list_of_200000_is_reached_to_its_end) {
    enum { LENGTH = 200000 };
    void **head = NULL, *lost = t_malloc(64);
    struct mp_marks marks;
    for (int i = 0; i < LENGTH; i++) {
        void **entry = t_calloc(1, 48);
        entry[3] = head;
        head = entry;
    }
    memset(lost, 0, 64);
    ck_assert(mp_blocks_begin() && mp_marks_begin(&marks, NULL));
    void *const root[] = {NULL, (char *)head + 47};
    mp_mark_range(&marks, (uintptr_t)root, (uintptr_t)(root + 2));
    mp_mark_through(&marks);
    for (void **at = head; at; at = at[3])
        ck_assert(mp_marks_has(&marks, (uint32_t)number_of(at)));
    ck_assert(!mp_marks_has(&marks, (uint32_t)number_of(lost)));
    mp_marks_end(&marks);
    mp_blocks_end();
    while (head) {
        void **next = head[3];
        t_free(head);
        head = next;
    }
    t_free(lost);
}
END_TEST

START_TEST(words_count_where_pointers_may_stand) {
    struct mp_marks marks;
    char *block = t_malloc(100);
    char bytes[32] __attribute__((aligned(8))) = {0};
    memset(block, 0, 100);
    ck_assert(mp_blocks_begin());
    const uint32_t number = (uint32_t)number_of(block);
    for (int offset = 0; offset < 16; offset++) {
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes + offset, &block, sizeof block);
        ck_assert(mp_marks_begin(&marks, NULL));
        mp_mark_range(&marks, (uintptr_t)bytes + 1, (uintptr_t)bytes + 23);
        ck_assert(mp_marks_has(&marks, number) == (offset == 8));
        mp_marks_end(&marks);
    }
    ck_assert(mp_marks_begin(&marks, NULL));
    mp_mark_word(&marks, (uintptr_t)block);
    ck_assert(mp_marks_has(&marks, number));
    mp_marks_end(&marks);
    mp_blocks_end();
    t_free(block);
}
END_TEST

START_TEST(what_a_free_block_points_to_is_not_reached) {
    struct mp_marks marks;
    void **from = t_malloc(64), *to = t_malloc(200);
    memset(to, 0, 200);
    memset(from, 0, 64);
    from[4] = to;
    t_free(from);
    ck_assert(mp_blocks_begin() && mp_marks_begin(&marks, NULL));
    ck_assert_ptr_eq(from[4], to);
    mp_mark_word(&marks, (uintptr_t)from);
    mp_mark_through(&marks);
    ck_assert(!mp_marks_has(&marks, (uint32_t)number_of(to)));
    mp_marks_end(&marks);
    mp_blocks_end();
}
END_TEST

/* ---- random heaps ---- */

#define NODES 3000
#define EDGES 4

static struct node {
    void **at;
    unsigned to[EDGES], edges;
    uint32_t number;
    bool reached, covered;
    unsigned led;
} nodes[NODES];

static void make_graph(uint64_t *state, unsigned per_node) {
    for (unsigned i = 0; i < NODES; i++) {
        size_t size = 48 + unit_random_to(state, i % 100 == 0 ? 200000 : i % 10 ? 300 : 12000);
        nodes[i] = (struct node){.at = t_malloc(size)};
        memset(nodes[i].at, 0, mp_usable_size(nodes[i].at));
    }
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        size_t words = mp_usable_size(node->at) / sizeof *node->at;
        node->edges = (unsigned)unit_random_to(state, per_node);
        for (unsigned e = 0; e < node->edges; e++) {
            unsigned to = (unsigned)unit_random_to(state, NODES - 1);
            size_t inside = unit_random_to(state, 3) ? 0 : unit_random_to(state, 47);
            node->to[e] = to;
            /* The last words are a place of their own for each. */
            node->at[words - 1 - e] = (char *)nodes[to].at + inside;
        }
    }
}

static void go(unsigned from, bool (*enter)(struct node *node)) {
    static unsigned stack[NODES * EDGES + 1];
    size_t used = 0;
    stack[used++] = from;
    while (used) {
        const struct node *node = &nodes[stack[--used]];
        for (unsigned e = 0; e < node->edges; e++) {
            if (enter(&nodes[node->to[e]]))
                stack[used++] = node->to[e];
        }
    }
}

static bool enter_reached(struct node *node) {
    bool first = !node->reached;
    node->reached = true;
    return first;
}

static unsigned now_led; /* by the search of this number */

static bool enter_led(struct node *node) {
    bool first = !node->reached && node->led != now_led;
    node->led = now_led;
    node->covered = true;
    return first;
}

static void search(const unsigned *roots, unsigned count) {
    for (unsigned i = 0; i < NODES; i++)
        nodes[i].number = (uint32_t)number_of(nodes[i].at);
    for (unsigned i = 0; i < count; i++) {
        if (enter_reached(&nodes[roots[i]]))
            go(roots[i], enter_reached);
    }
}

/* As verdict.h has it: no direct leak leads to another, and together they lead to all. So there is
 * one in each cycle into which nothing leads, and all are that nothing points to. */
static void check_verdicts(const struct mp_verdicts *verdicts, unsigned counts[3]) {
    static bool direct[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        enum mp_verdict verdict = mp_verdict_of(verdicts, nodes[i].number);
        must((verdict == MP_REACHABLE) == nodes[i].reached);
        direct[i] = verdict == MP_LEAKED;
        counts[verdict]++;
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (!direct[i])
            continue;
        now_led++;
        nodes[i].covered = true;
        go(i, enter_led);
        for (unsigned k = 0; k < NODES; k++)
            must(k == i || !direct[k] || nodes[k].led != now_led);
    }
    for (unsigned i = 0; i < NODES; i++)
        must(nodes[i].reached || nodes[i].covered);
}

static void check_graph(uint64_t seed, unsigned per_node, unsigned root_count) {
    uint64_t state = seed;
    unsigned roots[NODES];
    uintptr_t words[NODES + 1];
    struct mp_marks marks;
    struct mp_verdicts verdicts;
    unsigned counts[3] = {0};
    make_graph(&state, per_node);
    ck_assert(mp_blocks_begin());
    for (unsigned i = 0; i < root_count; i++) {
        roots[i] = (unsigned)unit_random_to(&state, NODES - 1);
        words[i] = (uintptr_t)nodes[roots[i]].at + unit_random_to(&state, 40);
    }
    search(roots, root_count);
    ck_assert(mp_marks_begin(&marks, NULL));
    mp_mark_range(&marks, (uintptr_t)words, (uintptr_t)(words + root_count));
    mp_mark_through(&marks);
    for (unsigned i = 0; i < NODES; i++)
        must(mp_marks_has(&marks, nodes[i].number) == nodes[i].reached);
    ck_assert(mp_verdicts_begin(&verdicts, &marks));
    check_verdicts(&verdicts, counts);
    if (root_count > 0 && per_node == EDGES)
        ck_assert(counts[MP_REACHABLE] > NODES / 4);
    if (per_node < EDGES)
        ck_assert(counts[MP_LEAKED] > 0 && counts[MP_LEAKED_INDIRECTLY] > 0);
    mp_verdicts_end(&verdicts);
    mp_marks_end(&marks);
    mp_blocks_end();
    for (unsigned i = 0; i < NODES; i++)
        t_free(nodes[i].at);
}

START_TEST(random_heaps_are_marked_and_judged_as_a_search_by_hand_says) {
    for (uint64_t seed = 1; seed <= (unit_full() ? 60 : 20); seed++) {
        check_graph(seed, 1, seed % 2 ? 300 : 0);
        check_graph(seed + 1000, 2, 200);
        check_graph(seed + 2000, EDGES, 30);
    }
}
END_TEST

/* ---- two scans ---- */

/* Both scans are this process's, which holds nothing of it. How many of `count` blocks are called
 * leaked, with so many threads whose registers are not known. */
static unsigned count_lost_twice(char **blocks, unsigned count, uint32_t unknown) {
    struct mp_marks first, second;
    unsigned lost = 0;
    struct mp_twice *twice = mp_twice_begin();
    ck_assert_ptr_nonnull(twice);
    ck_assert(mp_blocks_begin() && mp_marks_begin(&first, NULL) && mp_marks_begin(&second, NULL));
    mp_twice_note(twice, &first);
    blocks[0][50]++; /* somebody holds this one: it is written to */
    ck_assert_int_eq(mp_twice_confirm(twice, mp_sys_getpid(), unknown, &second), 0);
    for (unsigned i = 0; i < count; i++)
        lost += !mp_marks_has(&second, (uint32_t)number_of(blocks[i]));
    mp_marks_end(&first);
    mp_marks_end(&second);
    mp_blocks_end();
    mp_twice_end(twice);
    return lost;
}

START_TEST(of_two_scans_only_what_did_not_change_counts_and_registers_cannot_hold) {
    enum { COUNT = 40 };
    char *blocks[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = t_calloc(1, 100);
        blocks[i][8] = (char)i;
    }
    ck_assert_uint_eq(count_lost_twice(blocks, COUNT, 0), COUNT - 1);
    ck_assert_uint_eq(count_lost_twice(blocks, COUNT, 2), COUNT - 1); /* 32 registers */
    ck_assert_uint_eq(count_lost_twice(blocks, COUNT, 3), 0);         /* 48 */
    for (unsigned i = 0; i < COUNT; i++)
        t_free(blocks[i]);
}
END_TEST

START_TEST(a_first_scan_that_came_to_nothing_is_told) {
    struct mp_marks marks;
    struct mp_twice *twice = mp_twice_begin();
    ck_assert_ptr_nonnull(twice);
    ck_assert(mp_blocks_begin() && mp_marks_begin(&marks, NULL));
    mp_twice_note(twice, NULL);
    ck_assert_int_eq(mp_twice_confirm(twice, mp_sys_getpid(), 0, &marks), -ESRCH);
    mp_marks_end(&marks);
    mp_blocks_end();
    mp_twice_end(twice);
}
END_TEST

/* ---- verdicts ---- */

static void **new_node(void) {
    return t_calloc(1, 64);
}

START_TEST(a_cycle_has_one_direct_leak_and_what_hangs_on_it_none) {
    struct mp_marks marks;
    struct mp_verdicts verdicts;
    void **ring[5], **hangs = new_node(), **own = new_node(), **held = new_node();
    unsigned direct = 0;
    for (int i = 0; i < 5; i++)
        ring[i] = new_node();
    for (int i = 0; i < 5; i++)
        ring[i][1] = ring[(i + 2) % 5];
    ring[3][2] = hangs;
    own[5] = own;      /* points to itself */
    held[1] = ring[0]; /* from what a root leads to it would be reached: this one is not */
    held[2] = held;
    ck_assert(mp_blocks_begin() && mp_marks_begin(&marks, NULL));
    ck_assert(mp_verdicts_begin(&verdicts, &marks));
    ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(own)), MP_LEAKED);
    ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(held)), MP_LEAKED);
    ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(hangs)), MP_LEAKED_INDIRECTLY);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(ring[i])),
                         MP_LEAKED_INDIRECTLY);
    mp_verdicts_end(&verdicts);
    mp_marks_end(&marks);

    held[1] = NULL;
    ck_assert(mp_marks_begin(&marks, NULL) && mp_verdicts_begin(&verdicts, &marks));
    for (int i = 0; i < 5; i++)
        direct += mp_verdict_of(&verdicts, (uint32_t)number_of(ring[i])) == MP_LEAKED;
    ck_assert_uint_eq(direct, 1);
    ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(hangs)), MP_LEAKED_INDIRECTLY);
    mp_verdicts_end(&verdicts);
    mp_marks_end(&marks);

    ck_assert(mp_marks_begin(&marks, NULL));
    mp_mark_word(&marks, (uintptr_t)ring[4] + 8);
    mp_mark_through(&marks);
    ck_assert(mp_verdicts_begin(&verdicts, &marks));
    ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(hangs)), MP_REACHABLE);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(mp_verdict_of(&verdicts, (uint32_t)number_of(ring[i])), MP_REACHABLE);
    mp_verdicts_end(&verdicts);
    mp_marks_end(&marks);
    mp_blocks_end();
}
END_TEST

/* ---- without memory ---- */

static int mmaps_left;

static int refuse_mmap(const char *name) {
    return strcmp(name, "mmap") == 0 && mmaps_left-- <= 0 ? ENOMEM : 0;
}

START_TEST(without_memory_there_is_no_check_and_nothing_is_left_behind) {
    struct mp_marks marks;
    struct mp_verdicts verdicts;
    void *block = t_malloc(100), *huge = t_malloc(40 * MIB);
    bool done = false;
    for (int allowed = 0; !done; allowed++) {
        const size_t before = mp_record_bytes();
        ck_assert_int_lt(allowed, 100);
        mmaps_left = allowed;
        mp_sys_fault = refuse_mmap;
        if (mp_blocks_begin()) {
            if (mp_marks_begin(&marks, NULL)) {
                if (mp_verdicts_begin(&verdicts, &marks)) {
                    mp_verdicts_end(&verdicts);
                    done = true;
                }
                mp_marks_end(&marks);
            }
            mp_blocks_end();
        }
        mp_sys_fault = NULL;
        ck_assert_uint_eq(mp_record_bytes(), before);
    }
    t_free(block);
    t_free(huge);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("leak");
    TCase *find = tcase_create("which block");
    UNIT_CASE(find, any_pointer_into_a_block_finds_it);
    UNIT_CASE(find, what_points_into_no_block_finds_none);
    UNIT_CASE(find, each_live_block_is_visited_once);
    suite_add_tcase(suite, find);
    TCase *mark = tcase_create("marks");
    tcase_set_timeout(mark, 60);
    UNIT_CASE(mark, a_list_of_200000_is_reached_to_its_end);
    UNIT_CASE(mark, words_count_where_pointers_may_stand);
    UNIT_CASE(mark, what_a_free_block_points_to_is_not_reached);
    UNIT_CASE(mark, random_heaps_are_marked_and_judged_as_a_search_by_hand_says);
    UNIT_CASE(mark, of_two_scans_only_what_did_not_change_counts_and_registers_cannot_hold);
    UNIT_CASE(mark, a_first_scan_that_came_to_nothing_is_told);
    UNIT_CASE(mark, a_cycle_has_one_direct_leak_and_what_hangs_on_it_none);
    UNIT_CASE(mark, without_memory_there_is_no_check_and_nothing_is_left_behind);
    suite_add_tcase(suite, mark);
    return unit_main(suite);
}
