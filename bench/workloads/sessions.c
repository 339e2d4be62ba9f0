/* Server sessions handed between threads. A session is one block and a list of up to a hundred
 * others (headers, parameters, buffers), and is served in turns by whichever thread takes it out of
 * the table: each turn adds some, drops some, and makes scratch that dies within it. So most
 * sessions are opened by one thread, grow on several, and are freed by yet another. What a session
 * does follows from its number alone: the work is the same however the threads meet. */
#include "measure.h"

#define PLACES 8000
#define TURNS  10

struct part {
    struct part *next;
    size_t size; /* bytes, this head included */
};

struct session {
    struct rng rng;
    int turns_left;
    struct part *parts; /* newest first */
    char id[32];
};

static struct session *places[PLACES];
static long quota; /* sessions that each thread opens */

static struct part *part_make(struct rng *rng, struct part *next) {
    size_t size = rng_size(rng, 24, 7);
    struct part *p = must(malloc(size));
    p->next = next;
    p->size = size;
    if (size > sizeof *p)
        memset(p + 1, 'p', size - sizeof *p < 200 ? size - sizeof *p : 200);
    return p;
}

static struct part *part_drop(struct part *p) {
    struct part *next = p->next;
    if (p->size < sizeof *p || (p->size > sizeof *p && *(const char *)(p + 1) != 'p'))
        bench_die("a part was written over");
    free(p);
    return next;
}

static struct session *session_open(uint64_t number, long *ops) {
    struct session *s = must(malloc(sizeof *s));
    s->rng = rng_make(number);
    s->turns_left = TURNS / 2 + (int)rng_below(&s->rng, TURNS);
    s->parts = NULL;
    snprintf(s->id, sizeof s->id, "session-%llu", (unsigned long long)number);
    *ops += 1;
    return s;
}

static long session_serve(struct session *s) {
    long ops = 0;
    struct part *scratch = NULL;
    uint32_t make = rng_between(&s->rng, 4, 16), temporary = rng_between(&s->rng, 4, 12);
    for (uint32_t i = 0; i < make; i++, ops++) {
        s->parts = part_make(&s->rng, s->parts);
        if (i < temporary) {
            scratch = part_make(&s->rng, scratch);
            ops += 2;
        }
    }
    while (scratch != NULL)
        scratch = part_drop(scratch);
    /* One in four of what the session holds is done with. */
    for (struct part **p = &s->parts; *p != NULL;) {
        if (rng_below(&s->rng, 4) == 0) {
            *p = part_drop(*p);
            ops++;
        } else {
            p = &(*p)->next;
        }
    }
    s->turns_left--;
    return ops;
}

static long session_close(struct session *s) {
    long ops = 1;
    for (; s->parts != NULL; ops++)
        s->parts = part_drop(s->parts);
    free(s);
    return ops;
}

static void work(struct worker *w) {
    struct rng rng = rng_make((uint64_t)w->index + 100);
    uint64_t next = (uint64_t)w->index * 100000000u;
    long ops = 0, left = quota;
    while (left > 0) {
        /* Whoever waits there is served; a session that has more to come goes back into the table,
         * and who is found at its place is served next. */
        struct session **place = &places[rng_below(&rng, PLACES)];
        struct session *s = __atomic_exchange_n(place, NULL, __ATOMIC_ACQUIRE);
        if (s == NULL) {
            s = session_open(next++, &ops);
            left--;
        }
        while (s != NULL) {
            ops += session_serve(s);
            if (s->turns_left == 0) {
                ops += session_close(s);
                break;
            }
            place = &places[rng_below(&rng, PLACES)];
            s = __atomic_exchange_n(place, s, __ATOMIC_ACQ_REL);
        }
    }
    w->ops = ops;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 2);
    quota = bench_scaled(&bench, 14000) / bench.threads;
    quota = quota > 0 ? quota : 1;
    bench_threads_start(&bench, work);
    long ops = bench_threads_wait(&bench);
    bench_hold(&bench);
    /* The server shuts down: the turns that are left, on the main thread. */
    for (int i = 0; i < PLACES; i++) {
        while (places[i] != NULL && places[i]->turns_left > 0)
            ops += session_serve(places[i]);
        if (places[i] != NULL)
            ops += session_close(places[i]);
    }
    return bench_finish(&bench, ops);
}
