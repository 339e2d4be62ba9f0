/* Requests with arenas: each takes chunks of 4 to 64 KiB as it needs them, puts small objects one
 * after the other into them, and frees all chunks together when it is answered. Several requests
 * are under way at a time and end in any order. */
#include "measure.h"

#define REQUESTS 100

struct chunk {
    struct chunk *next;
    size_t size, used; /* bytes, this head included */
};

struct request {
    struct rng rng;
    struct chunk *chunks; /* the one in use first */
    long objects_left;
};

static long ops;

static void *arena_take(struct request *r, size_t size) {
    struct chunk *c = r->chunks;
    if (c == NULL || c->size - c->used < size) {
        /* The first chunk is small; each of the next may be twice as large. */
        size_t chunk = c == NULL ? 4096 : c->size * (1 + rng_below(&r->rng, 2));
        chunk = chunk > 65536 ? 65536 : chunk;
        c = must(malloc(chunk));
        ops++;
        c->next = r->chunks;
        c->size = chunk;
        c->used = sizeof *c;
        r->chunks = c;
    }
    void *object = (char *)c + c->used;
    c->used += size;
    return object;
}

static void request_serve(struct request *r) {
    for (long n = rng_between(&r->rng, 40, 160); n > 0 && r->objects_left > 0; n--) {
        size_t size = (rng_size(&r->rng, 16, 7) + 15) & ~(size_t)15;
        memset(arena_take(r, size), 'o', size < 48 ? size : 48);
        r->objects_left--;
    }
}

static void request_end(struct request *r) {
    while (r->chunks != NULL) {
        struct chunk *next = r->chunks->next;
        if (r->chunks->used > r->chunks->size)
            bench_die("a chunk was written over");
        free(r->chunks);
        ops++;
        r->chunks = next;
    }
}

static void request_begin(struct request *r, uint64_t number) {
    r->rng = rng_make(number);
    r->objects_left = 20 * (long)rng_size(&r->rng, 1, 8);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(9);
    static struct request requests[REQUESTS];
    uint64_t number = 0;
    for (int i = 0; i < REQUESTS; i++)
        request_begin(&requests[i], number++);
    for (long left = bench_scaled(&bench, 160000); left > 0;) {
        struct request *r = &requests[rng_below(&rng, REQUESTS)];
        request_serve(r);
        if (r->objects_left <= 0) {
            request_end(r);
            request_begin(r, number++);
            left--;
        }
    }
    bench_hold(&bench);
    for (int i = 0; i < REQUESTS; i++)
        request_end(&requests[i]);
    return bench_finish(&bench, ops);
}
