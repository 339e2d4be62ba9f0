/* Binary trees: one that lives, and beside it many of all depths that are built, counted and taken
 * down; then a search tree in which random keys come and go. */
#include "measure.h"

struct node {
    struct node *left, *right;
    uint64_t key;
};

static long made;

static struct node *build(int depth) {
    struct node *n = must(malloc(sizeof *n));
    made++;
    n->key = (uint64_t)depth;
    n->left = depth > 0 ? build(depth - 1) : NULL;
    n->right = depth > 0 ? build(depth - 1) : NULL;
    return n;
}

static long count(const struct node *n) {
    return n == NULL ? 0 : 1 + count(n->left) + count(n->right);
}

static void take_down(struct node *n) {
    if (n == NULL)
        return;
    take_down(n->left);
    take_down(n->right);
    free(n);
}

static struct node **find(struct node **at, uint64_t key) {
    while (*at != NULL && (*at)->key != key)
        at = key < (*at)->key ? &(*at)->left : &(*at)->right;
    return at;
}

/* Takes the node at `at` out: its place goes to the least key on its right. */
static void take_out(struct node **at) {
    struct node *old = *at;
    if (old->left == NULL || old->right == NULL) {
        *at = old->left != NULL ? old->left : old->right;
    } else {
        struct node **least = &old->right;
        while ((*least)->left != NULL)
            least = &(*least)->left;
        struct node *next = *least;
        *least = next->right;
        next->left = old->left;
        next->right = old->right;
        *at = next;
    }
    free(old);
}

static void search_tree(long rounds, uint32_t keys) {
    struct rng rng = rng_make(6);
    struct node *root = NULL;
    for (long i = 0; i < rounds; i++) {
        uint64_t key = rng_below(&rng, keys);
        struct node **at = find(&root, key);
        if (*at != NULL) {
            take_out(at);
        } else {
            *at = must(malloc(sizeof **at));
            made++;
            (*at)->left = (*at)->right = NULL;
            (*at)->key = key;
        }
    }
    take_down(root);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct node *lasting = build(18);
    for (int depth = 4; depth <= 18; depth += 2) {
        long trees = bench_scaled(&bench, 2 << (18 - depth));
        for (long i = 0; i < trees; i++) {
            struct node *tree = build(depth);
            if (count(tree) != (2l << depth) - 1)
                bench_die("a tree lost a node");
            take_down(tree);
        }
    }
    bench_hold(&bench);
    search_tree(bench_scaled(&bench, 400000), 40000);
    take_down(lasting);
    return bench_finish(&bench, 2 * made);
}
