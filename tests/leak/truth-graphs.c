/* Blocks that lead to each other: chains, trees, cycles and what hangs on them, lost or held by one
 * global. */
#include "truth.h"

/* The one root of a case. */
static void *volatile root;

BLOCK(keep_block)
BLOCK(keep_behind)
BLOCK(lost_block)
BLOCK(lost_other)
BLOCK(lost_behind_block)
BLOCK(lost_behind_other)
BLOCK(loop_block)
BLOCK(loop_other)

typedef void *maker(size_t size);

/* `count` blocks, each of which points to the next by its first word; the last one is returned. The
 * first is *first, or starts the chain behind what `from` is. */
__attribute__((noinline)) static void *chain(void *from, maker *make, size_t size, unsigned count) {
    void *at = from;
    while (count--) {
        void *next = make(size);
        truth_point(at, 0, next);
        at = next;
    }
    return at;
}

/* Its first block. */
__attribute__((noinline)) static void *ring(maker *make, size_t size, unsigned count) {
    void *first = make(size);
    truth_point(chain(first, make, size, count - 1), 0, first);
    return first;
}

/* ---- chains ---- */

MAKES void make_single(void) {
    lost_block(40);
}

static void run_single(void) {
    truth_make(make_single);
    truth_rest();
}

MAKES void make_behind(void) {
    chain(lost_block(56), lost_behind_block, 24, 3);
}

static void run_behind(void) {
    truth_make(make_behind);
    truth_rest();
}

MAKES void make_many(void) {
    for (size_t i = 0; i < 10000; i++)
        lost_block(8 + i % 100);
}

static void run_many(void) {
    truth_make(make_many);
    truth_rest();
}

__attribute__((noinline)) static void *deep(maker *first, maker *rest) {
    void *head = first(16);
    chain(head, rest, 16, 200000);
    return head;
}

MAKES void make_deep_lost(void) {
    deep(lost_block, lost_behind_block);
}

static void run_deep_lost(void) {
    truth_make(make_deep_lost);
    truth_rest();
}

MAKES void make_deep_kept(void) {
    root = deep(keep_block, keep_behind);
}

static void run_deep_kept(void) {
    truth_make(make_deep_kept);
    truth_rest();
}

/* A second list hangs on the head of the first for a while. */
MAKES void make_cut(void) {
    void *head = keep_block(32), *rest = lost_block(48);
    chain(head, keep_behind, 32, 9);
    chain(rest, lost_behind_block, 48, 7);
    root = head;
    truth_point(head, 1, rest);
    truth_point(head, 1, NULL);
}

static void run_cut(void) {
    truth_make(make_cut);
    truth_rest();
}

MAKES void make_overwritten(void) {
    root = lost_block(72);
    root = keep_block(72);
}

static void run_overwritten(void) {
    truth_make(make_overwritten);
    truth_rest();
}

/* ---- several ways to one block ---- */

MAKES void make_shared_with_root(void) {
    void *shared = keep_block(64);
    truth_point(lost_block(40), 1, shared);
    root = shared;
}

static void run_shared_with_root(void) {
    truth_make(make_shared_with_root);
    truth_rest();
}

MAKES void make_three_sources(void) {
    void *shared = lost_behind_block(100);
    for (size_t i = 0; i < 3; i++)
        truth_point(lost_block(40), i, shared);
}

static void run_three_sources(void) {
    truth_make(make_three_sources);
    truth_rest();
}

/* 16 layers of two, each of which points to both of the next. */
MAKES void make_lattice(void) {
    void *upper[2] = {lost_block(32), lost_other(48)};
    for (unsigned layer = 1; layer < 16; layer++) {
        void *lower[2] = {lost_behind_block(32), lost_behind_other(48)};
        for (size_t i = 0; i < 4; i++)
            truth_point(upper[i / 2], i % 2, lower[i % 2]);
        memcpy(upper, lower, sizeof upper);
    }
    memset(upper, 0, sizeof upper);
}

