/* A key-value store: a hash table that grows and shrinks in small steps, with keys, values and
 * entries as blocks of their own. Values are of a cache's sizes: most small, a few to 16 KiB. Some
 * keys are asked for far more often than others. Sets, gets, deletions, and keys that expire. At
 * the end the store is emptied, as by FLUSHALL. */
#include "measure.h"

struct entry {
    struct entry *next;
    uint64_t hash;
    char *key, *value;
    uint32_t key_size, value_size;
    long expires; /* the operation before which it is good; 0: always */
};

struct table {
    struct entry **buckets;
    size_t count; /* a power of two, or 0 */
};

/* Two tables while it is resized: a few buckets move from the first to the second at each call. */
struct store {
    struct table now, next;
    size_t moved; /* buckets of `now` that are empty for good */
    size_t entries;
    long ops;
};

static uint64_t hash_bytes(const char *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static void resize_begin(struct store *s, size_t count) {
    s->next.buckets = must(calloc(count, sizeof *s->next.buckets));
    s->next.count = count;
    s->moved = 0;
    s->ops++;
}

static void resize_step(struct store *s) {
    for (int i = 0; i < 4 && s->moved < s->now.count; i++) {
        struct entry *e = s->now.buckets[s->moved];
        s->now.buckets[s->moved++] = NULL;
        while (e != NULL) {
            struct entry *next = e->next, **bucket;
            bucket = &s->next.buckets[e->hash & (s->next.count - 1)];
            e->next = *bucket;
            *bucket = e;
            e = next;
        }
    }
    if (s->moved == s->now.count) {
        free(s->now.buckets);
        s->ops++;
        s->now = s->next;
        s->next.buckets = NULL;
        s->next.count = 0;
    }
}

static struct entry **table_find(struct table *t, const char *key, uint32_t size, uint64_t hash) {
    struct entry **e = &t->buckets[hash & (t->count - 1)];
    while (*e != NULL &&
           ((*e)->hash != hash || (*e)->key_size != size || memcmp((*e)->key, key, size) != 0))
        e = &(*e)->next;
    return e;
}

/* Where the entry is linked, or the end of the chain to which it would be added. */
static struct entry **store_find(struct store *s, const char *key, uint32_t size, uint64_t hash) {
    if (s->next.buckets != NULL)
        resize_step(s);
    else if (s->entries > s->now.count)
        resize_begin(s, s->now.count * 2);
    else if (s->now.count > 64 && s->entries < s->now.count / 8)
        resize_begin(s, s->now.count / 2);
    if (s->next.buckets != NULL) {
        struct entry **e = table_find(&s->now, key, size, hash);
        return *e != NULL ? e : table_find(&s->next, key, size, hash);
    }
    return table_find(&s->now, key, size, hash);
}

static void entry_remove(struct store *s, struct entry **at) {
    struct entry *e = *at;
    *at = e->next;
    block_read(e->value, e->value_size);
    free(e->value);
    free(e->key);
    free(e);
    s->entries--;
    s->ops += 3;
}

static void entry_set(struct store *s, struct entry **at, const char *key, uint32_t size,
                      uint64_t hash, uint32_t value_size) {
    struct entry *e = *at;
    if (e == NULL) {
        e = must(calloc(1, sizeof *e));
        e->key = must(malloc(size));
        memcpy(e->key, key, size);
        e->key_size = size;
        e->hash = hash;
        e->next = NULL;
        *at = e;
        s->entries++;
        s->ops += 2;
    } else {
        free(e->value);
        s->ops++;
    }
    e->value = must(malloc(value_size));
    e->value_size = value_size;
    block_write(e->value, value_size);
    s->ops++;
}

/* "user:00001234:name" and the like: 18 to 37 bytes, not ended by 0. printf would cost as much as
 * the rest of an operation. */
static uint32_t make_key(char *key, uint32_t number) {
    const char *head = number % 3 == 0 ? "session:" : "user:";
    const char *tail = number % 7 == 0 ? ":profile-and-settings" : ":name";
    size_t size = strlen(head), tail_size = strlen(tail);
    memcpy(key, head, size);
    for (int i = 8; i-- > 0; number /= 10)
        key[size + (size_t)i] = (char)('0' + number % 10);
    size += 8;
    memcpy(key + size, tail, tail_size);
    return (uint32_t)(size + tail_size);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    struct rng rng = rng_make(11);
    struct store s = {.now = {must(calloc(64, sizeof *s.now.buckets)), 64}, .ops = 1};
    uint32_t keys = (uint32_t)bench_scaled(&bench, 150000);
    long rounds = bench_scaled(&bench, 800000);
    for (long i = 0; i < rounds; i++) {
        /* A number below a number: the low ones are popular. */
        uint32_t number = rng_below(&rng, 1 + rng_below(&rng, keys)), what = rng_below(&rng, 100);
        char key[64];
        uint32_t size = make_key(key, number);
        uint64_t hash = hash_bytes(key, size);
        struct entry **at = store_find(&s, key, size, hash);
        if (*at != NULL && (*at)->expires != 0 && (*at)->expires <= i) {
            entry_remove(&s, at);
            at = store_find(&s, key, size, hash);
        }
        if (what < 55) {
            entry_set(&s, at, key, size, hash, rng_size(&rng, 16, 10));
            (*at)->expires = what < 15 ? i + (long)rng_below(&rng, keys) : 0;
        } else if (what < 90) {
            if (*at != NULL)
                block_read((*at)->value, (*at)->value_size);
        } else if (*at != NULL) {
            entry_remove(&s, at);
        }
    }
    bench_hold(&bench);
    while (s.next.buckets != NULL)
        resize_step(&s);
    for (size_t i = 0; i < s.now.count; i++) {
        while (s.now.buckets[i] != NULL)
            entry_remove(&s, &s.now.buckets[i]);
    }
    free(s.now.buckets);
    return bench_finish(&bench, s.ops + 1);
}
