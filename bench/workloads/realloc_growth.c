/* Buffers and arrays that grow: strings by a few bytes at a time, many at once; vectors by half;
 * and one huge buffer by a mebibyte at a time, which is then cut back. What was written must move
 * along. */
#include "measure.h"

#define STRINGS 3000

/* Strings to which bytes are appended, each with room for exactly what it holds. */
static long grow_strings(struct bench *b) {
    struct rng rng = rng_make(3);
    struct slot *strings = must(calloc(STRINGS, sizeof *strings));
    long ops = 2, rounds = bench_scaled(b, 900000);
    for (long i = 0; i < rounds; i++) {
        struct slot *s = &strings[rng_below(&rng, STRINGS)];
        size_t more = rng_between(&rng, 1, 120);
        if (s->size > 6000) {
            free(s->block);
            s->block = NULL;
            s->size = 0;
            ops++;
        }
        char *text = must(realloc(s->block, s->size + more));
        memset(text + s->size, 'a' + (int)(s->size % 26), more);
        if (s->size > 0 && text[s->size - 1] == '\0')
            bench_die("a string lost its end");
        s->block = text;
        s->size += more;
        ops++;
    }
    for (int i = 0; i < STRINGS; i++)
        free(strings[i].block);
    free(strings);
    return ops + STRINGS;
}

/* A vector of numbers from nothing to `count`. */
static long grow_vector(size_t count) {
    uint64_t *numbers = NULL, sum = 0;
    size_t room = 0;
    long ops = 1;
    for (size_t i = 0; i < count; i++) {
        if (i == room) {
            room = room < 8 ? 8 : room + room / 2;
            numbers = must(realloc(numbers, room * sizeof *numbers));
            ops++;
        }
        numbers[i] = i;
    }
    for (size_t i = 0; i < count; i += 64)
        sum += numbers[i] - i;
    if (sum != 0)
        bench_die("a vector lost a number");
    free(numbers);
    return ops;
}

int main(int argc, char **argv) {
    static struct bench bench;
    bench_start(&bench, argc, argv, 0);
    long ops = grow_strings(&bench);
    for (long i = bench_scaled(&bench, 2000); i > 0; i--)
        ops += grow_vector((size_t)1 << (4 + i % 12));
    for (long i = bench_scaled(&bench, 8); i > 0; i--)
        ops += grow_vector((size_t)1 << (17 + i % 4));
    return bench_finish(&bench, ops);
}
