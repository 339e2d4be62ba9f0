/* LIFO churn: stacks of linked nodes are built and taken down again from the top, to depths of ten
 * to thirty thousand, with a size per stack. Recursive programs and undo logs do this. */
#include "measure.h"

struct node {
    struct node *below;
    size_t size; /* bytes, this head included */
};

static const size_t sizes[] = {24, 48, 64, 112, 160, 320, 640};
static const long depths[] = {10, 100, 1000, 30000};

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    long ops = 0, pairs = bench_scaled(&bench, 600000);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
            for (long done = 0; done < pairs; done += depths[d]) {
                struct node *top = NULL;
                for (long i = 0; i < depths[d]; i++) {
                    struct node *node = must(malloc(sizes[s]));
                    node->below = top;
                    node->size = sizes[s];
                    top = node;
                }
                while (top != NULL) {
                    struct node *below = top->below;
                    if (top->size != sizes[s])
                        bench_die("a node was written over");
                    free(top);
                    top = below;
                }
                ops += 2 * depths[d];
            }
        }
    }
    return bench_finish(&bench, ops);
}