static void run_lattice(void) {
    truth_make(make_lattice);
    truth_rest();
}

/* Every block points to all that came before it: of 60, the last one is the source. */
MAKES void make_dense(void) {
    void *blocks[60];
    for (size_t i = 0; i < 60; i++) {
        blocks[i] = i == 59 ? lost_block(480) : lost_behind_block(480);
        for (size_t j = 0; j < i; j++)
            truth_point(blocks[i], j, blocks[j]);
    }
    memset(blocks, 0, sizeof blocks);
}

static void run_dense(void) {
    truth_make(make_dense);
    truth_rest();
}

MAKES void make_table(void) {
    char *table = lost_block(10000 * sizeof(void *));
    for (size_t i = 0; i < 10000; i++)
        truth_point(table, i, lost_behind_block(8 + i % 50));
}

static void run_table(void) {
    truth_make(make_table);
    truth_rest();
}

/* ---- trees ---- */

#define WAYS 4

__attribute__((noinline)) static void *tree(maker *top, maker *below, unsigned depth) {
    void *node = top(48);
    for (size_t i = 0; depth && i < WAYS; i++)
        truth_point(node, i, tree(below, below, depth - 1));
    return node;
}

MAKES void make_tree(void) {
    tree(lost_block, lost_behind_block, 5);
}

static void run_tree(void) {
    truth_make(make_tree);
    truth_rest();
}

MAKES void make_tree_kept(void) {
    root = tree(keep_block, keep_behind, 5);
}

static void run_tree_kept(void) {
    truth_make(make_tree_kept);
    truth_rest();
}

/* One of four branches is cut off. */
MAKES void make_cut_tree(void) {
    void *node = tree(keep_block, keep_behind, 4);
    truth_point(node, 4, tree(lost_block, lost_behind_block, 3));
    truth_point(node, 4, NULL);
    root = node;
}

static void run_cut_tree(void) {
    truth_make(make_cut_tree);
    truth_rest();
}

__attribute__((noinline)) static void *tree_with_parents(maker *make, const void *parent,
                                                         unsigned depth) {
    void *node = make(48);
    truth_point(node, 5, parent);
    for (size_t i = 0; depth && i < WAYS; i++)
        truth_point(node, i, tree_with_parents(make, node, depth - 1));
    return node;
}

MAKES void make_parents(void) {
    tree_with_parents(loop_block, NULL, 4);
}

static void run_parents(void) {
    truth_make(make_parents);
    truth_cycles = 1;
    truth_rest();
}

/* A leaf leads to all of it. */
MAKES void make_parents_kept(void) {
    void *node = tree_with_parents(keep_block, NULL, 4);
    while (truth_at(node, 3))
        node = truth_at(node, 3);
    root = node;
}

static void run_parents_kept(void) {
    truth_make(make_parents_kept);
    truth_rest();
}

/* ---- cycles ---- */

MAKES void make_self(void) {
    void *block = lost_block(88);
    truth_point(block, 3, block);
}

static void run_self(void) {
    truth_make(make_self);
    truth_rest();
}

MAKES void make_self_on(void) {
    void *block = lost_block(88);
    truth_point(block, 3, block);
    chain(block, lost_behind_block, 24, 2);
}

static void run_self_on(void) {
    truth_make(make_self_on);
    truth_rest();
}

MAKES void make_cycle_two(void) {
    ring(loop_block, 32, 2);
}

