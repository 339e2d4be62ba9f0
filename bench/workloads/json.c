/* Documents: each is written as JSON text into a growing buffer, parsed into a tree of values with
 * strings and arrays of their own, walked, and dropped some hundred documents later. */
#include "measure.h"

#define KEPT 500 /* documents alive */

enum kind { NUMBER, STRING, ARRAY, OBJECT };

struct value {
    enum kind kind;
    uint32_t count, room; /* of members */
    double number;
    char *text;             /* STRING */
    char **keys;            /* OBJECT */
    struct value **members; /* ARRAY, OBJECT */
};

struct text {
    char *bytes; /* ends with 0 */
    size_t size, room;
};

static struct rng rng;
static long ops;

static void put(struct text *t, const char *bytes, size_t size) {
    if (t->size + size + 1 > t->room) {
        t->room = t->room == 0 ? 256 : t->room;
        while (t->size + size + 1 > t->room)
            t->room *= 2;
        t->bytes = must(realloc(t->bytes, t->room));
        ops++;
    }
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
    t->bytes[t->size] = '\0';
}

static void put_string(struct text *t) {
    static const char words[] = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do "
                                "eiusmod tempor incididunt ut labore et dolore magna aliqua ut";
    uint32_t size = rng_size(&rng, 4, 5);
    put(t, "\"", 1);
    for (; size > 0; size -= size < 100 ? size : 100)
        put(t, words + rng_below(&rng, 12), size < 100 ? size : 100);
    put(t, "\"", 1);
}

static void write_value(struct text *t, int depth) {
    char number[32];
    uint32_t kind = depth == 0 ? rng_below(&rng, 2) : rng_below(&rng, 5), n;
    switch (kind) {
    case 0:
        n = (uint32_t)snprintf(number, sizeof number, "%u", rng_below(&rng, 1000000));
        put(t, number, n);
        break;
    case 1:
        put_string(t);
        break;
    case 2:
        put(t, "[", 1);
        for (n = rng_size(&rng, 1, 5); n > 0; n--) {
            write_value(t, depth - 1);
            put(t, ",", n > 1);
        }
        put(t, "]", 1);
        break;
    default:
        put(t, "{", 1);
        for (n = rng_between(&rng, 1, 9); n > 0; n--) {
            put_string(t);
            put(t, ":", 1);
            write_value(t, depth - 1);
            put(t, ",", n > 1);
        }
        put(t, "}", 1);
        break;
    }
}

static char *parse_string(const char **at) {
    const char *start = *at + 1, *end = strchr(start, '"');
    size_t size = (size_t)(end - start);
    char *s = must(malloc(size + 1));
    ops++;
    memcpy(s, start, size);
    s[size] = '\0';
    *at = end + 1;
    return s;
}

static struct value *parse_value(const char **at);

static void parse_members(struct value *v, const char **at, char last) {
    ++*at;
    while (**at != last) {
        if (v->count == v->room) {
            v->room = v->room == 0 ? 4 : v->room * 2;
            v->members = must(realloc(v->members, v->room * sizeof *v->members));
            ops++;
            if (v->kind == OBJECT) {
                v->keys = must(realloc(v->keys, v->room * sizeof *v->keys));
                ops++;
            }
        }
        if (v->kind == OBJECT) {
            v->keys[v->count] = parse_string(at);
            ++*at;
        }
        v->members[v->count++] = parse_value(at);
        *at += **at == ',';
    }
    ++*at;
}

static struct value *parse_value(const char **at) {
    struct value *v = must(calloc(1, sizeof *v));
    ops++;
    switch (**at) {
    case '"':
        v->kind = STRING;
        v->text = parse_string(at);
        break;
    case '[':
        v->kind = ARRAY;
        parse_members(v, at, ']');
        break;
    case '{':
        v->kind = OBJECT;
        parse_members(v, at, '}');
        break;
    default:
        v->kind = NUMBER;
        while (**at >= '0' && **at <= '9')
            v->number = v->number * 10 + *(*at)++ - '0';
        break;
    }
    return v;
}

/* The bytes of all strings and keys: what the program wanted to know. */
static size_t walk(const struct value *v) {
    size_t sum = v->text != NULL ? strlen(v->text) : 0;
    for (uint32_t i = 0; i < v->count; i++)
        sum += walk(v->members[i]) + (v->kind == OBJECT ? strlen(v->keys[i]) : 0);
    return sum;
}

static void value_drop(struct value *v) {
    if (v == NULL)
        return;
    for (uint32_t i = 0; i < v->count; i++) {
        value_drop(v->members[i]);
        if (v->kind == OBJECT) {
            free(v->keys[i]);
            ops++;
        }
    }
    ops += 1 + (v->keys != NULL) + (v->members != NULL) + (v->text != NULL);
    free(v->keys);
    free(v->members);
    free(v->text);
    free(v);
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    static struct value *kept[KEPT];
    rng = rng_make(13);
    for (long i = bench_scaled(&bench, 5000); i > 0; i--) {
        struct text text = {NULL, 0, 0};
        write_value(&text, 1 + (int)rng_below(&rng, 6));
        const char *at = text.bytes;
        struct value **place = &kept[rng_below(&rng, KEPT)];
        value_drop(*place);
        *place = parse_value(&at);
        if (at != text.bytes + text.size || walk(*place) > text.size)
            bench_die("a document was not read as it was written");
        free(text.bytes);
        ops++;
    }
    bench_hold(&bench);
    for (int i = 0; i < KEPT; i++)
        value_drop(kept[i]);
    return bench_finish(&bench, ops);
}
