/* FIFO churn: queues of messages, the oldest of which is freed for each new one, in windows of a
 * few to a hundred thousand. Each message is a head and a body of its own, in the sizes of a small
 * protocol. */
#include "measure.h"

struct message {
    struct message *next;
    struct slot body;
};

static const uint32_t bodies[] = {16, 40, 64, 100, 180, 256, 500, 1400};
static const long windows[] = {8, 200, 5000, 100000};

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(2);
    long ops = 0, rounds = bench_scaled(&bench, 1000000);
    for (size_t k = 0; k < sizeof windows / sizeof *windows; k++) {
        struct message *oldest = NULL, **newest = &oldest;
        long length = 0;
        for (long i = 0; i < rounds; i++) {
            struct message *m = must(malloc(sizeof *m));
            slot_fill(&m->body, bodies[rng_below(&rng, sizeof bodies / sizeof *bodies)]);
            m->next = NULL;
            *newest = m;
            newest = &m->next;
            ops += 2;
            if (++length <= windows[k])
                continue;
            m = oldest;
            oldest = m->next;
            length--;
            ops += 1 + slot_drop(&m->body);
            free(m);
        }
        if (k + 1 == sizeof windows / sizeof *windows)
            bench_hold(&bench);
        while (oldest != NULL) {
            struct message *next = oldest->next;
            ops += 1 + slot_drop(&oldest->body);
            free(oldest);
            oldest = next;
        }
    }
    return bench_finish(&bench, ops);
}