static void run_cycle_two(void) {
    truth_make(make_cycle_two);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_cycle_three(void) {
    ring(loop_block, 40, 3);
}

static void run_cycle_three(void) {
    truth_make(make_cycle_three);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_cycle_long(void) {
    ring(loop_block, 24, 50000);
}

static void run_cycle_long(void) {
    truth_make(make_cycle_long);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_cycle_kept(void) {
    root = ring(keep_block, 40, 3);
}

static void run_cycle_kept(void) {
    truth_make(make_cycle_kept);
    truth_rest();
}

/* By pointers into the middle of blocks. */
MAKES void make_cycle_inside(void) {
    char *a = loop_block(200), *b = loop_other(300);
    truth_point(a, 20, b + 150);
    truth_point(b, 30, a + 199);
}

static void run_cycle_inside(void) {
    truth_make(make_cycle_inside);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_cycles_many(void) {
    for (unsigned i = 0; i < 100; i++)
        ring(loop_block, 32, 2 + i % 5);
}

static void run_cycles_many(void) {
    truth_make(make_cycles_many);
    truth_cycles = 100;
    truth_rest();
}

/* One leads to the other, so of the other none is direct; and it does not matter which of them was
 * made first. */
__attribute__((noinline)) static void join(bool first_is_older) {
    void *first = first_is_older ? ring(loop_block, 40, 3) : NULL;
    void *second = ring(lost_behind_block, 40, 4);
    if (!first)
        first = ring(loop_block, 40, 3);
    truth_point(first, 1, second);
}

MAKES void make_joined(void) {
    join(true);
    join(false);
}

static void run_joined(void) {
    truth_make(make_joined);
    truth_cycles = 2;
    truth_rest();
}

/* 100 cycles, each of which leads to the next. */
MAKES void make_cycles_in_row(void) {
    void *before = ring(loop_block, 32, 3);
    for (unsigned i = 1; i < 100; i++) {
        void *next = ring(lost_behind_block, 32, 3);
        truth_point(before, 1, next);
        before = next;
    }
}

static void run_cycles_in_row(void) {
    truth_make(make_cycles_in_row);
    truth_cycles = 1;
    truth_rest();
}

/* Two that share a block are one. */
MAKES void make_eight(void) {
    void *middle = loop_other(64);
    truth_point(chain(middle, loop_block, 32, 3), 0, middle);
    void *second = loop_block(32);
    truth_point(middle, 1, second);
    truth_point(chain(second, loop_block, 32, 2), 0, middle);
}

static void run_eight(void) {
    truth_make(make_eight);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_ring_with_tail(void) {
    void *first = ring(loop_block, 40, 5), *tail = lost_behind_block(56);
    truth_point(first, 2, tail);
    chain(tail, lost_behind_block, 56, 3);
}

static void run_ring_with_tail(void) {
    truth_make(make_ring_with_tail);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_tail_into_ring(void) {
    void *head = lost_block(56);
    truth_point(chain(head, lost_behind_other, 56, 3), 0, ring(lost_behind_block, 40, 5));
}

static void run_tail_into_ring(void) {
    truth_make(make_tail_into_ring);
    truth_rest();
}

MAKES void make_two_share_tail(void) {
    void *first = ring(loop_block, 40, 2), *second = ring(loop_other, 48, 2);
    void *tail = lost_behind_block(72);
    truth_point(first, 1, tail);
    truth_point(second, 1, tail);
}

static void run_two_share_tail(void) {
    truth_make(make_two_share_tail);
    truth_cycles = 2;
    truth_rest();
}

/* A hub and 5,000 that know it. */
MAKES void make_star(void) {
    void *hub = loop_other(5000 * sizeof(void *));
    for (size_t i = 0; i < 5000; i++) {
        void *spoke = loop_block(24);
        truth_point(hub, i, spoke);
        truth_point(spoke, 2, hub);
    }
}

static void run_star(void) {
    truth_make(make_star);
    truth_cycles = 1;
    truth_rest();
}

/* A cycle that knows what is in use, which does not know it. */
MAKES void make_leads_to_kept(void) {
    void *kept = keep_block(120);
    truth_point(ring(loop_block, 40, 3), 1, kept);
    root = kept;
}

static void run_leads_to_kept(void) {
    truth_make(make_leads_to_kept);
    truth_cycles = 1;
    truth_rest();
}

/* ---- lists that know both ways ---- */

__attribute__((noinline)) static void *both_ways(maker *make, unsigned count) {
    void *at = make(24);
    while (--count) {
        void *next = make(24);
        truth_point(at, 0, next);
        truth_point(next, 1, at);
        at = next;
    }
    return at;
}

MAKES void make_both_ways(void) {
    both_ways(loop_block, 1000);
}

static void run_both_ways(void) {
    truth_make(make_both_ways);
    truth_cycles = 1;
    truth_rest();
}

MAKES void make_both_ways_kept(void) {
    root = both_ways(keep_block, 1000);
}

static void run_both_ways_kept(void) {
    truth_make(make_both_ways_kept);
    truth_rest();
}

/* Taken out of a list, and not freed: it still points into it. */
MAKES void make_unlinked(void) {
    void *last = both_ways(keep_block, 10), *before = truth_at(last, 1);
    void *out = lost_block(24);
    truth_point(out, 0, last);
    truth_point(out, 1, before);
    root = last;
}

static void run_unlinked(void) {
    truth_make(make_unlinked);
    truth_rest();
}

static const struct truth_case cases[] = {
    {"single", "a block that nothing points to is leaked", run_single},
    {"behind", "what only a leaked block leads to is leaked indirectly", run_behind},
    {"many", "10,000 blocks of 100 sizes are leaked", run_many},
    {"deep-lost", "a lost list of 200,000 has one direct leak", run_deep_lost},
    {"deep-kept", "a list of 200,000 is reachable by its head", run_deep_kept},
    {"cut", "the part that was cut off a list is leaked", run_cut},
    {"overwritten", "what a global has pointed to before is leaked", run_overwritten},
    {"shared-with-root", "what a leaked block points to and a root as well is reachable",
     run_shared_with_root},
    {"three-sources", "three leaked blocks may lead to one", run_three_sources},
    {"lattice", "a lattice is leaked, its top directly", run_lattice},
    {"dense", "of blocks that all point to older ones the youngest is the direct leak", run_dense},
    {"table", "a leaked table of 10,000 pointers is one direct leak", run_table},
    {"tree", "a lost tree has one direct leak", run_tree},
    {"tree-kept", "a tree is reachable by its top", run_tree_kept},
    {"cut-tree", "a branch that was cut off a tree is leaked", run_cut_tree},
    {"parents", "a lost tree whose nodes know their parents is one cycle", run_parents},
    {"parents-kept", "a tree whose nodes know their parents is reachable by a leaf",
     run_parents_kept},
    {"self", "a block that points to itself is leaked", run_self},
    {"self-on", "what a block leads to that points to itself is leaked indirectly", run_self_on},
    {"cycle-two", "a cycle of two is leaked", run_cycle_two},
    {"cycle-three", "a cycle of three is leaked", run_cycle_three},
    {"cycle-long", "a cycle of 50,000 is leaked", run_cycle_long},
    {"cycle-kept", "a cycle is reachable by one of its blocks", run_cycle_kept},
    {"cycle-inside", "a cycle of pointers into the middle of blocks is leaked", run_cycle_inside},
    {"cycles-many", "each of 100 cycles has one direct leak", run_cycles_many},
    {"joined", "a cycle that another cycle leads to is leaked indirectly", run_joined},
    {"cycles-in-row", "of 100 cycles in a row the first has the direct leak", run_cycles_in_row},
    {"eight", "two cycles that share a block have one direct leak", run_eight},
    {"ring-with-tail", "what a lost cycle leads to is leaked indirectly", run_ring_with_tail},
    {"tail-into-ring", "a cycle behind a leaked list is leaked indirectly", run_tail_into_ring},
    {"two-share-tail", "two lost cycles that lead to the same both have a direct leak",
     run_two_share_tail},
    {"star", "a lost hub and 5,000 that know it are one cycle", run_star},
    {"leads-to-kept", "a lost cycle makes nothing lost that it leads to", run_leads_to_kept},
    {"both-ways", "a lost list that knows both ways is one cycle", run_both_ways},
    {"both-ways-kept", "a list that knows both ways is reachable by its tail", run_both_ways_kept},
    {"unlinked", "a node taken out of a list is leaked though it points into it", run_unlinked},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
